"""Camera and mattress plane of a clip, from what its user gave and its frames show, or the trouble with them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from heightpose.geometry.camera import Camera
from heightpose.geometry.corners import plane_from_corners
from heightpose.geometry.height_check import HeightCheck
from heightpose.geometry.plane import Plane, PlaneError
from heightpose.geometry.plane_check import PlaneCheck, check_lens, check_plane
from heightpose.geometry.plane_fit import picture_mirrored, plane_from_tags, require_one_sheet
from heightpose.geometry.plane_track import IndexedView, PlaneTrack, stretches_of, track_from_tags
from heightpose.geometry.selfcal import SelfCalibration, self_calibrate
from heightpose.geometry.sheet import SheetLayout
from heightpose.runtime.clip import Clip
from heightpose.runtime.length import plane_sd
from heightpose.runtime.poselog import PoseLog
from heightpose.runtime.scale import Scale
from heightpose.skeleton import INFANT
from heightpose.types import Pose, Reason

#: So far beyond the sheet's edge an infant may lie, cm: beside a small sheet, but not on a lap, the floor or a bed next
#: to the cot, whose plane the sheet does not tell.
_BESIDE_SHEET_CM = 40.0
_OFF_SHEET = Reason(
    "off_sheet",
    "The baby does not lie where the sheet is, and the sheet tells the scale of the surface that it lies on alone. "
    "Please lay the baby on the sheet, or the sheet beside the baby on the same flat surface, and record again.",
)
_NO_LENS = Reason(
    "no_camera",
    "The camera is not known: no calibration file was given, and the lens that the sheet's tags were found to speak "
    "for does not put all of them in their places. Is the picture stretched or cut? Please give the camera's file with "
    "--camera.",
)


@dataclass(frozen=True)
class Solved:
    """Camera and plane for the clip, or the trouble with them.

    Attributes:
        calibration: how the camera was found, where no file was given.
        check: how well a stored plane or marked corners agree with the tags that are seen.
        height_check: how well the plane agrees with the camera's measured height, where that was given.
    """

    camera: Camera | None = None
    plane: Plane | PlaneTrack | None = None
    trouble: Reason | None = None
    calibration: SelfCalibration | None = None
    check: PlaneCheck | None = None
    height_check: HeightCheck | None = None


def solve(
    scale: Scale,
    camera: Camera | None,
    views: list[IndexedView],
    clip: Clip,
    log: PoseLog,
    *,
    mirrored: bool = False,
) -> Solved:
    """Camera and plane of a clip.

    Args:
        scale: what the user gave.
        camera: the given camera for the decoded frames, None to find it from the sheet.
        views: the sheet's tags as they were seen, with the frames' indices.
        log: where the infant was seen.
        mirrored: the sheet can only be read in a mirror image of the frames.
    """
    if mirrored:
        return Solved(camera, trouble=picture_mirrored().reason)
    return checked(_solve(scale, camera, views, clip, log), scale.height_cm)


def checked(solved: Solved, height_cm: float | None) -> Solved:
    """What was found beside the camera's measured height: refused where that contradicts a camera file's plane."""
    if height_cm is None or solved.plane is None:
        return solved
    if solved.calibration is not None:  # it took part, and was compared with the sheet alone
        return replace(solved, height_check=solved.calibration.height_check)
    plane = solved.plane.main
    check = HeightCheck(plane.height_cm, plane.height_sd_cm or 0.0, height_cm)
    if not check.contradicted:
        return replace(solved, height_check=check)
    text = (
        f"The camera is {check.found_cm:.0f} cm above the mattress by the sheet, plane or corners, and "
        f"{height_cm:.0f} cm by --camera-height-cm. Please check that the sheet was printed at its true size "
        "(measure a tag), that the camera file is this camera's, and the height."
    )
    return replace(solved, plane=None, trouble=Reason("height_contradicted", text))


def _solve(scale: Scale, camera: Camera | None, views: list[IndexedView], clip: Clip, log: PoseLog) -> Solved:
    missing = scale.missing()
    if missing is not None:
        return Solved(camera, trouble=missing)
    runs = stretches_of(views, clip.size_wh)
    calibration = None
    try:
        if scale.uses_tags:
            require_one_sheet([view for _, view in views])
        if camera is not None and not scale.uses_tags:
            plane = scale.plane
            if plane is None:
                assert scale.corners is not None
                plane = plane_from_corners(scale.corners.kpts_frame, scale.corners.size_cm, camera)
            return Solved(camera, plane, check=_stored_check(scale, plane, camera, runs, clip, log))
        assert scale.sheet is not None
        if camera is None:  # from the longest stretch: the lens stays the same
            longest = [view for _, view in max(runs, key=len)] if runs else []
            calibration = self_calibrate(
                longest, scale.sheet, clip.size_wh, scale.height_cm, clip.pixel_aspect
            )
            camera = calibration.camera
        seen: Plane | PlaneTrack = (
            track_from_tags(runs, camera, scale.sheet)
            if len(runs) > 1
            else plane_from_tags([view for _, view in views], camera, scale.sheet)
        )
        trouble = _OFF_SHEET if _beside_sheet_cm(log, seen, camera, scale.sheet) > _BESIDE_SHEET_CM else None
        return Solved(camera, seen, trouble, calibration)
    except PlaneError as error:
        own = calibration is not None and error.code == "camera_contradicted"
        return Solved(camera, trouble=_NO_LENS if own else error.reason)


def _stored_check(
    scale: Scale, plane: Plane, camera: Camera, runs: list[list[IndexedView]], clip: Clip, log: PoseLog
) -> PlaneCheck | None:
    """A stored plane or corners beside the sheet as it is seen, and, where few of its tags are or none, beside the
    camera that the plane was found through; None where neither is known."""
    place, check = _place(log), None
    if scale.sheet is not None:
        check = check_plane(plane, max(plane_sd(plane)), runs, camera, scale.sheet, place)
    if plane.camera is None or (check is not None and not check.coarse):
        return check
    lens = check_lens(plane, camera, clip.size_wh, clip.rotation_deg, place)
    return lens if check is None or lens.doubt >= check.doubt else check


def _place(log: PoseLog) -> np.ndarray | None:
    """Where the infant lies, ``(2,)`` frame pixels: the middle of its height joints; None where none was seen."""
    poses = [frame.pose for frame in log.sample() if frame.pose is not None]
    if not poses:
        return None
    return np.median([_middle(pose) for pose in poses], axis=0)


def _middle(pose: Pose) -> np.ndarray:
    """``(2,)`` frame pixels: the middle of the height joints."""
    return pose.kpts_frame[INFANT.height_joints].mean(axis=0)


def _beside_sheet_cm(log: PoseLog, plane: Plane | PlaneTrack, camera: Camera, sheet: SheetLayout) -> float:
    """How far beyond the sheet's edge the middle of the infant's height joints lies, cm, the median over frames; 0 on
    the sheet and where no infant was seen."""
    beyond = []
    for frame in log.sample():
        at = plane.at(frame.index)
        if frame.pose is not None and at is not None:
            place_cm = at.to_mattress(camera, _middle(frame.pose)[None])[0, :2]
            aside = np.abs(place_cm) - np.array(sheet.size_cm) / 2.0
            beyond.append(float(aside.max()))
    return max(0.0, float(np.median(beyond))) if beyond else 0.0
