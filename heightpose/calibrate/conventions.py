"""The other ways a board is printed: which convention the pictures show, when the one asked for does not fit.

ChArUco boards with an even number of rows start with a marker since OpenCV 4.6 and with a square before. AprilTag grids
are numbered from the top row or from the bottom row, their tags stand as OpenCV or as the AprilTag project draws them,
and Kalibr's have a border of another width. And a ChArUco board may be taken for a chessboard, with a marker's inside
for squares.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import islice

import cv2
import numpy as np

from heightpose.calibrate.boards import (
    KALIBR_BORDER,
    Board,
    Charuco,
    Chessboard,
    Corners,
    Tags,
    aruco_dictionary,
    upside_down,
)
from heightpose.calibrate.views import gray_pictures
from heightpose.geometry.sheet import SheetLayout, TagView
from heightpose.runtime.clip import Clip

#: Pictures looked at, and the share of the board's extent by which its corners may miss a flat board's: a lens bends
#: them by a few per cent, wrong rows by a third.
_PICTURES, _MISS = 8, 0.05
#: The dictionaries that hold the markers of the smaller ones of their kind, and how many make a board of a picture.
_MARKERS, _SEVERAL = ("DICT_4X4_1000", "DICT_5X5_1000", "DICT_6X6_1000", "DICT_APRILTAG_36h11"), 4


def other_convention(clip: Clip, board: Board) -> str | None:
    """What to change in the board's description, where the pictures show the other convention better."""
    others = _others(board)
    if clip.live or not (others or isinstance(board, Chessboard)):
        return None
    pictures = list(islice((gray for _, _, gray in gray_pictures(clip)), _PICTURES))
    if not others:
        return _CHARUCO if _most_have_markers(pictures) else None
    fitting, *counts = map(_fitting, _found([board, *(other for other, _ in others)], pictures))
    best = None
    for count, (_, hint) in zip(counts, others, strict=True):
        if count > fitting:
            best, fitting = hint, count
    return best


def _others(board: Board) -> list[tuple[Board, str]]:
    """Boards of the same description but for a convention, and what to say where the pictures show them."""
    if isinstance(board, Charuco):
        turned = replace(board, legacy=not board.legacy)
        way = "leave out --legacy-charuco" if board.legacy else "add --legacy-charuco"
        return [(turned, f"The pictures show the other ChArUco pattern (OpenCV before and since 4.6): {way}")]
    if not isinstance(board, Tags):
        return []
    layout = board.layout
    ways = [
        (layout, ()),
        (_other_rows_first(layout), (_OTHER_END,)),
        (upside_down(layout), (_TURNED,)),
        (_other_rows_first(upside_down(layout)), (_OTHER_END, _TURNED)),
    ]
    border = 1 if layout.border_cells == KALIBR_BORDER else KALIBR_BORDER
    said = _KALIBR if border == KALIBR_BORDER else _NOT_KALIBR
    return [
        *((Tags(way), _THEY_SHOW + ", and ".join(words)) for way, words in ways if words),
        *((Tags(replace(way, border_cells=border)), _THEY_SHOW + said) for way, _ in ways),
    ]


def _other_rows_first(layout: SheetLayout) -> SheetLayout:
    rows = {tag: quad - (0.0, 2.0 * quad[:, 1].mean()) for tag, quad in layout.tags.items()}
    return replace(layout, tags=rows)


_THEY_SHOW = "The pictures show tags "
_OTHER_END = "numbered from the other end, from the bottom row: add --bottom-up (or leave it out)"
_TURNED = "that stand the other way up: add --upside-down (or leave it out)"
_KALIBR = (
    "with borders of two cells, as Kalibr prints them: give --kalibr, without --bottom-up and --upside-down"
)
_NOT_KALIBR = (
    "with borders of one cell, which Kalibr's have not: leave out --kalibr, and say with --bottom-up and --upside-down "
    "how they stand"
)
_CHARUCO = (
    "The pictures show markers in the squares, as a ChArUco board has them: give --board charuco, with its --squares "
    "and --dictionary"
)


def _most_have_markers(grays: list[np.ndarray]) -> bool:
    """Whether more than half of the pictures show markers; no picture is looked at that cannot change it."""
    having, lacking = 0, 0
    for gray in grays:
        if _has_markers(gray):
            having += 1
        else:
            lacking += 1
        if 2 * max(having, lacking) > len(grays):
            break
    return 2 * having > len(grays)


def _has_markers(gray: np.ndarray) -> bool:
    """Whether a picture shows several markers of one dictionary."""
    for name in _MARKERS:
        ids = cv2.aruco.ArucoDetector(aruco_dictionary(name)).detectMarkers(gray)[1]
        if ids is not None and len(np.unique(ids)) >= _SEVERAL:
            return True
    return False


def _found(boards: list[Board], grays: list[np.ndarray]) -> list[list[Corners | None]]:
    """What each board finds in each picture. Tags with borders of one width are detected once for all layouts."""
    seen: dict[int, list[TagView]] = {}
    found: list[list[Corners | None]] = []
    for board in boards:
        if isinstance(board, Tags):
            border = board.layout.border_cells
            if border not in seen:
                seen[border] = [board.detect(gray) for gray in grays]
            found.append([board.corners(view) for view in seen[border]])
        else:
            found.append([board.find(gray) for gray in grays])
    return found


def _fitting(found: Iterable[Corners | None]) -> int:
    """How many corners were found in the pictures in which they lie as those of a flat board do."""
    count = 0
    for corners in found:
        if corners is None or len(corners.ids) < 8:
            continue
        matrix, _ = cv2.findHomography(corners.pts_cm[:, :2], corners.kpts)
        if matrix is None:
            continue
        ends = cv2.perspectiveTransform(corners.pts_cm[None, :, :2], matrix)[0]
        miss = np.linalg.norm(ends - corners.kpts, axis=1)
        if np.median(miss) < _MISS * np.ptp(corners.kpts, axis=0).max():
            count += len(corners.ids)
    return count
