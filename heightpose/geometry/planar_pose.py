"""The mathematics of a planar pose: tags that agree, both IPPE solutions, their refinement and their error.

Nothing here judges whether a pose can be trusted; :mod:`heightpose.geometry.plane_fit` does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations

import cv2
import numpy as np

from heightpose.geometry.camera import Camera
from heightpose.geometry.least_squares import minimise

_MAX_TRIPLES = 400
SOFT_PX = 0.5  # residuals beyond this count linearly
#: Corners of one tag err together: where more than a pose is fitted they are taken to be this good, px per axis, and
#: errors beyond so many times it count linearly.
_TAG_SIGMA_PX, _TAG_SOFT = 0.4, 1.5
#: OpenCV's IPPE divides by, or takes the root of, what is 0 for points that fit a pose exactly, as whole pixels of a
#: mattress seen straight from above do, and may answer with NaN or with another pose. So points are moved by about this
#: much of the focal length, some 0.01 px, for the pose that the fit to where they are starts from.
_NUDGE = 1e-5
LEAST_SIGMA_PX = 0.25  # corners are never taken to be better than this when errors are propagated


@dataclass(frozen=True, eq=False)
class PoseFit:
    """One solution: ``x_cam = R @ x + t_cm``.

    Attributes:
        R: ``(3, 3)``.
        t_cm: ``(3,)``.
        rms_px: reprojection error per point.
        cov: ``(6, 6)`` covariance of a step of the pose (:func:`stepped`).
    """

    R: np.ndarray
    t_cm: np.ndarray
    rms_px: float
    cov: np.ndarray

    @property
    def height_sd_cm(self) -> float:
        """Standard error of the camera's distance from the plane."""
        # height = -n.t with n = R[:, 2]; a small turn w moves n by w x n, hence the height by -w.(n x t).
        normal = self.R[:, 2]
        gradient = np.concatenate([-np.cross(normal, self.t_cm), -normal])
        return float(np.sqrt(max(gradient @ self.cov @ gradient, 0.0)))


def consensus(corners: np.ndarray, model: np.ndarray, camera: Camera, tolerance_px: float) -> np.ndarray:
    """The tags that agree with the homography, from three tags, that pleases most tags best (MSAC).

    Two tags would do in theory, but where light makes every tag look a little small or large they foretell wrongly
    where the others are. The best homography is refitted to the tags that agree with it, as long as that pleases
    more (locally optimised RANSAC, Chum, Matas & Kittler 2003).

    Args:
        corners: ``(M, 4, 2)`` frame pixels.
        model: ``(M, 4, 2)`` cm on the mattress.
        tolerance_px: rms over a tag's corners up to which it agrees.

    Returns:
        ``(M,)`` bool.
    """
    count = len(model)
    slopes = camera.undistort(corners.reshape(-1, 2)).reshape(count, 4, 2)
    triples = list(combinations(range(count), min(3, count)))
    if len(triples) > _MAX_TRIPLES:
        chosen = np.random.default_rng(0).choice(len(triples), _MAX_TRIPLES, replace=False)
        triples = [triples[i] for i in chosen]
    flat = np.concatenate([model.reshape(-1, 2), np.ones((4 * count, 1))], axis=1)

    def homography(rows: list[int] | np.ndarray) -> np.ndarray:
        """The one that fits these tags; all NaN where there is none."""
        found, _ = cv2.findHomography(model[rows].reshape(-1, 2), slopes[rows].reshape(-1, 2))
        return np.full((3, 3), np.nan) if found is None else np.asarray(found)

    def judge(homographies: np.ndarray) -> tuple[float, np.ndarray]:
        """Cost and agreeing tags of the best of these, ``(H, 3, 3)``; together, as one takes as long as many."""
        rays = flat @ homographies.swapaxes(1, 2)
        rays *= np.where(np.median(rays[:, :, 2], axis=1) < 0, -1.0, 1.0)[:, None, None]
        seen = camera.project(rays.reshape(-1, 3)).reshape(-1, count, 4, 2)
        rms = np.sqrt(((seen - corners) ** 2).sum(axis=3).mean(axis=2))
        costs = (np.fmin(rms / tolerance_px, 1.0) ** 2).sum(axis=1)
        best = int(np.argmin(costs))
        return float(costs[best]), rms[best] <= tolerance_px

    cost, best = judge(np.stack([homography(list(triple)) for triple in triples]))
    while best.any():
        again_cost, again = judge(homography(np.flatnonzero(best))[None])
        if not again_cost < cost:
            break
        cost, best = again_cost, again
    return best


def solve(pts_cm: np.ndarray, kpts_frame: np.ndarray, camera: Camera) -> list[PoseFit]:
    """Both poses of a planar target that have the camera above it and the target in front, best first.

    Args:
        pts_cm: ``(N, 3)`` with z = 0, N >= 4.
        kpts_frame: ``(N, 2)`` frame pixels.
    """
    slopes = camera.undistort(kpts_frame)
    slopes = (slopes + _NUDGE * np.random.default_rng(0).standard_normal(slopes.shape))[:, None]
    try:
        _, rvecs, tvecs, _ = cv2.solvePnPGeneric(pts_cm, slopes, np.eye(3), None, flags=cv2.SOLVEPNP_IPPE)
    except cv2.error:  # degenerate points
        return []
    found = []
    for rvec, tvec in zip(rvecs, tvecs, strict=True):
        if not (np.isfinite(rvec).all() and np.isfinite(tvec).all()):  # nearly degenerate points
            continue
        fit = _refine(cv2.Rodrigues(rvec)[0], np.ravel(tvec), pts_cm, kpts_frame, camera)
        above = (-fit.R.T @ fit.t_cm)[2] > 0
        if above and ((pts_cm @ fit.R.T + fit.t_cm)[:, 2] > 0).all():
            found.append(fit)
    return sorted(found, key=lambda fit: fit.rms_px)


def _refine(
    R: np.ndarray, t_cm: np.ndarray, pts_cm: np.ndarray, kpts_frame: np.ndarray, camera: Camera
) -> PoseFit:
    """Robust reprojection fit from a first pose."""

    def errors_px(step: np.ndarray) -> np.ndarray:
        turned, there = stepped(step, R, t_cm)
        return (camera.project(pts_cm @ turned.T + there) - kpts_frame).ravel()

    def slopes(step: np.ndarray) -> np.ndarray:
        turned, there = stepped(step, R, t_cm)
        by_point, _ = camera.jacobians(pts_cm @ turned.T + there)
        return by_step(by_point, step, R, pts_cm).reshape(-1, 6)

    distance = max(float(np.linalg.norm(t_cm)), 1e-6)
    scale = np.array([1.0, 1.0, 1.0, distance, distance, distance])
    x, _ = minimise(errors_px, slopes, np.zeros(6), scale, soft=SOFT_PX)
    best_R, best_t = stepped(x, R, t_cm)
    rms_px = float(np.sqrt((errors_px(x).reshape(-1, 2) ** 2).sum(axis=1).mean()))
    plain = slopes(x)
    sigma = max(rms_px / np.sqrt(2.0), LEAST_SIGMA_PX)  # per coordinate
    return PoseFit(best_R, best_t, rms_px, np.linalg.pinv(plain.T @ plain) * sigma**2)


def on_mattress(model: np.ndarray) -> np.ndarray:
    """Corners ``(M, 4, 2)`` cm -> points ``(4 M, 3)`` with z = 0."""
    return np.pad(model.reshape(-1, 2), ((0, 0), (0, 1)))


def tag_rms_px(error_px: np.ndarray) -> np.ndarray:
    """``(M, 4, 2)`` errors of the corners -> ``(M,)`` of the tags, rms."""
    return np.sqrt((error_px**2).sum(axis=2).mean(axis=1))


def stepped(step: np.ndarray, R: np.ndarray, t_cm: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A pose after a step ``(6,)``: a small turn on top, which has no trouble near half turns, and a shift in cm."""
    return np.asarray(cv2.Rodrigues(step[:3])[0]) @ R, t_cm + step[3:6]


def by_step(by_point: np.ndarray, step: np.ndarray, R: np.ndarray, pts_cm: np.ndarray) -> np.ndarray:
    """Derivatives ``(N, 2, 6)`` by :func:`stepped`'s step, of pixels whose ``(N, 2, 3)`` by the point are given."""
    by_turn = np.asarray(cv2.Rodrigues(step[:3])[1]).reshape(3, 3, 3) @ R
    return np.concatenate([by_point @ (by_turn @ pts_cm.T).transpose(2, 1, 0), by_point], axis=2)


@dataclass(frozen=True, eq=False)
class Scene:
    """A lens and points ``(N, 3)``, and how ``P`` unknowns change them: ``(4 + D, P)`` the numbers of
    :meth:`Camera.jacobians`, ``(N, 3, P)`` the points; None: not at all."""

    camera: Camera
    pts_cm: np.ndarray
    lens_by: np.ndarray | None = None
    pts_by: np.ndarray | None = None

    def project(self, R: np.ndarray, t_cm: np.ndarray) -> np.ndarray:
        """``(N, 2)`` frame pixels."""
        return self.camera.project(self.pts_cm @ R.T + t_cm)

    def slopes(self, step: np.ndarray, R: np.ndarray, t_cm: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Derivatives of the pixels from the pose a step from R, t: by the step ``(N, 2, 6)``, by the unknowns."""
        turned, there = stepped(step, R, t_cm)
        by_point, by_lens = self.camera.jacobians(self.pts_cm @ turned.T + there)
        by_pose = by_step(by_point, step, R, self.pts_cm)
        if self.lens_by is not None:
            return by_pose, by_lens @ self.lens_by
        if self.pts_by is not None:
            return by_pose, by_point @ turned @ self.pts_by
        return by_pose, np.zeros((len(self.pts_cm), 2, 0))


@dataclass(frozen=True, eq=False)
class WiderFit:
    """A pose fitted again together with ``P`` further unknowns.

    Attributes:
        x: ``(6 + P,)`` the step of the pose (:func:`stepped`), then the unknowns.
        cov: ``(6 + P, 6 + P)`` its covariance.
        scale: ``(6 + P,)`` each one's size.
        left_px: ``(N, 2)`` what is left over.
    """

    x: np.ndarray
    cov: np.ndarray
    scale: np.ndarray
    left_px: np.ndarray


def fit_wider(
    scene_of: Callable[[np.ndarray], Scene], R: np.ndarray, t_cm: np.ndarray,
    kpts_frame: np.ndarray, prior_sd: np.ndarray, size: np.ndarray,
) -> WiderFit:  # fmt: skip
    """What else explains the tags: a pose and further unknowns, which are nought unless the tags say otherwise.

    Args:
        scene_of: the unknowns ``(P,)`` to what is seen.
        R, t_cm: the pose without them.
        kpts_frame: ``(N, 2)`` where the corners were seen.
        prior_sd: ``(P,)`` how far from nought the unknowns ordinarily are (1 sd).
        size: ``(P,)`` their scale for the solver.
    """

    def errors_px(x: np.ndarray) -> np.ndarray:
        return scene_of(x[6:]).project(*stepped(x, R, t_cm)) - kpts_frame

    def residuals(x: np.ndarray) -> np.ndarray:
        return np.concatenate([errors_px(x).ravel() / _TAG_SIGMA_PX, x[6:] / prior_sd])

    def slopes(x: np.ndarray) -> np.ndarray:
        seen = np.concatenate(scene_of(x[6:]).slopes(x, R, t_cm), axis=2).reshape(-1, len(x))
        prior = np.concatenate([np.zeros((len(size), 6)), np.diag(1.0 / prior_sd)], axis=1)
        return np.concatenate([seen / _TAG_SIGMA_PX, prior])

    scale = np.concatenate([np.ones(3), np.full(3, float(np.linalg.norm(t_cm))), size])
    x, _ = minimise(residuals, slopes, np.zeros(len(scale)), scale, soft=_TAG_SOFT, rounds=30)
    plain = slopes(x)
    return WiderFit(x, np.linalg.pinv(plain.T @ plain), scale, errors_px(x))


def standard_errors(
    function: Callable[[np.ndarray], np.ndarray], x: np.ndarray, cov: np.ndarray, scale: np.ndarray
) -> np.ndarray:
    """``sqrt(g' C g)`` for each value of a function of parameters with covariance ``cov``, to first order."""
    size = 1e-6 * scale
    ahead, behind = (np.stack([function(x + way * step) for step in np.diag(size)]) for way in (1, -1))
    gradient = ((ahead - behind) / (2 * size)[:, None]).T
    return np.sqrt(np.maximum(np.einsum("ij,jk,ik->i", gradient, cov, gradient), 0.0))
