"""Intervals by resampling children: several frames or clips of one child are not independent of each other.

Every statistic of the project uses the percentile bootstrap with children as the unit. A draw is how often each child
is taken, so a statistic is computed for all draws at once from weights instead of from copied rows.

Arrays: N rows (people or clips), C children, R rounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

LEVEL = 0.9
ROUNDS = 1000

Interval = tuple[float, float]


@dataclass(frozen=True, eq=False)
class Draws:
    """How often each row is taken in each round.

    Attributes:
        child: ``(N,)`` int, which child each row shows.
        times: ``(R, C)`` int, how often each child is taken.
    """

    child: np.ndarray
    times: np.ndarray

    @classmethod
    def by_child(cls, children: Sequence[object], rounds: int = ROUNDS, seed: int = 0) -> Draws:
        """Draw as many children as there are, with replacement, ``rounds`` times."""
        _, child = np.unique([str(c) for c in children], return_inverse=True)
        number = int(child.max()) + 1 if len(child) else 0
        if number == 0:
            return cls(np.zeros(0, dtype=np.intp), np.zeros((rounds, 0), dtype=np.int64))
        even = np.full(number, 1.0 / number)
        return cls(child, np.random.default_rng(seed).multinomial(number, even, size=rounds))

    @property
    def children(self) -> int:
        """How many children there are."""
        return self.times.shape[1]

    @cached_property
    def weights(self) -> np.ndarray:
        """``(R, N)``: how often each row is taken."""
        return self.times[:, self.child].astype(np.float64)

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Sum over the rows taken: ``(N, ...)`` values -> ``(R, ...)``."""
        values = np.asarray(values, dtype=np.float64)
        if len(values) != len(self.child):
            raise ValueError(f"children: expected {len(values)}, got {len(self.child)}")
        per_child = np.zeros((self.children, *values.shape[1:]))
        np.add.at(per_child, self.child, values)
        return np.tensordot(self.times, per_child, axes=1)

    def means(self, values: np.ndarray, counted: np.ndarray | None = None) -> np.ndarray:
        """``(R,)``: mean of ``(N,)`` values over the rows taken (and ``counted``); NaN where none is."""
        counted = np.ones(len(values), dtype=bool) if counted is None else np.asarray(counted, dtype=bool)
        total = self.sums(np.where(counted, values, 0.0))
        number = self.sums(counted)
        return np.divide(total, number, out=np.full(len(total), np.nan), where=number > 0)

    def quantiles(self, values: np.ndarray, q: float) -> np.ndarray:
        """``(R,)``: the q-quantile of ``(N,)`` values over the rows taken, as ``np.quantile`` of the copied rows."""
        values = np.asarray(values, dtype=np.float64)
        if not len(values):
            return np.full(len(self.times), np.nan)
        order = np.argsort(values, kind="stable")
        ordered, filled = values[order], np.cumsum(self.weights[:, order], axis=1)
        place = q * np.maximum(filled[:, -1] - 1, 0)
        low, high = (
            ordered[np.minimum((filled <= at[:, None]).sum(axis=1), len(ordered) - 1)]
            for at in (np.floor(place), np.ceil(place))
        )
        found = low + (high - low) * (place - np.floor(place))
        return np.where(filled[:, -1] > 0, found, np.nan)

    def contributing(self, counted: np.ndarray | None = None) -> int:
        """How many different children are in the rows of an ``(N,)`` mask (all rows by default)."""
        return len(np.unique(self.child if counted is None else self.child[np.asarray(counted, dtype=bool)]))

    def interval(
        self, drawn: np.ndarray, level: float = LEVEL, *, counted: np.ndarray | None = None
    ) -> Interval | None:
        """The middle ``level`` of a statistic over the rounds ``(R,)``, leaving out those where it is NaN.

        None of fewer than two children: drawing one child again and again says nothing about others.

        Args:
            counted: ``(N,)`` bool, the rows that the statistic has a value of; all by default. Children without one
                do not make an interval.
        """
        finite = drawn[np.isfinite(drawn)]
        if self.contributing(counted) < 2 or not len(finite):
            return None
        low, high = np.quantile(finite, [(1 - level) / 2, (1 + level) / 2])
        return float(low), float(high)


def binomial_interval(hits: int, number: int, level: float = LEVEL) -> Interval | None:
    """Clopper and Pearson's exact interval for a share (Biometrika 26, 1934); None of nothing."""
    from scipy.special import betaincinv

    if number == 0:
        return None
    alpha = 1 - level
    low = 0.0 if hits == 0 else float(betaincinv(hits, number - hits + 1, alpha / 2))
    high = 1.0 if hits == number else float(betaincinv(hits + 1, number - hits, 1 - alpha / 2))
    return low, high
