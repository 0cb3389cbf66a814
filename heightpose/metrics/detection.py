"""How a detector's boxes and head directions answer the labelled infants of a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from heightpose.codec.detection import iou
from heightpose.types import wrap_degrees

#: Overlap from which an infant counts as found, and its head direction is judged.
FOUND_IOU = 0.5


@dataclass(frozen=True)
class Answer:
    """What a detector says of one labelled infant.

    Attributes:
        overlap: intersection over union with the box that fits best; 0 where nothing was detected.
        turn_deg: how far that box's head direction is off, 0..180; None where the infant was not found or its
            direction is not known.
    """

    overlap: float
    turn_deg: float | None

    @property
    def found(self) -> bool:
        """Whether the overlap is at least :data:`FOUND_IOU`."""
        return self.overlap >= FOUND_IOU


def answers(
    found: Sequence[tuple[np.ndarray, float]],
    boxes_xyxy: Sequence[np.ndarray],
    angles_deg: Sequence[float | None],
) -> list[Answer]:
    """An answer for each labelled infant of one picture.

    Args:
        found: box ``(4,)`` px and head direction of each detection.
        boxes_xyxy: ``(4,)`` px of each infant, in the same space.
        angles_deg: head directions; None where the labels do not tell.
    """
    result = []
    for box, angle in zip(boxes_xyxy, angles_deg, strict=True):
        best = max(found, key=lambda one, box=box: iou(one[0], box), default=None)  # type: ignore[misc]
        overlap = 0.0 if best is None else iou(best[0], box)
        turn = None
        if best is not None and angle is not None and overlap >= FOUND_IOU:
            turn = abs(wrap_degrees(best[1] - angle))
        result.append(Answer(overlap, turn))
    return result
