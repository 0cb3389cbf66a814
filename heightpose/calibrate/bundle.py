"""Bundle adjustment of one lens and the poses of a flat board in several views.

Own code rather than cv2.calibrateCamera and cv2.fisheye.calibrate, because one fit then serves both lens models
with the project's own :class:`Camera`, parameters can be tied or held, stray corners count less (Huber weights),
standard errors come out for both, and there is no giving up on single views ("ill-conditioned matrix"). OpenCV
supplies the first guess. Levenberg-Marquardt on the normal equations; the poses are eliminated by the Schur
complement (Triggs et al. 2000, "Bundle adjustment: a modern synthesis").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from heightpose.calibrate.boards import Corners
from heightpose.geometry.camera import Camera

#: Corners are located to about this; turns a prior's width into a weight, and is the floor of the Huber scale.
SIGMA_PX = 0.1
_NAMES = {"pinhole": ("k1", "k2", "p1", "p2", "k3"), "fisheye": ("k1", "k2", "k3", "k4")}


@dataclass(frozen=True)
class Freedom:
    """Which intrinsics a fit may change.

    Attributes:
        focal: fx and fy.
        square: fx and fy stay equal (as far as they are at the start).
        centre: the principal point.
        dist: names of the distortion coefficients; the others stay as they are.
    """

    focal: bool = True
    square: bool = False
    centre: bool = True
    dist: tuple[str, ...] = ("k1", "k2")

    def basis(self, model: str) -> np.ndarray:
        """``(P, F)``: columns are the directions in (fx, fy, cx, cy, dist...) that may change."""
        names = ("fx", "fy", "cx", "cy", *_NAMES[model])
        columns: list[tuple[str, ...]] = []
        if self.focal:
            columns += [("fx", "fy")] if self.square else [("fx",), ("fy",)]
        if self.centre:
            columns += [("cx",), ("cy",)]
        columns += [(name,) for name in self.dist]
        basis = np.zeros((len(names), len(columns)))
        for column, members in enumerate(columns):
            for name in members:
                basis[names.index(name), column] = 1.0
        return basis


NOTHING = Freedom(focal=False, centre=False, dist=())


@dataclass(frozen=True, eq=False)
class Bundle:
    """A fit.

    Attributes:
        camera: the lens.
        R, t_cm: ``(V, 3, 3)``, ``(V, 3)`` board to camera.
        residuals: per view ``(N, 2)`` px, measured minus projected.
        errors: standard errors of (fx, fy, cx, cy, dist...), 0 for what was held.
    """

    camera: Camera
    R: np.ndarray
    t_cm: np.ndarray
    residuals: list[np.ndarray]
    errors: np.ndarray

    @property
    def rms_px(self) -> float:
        """Root mean square over corners of the distance in pixels."""
        return rms(np.concatenate(self.residuals))

    @property
    def view_rms_px(self) -> np.ndarray:
        return np.array([rms(r) for r in self.residuals])

    @property
    def tilts_deg(self) -> list[float]:
        """Angle between each board's normal and the view's direction to the board."""
        rays = self.t_cm / np.linalg.norm(self.t_cm, axis=1, keepdims=True)
        facing = np.abs(np.einsum("vij,vi->vj", self.R, rays)[:, 2])
        return np.rad2deg(np.arccos(np.clip(facing, 0, 1))).tolist()


def rms(residuals: np.ndarray) -> float:
    return float(np.sqrt((residuals**2).sum(axis=1).mean()))


def parameters(camera: Camera) -> np.ndarray:
    """fx, fy, cx, cy and the distortion coefficients."""
    return np.concatenate([camera.K[[0, 1, 0, 1], [0, 1, 2, 2]], camera.dist])


def with_parameters(camera: Camera, values: np.ndarray) -> Camera:
    """The same camera with other :func:`parameters`."""
    K = np.array([[values[0], 0, values[2]], [0, values[1], values[3]], [0, 0, 1.0]])
    return Camera(camera.model, camera.size_wh, K, values[4:])


def first_poses(boards: Sequence[Corners], camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    """Each board's pose under this lens, ``(V, 3, 3)`` and ``(V, 3)``: the better of the two planar solutions.

    Each board is looked at as if the camera had been turned to face it: at the rim of a fisheye picture slopes grow
    without bound, and beyond 89 degrees there are none (such corners are left out here).
    """
    R, t = [], []
    every = camera.undistort(np.concatenate([board.kpts for board in boards]))
    ends = np.cumsum([len(board.ids) for board in boards])[:-1]
    for board, slopes in zip(boards, np.split(every, ends), strict=True):
        near = np.linalg.norm(slopes, axis=1) < 30
        near = near if near.sum() >= 6 else np.ones(len(slopes), dtype=bool)
        facing = _facing(slopes[near])
        rays = np.concatenate([slopes[near], np.ones((int(near.sum()), 1))], axis=1) @ facing.T
        faced = rays[:, :2] / np.maximum(rays[:, 2:], 1e-3)
        best = (np.inf, np.diag([1.0, -1.0, -1.0]), np.array([0.0, 0.0, 100.0]))
        try:
            _, rvecs, tvecs, _ = cv2.solvePnPGeneric(
                board.pts_cm[near], faced[:, None], np.eye(3), None, flags=cv2.SOLVEPNP_IPPE
            )
        except cv2.error:  # degenerate points
            rvecs, tvecs = (), ()
        for rvec, tvec in zip(rvecs, tvecs, strict=True):
            turn, shift = facing.T @ np.asarray(cv2.Rodrigues(rvec)[0]), facing.T @ np.ravel(tvec)
            error = rms(camera.project(board.pts_cm @ turn.T + shift) - board.kpts)
            if np.isfinite(error) and error < best[0]:
                best = (error, turn, shift)
        R.append(best[1])
        t.append(best[2])
    return np.array(R), np.array(t)


def _facing(slopes: np.ndarray) -> np.ndarray:
    """``(3, 3)`` the rotation that brings the mean of these rays onto the axis."""
    rays = np.concatenate([slopes, np.ones((len(slopes), 1))], axis=1)
    mean = (rays / np.linalg.norm(rays, axis=1, keepdims=True)).mean(axis=0)
    axis = np.array([mean[1], -mean[0], 0.0])  # across both
    sine = float(np.hypot(mean[0], mean[1]))
    angle = np.arctan2(sine, mean[2])
    return np.asarray(cv2.Rodrigues(axis / max(sine, 1e-12) * angle)[0])


def fit(
    boards: Sequence[Corners],
    start: Camera,
    freedom: Freedom,
    *,
    prior_sd: np.ndarray | None = None,
    rounds: int = 60,
    poses: tuple[np.ndarray, np.ndarray] | None = None,
) -> Bundle:
    """Fit the lens and all poses.

    Args:
        boards: the corners seen, at least one view.
        start: where to start; also the prior's centre.
        freedom: what may change; :data:`NOTHING` fits the poses alone.
        prior_sd: ``(P,)`` standard deviations about the start for views that cannot tell everything.
        poses: R ``(V, 3, 3)`` and t_cm ``(V, 3)`` to start from; else those of :func:`first_poses`.
    """
    problem = _Problem(boards, start, freedom, prior_sd, poses or first_poses(boards, start))
    problem.run(rounds)
    return problem.result()


class _Problem:
    def __init__(
        self,
        boards: Sequence[Corners],
        start: Camera,
        freedom: Freedom,
        prior_sd: np.ndarray | None,
        poses: tuple[np.ndarray, np.ndarray],
    ) -> None:
        self.pts = np.concatenate([b.pts_cm for b in boards])
        self.kpts = np.concatenate([b.kpts for b in boards])
        counts = [len(b.ids) for b in boards]
        self.view = np.repeat(np.arange(len(boards)), counts)
        self.ends = np.cumsum(counts)[:-1]
        self.start, self.basis = start, freedom.basis(start.model)
        self.values = self.first = parameters(start)
        # px for focal length and centre, 1 for the rest: steps of comparable effect
        self.scale = np.where(np.arange(len(self.values)) < 4, self.values[0], 1.0)
        prior = np.zeros_like(self.values) if prior_sd is None else (SIGMA_PX / prior_sd) ** 2
        self.prior = np.diag(prior)
        self.R, self.t = poses

    def run(self, rounds: int) -> None:
        damping = 1e-3
        residual = self._residual(self.values, self.R, self.t)
        for _ in range(rounds):
            weight = huber(residual)
            cost = self._cost(residual, weight, self.values)
            blocks = self._normal_equations(residual, weight)
            for _ in range(10):
                values, R, t = self._step(blocks, damping)
                trial = self._residual(values, R, t)
                new = self._cost(trial, weight, values)
                if new < cost:
                    break
                damping *= 8
            else:
                return
            self.values, self.R, self.t, residual = values, R, t, trial
            damping = max(damping / 8, 1e-12)
            if cost - new < 1e-7 * cost:
                return

    def result(self) -> Bundle:
        residual = self._residual(self.values, self.R, self.t)
        reduced, *_ = self._reduced(self._normal_equations(residual, huber(residual)), 0.0)
        free = self.basis.shape[1]
        degrees = max(residual.size - free - 6 * len(self.t), 1)
        sigma2 = max(float((huber(residual)[:, None] * residual**2).sum()) / degrees, 1e-12)
        errors = np.zeros(len(self.values))
        if free:
            scaled = self.basis * self.scale[:, None]
            covariance = scaled @ np.linalg.pinv(reduced, hermitian=True) @ scaled.T * sigma2
            errors = np.sqrt(np.maximum(np.diag(covariance), 0.0))
        camera = with_parameters(self.start, self.values)
        return Bundle(camera, self.R, self.t, np.split(residual, self.ends), errors)

    def _project(self, values: np.ndarray, R: np.ndarray, t: np.ndarray) -> np.ndarray:
        return with_parameters(self.start, values).project(self._seen(R, t))

    def _seen(self, R: np.ndarray, t: np.ndarray) -> np.ndarray:
        """The corners in camera coordinates, ``(N, 3)``."""
        return np.einsum("nij,nj->ni", R[self.view], self.pts) + t[self.view]

    def _residual(self, values: np.ndarray, R: np.ndarray, t: np.ndarray) -> np.ndarray:
        """Measured minus projected; bounded, so that a wild step costs much and overflows nothing."""
        with np.errstate(all="ignore"):
            return np.clip(np.nan_to_num(self.kpts - self._project(values, R, t), nan=1e6), -1e6, 1e6)

    def _cost(self, residual: np.ndarray, weight: np.ndarray, values: np.ndarray) -> float:
        away = values - self.first
        if values[0] <= 0 or values[1] <= 0:
            return np.inf
        return float((weight[:, None] * residual**2).sum() + away @ self.prior @ away)

    def _normal_equations(self, residual: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, ...]:
        lens, pose = self._jacobians()
        free = lens.shape[2]
        rows = np.concatenate([lens, pose, residual[:, :, None]], axis=2) * np.sqrt(weight)[:, None, None]
        products = np.stack([self._product(part) for part in np.split(rows, self.ends)])
        B, b, C = products[:, free:-1, free:-1], products[:, free:-1, -1], products[:, :free, free:-1]
        of_all = products.sum(axis=0)
        scaled = self.basis * self.scale[:, None]
        A = of_all[:free, :free] + scaled.T @ self.prior @ scaled
        a = of_all[:free, -1] - scaled.T @ self.prior @ (self.values - self.first)
        return A, a, B, b, C

    @staticmethod
    def _product(part: np.ndarray) -> np.ndarray:
        flat = part.reshape(-1, part.shape[2])
        return flat.T @ flat

    def _jacobians(self) -> tuple[np.ndarray, np.ndarray]:
        """By the lens ``(N, 2, F)``, in units of the scale, and by the pose ``(N, 2, 6)``, as :func:`moved` has it."""
        turned = np.einsum("nij,nj->ni", self.R[self.view], self.pts)
        camera = with_parameters(self.start, self.values)
        by_point, by_lens = camera.jacobians(turned + self.t[self.view])
        reach = np.linalg.norm(self.t, axis=1)[self.view]
        by_pose = [np.cross(turned[:, None], by_point), by_point * reach[:, None, None]]
        return by_lens @ (self.basis * self.scale[:, None]), np.concatenate(by_pose, axis=2)

    def _reduced(self, blocks: tuple[np.ndarray, ...], damping: float) -> tuple[np.ndarray, ...]:
        A, a, B, b, C = blocks
        A = A + damping * np.diag(np.diag(A))
        B = B + damping * np.einsum("vii,ij->vij", B, np.eye(6)) + 1e-9 * np.eye(6)
        inverse = _inverse(B)
        CB = C @ inverse
        return A - np.einsum("vij,vkj->ik", CB, C), a - np.einsum("vij,vj->i", CB, b), inverse, b, C

    def _step(
        self, blocks: tuple[np.ndarray, ...], damping: float
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        S, s, inverse, b, C = self._reduced(blocks, damping)
        lens = np.linalg.lstsq(S, s, rcond=1e-14)[0] if len(s) else s
        pose = np.einsum("vij,vj->vi", inverse, b - np.einsum("vij,i->vj", C, lens))
        reach = np.linalg.norm(self.t, axis=1, keepdims=True)
        R, t = moved(self.R, self.t, pose, reach)
        return self.values + (self.basis * self.scale[:, None]) @ lens, R, t


def _inverse(blocks: np.ndarray) -> np.ndarray:
    """``(V, 6, 6)`` inverses; where a view tells nothing of some motion of its board, there is none along that.

    So it is where a wild lens has thrown all of a board's corners to one place: such a view is an outlier, or no lens
    fits, but not for this to decide.
    """
    try:
        return np.linalg.inv(blocks)
    except np.linalg.LinAlgError:
        finite = np.clip(np.nan_to_num(blocks), -1e100, 1e100)
        return np.linalg.pinv(finite, hermitian=True)


def moved(R: np.ndarray, t: np.ndarray, step: np.ndarray, reach: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Poses after steps ``(V, 6)``: a small turn on top of each, and a shift in units of the distance ``reach``."""
    turns = np.stack([np.asarray(cv2.Rodrigues(turn)[0]) for turn in np.array(step[:, :3], dtype=np.float64)])
    return turns @ R, t + reach * step[:, 3:]


def huber(residual: np.ndarray) -> np.ndarray:
    """``(N,)`` weights: corners farther off than three typical errors count linearly."""
    length = np.hypot(residual[:, 0], residual[:, 1])
    limit = 3.0 * max(float(np.median(length)) / 1.18, SIGMA_PX)
    return np.minimum(1.0, limit / np.maximum(length, 1e-12))
