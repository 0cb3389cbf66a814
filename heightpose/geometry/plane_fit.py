"""The mattress plane from the printed sheet's tags.

A homography consensus over pairs of tags throws out tags that are bent, displaced or misread; both solutions of the
planar pose (IPPE, Collins & Bartoli 2014) are refined on the reprojection error in the distorted picture, and the
better one has to be clearly better. A plane that cannot be trusted is a :class:`PlaneError`, never a guess.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from heightpose.geometry import planar_pose
from heightpose.geometry.camera import Camera
from heightpose.geometry.lens_check import lens_doubt
from heightpose.geometry.plane import HEIGHT_RANGE_CM, Plane, PlaneError
from heightpose.geometry.plane_length import length_growth, length_noise
from heightpose.geometry.sheet import SheetLayout, TagView
from heightpose.geometry.sheet_bend import bend_sd
from heightpose.geometry.sheet_size import size_off
from heightpose.geometry.tag_fit import TagFit

_MIN_TAGS = 3
_SECOND_SHEET = 2  # so many tags there twice: one may be a mistake
_MAX_TILT_DEG = 65.0  # from straight down, seen from the middle of the points; flatter than this is edge-on
_MAX_HEIGHT_SD = 0.03  # of the height: what corner noise alone may do to it
_MAX_LENGTH_SD = 0.03  # of a length: the same, or a bent sheet, or a wrong lens
_AGAIN = "Please check that the sheet lies flat, uncovered and in view, and record again."
_TOO_LITTLE = f"Too little of the printed sheet can be seen to measure with it. {_AGAIN}"


def plane_from_tags(views: list[TagView], camera: Camera, layout: SheetLayout) -> Plane:
    """The plane from the tags seen over a clip of a camera that stands still.

    Args:
        views: the tags of each looked-at frame.
        camera: the camera for these frames.
        layout: the sheet.

    Raises:
        PlaneError: no sheet, too few tags that agree, or a pose that cannot be trusted.
    """
    require_one_sheet(views)
    ids, corners, jitter_px = tag_medians(views, layout)
    need = min(_MIN_TAGS, len(layout.tags))
    if not len(ids):
        text = f"The printed sheet was not found in the video, or the sheet file is another sheet's. {_AGAIN}"
        raise PlaneError("sheet_not_found", text)
    if len(ids) < need:
        text = f"Only {len(ids)} of the sheet's {len(layout.tags)} tags were seen; it takes {need}. {_AGAIN}"
        raise PlaneError("too_few_tags", text)
    if jitter_px > 0.01 * np.hypot(*camera.size_wh):
        text = "The camera moved during the recording. Please fix it in place above the cot and record again."
        raise PlaneError("camera_moved", text)
    model = np.stack([layout.tags[tag] for tag in ids.tolist()])
    px_per_cm = float(np.median(_sides(corners) / _sides(model)))
    keep = planar_pose.consensus(corners, model, camera, max(2.0, 0.5 * px_per_cm))
    for _ in range(4):
        _require_agreement(int(keep.sum()), len(ids), need)
        fitted = keep
        pose = fit_pose(corners[fitted], model[fitted], camera)
        plane = Plane(pose.R, pose.t_cm, pose.rms_px, int(fitted.sum()), "tags", pose.height_sd_cm)
        rms = plane.tag_rms_px(camera, corners, model)
        limit = min(max(0.75, 0.1 * px_per_cm, 3.0 * float(np.median(rms[keep]))), max(2.0, 0.5 * px_per_cm))
        again = rms <= limit
        if np.array_equal(again, keep):
            break
        keep = again
    if pose.height_sd_cm > _MAX_HEIGHT_SD * plane.height_cm:
        raise PlaneError("plane_imprecise", _TOO_LITTLE)
    if pose.rms_px > max(1.0, 0.3 * px_per_cm):
        raise PlaneError("plane_imprecise", f"The printed sheet is crumpled or bent. {_AGAIN}")
    tags = TagFit(plane, camera, corners, model, layout.size_cm, keep)
    bent = bend_sd(tags)
    focal_off, lens = lens_doubt(tags)
    noise = length_noise(plane, camera, pose.cov)
    few = float(np.hypot(noise, length_growth(plane, camera, corners[fitted], model[fitted])))
    _require_sure(few, bent, lens)
    size = size_off(tags)
    if abs(size) > _MAX_LENGTH_SD:
        raise _another_sheet(int((~keep).sum()), len(ids), size)
    # A wrong lens looks bent, and a bent sheet as seen through another lens: of all the largest counts.
    length_sd = float(np.hypot(few, max(bent, lens, abs(size))))
    return replace(plane, length_sd=length_sd, focal_off=focal_off)


def require_one_sheet(views: Sequence[TagView]) -> None:
    """Refuse views that show a second sheet of the kind: the tags that one of them hides would be taken from the other.

    Raises:
        PlaneError: ``several_sheets``.
    """
    if any(len(view.repeated) >= _SECOND_SHEET for view in views):
        raise PlaneError(
            "several_sheets",
            "More than one printed sheet of this kind is in view. Please cover the other one, or move the camera so "
            "that it sees this cot alone, and record again.",
        )


def picture_mirrored() -> PlaneError:
    """The refusal of frames in which the sheet can only be read in their mirror image."""
    return PlaneError(
        "picture_mirrored",
        "The picture is mirrored, as a selfie camera shows it: the printed sheet can only be read in its mirror image, "
        "and no length can be given. Please turn the mirroring off and record again.",
    )


def _require_sure(noise: float, bent: float, lens: float) -> None:
    """Refuse a plane over which lengths are not known well enough to be given out, saying what is to blame."""
    if max(noise, bent, lens) <= _MAX_LENGTH_SD:
        return
    if lens >= max(noise, bent):
        text = (
            "The sheet's tags are where the sheet file says only to a camera with another lens than the camera file's. "
            "Is it this camera's file? heightpose calibrate check tells."
        )
        raise PlaneError("camera_contradicted", text)
    if bent >= noise:
        raise PlaneError("plane_imprecise", f"The printed sheet is crumpled or bent. {_AGAIN}")
    raise PlaneError("plane_imprecise", _TOO_LITTLE)


def _another_sheet(out: int, seen: int, size: float) -> PlaneError:
    text = (
        f"{out} of the {seen} tags seen are not where the sheet file says, and the others are "
        f"{abs(100 * size):.0f} % {'larger' if size > 0 else 'smaller'} than it says: it is the file of another sheet, "
        "or the sheet is crumpled. Please give the file that was written with this sheet."
    )
    return PlaneError("sheet_inconsistent", text)


def _require_agreement(agreeing: int, seen: int, need: int) -> None:
    if agreeing < max(need, 0.5 * seen):
        text = (
            f"Only {agreeing} of the {seen} tags seen are where the sheet file says: "
            f"the sheet is folded, or it is another one. {_AGAIN}"
        )
        raise PlaneError("sheet_inconsistent", text)


def tag_medians(views: list[TagView], layout: SheetLayout) -> tuple[np.ndarray, np.ndarray, float]:
    """Ids ``(M,)``, corners ``(M, 4, 2)`` as medians over the frames, and their typical stray (px)."""
    seen: dict[int, list[np.ndarray]] = {}
    for view in views:
        for tag, quad in zip(view.ids.tolist(), view.corners_frame, strict=True):
            if tag in layout.tags:
                seen.setdefault(tag, []).append(quad)
    ids = np.array(sorted(seen), dtype=np.intp)
    if not len(ids):
        return ids, np.zeros((0, 4, 2)), 0.0
    medians = {tag: np.median(np.stack(quads), axis=0) for tag, quads in seen.items()}
    # Per tag, then over tags: one tag that a hand pushes about is no moving camera.
    stray = [np.median(np.linalg.norm(np.stack(quads) - medians[tag], axis=2)) for tag, quads in seen.items()]
    return ids, np.stack([medians[tag] for tag in ids.tolist()]), float(np.median(stray))


def fit_pose(corners: np.ndarray, model: np.ndarray, camera: Camera) -> planar_pose.PoseFit:
    """The camera's pose from ``(M, 4, 2)`` corners, frame pixels, and where they are on the mattress, cm.

    Raises:
        PlaneError: another pose explains the corners as well, or no camera above a cot is posed so.
    """
    kpts, pts = corners.reshape(-1, 2), planar_pose.on_mattress(model)
    fits = planar_pose.solve(pts, kpts, camera)
    if not fits:
        text = "The camera seems to look at the mattress from below: the points are mirrored or out of order."
        raise PlaneError("camera_below_mattress", text)
    best = fits[0]
    for other in fits[1:]:
        apart = np.rad2deg(np.arccos(np.clip(other.R[:, 2] @ best.R[:, 2], -1, 1)))
        if apart > 5.0 and other.rms_px < 1.2 * best.rms_px + 0.1:
            text = f"The sheet is too small in the picture to tell its tilt. {_AGAIN}"
            raise PlaneError("plane_ambiguous", text)
    centre = -best.R.T @ best.t_cm
    tilt = np.rad2deg(np.arctan2(np.linalg.norm((centre - pts.mean(axis=0))[:2]), centre[2]))
    if tilt > _MAX_TILT_DEG:
        text = "The camera looks at the mattress from the side. Please mount it above the cot, looking down."
        raise PlaneError("camera_too_flat", text)
    if not HEIGHT_RANGE_CM[0] <= centre[2] <= HEIGHT_RANGE_CM[1]:
        text = f"A camera {centre[2]:.0f} cm above the mattress: please check the sheet and camera files."
        raise PlaneError("camera_height_implausible", text)
    return best


def _sides(quads: np.ndarray) -> np.ndarray:
    return np.linalg.norm(np.roll(quads, -1, axis=1) - quads, axis=2).mean(axis=1)
