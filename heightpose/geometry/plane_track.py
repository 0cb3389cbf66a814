"""A camera that moves during a clip: the mattress plane as a function of the frame.

The tags say when the camera moved: while it stands still they stay where they are to a fraction of a pixel. A clip is
cut into stretches of stillness (a slow drift becomes many short ones), each gets a plane of its own, and a frame is
measured with the plane of its stretch. Frames between two stretches take the nearer one when little lies between them,
and none at all when the camera jumped there.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from heightpose.geometry.camera import Camera
from heightpose.geometry.plane import Plane, PlaneError
from heightpose.geometry.plane_fit import plane_from_tags
from heightpose.geometry.sheet import SheetLayout, TagView

#: (frame index, its tags)
IndexedView = tuple[int, TagView]
#: Tags that moved less than this stand still: share of the frame's diagonal, and at least so many px. At 1280x720 both
#: are 1 px, a sixth of a centimetre on the mattress.
_STILL_SHARE, _STILL_PX = 0.0007, 1.0
#: Frames between two stretches that lie further apart than this many times the above have no plane.
_JUMP = 2.0
#: Share of the looked-at frames that must have a plane.
_MIN_PLACED = 0.5


@dataclass(frozen=True, eq=False)
class Stretch:
    """Frames ``first`` to ``last`` (looked-at ones) with one plane; None where its tags did not give one.

    ``jump_after`` is True when the camera moved too far before the next stretch to guess the frames between.
    """

    first: int
    last: int
    plane: Plane | None
    views: int
    jump_after: bool


@dataclass(frozen=True, eq=False)
class PlaneTrack:
    """The planes of a clip whose camera moved.

    Attributes:
        stretches: in order of frames, at least one with a plane.
        step: frames between two looks, typically: so far the ends are trusted beyond the first and last look.
    """

    stretches: tuple[Stretch, ...]
    step: int

    def at(self, index: int) -> Plane | None:
        """The plane of a frame, None where the camera was on its way."""
        here = bisect_right([s.first for s in self.stretches], index) - 1
        if here < 0:
            first = self.stretches[0]
            return first.plane if first.first - index <= self.step else None
        stretch = self.stretches[here]
        if index <= stretch.last:
            return stretch.plane
        if here == len(self.stretches) - 1:
            return stretch.plane if index - stretch.last <= self.step else None
        if stretch.jump_after:
            return None
        after = self.stretches[here + 1]
        return stretch.plane if index - stretch.last <= after.first - index else after.plane

    @property
    def main(self) -> Plane:
        """The plane that rests on the most looks."""
        best = max((s for s in self.stretches if s.plane is not None), key=lambda s: s.views)
        assert best.plane is not None
        return best.plane


def stretches_of(views: Sequence[IndexedView], size_wh: tuple[int, int]) -> list[list[IndexedView]]:
    """Cut looks at the tags into runs during which the camera stood still; looks without tags are passed over.

    Tags come and go behind hands and in noise: each is compared with where it was when the run first showed it.

    Args:
        views: in order of frames.
    """
    still = still_px(size_wh)
    runs: list[list[IndexedView]] = []
    shown: TagView | None = None
    for index, view in views:
        if not len(view.ids):
            continue
        if shown is not None and tags_moved_px(shown, view) <= still:
            runs[-1].append((index, view))
            shown = shown.with_others_of(view)
        else:
            runs.append([(index, view)])
            shown = view
    return runs


def tags_moved_px(one: TagView, other: TagView) -> float:
    """Typical way of the tags between two looks: the median over the tags seen in both, infinite if none is.

    The median, so that a tag that a hand pushes aside or a blanket bends is no moving camera.
    """
    shared, mine, theirs = np.intersect1d(one.ids, other.ids, return_indices=True)
    if not len(shared):
        return np.inf
    moved = other.corners_frame[theirs].mean(axis=1) - one.corners_frame[mine].mean(axis=1)
    return float(np.median(np.linalg.norm(moved, axis=1)))


def track_from_tags(runs: Sequence[Sequence[IndexedView]], camera: Camera, layout: SheetLayout) -> PlaneTrack:
    """A plane for each stretch of stillness.

    Args:
        runs: what :func:`stretches_of` gave.

    Raises:
        PlaneError: fewer than half of the looks belong to a stretch whose tags give a plane. Where no tag was seen to
            move, what the longest stretch lacks.
    """
    limit = _JUMP * still_px(camera.size_wh)
    ways_px = [tags_moved_px(run[-1][1], after[0][1]) for run, after in pairwise(runs)]
    stretches, failed = [], dict[int, PlaneError]()
    for run, way_px in zip(runs, [*ways_px, 0.0], strict=False):
        plane = None
        try:
            plane = plane_from_tags([view for _, view in run], camera, layout)
        except PlaneError as error:
            failed.setdefault(len(run), error)
        stretches.append(Stretch(run[0][0], run[-1][0], plane, len(run), way_px > limit))
    looks = [index for run in runs for index, _ in run]
    placed = sum(s.views for s in stretches if s.plane is not None)
    if placed < _MIN_PLACED * len(looks) or not placed:
        if failed and np.isinf(ways_px).all():  # nothing says that it did
            raise failed[max(failed)]
        text = (
            "The camera moved during the recording, and too few of the sheet's tags were in view to follow it. "
            "Please fix it in place above the cot and record again."
        )
        raise PlaneError("camera_moved", text)
    steps = np.diff(looks)
    return PlaneTrack(tuple(stretches), int(np.median(steps)) if len(steps) else 1)


def still_px(size_wh: tuple[int, int]) -> float:
    """Tags that moved by no more than this between two looks stand still."""
    return max(_STILL_PX, _STILL_SHARE * float(np.hypot(*size_wh)))
