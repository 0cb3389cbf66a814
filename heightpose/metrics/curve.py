"""PCKh over all thresholds, and the area under that curve.

As in MPII's evaluation toolkit the curve runs over thresholds of 0 to 0.5 head sizes in steps of 0.01, and its area is
the trapezoid rule's, scaled so that a perfect method has 100 (per cent).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from heightpose.metrics.bootstrap import Draws
from heightpose.metrics.pckh import JointHits, pckh_at

#: ``(51,)`` thresholds in head sizes, each the decimal number it looks like.
THRESHOLDS = np.round(np.linspace(0.0, 0.5, 51), 2)

#: Stands in for the threshold 0, which only an exact hit passes.
_EXACT = 1e-12


@dataclass(frozen=True, eq=False)
class Curve:
    """PCKh at every threshold.

    Attributes:
        hits: one per threshold, over the same people and joints.
    """

    hits: tuple[JointHits, ...]

    def means(self, joints: np.ndarray | None = None) -> list[float | None]:
        """Plain mean over joints at each threshold, per cent."""
        shares = self._shares if joints is None else self._shares[:, np.asarray(joints)]
        present = shares[:, np.isfinite(shares[0])]
        return present.mean(axis=1).tolist() if present.size else [None] * len(self.hits)

    def auc(self, joints: np.ndarray | None = None) -> float | None:
        """Area under :meth:`means`, per cent; None where nothing is counted."""
        means = self.means(joints)
        return None if means[0] is None else float(area([m for m in means if m is not None]))

    def auc_per_joint(self) -> list[float | None]:
        """Area per joint, per cent; None for a joint that nobody has."""
        return [float(area(of)) if np.isfinite(of[0]) else None for of in self._shares.T]

    def drawn_aucs(self, draws: Draws, joints: np.ndarray | None = None) -> np.ndarray:
        """``(R,)``: :meth:`auc` of each draw of children. The area is linear in the hits, so it is drawn once."""
        columns = np.arange(self._counted.shape[1]) if joints is None else np.asarray(joints)
        areas = draws.sums(self._areas[:, columns])
        counts = draws.sums(self._counted[:, columns])
        present = (counts > 0).sum(axis=1)
        shares = np.divide(areas, counts, out=np.zeros_like(areas), where=counts > 0).sum(axis=1)
        return np.divide(shares, present, out=np.full(len(shares), np.nan), where=present > 0)

    def people(self, joints: np.ndarray | None = None) -> np.ndarray:
        """``(N,)`` bool: who has a counted joint among these (among all by default)."""
        return self.hits[0].people(joints)

    @property
    def _counted(self) -> np.ndarray:
        return self.hits[0].counted

    @cached_property
    def _shares(self) -> np.ndarray:
        """``(51, K)``: per cent per joint at each threshold; NaN for a joint that nobody has."""
        number = self._counted.sum(axis=0)
        hit = 100.0 * np.stack([hits.hit.sum(axis=0) for hits in self.hits])
        return np.divide(hit, number, out=np.full_like(hit, np.nan), where=number > 0)

    @cached_property
    def _areas(self) -> np.ndarray:
        """``(N, K)``: area under each joint's own step from wrong to right, per cent."""
        return area(100.0 * np.stack([hits.hit for hits in self.hits]).astype(np.float64))


def pckh_curve(pred: np.ndarray, truth: np.ndarray, counted: np.ndarray, head_size: np.ndarray) -> Curve:
    """PCKh at each of :data:`THRESHOLDS`. Arguments and errors as :func:`heightpose.metrics.pckh.pckh`."""
    thresholds = [max(float(a), _EXACT) for a in THRESHOLDS]
    return Curve(tuple(pckh_at(pred, truth, counted, head_size, thresholds)))


def area(values: Sequence[float] | np.ndarray) -> np.ndarray:
    """Trapezoid rule over the evenly spaced :data:`THRESHOLDS`, along the first axis: the curve's mean height."""
    values = np.asarray(values, dtype=np.float64)
    return ((values[1:] + values[:-1]) / 2).mean(axis=0)
