"""The sheet's tags over a clip: looked at now and then, and once more all along where the camera moved."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import Future

import cv2
import numpy as np

from heightpose.geometry.plane_track import IndexedView, stretches_of
from heightpose.geometry.sheet import SheetLayout, TagView, looks_mirrored
from heightpose.geometry.tag_follow import TagFollower
from heightpose.runtime.clip import Clip, Frame
from heightpose.runtime.poselog import PoseLog, Thinned
from heightpose.runtime.scale import Scale
from heightpose.runtime.selection import Selection
from heightpose.runtime.stages import Beside, ahead, depth_for
from heightpose.runtime.times import StageTimes

#: Frames in which the sheet's tags are looked for at least, spread over the clip; less than twice as many, and every
#: one of a clip that has no more. On a nursery clip the height is the same to 0.01 cm from 1 frame or 12: several are
#: for hidden tags only. The first costs as much as ten poses, the others as much as two.
TAG_FRAMES = 6
#: The same, on a second reading, of a clip whose tags show that the camera moved.
MOVING_TAG_FRAMES = 64


class SheetLooks:
    """Looks at the sheet in a few frames spread over the clip, beside everything else.

    Every n-th frame if the clip's length is known, else thinned on the way.

    Attributes:
        mirrored: the first frame shows the sheet in its mirror image only.
    """

    def __init__(
        self, clip: Clip, scale: Scale, selection: Selection, beside: Beside[TagView], times: StageTimes
    ) -> None:
        self._beside, self._times = beside, times
        self._sheet = scale.sheet
        self._follower = None if scale.sheet is None else TagFollower(scale.sheet)
        self.mirrored: bool | None = None
        fps = None if clip.fps is None else float(clip.fps)
        expected = selection.expected(clip.length_hint, fps)
        # From the first frame to the last few: a camera may be moved near the end.
        step = max(1, ((expected or 1) - 1) // (TAG_FRAMES - 1))
        #: Of a clip that does not say how long it is, the latest frame: after it the camera was not seen to move.
        self._latest: tuple[int, np.ndarray] | None = None
        self._open_ended = expected is None
        # Where the length is not known many looks are thinned out again.
        most = TAG_FRAMES if self._open_ended else 2 * TAG_FRAMES
        self._looks: Thinned[tuple[int, Future[TagView]]] = Thinned(most, step)

    def watching(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """The same frames, on whose way those that are due are looked at: before the networks have seen them."""
        for frame in frames:
            self._offer(frame.index, frame.rgb)
            yield frame

    def _offer(self, index: int, rgb: np.ndarray) -> None:
        if self._follower is None:
            return
        look = None
        if self._looks.wants_next:
            look = index, self._beside.call(self._look, cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY))
        elif self._open_ended:
            self._latest = index, rgb
        self._looks.add(look)

    def _look(self, gray: np.ndarray) -> TagView:
        assert self._follower is not None
        assert self._sheet is not None
        with self._times.stage("tags"):
            view = self._follower.look(gray)
            if self.mirrored is None:
                self.mirrored = looks_mirrored(gray, self._sheet, view)
            return view

    def views(self) -> list[IndexedView]:
        """What was seen, when every look is done."""
        seen = [(index, look.result()) for index, look in self._looks.items]
        if seen and self._latest is not None and self._latest[0] > seen[-1][0]:
            index, rgb = self._latest
            seen.append((index, self._look(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY))))
        return seen


def looked_again(
    clip: Clip, sheet: SheetLayout, log: PoseLog, views: list[IndexedView], times: StageTimes
) -> list[IndexedView]:
    """The tags of many more frames where the first look shows that the camera moved, else what there is."""
    if len(stretches_of(views, clip.size_wh)) < 2:
        return views
    looked_at = log.looked_at()
    places = np.linspace(0, len(looked_at) - 1, MOVING_TAG_FRAMES).round().astype(int)
    chosen = set(looked_at[places].tolist()) - {index for index, _ in views}
    found, follower = dict(views), TagFollower(sheet)
    frames = clip.chosen(lambda index, t_s: index in chosen)
    for frame in ahead(frames, depth_for(clip.size_wh), name="decode"):
        if frame.index >= len(log):
            break
        if frame.rgb.size:
            with times.stage("tags"):
                found[frame.index] = follower.look(cv2.cvtColor(frame.rgb, cv2.COLOR_RGB2GRAY))
    return sorted(found.items())
