"""Where maps peak, and how one set of places goes with another."""

from __future__ import annotations

import numpy as np
from torch import Tensor


def peaks(maps: Tensor) -> np.ndarray:
    """``(N, K, 2)`` int: the highest pixel of each map, x and y."""
    width = maps.shape[3]
    flat = maps.flatten(2).argmax(dim=2).cpu().numpy()
    return np.stack([flat % width, flat // width], axis=-1)


def line_fit(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Slope of ``y`` over ``x`` ``(M, 2)`` and their correlation, each axis around its own mean."""
    if len(x) < 16:
        return 1.0, 0.0
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    xx, yy, xy = float((x * x).sum()), float((y * y).sum()), float((x * y).sum())
    if xx <= 0 or yy <= 0:
        return 1.0, 0.0
    return xy / xx, xy / float(np.sqrt(xx * yy))
