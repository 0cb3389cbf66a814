"""Whether the light was the trouble: pictures that are burnt out to white in places, or dark everywhere.

It explains a rejection and never causes one: an infant who is seen is measured, whatever the light.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from heightpose.types import Measurement

#: Least share of white pixels of a picture that is too bright, and what every channel of such a pixel reaches.
#: Of 250 rendered clips in ordinary light six in a hundred have as much, of those rendered too bright to show an
#: infant all.
_BURNT_SHARE, _WHITE = 0.1, 250
#: A picture is dark whose brightest twentieth stays below this, of 255; in ordinary light it begins above 130.
_DARK = 70
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
        sample = rgb[::_STEP, ::_STEP]
        self._frames += 1
        self._counts["too_bright"] += bool((sample.min(axis=2) >= _WHITE).mean() >= _BURNT_SHARE)
        self._counts["too_dark"] += bool(np.percentile(sample.max(axis=2), 95) < _DARK)

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
