"""Mosaics: four pictures in one, with the labels of all that is still to be seen.

For the detector four whole frames share one input, each in a quarter of it and all of them labelled. A pose crop shows
one infant and is asked for that one alone, so its mosaic keeps the quarter that holds the crop's centre, always the
largest, and fills the other three with other pictures; joints under those count as hidden.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from heightpose.geometry.crop import CropTransform, letterbox_transform

#: How far from the centre the cross of a pose crop's mosaic lies, share of its side.
_NEAREST, _FARTHEST = 0.18, 0.42
#: Where the cross of a detector's mosaic may lie, share of the input's side.
_CROSS = (0.35, 0.65)


def crop_mosaic(
    crop: np.ndarray, others: Sequence[np.ndarray], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """A crop in one tile of four.

    Args:
        crop: ``(h, w, 3)`` uint8, left unchanged.
        others: three pictures ``(H, W, 3)`` uint8, for the other tiles.

    Returns:
        the mosaic; the ``(h, w)`` bool mask of the three other tiles.
    """
    height, width = crop.shape[:2]
    offset = rng.uniform(_NEAREST, _FARTHEST, 2) * rng.choice([-1.0, 1.0], 2)
    x, y = (round(side * (0.5 + part)) for side, part in zip((width, height), offset, strict=True))
    columns, rows = (slice(0, x), slice(x, width)), (slice(0, y), slice(y, height))
    own = (int(offset[1] < 0), int(offset[0] < 0))
    out, covered, left = crop.copy(), np.ones((height, width), bool), list(others)
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            if (i, j) == own:
                covered[row, column] = False
            else:
                size_wh = (column.stop - column.start, row.stop - row.start)
                out[row, column] = _filled(left.pop(), size_wh)
    return out, covered


def frame_tiles(
    sizes_wh: Sequence[tuple[int, int]], input_wh: tuple[int, int], rng: np.random.Generator
) -> list[tuple[CropTransform, tuple[int, int, int, int]]]:
    """Where four frames go in a detector's mosaic.

    Args:
        sizes_wh: of the four frames.

    Returns:
        for each frame its transform from frame px to input px, and its tile as x0, y0, x1, y1.
    """
    width, height = input_wh
    x, y = (round(side * rng.uniform(*_CROSS)) for side in (width, height))
    tiles = [(0, 0, x, y), (x, 0, width, y), (0, y, x, height), (x, y, width, height)]
    placed = []
    for size_wh, (x0, y0, x1, y1) in zip(sizes_wh, tiles, strict=True):
        move = np.eye(3)
        move[:2, 2] = x0, y0
        inner = letterbox_transform(size_wh, (x1 - x0, y1 - y0))
        placed.append((CropTransform(move @ inner.matrix, input_wh), (x0, y0, x1, y1)))
    return placed


def _filled(picture: np.ndarray, size_wh: tuple[int, int]) -> np.ndarray:
    """The middle of a picture, scaled to fill a tile."""
    width, height = size_wh
    scale = max(width / picture.shape[1], height / picture.shape[0])
    whole = (max(width, round(picture.shape[1] * scale)), max(height, round(picture.shape[0] * scale)))
    resized = cv2.resize(picture, whole, interpolation=cv2.INTER_AREA)
    x, y = (whole[0] - width) // 2, (whole[1] - height) // 2
    return resized[y : y + height, x : x + width]
