"""The likeliest lens and pose for the sheet's tags: the fit behind :mod:`heightpose.geometry.selfcal`.

What one flat sheet does not tell of a lens stays as uncertain as it is of ordinary cameras, and enters the covariance.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from heightpose.geometry import planar_pose
from heightpose.geometry.camera import Camera
from heightpose.geometry.height_check import HEIGHT_SD_CM
from heightpose.geometry.least_squares import minimise, soft_l1
from heightpose.geometry.plane import PlaneError
from heightpose.geometry.plane_fit import tag_medians
from heightpose.geometry.sheet import SheetLayout, TagView

_MIN_TAGS = 4
# What is known beforehand, as (mean, 1 sd), of ordinary cameras: ln of the focal length over the longer side (1.0
# within a factor of two: 100 degrees wide to a mild telephoto); k1, k2 (webcams reach -0.3 and 0.1), p1, p2; ln of
# fy / fx; the principal point off the picture's middle over the longer side. The small ones are never told well by one
# flat sheet, but a tilt could be mistaken for them: they are fitted so that their doubt enters the covariance.
_PRIORS = (
    (0.0, 0.7),
    (0.0, 0.2),
    (0.0, 0.1),
    (0.0, 0.0015),
    (0.0, 0.0015),
    (0.0, 0.004),
    (0.0, 0.01),
    (0.0, 0.01),
)
_LENS_COUNT = len(_PRIORS)
_PRIOR_MEAN, _PRIOR_SD = np.array(_PRIORS).T
#: Where they are, and of what else may be the case their standard deviation: a picture cut out of a larger one, and one
#: whose pixels are not as wide as the file says (video recorders store fewer columns than they show).
_ASPECT, _CENTRE = 5, slice(6, 8)
_CUT_SD, _STRETCHED_SD = 0.04, 0.2
#: Either is taken where it explains the tags better by this much (twice the cost): whole pictures reach 0.4, a fifth
#: cut off one side 3 to 80, and made lengths 2 % wrong at a stated 0.5 %; pixels a tenth too narrow 3 % at 0.3 %.
_OTHER_CHI2 = 3.0
#: Sizes of television and of video recorders, which squeeze what they show (ITU-R BT.601, CIF, 960H, "lite"): height to
#: widths, px.
_SQUEEZED = {
    240: (352, 360, 704, 720), 288: (352, 360, 704, 720), 480: (352, 528, 544, 704, 720, 928, 944, 960),
    576: (352, 480, 528, 544, 704, 720, 928, 944, 960), 720: (640,), 1080: (928, 944, 960, 1280), 1440: (1280,),
}  # fmt: skip
_STARTS = (0.65, 1.1)
#: ln of the focal length over the longer side stays within these.
_FOCAL_RANGE = (-2.0, 3.0)
#: Corners of one tag err together (paper that lifts, light that spreads), which independent residuals do not show.
_SHARED_SIGMA = 1.6


@dataclass(frozen=True, eq=False)
class LensFit:
    """Parameters ``(14,)``: the lens as in _PRIORS, a turn (3) and a shift (3) on top of R, t; their covariance."""

    x: np.ndarray
    cov: np.ndarray
    R: np.ndarray
    t_cm: np.ndarray
    size_wh: tuple[int, int]
    cost: float
    rms_px: float

    def camera(self, x: np.ndarray) -> Camera:
        return _camera(x, self.size_wh)

    def pose(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return planar_pose.stepped(x[_LENS_COUNT:], self.R, self.t_cm)

    def standard_errors(self, function: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """Of a vector function of the parameters, to first order."""
        return planar_pose.standard_errors(function, self.x, self.cov, _scale(self.t_cm))


@dataclass(frozen=True, eq=False)
class LensPrior:
    """What is known of a lens beforehand: ``(8,)`` mean and standard deviation of :data:`_PRIORS`."""

    mean: np.ndarray
    sd: np.ndarray

    @classmethod
    def usual(cls, pixel_aspect: float, size_wh: tuple[int, int]) -> LensPrior:
        mean = _PRIOR_MEAN.copy()
        mean[_ASPECT] = np.log(pixel_aspect)
        prior = cls(mean, _PRIOR_SD)
        return prior.stretched() if pixel_aspect == 1.0 and _is_squeezed(size_wh) else prior

    def cut(self) -> LensPrior:
        return self._with(_CENTRE, _CUT_SD)

    def stretched(self) -> LensPrior:
        return self._with(_ASPECT, _STRETCHED_SD)

    def _with(self, which: int | slice, value: float) -> LensPrior:
        sd = self.sd.copy()
        sd[which] = value
        return LensPrior(self.mean, sd)

    def start(self) -> np.ndarray:
        """Parameters of a fit, ``(14,)``: the lens that is expected, no step in pose."""
        return np.concatenate([self.mean, np.zeros(6)])


def agreeing(
    views: list[TagView], layout: SheetLayout, size_wh: tuple[int, int], prior: LensPrior
) -> tuple[np.ndarray, np.ndarray]:
    """Corners ``(M, 4, 2)`` px and cm of the tags that fit one homography, under a lens that may bend.

    Raises:
        PlaneError: ``no_camera``: they are too few, or do not agree.
    """
    ids, corners, _ = tag_medians(views, layout)
    if len(ids) < _MIN_TAGS:
        seen = f"only {len(ids)} of its tags were seen" if len(ids) else "the printed sheet was not found"
        raise no_camera(f"{seen}. Show the whole sheet")
    model = np.stack([layout.tags[tag] for tag in ids.tolist()])
    straight = _camera(prior.start(), size_wh)
    diagonal = float(np.hypot(*size_wh))
    keep = planar_pose.consensus(corners, model, straight, 0.006 * diagonal)
    if keep.sum() < max(_MIN_TAGS, 0.5 * len(ids)):
        raise no_camera(
            "the tags are not where the sheet file says, unless the lens bends much. Check the sheet file"
        )
    return corners[keep], model[keep]


def fit_lens(
    corners: np.ndarray,
    model: np.ndarray,
    size_wh: tuple[int, int],
    height_cm: float | None,
    usual: LensPrior,
) -> LensFit:
    """The likeliest lens; tags that stand out from the first fit are left out of the second.

    Args:
        corners, model: ``(M, 4, 2)`` frame pixels, and cm on the sheet.
        height_cm: the camera's measured height over the mattress, None: unknown.

    Raises:
        PlaneError: ``no_camera``: no ordinary lens sees a flat sheet so.
    """
    first = _started(corners, model, size_wh, height_cm, usual)
    prior, best, least = usual, first, first.cost - _OTHER_CHI2 / 2.0
    for other in (usual.cut(), usual.stretched()):
        fit = _refined(corners, model, size_wh, height_cm, other, _lens_only(first.x), *first.pose(first.x))
        if fit.cost < least:
            prior, best, least = other, fit, fit.cost
    error = _errors(best, corners, model)
    keep = error <= max(1.0, 3.0 * float(np.median(error)))
    if not keep.all() and keep.sum() >= _MIN_TAGS:
        corners, model = corners[keep], model[keep]
        best = _refined(corners, model, size_wh, height_cm, prior, _lens_only(best.x), *best.pose(best.x))
    if best.rms_px > max(1.0, 0.002 * float(np.hypot(*size_wh))):
        raise no_camera("the sheet does not look flat to a camera with an ordinary lens. Lay it flat")
    return best


def _started(
    corners: np.ndarray,
    model: np.ndarray,
    size_wh: tuple[int, int],
    height_cm: float | None,
    prior: LensPrior,
) -> LensFit:
    """The best of several starts."""
    fits = []
    flat = planar_pose.on_mattress(model)
    for start in _STARTS:
        x = prior.start()
        x[0] = np.log(start)
        for pose in planar_pose.solve(flat, corners.reshape(-1, 2), _camera(x, size_wh)):
            fits.append(_refined(corners, model, size_wh, height_cm, prior, x, pose.R, pose.t_cm))
    if not fits:
        raise no_camera("the sheet seems to be seen from below. Check the sheet file")
    return min(fits, key=lambda fit: fit.cost)


def _refined(
    corners: np.ndarray, model: np.ndarray, size_wh: tuple[int, int], height_cm: float | None, prior: LensPrior,
    x: np.ndarray, R: np.ndarray, t_cm: np.ndarray,
) -> LensFit:  # fmt: skip
    """Maximum a posteriori: soft-l1 reprojection errors over sigma, and the priors as further residuals."""
    pts, kpts = planar_pose.on_mattress(model), corners.reshape(-1, 2)
    scale = _scale(t_cm)

    def errors(x: np.ndarray) -> np.ndarray:
        turned, there = planar_pose.stepped(x[_LENS_COUNT:], R, t_cm)
        return (_camera(x, size_wh).project(pts @ turned.T + there) - kpts).ravel()

    def errors_by(x: np.ndarray) -> np.ndarray:
        scene = planar_pose.Scene(_camera(x, size_wh), pts, lens_by=_lens_by(x, size_wh))
        by_pose, by_lens = scene.slopes(x[_LENS_COUNT:], R, t_cm)
        return np.concatenate([by_lens, by_pose], axis=2).reshape(-1, len(x))

    def priors(x: np.ndarray) -> np.ndarray:
        known = (x[:_LENS_COUNT] - prior.mean) / prior.sd
        if height_cm is None:
            return known
        turned, there = planar_pose.stepped(x[_LENS_COUNT:], R, t_cm)
        return np.append(known, (-turned[:, 2] @ there - height_cm) / HEIGHT_SD_CM)

    def priors_by(x: np.ndarray) -> np.ndarray:
        known = np.concatenate([np.diag(1.0 / prior.sd), np.zeros((_LENS_COUNT, 6))], axis=1)
        if height_cm is None:
            return known
        turned, there = planar_pose.stepped(x[_LENS_COUNT:], R, t_cm)
        by_pose = planar_pose.by_step(there[None, None], x[_LENS_COUNT:], R, np.eye(3)[2:])[0, 0]
        by_pose[3:] = turned[:, 2]
        return np.vstack([known, np.concatenate([np.zeros(_LENS_COUNT), -by_pose / HEIGHT_SD_CM])])

    sigma = planar_pose.LEAST_SIGMA_PX * _SHARED_SIGMA
    soft = planar_pose.SOFT_PX / sigma
    for _ in range(2):  # the second time with the noise that the first one found

        def residuals(x: np.ndarray, sigma: float = sigma, soft: float = soft) -> np.ndarray:
            return np.concatenate([soft_l1(errors(x) / sigma, soft)[0], priors(x)])

        def residuals_by(x: np.ndarray, sigma: float = sigma, soft: float = soft) -> np.ndarray:
            eased = soft_l1(errors(x) / sigma, soft)[1] / sigma
            return np.concatenate([errors_by(x) * eased[:, None], priors_by(x)])

        x, cost = minimise(
            residuals, residuals_by, x, scale, rounds=500
        )  # a valley where the focal length is told badly
        rms = float(np.sqrt((errors(x) ** 2).mean()))
        sigma = _SHARED_SIGMA * max(planar_pose.LEAST_SIGMA_PX, rms)
        soft = max(planar_pose.SOFT_PX / sigma, 1.0)
    seen, known = errors_by(x) / sigma, priors_by(x)
    cov = np.linalg.inv(seen.T @ seen + known.T @ known + np.diag(1e-12 / scale**2))
    return LensFit(x, cov, R, t_cm, size_wh, cost, rms * float(np.sqrt(2.0)))


def _errors(fit: LensFit, corners: np.ndarray, model: np.ndarray) -> np.ndarray:
    R, t_cm = fit.pose(fit.x)
    pts = planar_pose.on_mattress(model)
    error = fit.camera(fit.x).project(pts @ R.T + t_cm).reshape(corners.shape) - corners
    return planar_pose.tag_rms_px(error)


def _camera(x: np.ndarray, size_wh: tuple[int, int]) -> Camera:
    width, height = size_wh
    long = max(size_wh)
    focal, k1, k2, p1, p2, aspect, cx, cy = x[:_LENS_COUNT].tolist()
    fx = long * float(np.exp(np.clip(focal, *_FOCAL_RANGE)))
    centre = ((width - 1) / 2 + cx * long, (height - 1) / 2 + cy * long)
    K = np.array([[fx, 0, centre[0]], [0, fx * np.exp(aspect), centre[1]], [0, 0, 1]])
    return Camera("pinhole", size_wh, K, np.array([k1, k2, p1, p2, 0.0]))


def _lens_by(x: np.ndarray, size_wh: tuple[int, int]) -> np.ndarray:
    """``(9, 8)``: how the parameters change the numbers of :func:`_camera`, see :meth:`Camera.jacobians`."""
    K = _camera(x, size_wh).K
    by = np.zeros((9, _LENS_COUNT))
    if _FOCAL_RANGE[0] < x[0] < _FOCAL_RANGE[1]:
        by[[0, 1], 0] = K[[0, 1], [0, 1]]
    by[1, _ASPECT] = K[1, 1]
    by[4:8, 1:5] = np.eye(4)
    by[[2, 3], [6, 7]] = max(size_wh)
    return by


def _lens_only(x: np.ndarray) -> np.ndarray:
    """The parameters without their steps in pose, which a new start takes up."""
    return np.concatenate([x[:_LENS_COUNT], np.zeros(6)])


def _scale(t_cm: np.ndarray) -> np.ndarray:
    distance = max(float(np.linalg.norm(t_cm)), 1e-6)
    return np.concatenate([_PRIOR_SD, np.ones(3), np.full(3, distance)])


def _is_squeezed(size_wh: tuple[int, int]) -> bool:
    """Whether a picture's size, upright or turned, is one that recorders squeeze theirs to."""
    width, height = size_wh
    return width in _SQUEEZED.get(height, ()) or height in _SQUEEZED.get(width, ())


def no_camera(why: str) -> PlaneError:
    """The refusal without a camera file, with why nothing was found in its place and what to do."""
    text = (
        f"The camera is not known: no calibration file was given, and {why}; or give its file with --camera."
    )
    return PlaneError("no_camera", text)
