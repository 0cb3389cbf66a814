"""The camera's height over the mattress by tape beside the one that a sheet, a stored plane or corners speak for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from heightpose.geometry.body import Z90

#: Standard deviation of a height measured by tape, cm: to the lens, which is somewhere in the case, from a mattress
#: that gives way.
HEIGHT_SD_CM = 2.0
#: So many of them are no error of measuring.
_MOST_SDS = 4.0


@dataclass(frozen=True)
class HeightCheck:
    """Two heights of one camera, cm over the mattress.

    Attributes:
        found_cm, found_sd_cm: by the sheet, the stored plane or the corners.
        given_cm: by tape.
    """

    found_cm: float
    found_sd_cm: float
    given_cm: float

    @property
    def off_cm(self) -> float:
        """By how much they differ."""
        return abs(self.found_cm - self.given_cm)

    @property
    def sds(self) -> float:
        """The same in standard deviations of both."""
        return self.off_cm / float(np.hypot(HEIGHT_SD_CM, self.found_sd_cm))

    @property
    def contradicted(self) -> bool:
        """Whether no error of the tape explains it."""
        return self.off_cm > _MOST_SDS * HEIGHT_SD_CM

    @property
    def doubt(self) -> float:
        """What the interval of a length must allow for, relative (1 sd): nothing up to one standard deviation, and from
        two on so much that it reaches to what the other height says. A sheet printed too small makes lengths as much
        too long as it puts the camera too high, and nothing tells whether sheet or tape is right."""
        return self.off_cm / self.found_cm / Z90 * float(np.clip(self.sds - 1.0, 0.0, 1.0))

    @property
    def warning(self) -> str:
        """What to say where there is doubt."""
        return (
            f"the camera is {self.found_cm:.0f} cm above the mattress by the sheet, plane or corners, and "
            f"{self.given_cm:.0f} cm by --camera-height-cm; the interval is widened for it. Was the sheet printed at "
            "its true size (measure a tag), and the height measured to the lens?"
        )

    def record(self) -> dict[str, Any]:
        """What height.json says about it."""
        return {
            "found_cm": round(self.found_cm, 1),
            "given_cm": self.given_cm,
            "length_sd": round(self.doubt, 5),
        }
