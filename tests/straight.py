"""The infant that tests of the geometry share."""

from __future__ import annotations

import numpy as np

from heightpose.skeleton import INFANT

#: One infant of 66.8 cm on its back with straight legs, mattress frame, cm (x, y, z): a plain table, not a rendering.
STRAIGHT = {
    "crown": (0, 35.2, 7.0), "head_top": (0, 35.2, 7.0), "upper_neck": (0, 24.4, 6.0), "thorax": (0, 21.0, 5.2),
    "pelvis": (0, 0, 5.6), "left_hip": (4.2, 0, 5.6), "left_knee": (6.0, -16.5, 4.2), "left_ankle": (6.5, -29.6, 2.6),
    "left_heel": (6.3, -30.6, 1.4), "left_toe": (7.5, -32.0, 8.0), "left_shoulder": (6.5, 19.5, 5.0),
    "left_elbow": (13.5, 12.5, 3.5), "left_wrist": (18.0, 4.0, 2.5),
}  # fmt: skip


def body(points: dict[str, tuple[float, float, float]] = STRAIGHT, scale: float = 1.0) -> np.ndarray:
    full = dict(points)
    for name, (x, y, z) in points.items():
        if name.startswith("left_"):
            full.setdefault("right_" + name.removeprefix("left_"), (-x, y, z))
    return scale * np.array([full[n] for n in INFANT.names], dtype=float)
