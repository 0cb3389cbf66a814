"""The other way a board is printed: which of two conventions the pictures show, when the one asked for does not fit.

ChArUco boards with an even number of rows start with a marker since OpenCV 4.6 and with a square before; AprilTag grids
are numbered from the top row (OpenCV) or from the bottom row (Kalibr).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import islice

import cv2
import numpy as np

from heightpose.calibrate.boards import Board, Charuco, Tags
from heightpose.calibrate.views import gray_pictures
from heightpose.runtime.clip import Clip

#: Pictures looked at, and the share of the board's extent by which its corners may miss a flat board's: a lens bends
#: them by a few per cent, wrong rows by a third.
_PICTURES, _MISS = 8, 0.05


def other_convention(clip: Clip, board: Board) -> str | None:
    """What to change in the board's description, where the pictures show the other convention better."""
    other = _other(board)
    if other is None or clip.live:
        return None
    pictures = list(islice((gray for _, _, gray in gray_pictures(clip)), _PICTURES))
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
