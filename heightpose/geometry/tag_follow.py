"""The sheet's tags from look to look: searched for once, then only checked where they were.

A search of the whole frame costs as much as ten poses. Between two looks the camera mostly stands still, so each known
tag is fitted anew where it was (:func:`heightpose.geometry.tag_edges.refine_quads`, the same fit that ends a search, so
the corners are as good) and read again: its cells must still be dark and light as its code says, or a hand, a blanket
or the infant lies on it. Tags that were not seen are looked for around the place that the others predict. Only where
the known tags are lost, or lie elsewhere, is the whole frame searched again.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from heightpose.geometry import plane_track
from heightpose.geometry.sheet import SheetLayout, TagView, detect_tags, find_missing, refined_view
from heightpose.geometry.tag_edges import sample

#: Share of the last search's tags that must still be read where they were; a hand over the sheet hides fewer.
_LEAST_KEPT = 0.5
#: Share of a tag's cells that may look wrong, and the least difference of light and dark cells in grey levels.
_WRONG_CELLS, _LEAST_CONTRAST = 0.05, 8.0
#: The same share of a tag that a search of the whole frame missed and whose corners are where they were: noise and blur
#: spoil cells, and half of them are wrong where something else is.
_WRONG_CELLS_STILL = 0.2


class TagFollower:
    """Looks at frames of one camera, in order.

    Args:
        layout: the sheet.

    Attributes:
        searches, looks: how many frames were searched whole, and how many looked at in all.
    """

    def __init__(self, layout: SheetLayout) -> None:
        self.searches = self.looks = 0
        self._layout = layout
        self._places: dict[int, np.ndarray] = {}
        self._known: dict[int, np.ndarray] = {}
        self._searched: TagView | None = None
        self._shape: tuple[int, ...] = ()

    def look(self, gray: np.ndarray) -> TagView:
        """The tags of a frame ``(H, W)`` uint8, as :func:`detect_tags` gives them."""
        self.looks += 1
        view = self._checked(gray) if gray.shape == self._shape else None
        if view is None:
            view = self._search(gray)
        seen = dict(zip(view.ids.tolist(), view.corners_frame, strict=True))
        self._places.update(seen)
        self._known.update(seen)
        return view

    def _search(self, gray: np.ndarray) -> TagView:
        self.searches += 1
        view = detect_tags(gray, self._layout)
        if gray.shape != self._shape:
            self._known = {}
        self._places, self._searched, self._shape = {}, view, gray.shape
        return view.with_others_of(self._still_there(gray, view))

    def _still_there(self, gray: np.ndarray, found: TagView) -> TagView:
        """The tags of earlier frames that a search missed, where they were."""
        missed = {tag: quad for tag, quad in self._known.items() if tag not in found.ids}
        view = refined_view(gray, self._layout, missed)
        before = np.stack([missed[tag] for tag in view.ids.tolist()]) if len(view.ids) else view.corners_frame
        moved_px = np.linalg.norm(view.corners_frame - before, axis=2).max(axis=1, initial=0.0)
        still = moved_px <= plane_track.still_px((gray.shape[1], gray.shape[0]))
        return _only(view, still & readable(gray, view, self._layout, _WRONG_CELLS_STILL))

    def _checked(self, gray: np.ndarray) -> TagView | None:
        """The tags by a check of their places; None where that is not enough."""
        before = self._searched
        if before is None or not len(before.ids):
            return None
        view = refined_view(gray, self._layout, self._places)
        view = _only(view, readable(gray, view, self._layout))
        if np.isin(before.ids, view.ids).mean() < _LEAST_KEPT:
            return None
        if plane_track.tags_moved_px(before, view) > plane_track.still_px((gray.shape[1], gray.shape[0])):
            return None
        found = dict(zip(view.ids.tolist(), view.corners_frame, strict=True))
        return view.with_others_of(refined_view(gray, self._layout, find_missing(gray, self._layout, found)))


def _only(view: TagView, these: np.ndarray) -> TagView:
    return TagView(view.ids[these], view.corners_frame[these])


def readable(
    gray: np.ndarray, view: TagView, layout: SheetLayout, most_wrong: float = _WRONG_CELLS
) -> np.ndarray:
    """``(M,)`` bool: whether each tag's cells in the frame are dark and light as its code says, up to a share."""
    codes = np.stack([code_cells(layout.family, tag) for tag in view.ids.tolist()]) if len(view.ids) else None
    if codes is None:
        return np.zeros(0, bool)
    side = codes.shape[1]
    square = np.array([[0, 0], [side, 0], [side, side], [0, side]], np.float32)
    middles = np.stack(np.meshgrid(np.arange(side) + 0.5, np.arange(side) + 0.5), axis=-1)
    points = np.stack(
        [
            cv2.perspectiveTransform(middles, cv2.getPerspectiveTransform(square, quad.astype(np.float32)))
            for quad in view.corners_frame
        ]
    )
    level = sample(gray, points)
    light = np.where(codes, level, 0).sum(axis=(1, 2)) / np.maximum(codes.sum(axis=(1, 2)), 1)
    dark = np.where(codes, 0, level).sum(axis=(1, 2)) / np.maximum((~codes).sum(axis=(1, 2)), 1)
    wrong = ((level > 0.5 * (light + dark)[:, None, None]) != codes).mean(axis=(1, 2))
    return (light - dark > _LEAST_CONTRAST) & (wrong <= most_wrong)


@lru_cache(maxsize=1024)
def code_cells(family: str, tag: int) -> np.ndarray:
    """``(n, n)`` bool, True where the tag's upright bitmap is light; n counts the dark border too."""
    dictionary = cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, family))
    bits = cv2.aruco.Dictionary.getBitsFromByteList(
        dictionary.bytesList[tag : tag + 1], dictionary.markerSize
    )
    return np.pad(np.asarray(bits, bool), 1)
