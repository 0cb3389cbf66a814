"""Does a stored plane still hold? Against the one that the sheet's tags in the clip give, where the sheet is in view.

A plane is stored once and used for months; a knocked camera makes every later length wrong by the same share, and no
interval tells. What counts is not how far the camera moved but what that does to a length: a camera shifted along the
cot measures as before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from heightpose.errors import FileFormatError
from heightpose.geometry.camera import Camera
from heightpose.geometry.plane import Plane, PlaneError
from heightpose.geometry.plane_fit import plane_from_tags, tag_medians
from heightpose.geometry.plane_length import length_change
from heightpose.geometry.plane_track import IndexedView
from heightpose.geometry.sheet import SheetLayout, TagView

#: Fewer tags give a plane that may be this much off by itself, relative (1 sd). Planes from 5 tags and more of one
#: fixed camera (408 of them, 51 rendered clips of 960x540 and 480x360): lengths within 0.67 % of those over the true
#: plane (docs/measurement.md).
_LEAST_TAGS, _FEW_SD = 5, 0.02
#: Change of a length, relative, up to which two planes agree, and from which on one of them is wrong; more where the
#: planes' own standard deviations allow for more (three of them).
_AGREE, _WRONG, _SDS = 0.003, 0.01, 3.0


@dataclass(frozen=True)
class PlaneCheck:
    """A stored plane beside the sheet as the clip shows it.

    Attributes:
        tags: of the plane that the clip gave; 0 where too few were seen to compare.
        length_change: what the stored plane does to a length, relative to the clip's plane, in the stretch where that
            is most; without tags, what this camera's lens does to a length over it, relative to the one that it was
            found through; None where not compared.
        doubt: how much of a stretch's change is not noise of the clip's plane, the most of all stretches, 0 where that
            is little: what an interval must allow for.
        coarse: the tags seen were too few to see small changes.
    """

    tags: int = 0
    length_change: float | None = None
    doubt: float = 0.0
    coarse: bool = False

    @property
    def warning(self) -> str:
        """What to say where there is doubt."""
        other, why = (
            ("the sheet's tags", "has the camera moved a little?")
            if self.tags
            else ("this camera file", "the plane was found with another one")
        )
        return (
            f"the stored plane or corners and {other} differ by {100 * self.doubt:.1f} % of a length, by which the "
            f"interval is widened: {why}"
        )

    def record(self) -> dict[str, Any]:
        """What height.json says about it."""
        change = None if self.length_change is None else round(self.length_change, 4)
        return {"tags": self.tags, "length_change": change}


def check_plane(
    stored: Plane,
    stored_sd: float,
    runs: Sequence[Sequence[IndexedView]],
    camera: Camera,
    layout: SheetLayout,
    infant_frame: np.ndarray | None = None,
) -> PlaneCheck:
    """Compare a stored plane with the tags of the clip.

    Args:
        stored: from a file, or from marked corners.
        stored_sd: how sure lengths over it are by themselves, relative (1 sd).
        runs: stretches of stillness, as :func:`~heightpose.geometry.plane_track.stretches_of` gives them.
        infant_frame: ``(2,)`` frame pixels, where the infant lies: a camera that turned changes lengths differently in
            different places. By default the sheet's middle.

    Raises:
        PlaneError: ``plane_outdated``, lengths over the stored plane are wrong by more than either plane is unsure.
    """
    checks = [PlaneCheck()]
    for run in runs:
        views = [view for _, view in run]
        try:
            seen = plane_from_tags(views, camera, layout)
        except PlaneError as error:
            if error.code == "several_sheets":  # whose is not known
                continue
            checks.append(_by_size(stored, stored_sd, views, camera, layout))
            continue
        few = seen.tags < min(_LEAST_TAGS, len(layout.tags))
        seen_sd = float(np.hypot(seen.length_sd, _FEW_SD if few else 0.0))
        middle_cm = None if infant_frame is None else seen.to_mattress(camera, infant_frame[None])[0, :2]
        change = length_change(stored, seen, camera, middle_cm=middle_cm)
        if abs(change) > max(_WRONG, _SDS * float(np.hypot(stored_sd, seen_sd))):
            raise PlaneError("plane_outdated", _outdated(stored, change))
        checks.append(replace(_compared(seen.tags, change, seen_sd), coarse=few))
    # The largest change need not be the one that is known best.
    largest = max(checks, key=lambda check: -1.0 if check.length_change is None else abs(check.length_change))
    coarse = all(check.coarse for check in checks if check.tags)
    return replace(largest, doubt=max(check.doubt for check in checks), coarse=coarse)


def check_lens(
    stored: Plane,
    camera: Camera,
    size_wh: tuple[int, int],
    rotation_deg: int,
    infant_frame: np.ndarray | None = None,
) -> PlaneCheck:
    """Compare a clip's camera file with the one that a stored plane was found through: no sheet need be in view.

    Args:
        camera: of the clip, for its frames.
        size_wh, rotation_deg: of the clip, as :meth:`~heightpose.geometry.camera.Camera.for_frames` takes them.
        infant_frame: as for :func:`check_plane`.

    Raises:
        PlaneError: ``plane_outdated``, the two make lengths over the plane that differ.
    """
    if stored.camera is None:
        return PlaneCheck()
    try:
        own = stored.camera.for_frames(size_wh, rotation_deg)
    except FileFormatError:  # found in another mode of the camera, whose pixels are not these
        return PlaneCheck()
    middle_cm = None if infant_frame is None else stored.to_mattress(own, infant_frame[None])[0, :2]
    change = length_change(stored, stored, own, camera, middle_cm)
    if abs(change) > _WRONG:
        raise PlaneError(
            "plane_outdated",
            "The stored mattress plane was found with another camera file than this one, with which lengths would come "
            f"out {abs(100 * change):.1f} % {'longer' if change > 0 else 'shorter'}. Please give the file that the "
            "plane was found with, or make a new plane with this one (heightpose calibrate plane).",
        )
    return _compared(0, change, 0.0)


def _compared(tags: int, change: float, sd: float) -> PlaneCheck:
    """What a change of lengths says that the clip itself knows to ``sd`` (1 sd): what is more is the stored plane's."""
    doubt = float(np.sqrt(max(change**2 - sd**2, 0.0)))
    return PlaneCheck(tags, change, doubt if doubt > _AGREE else 0.0)


def _by_size(
    stored: Plane, stored_sd: float, views: list[TagView], camera: Camera, layout: SheetLayout
) -> PlaneCheck:
    """The check where the tags give no plane of their own, as through another camera's file: the distances of tags on
    the stored plane over those of the sheet are what it does to lengths.

    Raises:
        PlaneError: ``plane_outdated``.
    """
    ids, corners, _ = tag_medians(views, layout)
    if len(ids) < min(_LEAST_TAGS, len(layout.tags)):
        return PlaneCheck()
    model = np.stack([layout.tags[tag].mean(axis=0) for tag in ids.tolist()])
    there = stored.to_mattress(camera, corners.reshape(-1, 2))[:, :2].reshape(-1, 4, 2).mean(axis=1)
    one, other = np.triu_indices(len(ids), 1)
    ratio = np.linalg.norm(there[one] - there[other], axis=1) / np.linalg.norm(
        model[one] - model[other], axis=1
    )
    change = float(np.median(ratio)) - 1.0
    # Of a crumpled sheet, or of another one, the ratios scatter; as many of them are independent as there are tags.
    sd = 1.4826 * float(np.median(np.abs(ratio - np.median(ratio)))) / float(np.sqrt(len(ids)))
    if abs(change) > max(_WRONG, _SDS * float(np.hypot(stored_sd, sd))):
        raise PlaneError("plane_outdated", _outdated(stored, change))
    return _compared(len(ids), change, sd)


def _outdated(stored: Plane, change: float) -> str:
    what = "marked corners do" if stored.source == "corners" else "stored mattress plane does"
    again = (
        "mark the corners again"
        if stored.source == "corners"
        else "make a new plane (heightpose calibrate plane)"
    )
    return (
        f"The {what} not fit this clip: by the sheet's tags lengths would come out {abs(100 * change):.1f} % too "
        f"{'long' if change > 0 else 'short'}. The camera or the mattress has moved since, the camera file is another "
        f"camera's, or the sheet does not lie on the mattress. Please {again}, or measure with the sheet alone."
    )
