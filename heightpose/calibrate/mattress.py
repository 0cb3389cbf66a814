"""The mattress plane of a fixed camera, from a clip of the sheet, and a picture to check it by."""

from __future__ import annotations

import sys
from dataclasses import replace

import cv2
import numpy as np
from tqdm import tqdm

from heightpose.geometry.camera import Camera
from heightpose.geometry.plane import Plane, PlaneError
from heightpose.geometry.plane_fit import picture_mirrored, plane_from_tags
from heightpose.geometry.plane_track import IndexedView, stretches_of
from heightpose.geometry.sheet import SheetLayout, looks_mirrored
from heightpose.geometry.tag_follow import TagFollower
from heightpose.runtime.clip import Clip
from heightpose.words import plural

#: Frames of a clip in which the tags are looked for: enough for those that a limb hides for a while.
_FRAMES = 24
#: Said from this doubt about a length on, relative (1 sd).
_UNSURE = 0.003


def plane_of_clip(clip: Clip, camera: Camera, sheet: SheetLayout) -> Plane:
    """The plane from the sheet's tags over a clip, with the sheet, so that later clips can be compared with it.

    Args:
        camera: the camera for the clip's frames.

    Raises:
        PlaneError: the sheet is not there, cannot be trusted or is seen in its mirror image.
    """
    follower = TagFollower(sheet)
    step = max(1, -(-(clip.length_hint or _FRAMES) // _FRAMES))
    views: list[IndexedView] = []
    frames = tqdm(
        clip.frames(), total=clip.length_hint, unit="frame", leave=False, disable=None, file=sys.stderr
    )
    for frame in frames:
        if frame.index % step == 0:
            gray = cv2.cvtColor(frame.rgb, cv2.COLOR_RGB2GRAY)
            view = follower.look(gray)
            if not views and looks_mirrored(gray, sheet, view):
                raise picture_mirrored()
            views.append((frame.index, view))
        if len(views) >= 4 * _FRAMES:  # a stream, or a clip whose length is not stated
            break
    if len(stretches_of(views, camera.size_wh)) > 1:
        raise PlaneError(
            "camera_moved", "The camera moved in this clip. Fix it in place and record the sheet again."
        )
    return replace(plane_from_tags([view for _, view in views], camera, sheet), sheet=sheet)


def summary(plane: Plane) -> str:
    """One line for a person."""
    tilt = float(np.rad2deg(np.arccos(np.clip(-plane.R[2, 2], -1, 1))))
    parts = [f"camera {plane.height_cm:.1f} cm above the mattress"]
    if plane.height_sd_cm is not None and plane.source == "tags":
        parts[0] += f" (sure to {plane.height_sd_cm:.2f})"
    parts.append(f"tilted {tilt:.0f} degrees")
    parts.append(f"from {plural(plane.tags, 'tag')}" if plane.source == "tags" else "from four corners")
    if plane.rms_px is not None:
        parts.append(f"error {plane.rms_px:.2f} px")
    if plane.length_sd > _UNSURE:
        why = "the sheet does not lie flat, or too few of its tags are seen"
        if plane.focal_off:
            why += ", or the camera file's focal length is wrong"
        parts.append(
            f"{why}: lengths are sure to {100 * plane.length_sd:.1f} % only; smooth it, show all of it, record again"
        )
    return ", ".join(parts)


def draw(rgb: np.ndarray, plane: Plane, camera: Camera, size_cm: tuple[float, float]) -> np.ndarray:
    """The frame with the mattress's outline, a 10 cm grid and the axes drawn where the plane puts them."""
    canvas = rgb.copy()
    half_x, half_y = size_cm[0] / 2, size_cm[1] / 2
    bold = max(1, round(max(canvas.shape) / 900))
    for x in np.arange(-10 * (half_x // 10), half_x, 10):
        _line(canvas, plane, camera, (x, -half_y), (x, half_y), (170, 170, 170), 1)
    for y in np.arange(-10 * (half_y // 10), half_y, 10):
        _line(canvas, plane, camera, (-half_x, y), (half_x, y), (170, 170, 170), 1)
    corners = [(-half_x, half_y), (half_x, half_y), (half_x, -half_y), (-half_x, -half_y)]
    for start, end in zip(corners, corners[1:] + corners[:1], strict=True):
        _line(canvas, plane, camera, start, end, (255, 140, 0), 2 * bold)
    _line(canvas, plane, camera, (0, 0), (20, 0), (220, 30, 30), 2 * bold)
    _line(canvas, plane, camera, (0, 0), (0, 20), (30, 160, 30), 2 * bold)
    return canvas


def _line(
    canvas: np.ndarray,
    plane: Plane,
    camera: Camera,
    start: tuple[float, float],
    end: tuple[float, float],
    colour: tuple[int, int, int],
    bold: int,
) -> None:
    """A straight line on the mattress, bent as the lens bends it."""
    pts = np.column_stack([np.linspace(start, end, 40), np.zeros(40)])
    kpts = np.clip(plane.to_frame(camera, pts), -1e4, 1e4)
    cv2.polylines(canvas, [np.round(kpts).astype(np.int32)], False, colour, bold, cv2.LINE_AA)
