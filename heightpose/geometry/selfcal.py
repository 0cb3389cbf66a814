"""A camera without a file: focal length from the sheet itself, and what that leaves uncertain.

A flat sheet fixes lengths **on** the mattress by its homography alone, whatever the focal length. What the focal length
decides is the camera's height H, and H decides the parallax of joints that lie above the mattress: ignoring it, a joint
at height h seems h / (H - h) too far out. Seen straight down, a short lens near by and a long one far away give the
same picture of the sheet; only a tilt tells them apart (Zhang 2000; Sturm & Maybank 1999). So the fit here keeps what
it does not know as wide priors, and is accepted by what its covariance means for a length, not by the focal length's
own error.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from heightpose.geometry import planar_pose
from heightpose.geometry.camera import Camera
from heightpose.geometry.plane import Plane, PlaneError, tag_medians
from heightpose.geometry.plane_length import JOINT_ELEVATION_CM, LENGTH_CM
from heightpose.geometry.sheet import SheetLayout, TagView

#: Accepted when the camera adds no more than this to a length at joint elevation, relative, 1 sd (0.8 cm of 65).
MAX_LENGTH_SD = 0.012
#: A camera's height measured with a tape: from which part of the lens is anyone's guess. cm, 1 sd.
HEIGHT_SD_CM = 2.0
#: A plane or a fit whose camera is further from that height contradicts it.
MOST_HEIGHT_OFF_CM = 4.0 * HEIGHT_SD_CM
#: What the sheet alone says of the height contradicts it from so many standard deviations of both on: 16 rendered clips
#: with the true height reach 1.2. Where the sheet hardly tells the focal length, it hardly contradicts any height.
_CONTRADICTED = 3.0
#: What the sheet alone says is not believed of lenses further from the usual ones (sd of their prior), nor of cameras
#: that hang elsewhere: pixels that are not square, undeclared, look like such a lens where the camera hangs level.
_MOST_FOCAL_SDS, _HEIGHT_RANGE_CM = 2.0, (60.0, 300.0)
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
#: Corners of one tag err together (paper that lifts, light that spreads), which independent residuals do not show.
_SHARED_SIGMA = 1.6


@dataclass(frozen=True, eq=False)
class SelfCalibration:
    """A camera found without a file.

    Attributes:
        camera: a pinhole lens for the frames as decoded.
        source: "self-calibrated" from the sheet, or "height" where the camera's height was needed.
        focal_sd_px: standard error of the focal length.
        height_cm, height_sd_cm: the camera over the mattress.
        length_sd: what all of it adds to a length at joint elevation, relative, 1 sd.
        rms_px: reprojection error per corner.
    """

    camera: Camera
    source: str
    focal_sd_px: float
    height_cm: float
    height_sd_cm: float
    length_sd: float
    rms_px: float

    def record(self) -> dict[str, float]:
        """What height.json says about it."""
        return {
            "focal_px": round(float(self.camera.K[0, 0]), 2),
            "focal_sd_px": round(self.focal_sd_px, 2),
            "k1": round(float(self.camera.dist[0]), 4),
            "height_sd_cm": round(self.height_sd_cm, 2),
            "length_sd": round(self.length_sd, 5),
        }


@dataclass(frozen=True, eq=False)
class _Fit:
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
        return _pose(x, self.R, self.t_cm)


@dataclass(frozen=True, eq=False)
class _Prior:
    """What is known of a lens beforehand: ``(8,)`` mean and standard deviation of :data:`_PRIORS`."""

    mean: np.ndarray
    sd: np.ndarray

    @classmethod
    def usual(cls, pixel_aspect: float, size_wh: tuple[int, int]) -> _Prior:
        mean = _PRIOR_MEAN.copy()
        mean[_ASPECT] = np.log(pixel_aspect)
        prior = cls(mean, _PRIOR_SD)
        return prior.stretched() if pixel_aspect == 1.0 and _is_squeezed(size_wh) else prior

    def cut(self) -> _Prior:
        return self._with(_CENTRE, _CUT_SD)

    def stretched(self) -> _Prior:
        return self._with(_ASPECT, _STRETCHED_SD)

    def _with(self, which: int | slice, value: float) -> _Prior:
        sd = self.sd.copy()
        sd[which] = value
        return _Prior(self.mean, sd)

    def start(self) -> np.ndarray:
        """Parameters of a fit, ``(14,)``: the lens that is expected, no step in pose."""
        return np.concatenate([self.mean, np.zeros(6)])


def self_calibrate(
    views: list[TagView], layout: SheetLayout, size_wh: tuple[int, int], height_cm: float | None = None,
    pixel_aspect: float = 1.0,
) -> SelfCalibration:  # fmt: skip
    """Lens and pose from a sheet seen by a camera that stands still.

    The sheet alone is tried first; ``height_cm``, where given, must not contradict what it says, if that is likely, and
    then takes part.

    Args:
        views: the tags of the looked-at frames.
        layout: the sheet.
        size_wh: of the frames as decoded.
        height_cm: the camera's measured height over the mattress.
        pixel_aspect: width of a pixel over its height, as the source states it.

    Raises:
        PlaneError: ``no_camera``, saying what to do: the tags are too few, do not agree, or the camera looks too
        straight down to tell its focal length, or seems to be no cot camera. ``height_contradicted``: by the sheet the
        camera is elsewhere.
    """
    prior = _Prior.usual(pixel_aspect, size_wh)
    corners, model = _agreeing(views, layout, size_wh, prior)
    fit = _fit(corners, model, size_wh, None, prior)
    alone = _judged(fit, "self-calibrated")
    likely = _is_likely(alone, prior)
    sure = alone.length_sd <= MAX_LENGTH_SD
    told = likely and sure
    if height_cm is None and told:
        return alone
    if height_cm is None and sure:
        raise _no_camera(
            "the sheet as seen here speaks for a lens or a place that is hardly a cot camera's "
            f"({alone.height_cm:.0f} cm above the mattress). Is the picture stretched or cut? Measure how high the "
            "camera is above the mattress and give that with --camera-height-cm"
        )
    if height_cm is None:
        raise _no_camera(
            "the sheet as seen here does not tell its focal length (the view is too straight down, or too few tags are "
            "in it). Tilt it by 15 to 30 degrees, or measure how high it is above the mattress and give that with "
            "--camera-height-cm"
        )
    if likely and abs(alone.height_cm - height_cm) > _CONTRADICTED * float(
        np.hypot(alone.height_sd_cm, HEIGHT_SD_CM)
    ):
        raise PlaneError(
            "height_contradicted",
            f"The camera is {alone.height_cm:.0f} cm above the mattress by the sheet, and {height_cm:.0f} cm by "
            "--camera-height-cm. Please check the height, and the printed sheet's true size (measure a tag).",
        )
    source = alone.source if told else "height"
    found = _judged(_fit(corners, model, size_wh, height_cm, prior), source)
    if found.length_sd > MAX_LENGTH_SD:
        raise _no_camera(
            "too little of the sheet is seen to find it from the height alone. Show more of the sheet"
        )
    if abs(found.height_cm - height_cm) > MOST_HEIGHT_OFF_CM:
        raise _no_camera("the sheet and the given height do not go together. Check --camera-height-cm")
    return found


def _is_squeezed(size_wh: tuple[int, int]) -> bool:
    """Whether a picture's size, upright or turned, is one that recorders squeeze theirs to."""
    width, height = size_wh
    return width in _SQUEEZED.get(height, ()) or height in _SQUEEZED.get(width, ())


def _is_likely(found: SelfCalibration, prior: _Prior) -> bool:
    """Whether lens and place are those of a camera over a cot."""
    focal = np.log(found.camera.K[0, 0] / max(found.camera.size_wh))
    low_cm, high_cm = _HEIGHT_RANGE_CM
    usual = abs(focal - prior.mean[0]) <= _MOST_FOCAL_SDS * prior.sd[0]
    return bool(usual and low_cm <= found.height_cm <= high_cm)


def length_sd(fit: _Fit) -> float:
    """What an uncertain camera does to a length at joint elevation, relative (1 sd).

    A length L of 65 cm at elevation h = 10 cm over the sheet's middle is put into the picture by the fitted camera and
    brought back by a camera with parameters ``p``, at the same elevation: ``L(p)``. To first order

        ``sd(L) / L = sqrt(g' C g) / L``,  ``g = dL/dp`` (central differences),  ``C`` the parameters' covariance.

    For a camera straight above this is the parallax ``h / (H (H - h)) * sd(H)`` and the scale's own error. The larger
    of the two directions, along and across the sheet, counts.
    """
    half = LENGTH_CM / 2.0
    worst = 0.0
    for axis in (0, 1):
        ends = np.zeros((2, 3))
        ends[:, 2] = JOINT_ELEVATION_CM
        ends[:, axis] = (-half, half)
        R, t_cm = fit.pose(fit.x)
        kpts = fit.camera(fit.x).project(ends @ R.T + t_cm)

        def length(x: np.ndarray, kpts: np.ndarray = kpts) -> np.ndarray:
            back = Plane(*fit.pose(x)).to_mattress(fit.camera(x), kpts, JOINT_ELEVATION_CM)
            return np.array([np.linalg.norm(back[1] - back[0])])

        worst = max(worst, _propagated(length, fit))
    return worst / LENGTH_CM


def _propagated(function: Callable[[np.ndarray], np.ndarray], fit: _Fit) -> float:
    """Standard error of a scalar function of the parameters, to first order."""
    return float(planar_pose.standard_errors(function, fit.x, fit.cov, _scale(fit.t_cm))[0])


def _judged(fit: _Fit, source: str) -> SelfCalibration:
    camera = fit.camera(fit.x)

    def height(x: np.ndarray) -> np.ndarray:
        R, t_cm = fit.pose(x)
        return np.array([(-R.T @ t_cm)[2]])

    return SelfCalibration(
        camera,
        source,
        float(camera.K[0, 0] * np.sqrt(fit.cov[0, 0])),
        float(height(fit.x)[0]),
        _propagated(height, fit),
        length_sd(fit),
        fit.rms_px,
    )


def _agreeing(
    views: list[TagView], layout: SheetLayout, size_wh: tuple[int, int], prior: _Prior
) -> tuple[np.ndarray, np.ndarray]:
    """Corners ``(M, 4, 2)`` px and cm of the tags that fit one homography, under a lens that may bend."""
    ids, corners, _ = tag_medians(views, layout)
    if len(ids) < _MIN_TAGS:
        seen = f"only {len(ids)} of its tags were seen" if len(ids) else "the printed sheet was not found"
        raise _no_camera(f"{seen}. Show the whole sheet")
    model = np.stack([layout.tags[tag] for tag in ids.tolist()])
    straight = _camera(prior.start(), size_wh)
    diagonal = float(np.hypot(*size_wh))
    keep = planar_pose.consensus(corners, model, straight, 0.006 * diagonal)
    if keep.sum() < max(_MIN_TAGS, 0.5 * len(ids)):
        raise _no_camera(
            "the tags are not where the sheet file says, unless the lens bends much. Check the sheet file"
        )
    return corners[keep], model[keep]


def _fit(
    corners: np.ndarray, model: np.ndarray, size_wh: tuple[int, int], height_cm: float | None, usual: _Prior
) -> _Fit:
    """The likeliest lens; tags that stand out from the first fit are left out of the second."""
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
        raise _no_camera("the sheet does not look flat to a camera with an ordinary lens. Lay it flat")
    return best


def _started(
    corners: np.ndarray, model: np.ndarray, size_wh: tuple[int, int], height_cm: float | None, prior: _Prior
) -> _Fit:
    """The best of several starts."""
    fits = []
    flat = planar_pose.on_mattress(model)
    for start in _STARTS:
        x = prior.start()
        x[0] = np.log(start)
        for pose in planar_pose.solve(flat, corners.reshape(-1, 2), _camera(x, size_wh)):
            fits.append(_refined(corners, model, size_wh, height_cm, prior, x, pose.R, pose.t_cm))
    if not fits:
        raise _no_camera("the sheet seems to be seen from below. Check the sheet file")
    return min(fits, key=lambda fit: fit.cost)


def _refined(
    corners: np.ndarray, model: np.ndarray, size_wh: tuple[int, int], height_cm: float | None, prior: _Prior,
    x: np.ndarray, R: np.ndarray, t_cm: np.ndarray,
) -> _Fit:  # fmt: skip
    """Maximum a posteriori: soft-l1 reprojection errors over sigma, and the priors as further residuals."""
    from scipy.optimize import least_squares

    pts, kpts = planar_pose.on_mattress(model), corners.reshape(-1, 2)
    scale = _scale(t_cm)

    def errors(x: np.ndarray) -> np.ndarray:
        turned, shifted = _pose(x, R, t_cm)
        return (_camera(x, size_wh).project(pts @ turned.T + shifted) - kpts).ravel()

    def priors(x: np.ndarray) -> np.ndarray:
        known = (x[:_LENS_COUNT] - prior.mean) / prior.sd
        if height_cm is None:
            return known
        turned, shifted = _pose(x, R, t_cm)
        return np.append(known, ((-turned.T @ shifted)[2] - height_cm) / HEIGHT_SD_CM)

    sigma = planar_pose.LEAST_SIGMA_PX * _SHARED_SIGMA
    soft = planar_pose.SOFT_PX / sigma
    for _ in range(2):  # the second time with the noise that the first one found

        def residuals(x: np.ndarray, sigma: float = sigma, soft: float = soft) -> np.ndarray:
            e = errors(x) / sigma
            eased = np.sign(e) * soft * np.sqrt(2.0 * (np.sqrt(1.0 + (e / soft) ** 2) - 1.0))
            return np.concatenate([eased, priors(x)])

        solved = least_squares(residuals, x, x_scale=scale, xtol=1e-9, ftol=1e-9, max_nfev=40)
        x = solved.x
        rms = float(np.sqrt((errors(x) ** 2).mean()))
        sigma = _SHARED_SIGMA * max(planar_pose.LEAST_SIGMA_PX, rms)
        soft = max(planar_pose.SOFT_PX / sigma, 1.0)
    seen = planar_pose.jacobian(errors, x, scale) / sigma
    known = planar_pose.jacobian(priors, x, scale)
    cov = np.linalg.inv(seen.T @ seen + known.T @ known + np.diag(1e-12 / scale**2))
    return _Fit(x, cov, R, t_cm, size_wh, float(solved.cost), rms * float(np.sqrt(2.0)))


def _errors(fit: _Fit, corners: np.ndarray, model: np.ndarray) -> np.ndarray:
    R, t_cm = fit.pose(fit.x)
    pts = planar_pose.on_mattress(model)
    error = fit.camera(fit.x).project(pts @ R.T + t_cm).reshape(corners.shape) - corners
    return planar_pose.tag_rms_px(error)


def _camera(x: np.ndarray, size_wh: tuple[int, int]) -> Camera:
    width, height = size_wh
    long = max(size_wh)
    focal, k1, k2, p1, p2, aspect, cx, cy = x[:_LENS_COUNT].tolist()
    fx = long * float(np.exp(np.clip(focal, -2.0, 3.0)))
    centre = ((width - 1) / 2 + cx * long, (height - 1) / 2 + cy * long)
    K = np.array([[fx, 0, centre[0]], [0, fx * np.exp(aspect), centre[1]], [0, 0, 1]])
    return Camera("pinhole", size_wh, K, np.array([k1, k2, p1, p2, 0.0]))


def _pose(x: np.ndarray, R: np.ndarray, t_cm: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return planar_pose.stepped(x[_LENS_COUNT:], R, t_cm)


def _lens_only(x: np.ndarray) -> np.ndarray:
    """The parameters without their steps in pose, which a new start takes up."""
    return np.concatenate([x[:_LENS_COUNT], np.zeros(6)])


def _scale(t_cm: np.ndarray) -> np.ndarray:
    distance = max(float(np.linalg.norm(t_cm)), 1e-6)
    return np.concatenate([_PRIOR_SD, np.ones(3), np.full(3, distance)])


def _no_camera(why: str) -> PlaneError:
    text = (
        f"The camera is not known: no calibration file was given, and {why}; or give its file with --camera."
    )
    return PlaneError("no_camera", text)
