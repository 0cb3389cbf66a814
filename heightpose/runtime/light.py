"""Whether the light was the trouble: pictures that are burnt out to white in places, or dark everywhere.

It explains a rejection and never causes one: an infant who is seen is measured, whatever the light.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from heightpose.types import Measurement

#: Least share of white pixels of a picture that is too bright, and what every channel of such a pixel reaches.
#: Of 250 rendered clips in ordinary light six in a hundred have as much, of those rendered too bright to show an
#: infant all.
_BURNT_SHARE, _WHITE = 0.1, 250
#: A picture is dark where no more than this share of it reaches that brightness, of 255; in ordinary light a twentieth
#: reaches 130.
_LIT_SHARE, _DARK = 0.05, 70
#: Every so many pixels are looked at, along both sides.
_STEP = 6
#: What the light can explain.
_EXPLAINED = {"no_infant", "sheet_not_found", "too_few_frames", "uncertain"}

_WORDS = {
    "too_bright": "Part of the picture is plain white and shows nothing there: lower the exposure or the light.",
    "too_dark": "The picture is dark: turn on more light.",
}


class Light:
    """Counts the frames of a clip that are too bright or too dark."""

    def __init__(self) -> None:
        self._frames = 0
        self._counts = dict.fromkeys(_WORDS, 0)

    def look(self, rgb: np.ndarray) -> None:
        """Take in one frame, ``(H, W, 3)`` uint8."""
        # Channel by channel: NumPy is ten times as slow along an axis of three.
        red, green, blue = cv2.split(np.ascontiguousarray(rgb[::_STEP, ::_STEP]))
        self._frames += 1
        white = cv2.min(cv2.min(red, green), blue) >= _WHITE
        lit = cv2.max(cv2.max(red, green), blue) >= _DARK
        self._counts["too_bright"] += bool(white.mean() >= _BURNT_SHARE)
        self._counts["too_dark"] += bool(lit.mean() <= _LIT_SHARE)

    def explained(self, measurement: Measurement) -> Measurement:
        """The measurement; where it is refused for what bad light can do, and half of the frames or more are too
        bright or too dark, with that in the reason's words and, as ``light``, in its details. Codes stay."""
        found = [name for name, count in self._counts.items() if count and 2 * count >= self._frames]
        if not found or not any(reason.code in _EXPLAINED for reason in measurement.reasons):
            return measurement
        words = " ".join(_WORDS[name] for name in found)
        first = next(reason for reason in measurement.reasons if reason.code in _EXPLAINED)
        reasons = tuple(
            replace(reason, text=f"{reason.text} {words}") if reason is first else reason
            for reason in measurement.reasons
        )
        return replace(measurement, reasons=reasons, details={**measurement.details, "light": found})
