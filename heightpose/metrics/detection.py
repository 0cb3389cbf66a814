"""How a detector's boxes and head directions answer the labelled infants of a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from heightpose.codec.detection import iou
from heightpose.types import wrap_degrees

#: Overlap from which an infant counts as found, and its head direction is judged.
FOUND_IOU = 0.5


@dataclass(frozen=True)
class Answer:
    """What a detector says of one labelled infant.

    Attributes:
        overlap: intersection over union with the box that is this infant's; 0 where none is.
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
    """An answer for each labelled infant of one picture; a detection answers for one of them, so that their overlaps
    are largest in sum (Kuhn's assignment).

    Args:
        found: box ``(4,)`` px and head direction of each detection.
        boxes_xyxy: ``(4,)`` px of each infant, in the same space.
        angles_deg: head directions; None where the labels do not tell.
    """
    overlaps = np.array([[iou(box, one) for one, _ in found] for box in boxes_xyxy])
    overlaps = overlaps.reshape(len(boxes_xyxy), len(found))
    result = [Answer(0.0, None) for _ in boxes_xyxy]
    for infant, detection in zip(*linear_sum_assignment(overlaps, maximize=True), strict=True):
        overlap, angle = float(overlaps[infant, detection]), angles_deg[infant]
        judged = angle is not None and overlap >= FOUND_IOU
        result[infant] = Answer(overlap, abs(wrap_degrees(found[detection][1] - angle)) if judged else None)
    return result
