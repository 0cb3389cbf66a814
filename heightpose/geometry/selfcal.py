"""A camera without a file: focal length from the sheet itself, and what that leaves uncertain.

A flat sheet fixes lengths **on** the mattress by its homography alone, whatever the focal length. What the focal length
decides is the camera's height H, and H decides the parallax of joints that lie above the mattress: ignoring it, a joint
at height h seems h / (H - h) too far out. Seen straight down, a short lens near by and a long one far away give the
same picture of the sheet; only a tilt tells them apart (Zhang 2000; Sturm & Maybank 1999). So the fit here keeps what
it does not know as wide priors, and is accepted by what its covariance means for a length, not by the focal length's
own error.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from heightpose.geometry.camera import Camera
from heightpose.geometry.height_check import HeightCheck
from heightpose.geometry.plane import Plane, PlaneError
from heightpose.geometry.plane_length import length_changes
from heightpose.geometry.selfcal_fit import LensFit, LensPrior, agreeing, fit_lens, no_camera
from heightpose.geometry.sheet import SheetLayout, TagView

#: Accepted when the camera adds no more than this to a length at joint elevation, relative, 1 sd (0.8 cm of 65).
MAX_LENGTH_SD = 0.012
#: What the sheet alone says of the height contradicts it from so many standard deviations of both on: 16 rendered clips
#: with the true height reach 1.2. Where the sheet hardly tells the focal length, it hardly contradicts any height.
_CONTRADICTED = 3.0
#: What the sheet alone says is not believed of lenses further from the usual ones (sd of their prior), nor of cameras
#: that hang elsewhere: pixels that are not square, undeclared, look like such a lens where the camera hangs level.
_MOST_FOCAL_SDS, _HEIGHT_RANGE_CM = 2.0, (60.0, 300.0)


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
        height_check: the camera's height by the sheet alone beside the given one, where one was.
    """

    camera: Camera
    source: str
    focal_sd_px: float
    height_cm: float
    height_sd_cm: float
    length_sd: float
    rms_px: float
    height_check: HeightCheck | None = None

    def record(self) -> dict[str, float]:
        """What height.json says about it."""
        return {
            "focal_px": round(float(self.camera.K[0, 0]), 2),
            "focal_sd_px": round(self.focal_sd_px, 2),
            "k1": round(float(self.camera.dist[0]), 4),
            "height_sd_cm": round(self.height_sd_cm, 2),
            "length_sd": round(self.length_sd, 5),
        }


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
    prior = LensPrior.usual(pixel_aspect, size_wh)
    corners, model = agreeing(views, layout, size_wh, prior)
    fit = fit_lens(corners, model, size_wh, None, prior)
    alone = _judged(fit, "self-calibrated")
    likely = _is_likely(alone, prior)
    sure = alone.length_sd <= MAX_LENGTH_SD
    told = likely and sure
    if height_cm is None and told:
        return alone
    if height_cm is None and sure:
        raise no_camera(
            "the sheet as seen here speaks for a lens or a place that is hardly a cot camera's "
            f"({alone.height_cm:.0f} cm above the mattress). Is the picture stretched or cut? Measure how high the "
            "camera is above the mattress and give that with --camera-height-cm"
        )
    if height_cm is None:
        raise no_camera(
            "the sheet as seen here does not tell its focal length (the view is too straight down, or too few tags are "
            "in it). Tilt it by 15 to 30 degrees, or measure how high it is above the mattress and give that with "
            "--camera-height-cm"
        )
    check = HeightCheck(alone.height_cm, alone.height_sd_cm, height_cm)
    if likely and check.sds > _CONTRADICTED:
        raise PlaneError(
            "height_contradicted",
            f"The camera is {alone.height_cm:.0f} cm above the mattress by the sheet, and {height_cm:.0f} cm by "
            "--camera-height-cm. Please check the height, and the printed sheet's true size (measure a tag).",
        )
    source = alone.source if told else "height"
    found = _judged(fit_lens(corners, model, size_wh, height_cm, prior), source)
    if found.length_sd > MAX_LENGTH_SD:
        raise no_camera(
            "too little of the sheet is seen to find it from the height alone. Show more of the sheet"
        )
    if HeightCheck(found.height_cm, found.height_sd_cm, height_cm).contradicted:
        raise no_camera("the sheet and the given height do not go together. Check --camera-height-cm")
    return replace(found, height_check=check if likely else None)


def _is_likely(found: SelfCalibration, prior: LensPrior) -> bool:
    """Whether lens and place are those of a camera over a cot."""
    focal = np.log(found.camera.K[0, 0] / max(found.camera.size_wh))
    low_cm, high_cm = _HEIGHT_RANGE_CM
    usual = abs(focal - prior.mean[0]) <= _MOST_FOCAL_SDS * prior.sd[0]
    return bool(usual and low_cm <= found.height_cm <= high_cm)


def length_sd(fit: LensFit) -> float:
    """What an uncertain camera does to a length at joint elevation, relative (1 sd).

    Lengths over the sheet's middle are put into the picture by the fitted camera and brought back by one with other
    parameters ``p`` (:func:`~heightpose.geometry.plane_length.length_changes`): ``L(p)``. To first order

        ``sd(L) / L = sqrt(g' C g) / L``,  ``g = dL/dp`` (central differences),  ``C`` the parameters' covariance.

    For a camera straight above this is the parallax ``h / (H (H - h)) * sd(H)`` and the scale's own error. The
    direction in which lengths are worst counts.
    """
    found, camera = Plane(*fit.pose(fit.x)), fit.camera(fit.x)

    def changes(x: np.ndarray) -> np.ndarray:
        return length_changes(Plane(*fit.pose(x)), found, camera, fit.camera(x))

    return float(fit.standard_errors(changes).max())


def _judged(fit: LensFit, source: str) -> SelfCalibration:
    camera = fit.camera(fit.x)

    def height(x: np.ndarray) -> np.ndarray:
        R, t_cm = fit.pose(x)
        return np.array([(-R.T @ t_cm)[2]])

    return SelfCalibration(
        camera,
        source,
        float(camera.K[0, 0] * np.sqrt(fit.cov[0, 0])),
        float(height(fit.x)[0]),
        float(fit.standard_errors(height)[0]),
        length_sd(fit),
        fit.rms_px,
    )
