"""How high everything that lies on the mattress reaches: what blankets, toys and hands must stay above."""

from __future__ import annotations

import numpy as np

#: Barycentric sample points of a triangle (all combinations of quarters): closer than a grid step on any body.
_QUARTERS = np.array([[i, j, 4 - i - j] for i in range(5) for j in range(5 - i)]) / 4.0


def surface_samples(vertices_cm: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Points all over the triangles that face up, ``(N, 3)``."""
    corners = np.asarray(vertices_cm, np.float32)[faces]
    a, b = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    facing_up = a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0] > 0
    corners = corners[facing_up]
    span = np.ptp(corners[:, :, :2], axis=1).max(axis=1)
    small = corners[span < 0.6].mean(axis=1), corners[span < 0.6].reshape(-1, 3)
    large = np.einsum("sk,fkd->fsd", _QUARTERS.astype(np.float32), corners[span >= 0.6]).reshape(-1, 3)
    return np.concatenate([*small, large])


class Relief:
    """A height map over the mattress and a hand's breadth round it; cells of ``step`` cm, 0 where nothing lies."""

    def __init__(self, half_cm: tuple[float, float] = (50.0, 80.0), step: float = 1.0) -> None:
        self.step = step
        self.origin = -np.array(half_cm)
        self.height_cm = np.zeros(tuple(int(2 * h / step) + 1 for h in half_cm))

    def _cells(self, xy_cm: np.ndarray) -> np.ndarray:
        cells = np.round((xy_cm - self.origin) / self.step).astype(int)
        return np.clip(cells, 0, np.array(self.height_cm.shape) - 1)

    def add(self, points_cm: np.ndarray) -> None:
        """Raise the map to these points ``(N, 3)``."""
        cells = self._cells(points_cm[:, :2])
        np.maximum.at(self.height_cm, (cells[:, 0], cells[:, 1]), points_cm[:, 2])

    def under(self, points_cm: np.ndarray) -> np.ndarray:
        """The greatest height in the 3x3 cells round each point, ``(N,)``."""
        cells = self._cells(points_cm[:, :2])
        rows, cols = self.height_cm.shape
        best = np.zeros(len(points_cm))
        for di in (-1, 0, 1):
            for dj in (-1, 0, 1):
                i, j = np.clip(cells[:, 0] + di, 0, rows - 1), np.clip(cells[:, 1] + dj, 0, cols - 1)
                best = np.maximum(best, self.height_cm[i, j])
        return best

    def lift_over(self, points_cm: np.ndarray, gap_cm: float = 0.3) -> float:
        """How far these points must rise so that none is nearer than ``gap_cm`` to what lies below (never negative)."""
        return max(0.0, float((self.under(points_cm) + gap_cm - points_cm[:, 2]).max()))
