"""The other way a board is printed: which of two conventions the pictures show, when the one asked for does not fit.

ChArUco boards with an even number of rows start with a marker since OpenCV 4.6 and with a square before; AprilTag grids
are numbered from the top row (OpenCV) or from the bottom row (Kalibr). And a ChArUco board may be taken for a
chessboard, with a marker's inside for squares.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import islice

import cv2
import numpy as np

from heightpose.calibrate.boards import Board, Charuco, Chessboard, Tags, aruco_dictionary
from heightpose.calibrate.views import gray_pictures
from heightpose.runtime.clip import Clip

#: Pictures looked at, and the share of the board's extent by which its corners may miss a flat board's: a lens bends
#: them by a few per cent, wrong rows by a third.
_PICTURES, _MISS = 8, 0.05
#: The dictionaries that hold the markers of the smaller ones of their kind, and how many make a board of a picture.
_MARKERS, _SEVERAL = ("DICT_4X4_1000", "DICT_5X5_1000", "DICT_6X6_1000", "DICT_APRILTAG_36h11"), 4


def other_convention(clip: Clip, board: Board) -> str | None:
    """What to change in the board's description, where the pictures show the other convention better."""
    other = _other(board)
    if clip.live or (other is None and not isinstance(board, Chessboard)):
        return None
    pictures = list(islice((gray for _, _, gray in gray_pictures(clip)), _PICTURES))
    if other is None:
        return _CHARUCO if 2 * sum(map(_has_markers, pictures)) > len(pictures) else None
    return other[1] if _fitting(other[0], pictures) > _fitting(board, pictures) else None


def _other(board: Board) -> tuple[Board, str] | None:
    if isinstance(board, Charuco):
        turned = replace(board, legacy=not board.legacy)
        way = "leave out --legacy-charuco" if board.legacy else "add --legacy-charuco"
        return turned, f"The pictures show the other ChArUco pattern (OpenCV before and since 4.6): {way}"
    if isinstance(board, Tags):
        layout = board.layout
        rows = {tag: quad - (0.0, 2.0 * quad[:, 1].mean()) for tag, quad in layout.tags.items()}
        return (
            Tags(replace(layout, tags=rows)),
            "The pictures show tags numbered from the other end, as Kalibr's grids are, from the bottom row: add "
            "--bottom-up (or leave it out)",
        )
    return None


_CHARUCO = (
    "The pictures show markers in the squares, as a ChArUco board has them: give --board charuco, with its --squares "
    "and --dictionary"
)


def _has_markers(gray: np.ndarray) -> bool:
    """Whether a picture shows several markers of one dictionary."""
    for name in _MARKERS:
        ids = cv2.aruco.ArucoDetector(aruco_dictionary(name)).detectMarkers(gray)[1]
        if ids is not None and len(np.unique(ids)) >= _SEVERAL:
            return True
    return False


def _fitting(board: Board, grays: Iterable[np.ndarray]) -> int:
    """In how many pictures the corners found lie as those of a flat board do."""
    count = 0
    for gray in grays:
        found = board.find(gray)
        if found is None or len(found.ids) < 8:
            continue
        matrix, _ = cv2.findHomography(found.pts_cm[:, :2], found.kpts)
        if matrix is None:
            continue
        ends = cv2.perspectiveTransform(found.pts_cm[None, :, :2], matrix)[0]
        miss = np.linalg.norm(ends - found.kpts, axis=1)
        count += bool(np.median(miss) < _MISS * np.ptp(found.kpts, axis=0).max())
    return count
