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

    def judge(rows: list[int] | np.ndarray) -> tuple[float, np.ndarray]:
        """Cost and agreeing tags of the homography that fits these tags."""
        homography, _ = cv2.findHomography(model[rows].reshape(-1, 2), slopes[rows].reshape(-1, 2))
        if homography is None:
            return np.inf, np.zeros(count, dtype=bool)
        rays = flat @ np.asarray(homography).T
        if np.median(rays[:, 2]) < 0:
            rays = -rays
        error = np.linalg.norm(camera.project(rays).reshape(count, 4, 2) - corners, axis=2)
        rms = np.sqrt(np.mean(error**2, axis=1))
        return float((np.minimum(rms / tolerance_px, 1.0) ** 2).sum()), rms <= tolerance_px

    cost, best = min((judge(list(triple)) for triple in triples), key=lambda found: found[0])
    while best.any():
        again_cost, again = judge(np.flatnonzero(best))
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
    from scipy.optimize import least_squares  # half of infer's start-up: see runtime/batch.py

    def residuals_of(steps: np.ndarray) -> np.ndarray:
        return (project_all(camera, pts_cm, *all_stepped(steps, R, t_cm)) - kpts_frame).reshape(
            len(steps), -1
        )

    def residuals(step: np.ndarray) -> np.ndarray:
        return residuals_of(step[None])[0]

    distance = max(float(np.linalg.norm(t_cm)), 1e-6)
    scale = np.array([1.0, 1.0, 1.0, distance, distance, distance])
    fit = least_squares(
        residuals, np.zeros(6), lambda x: slopes_at(residuals_of, x),
        loss="soft_l1", f_scale=SOFT_PX, x_scale=scale, xtol=1e-12,
    )  # fmt: skip
    best_R, best_t = stepped(fit.x, R, t_cm)
    rms_px = float(np.sqrt((residuals(fit.x).reshape(-1, 2) ** 2).sum(axis=1).mean()))
    slopes = jacobian(residuals_of, fit.x, scale)
    sigma = max(rms_px / np.sqrt(2.0), LEAST_SIGMA_PX)  # per coordinate
    return PoseFit(best_R, best_t, rms_px, np.linalg.pinv(slopes.T @ slopes) * sigma**2)


def on_mattress(model: np.ndarray) -> np.ndarray:
    """Corners ``(M, 4, 2)`` cm -> points ``(4 M, 3)`` with z = 0."""
    return np.pad(model.reshape(-1, 2), ((0, 0), (0, 1)))


def tag_rms_px(error_px: np.ndarray) -> np.ndarray:
    """``(M, 4, 2)`` errors of the corners -> ``(M,)`` of the tags, rms."""
    return np.sqrt((error_px**2).sum(axis=2).mean(axis=1))


def stepped(step: np.ndarray, R: np.ndarray, t_cm: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A pose after a step ``(6,)``: a small turn on top, which has no trouble near half turns, and a shift in cm."""
    return np.asarray(cv2.Rodrigues(step[:3])[0]) @ R, t_cm + step[3:6]


def all_stepped(steps: np.ndarray, R: np.ndarray, t_cm: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """:func:`stepped` for each row of ``steps`` ``(S, 6 or more)``: turns ``(S, 3, 3)`` and places ``(S, 3)``."""
    turns, places = zip(*(stepped(step, R, t_cm) for step in steps), strict=True)
    return np.stack(turns), np.stack(places)


def project_all(camera: Camera, pts_cm: np.ndarray, R: np.ndarray, t_cm: np.ndarray) -> np.ndarray:
    """Points ``(N, 3)``, or ``(S, N, 3)``, seen from each of ``S`` poses, ``(S, N, 2)`` px.

    In one call, as one of a sheet's few points takes nearly as long as all.
    """
    pts = pts_cm @ R.swapaxes(1, 2) + t_cm[:, None]
    return camera.project(pts.reshape(-1, 3)).reshape(*pts.shape[:2], 2)


def project_through(
    lens_of: Callable[[np.ndarray], Camera],
    lenses: np.ndarray,
    pts_cm: np.ndarray,
    R: np.ndarray,
    t_cm: np.ndarray,
) -> np.ndarray:
    """:func:`project_all` with a lens for each pose, made once where poses share it, as steps of a pose alone do.

    Args:
        lens_of: the camera of a row of ``lenses`` ``(S, P)``.
        pts_cm: ``(N, 3)``.
    """
    kpts = np.empty((len(lenses), len(pts_cm), 2))
    different, which = np.unique(lenses, axis=0, return_inverse=True)
    for i, lens in enumerate(different):
        same = which.ravel() == i
        kpts[same] = project_all(lens_of(lens), pts_cm, R[same], t_cm[same])
    return kpts


@dataclass(frozen=True, eq=False)
class WiderFit:
    """A pose fitted again together with ``P`` further unknowns.

    Attributes:
        x: ``(6 + P,)`` the step of the pose (:func:`stepped`), then the unknowns.
        cov: ``(6 + P, 6 + P)`` its covariance.
        scale: ``(6 + P,)`` what :func:`jacobian` takes as each one's size.
        left_px: ``(N, 2)`` what is left over.
    """

    x: np.ndarray
    cov: np.ndarray
    scale: np.ndarray
    left_px: np.ndarray


def fit_wider(
    project: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray], R: np.ndarray, t_cm: np.ndarray,
    kpts_frame: np.ndarray, prior_sd: np.ndarray, size: np.ndarray,
) -> WiderFit:  # fmt: skip
    """What else explains the tags: a pose and further unknowns, which are nought unless the tags say otherwise.

    Args:
        project: ``S`` poses and unknowns, ``(S, 3, 3)``, ``(S, 3)`` and ``(S, P)``, to ``(S, N, 2)`` frame pixels.
        R, t_cm: the pose without them.
        kpts_frame: ``(N, 2)`` where the corners were seen.
        prior_sd: ``(P,)`` how far from nought the unknowns ordinarily are (1 sd).
        size: ``(P,)`` their scale for the solver.
    """
    from scipy.optimize import least_squares

    def errors_px(xs: np.ndarray) -> np.ndarray:
        return project(*all_stepped(xs, R, t_cm), xs[:, 6:]) - kpts_frame

    def residuals_of(xs: np.ndarray) -> np.ndarray:
        errors = errors_px(xs).reshape(len(xs), -1) / _TAG_SIGMA_PX
        return np.concatenate([errors, xs[:, 6:] / prior_sd], axis=1)

    def residuals(x: np.ndarray) -> np.ndarray:
        return residuals_of(x[None])[0]

    scale = np.concatenate([np.ones(3), np.full(3, float(np.linalg.norm(t_cm))), size])
    start = np.zeros(len(scale))
    x = least_squares(
        residuals, start, lambda x: slopes_at(residuals_of, x),
        x_scale=scale, loss="soft_l1", f_scale=_TAG_SOFT, max_nfev=30,
    ).x  # fmt: skip
    slopes = jacobian(residuals_of, x, scale)
    return WiderFit(x, np.linalg.pinv(slopes.T @ slopes), scale, errors_px(x[None])[0])


def slopes_at(function_of_all: Callable[[np.ndarray], np.ndarray], x: np.ndarray) -> np.ndarray:
    """Forward differences ``(M, P)`` at ``x`` as least_squares takes them, but all in one call.

    Args:
        function_of_all: ``(S, P)`` to ``(S, M)``.
        x: ``(P,)``.
    """
    step = np.sqrt(np.finfo(float).eps) * np.where(x >= 0, 1.0, -1.0) * np.maximum(1.0, np.abs(x))
    beside = x + np.diag(step)
    values = function_of_all(np.concatenate([x[None], beside]))
    return ((values[1:] - values[0]) / (np.diagonal(beside) - x)[:, None]).T


def jacobian(
    function_of_all: Callable[[np.ndarray], np.ndarray], x: np.ndarray, scale: np.ndarray
) -> np.ndarray:
    """Central differences ``(M, P)``, in one call; least_squares' own Jacobian carries the robust loss's weights.

    Args:
        function_of_all: ``(S, P)`` to ``(S, M)``.
        x: ``(P,)``.
        scale: ``(P,)`` their sizes; the steps are a millionth of them.
    """
    size = 1e-6 * scale
    ahead, behind = np.split(function_of_all(np.concatenate([x + np.diag(size), x - np.diag(size)])), 2)
    return np.ascontiguousarray(((ahead - behind) / (2 * size)[:, None]).T)


def standard_errors(
    function: Callable[[np.ndarray], np.ndarray], x: np.ndarray, cov: np.ndarray, scale: np.ndarray
) -> np.ndarray:
    """``sqrt(g' C g)`` for each value of a function of parameters with covariance ``cov``, to first order."""
    gradient = jacobian(lambda xs: np.stack([function(x) for x in xs]), x, scale)
    return np.sqrt(np.maximum(np.einsum("ij,jk,ik->i", gradient, cov, gradient), 0.0))
