"""Joints outside the infant's box or the picture."""

from __future__ import annotations

import numpy as np

from heightpose.data.checks.finding import CONTRADICTION, REPORTED, Finding
from heightpose.data.coco import Dataset
from heightpose.data.items import Person

#: A rounded box may cut a joint by this share of its longer side.
_TOLERANCE = 0.02


def find_outside(dataset: Dataset) -> list[Finding]:
    """Joints that leave their box or the picture by more than the set's boxes usually allow."""
    pairs = [(i, p) for i in dataset.items for p in i.people]
    excess = np.array([_excess(i.size_wh, p) for i, p in pairs]).reshape(-1, len(dataset.skeleton))
    if not len(excess):
        return []
    # Boxes drawn around the trunk only, say, leave joints out everywhere: then that is this set's habit.
    usual = max(_TOLERANCE, float(np.quantile(excess.max(axis=1), 0.9)))
    found = []
    for (item, person), row in zip(pairs, excess, strict=True):
        out = np.flatnonzero(row > usual)
        if not len(out):
            continue
        worst = float(row.max())
        severity = (
            CONTRADICTION + min(worst / usual, 20.0) / 4 if usual == _TOLERANCE else REPORTED * worst / usual
        )
        names = tuple(dataset.skeleton.names[k] for k in out)
        found.append(
            Finding("outside", severity, f"{', '.join(names)} outside the box or the picture by {100 * worst:.0f} % "
                    "of the box's longer side", item, person, names)
        )  # fmt: skip
    return found


def _excess(size_wh: tuple[int, int], person: Person) -> np.ndarray:
    """``(K,)`` distance beyond box or picture in shares of the box's longer side; 0 for joints not used."""
    x0, y0, x1, y1 = person.bbox_xyxy
    low = np.maximum([x0, y0], -0.5)
    high = np.minimum([x1, y1], np.array(size_wh) - 0.5)
    beyond = np.maximum(low - person.kpts_frame, person.kpts_frame - high).max(axis=1)
    return np.where(person.usable, np.maximum(beyond, 0), 0) / max(x1 - x0, y1 - y0)
