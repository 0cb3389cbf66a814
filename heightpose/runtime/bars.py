"""Which part of the frames shows anything: black bars around the picture are not part of it.

Cameras of 4:3 behind a stream of 16:9, privacy masks and cutting programs pad the picture. An infant that such a bar
cuts off lies well within the frame; without a look for bars its length came out up to 1.7 cm short, and sure.
"""

from __future__ import annotations

import numpy as np

#: A row or column belongs to a bar where no channel of it is brighter in any frame, of 255: coded black is 0 to 3.
_BLACK = 8


class Bars:
    """Takes in the frames of a clip, all of one size."""

    def __init__(self) -> None:
        self._columns = self._rows = np.zeros(0, np.uint8)

    def look(self, rgb: np.ndarray) -> None:
        """Take in one frame, ``(H, W, 3)`` uint8."""
        if self._lit:
            return
        flat = rgb.reshape(len(rgb), -1)
        columns, rows = flat.max(axis=0).reshape(-1, 3).max(axis=1), flat.max(axis=1)
        self._columns = np.maximum(self._columns, columns) if len(self._columns) else columns
        self._rows = np.maximum(self._rows, rows) if len(self._rows) else rows

    @property
    def _lit(self) -> bool:
        """Whether all four edges were seen to show something: then there are no bars."""
        return all(len(side) and min(side[0], side[-1]) > _BLACK for side in (self._columns, self._rows))

    @property
    def shown_xyxy(self) -> tuple[float, float, float, float] | None:
        """Outer edges of what is not bars, frame pixels; None where nothing but black was seen."""
        columns, rows = (np.flatnonzero(side > _BLACK) for side in (self._columns, self._rows))
        if not len(columns):
            return None
        left, right, top, bottom = map(float, (columns[0], columns[-1], rows[0], rows[-1]))
        return left - 0.5, top - 0.5, right + 0.5, bottom + 0.5
