"""The mattress plane from four marked corners of the mattress."""

from __future__ import annotations

import numpy as np

from heightpose.geometry.camera import Camera
from heightpose.geometry.planar_pose import PoseFit
from heightpose.geometry.plane import Plane, PlaneError
from heightpose.geometry.plane_fit import fit_pose
from heightpose.types import require_finite, require_shape

#: Four marked corners miss a mattress of their size by less than this, of their extent. Clicks 10 px off leave 0.7 % of
#: a mattress 1000 px wide; 60x120 cm, said of one of 70x132, leave 1 %.
_CORNERS_RMS = 0.008
#: The same where a corner lies outside the picture: worked out, not marked, or marked on a copy of another size, which
#: leaves 0.6 %.
_OUTSIDE_RMS = 0.002
#: Corners may lie outside by this share of the picture's sides, and none may be thinner than this, of the longest side
#: squared.
_FARTHEST, _THINNEST = 1.0, 0.01


def plane_from_corners(corners_frame: np.ndarray, size_cm: tuple[float, float], camera: Camera) -> Plane:
    """The plane from the four corners of the mattress, given in either sense and from any corner on.

    The corners are taken clockwise as seen from above, the first one as (-x, +y) or, where the mattress's
    shape says otherwise, as the next one. Both ends of a mattress look alike: x and y may both be reversed.

    Args:
        corners_frame: ``(4, 2)`` frame pixels.
        size_cm: (across, along) the cot.

    Raises:
        PlaneError: the points do not look like such a mattress from above.
    """
    corners = np.asarray(corners_frame, dtype=np.float64)
    require_shape("corners_frame", corners, (4, 2))
    require_finite("corners_frame", corners)
    spread = corners - corners.mean(axis=0)
    clockwise = np.argsort(np.arctan2(spread[:, 1], spread[:, 0]))  # y points down: ascending is clockwise
    corners = corners[np.roll(clockwise, -int(np.nonzero(clockwise == 0)[0][0]))]
    error = PlaneError(
        "corners_inconsistent",
        "The four corners do not fit a mattress of this size. Please mark them again, and check the size.",
    )
    outside = _outside(corners, camera.size_wh)
    if outside > _FARTHEST or not _encloses_an_area(corners):
        raise error
    half = np.asarray(size_cm, dtype=np.float64) / 2.0
    model = np.array([[-1, 1], [1, 1], [1, -1], [-1, -1]]) * half
    diagonal = float(np.linalg.norm(np.ptp(corners, axis=0)))
    plausible = (_OUTSIDE_RMS if outside else _CORNERS_RMS) * diagonal
    best: PoseFit | None = None
    for turn in (0, 1):
        try:
            pose = fit_pose(np.roll(corners, -turn, axis=0)[None], model[None], camera)
        except PlaneError as problem:
            if problem.code in ("camera_height_implausible", "camera_too_flat"):
                error = problem
            continue
        if pose.rms_px < (plausible if best is None else min(plausible, 0.5 * best.rms_px)):
            best = pose
    if best is None:
        raise error
    return Plane(best.R, best.t_cm, best.rms_px, 0, "corners", best.height_sd_cm)


def _outside(corners_frame: np.ndarray, size_wh: tuple[int, int]) -> float:
    """How far the farthest corner lies outside the picture, in shares of its sides; 0 where none does."""
    beyond = np.maximum(-corners_frame, corners_frame - size_wh) / size_wh
    return max(0.0, float(beyond.max()))


def _encloses_an_area(corners_frame: np.ndarray) -> bool:
    """Whether corners ``(4, 2)`` in order are those of a convex area, none of them thin."""
    sides = np.roll(corners_frame, -1, axis=0) - corners_frame
    turns = sides[:, 0] * np.roll(sides[:, 1], -1) - sides[:, 1] * np.roll(sides[:, 0], -1)
    longest = float(np.linalg.norm(sides, axis=1).max())
    return bool((turns > _THINNEST * longest**2).all())
