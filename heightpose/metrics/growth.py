"""Several lengths of one child: where each stands on the WHO standard and what changed in between.

Everything here describes finished measurements; nothing of it takes part in measuring.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

import numpy as np

from heightpose.metrics import who

DAYS_PER_MONTH = 30.4375  # as the WHO standard counts
#: Visits less than half a day apart are of one age.
_SAME_AGE_MONTHS = 0.5 / DAYS_PER_MONTH


@dataclass(frozen=True)
class Visit:
    """One measured length.

    Attributes:
        name: what the measurement was made from.
        sex, age_months: for the WHO standard.
        length_cm: the length; interval_cm: (low, high) at ``interval_level``.
    """

    name: str
    sex: str
    age_months: float
    length_cm: float
    interval_cm: tuple[float, float]
    interval_level: float = 0.9

    @property
    def z_score(self) -> float:
        """WHO z of the length."""
        return who.z_score(self.sex, self.age_months, self.length_cm)

    @property
    def percentile(self) -> float:
        """WHO percentile of the length."""
        return who.percentile(self.z_score)

    @property
    def percentile_range(self) -> tuple[float, float]:
        """WHO percentiles of the interval's ends."""
        low, high = (who.percentile(who.z_score(self.sex, self.age_months, end)) for end in self.interval_cm)
        return low, high


@dataclass(frozen=True)
class Change:
    """What lies between two visits.

    Attributes:
        length_cm: later minus earlier; interval_cm: (low, high) at the visits' level.
        shown: the two intervals do not overlap, so that the measurements themselves show a change.
        contradictory: they do not overlap although both visits are of one age, which shows no change but that one of
            the measurements is wrong.
    """

    length_cm: float
    interval_cm: tuple[float, float]
    shown: bool
    contradictory: bool = False

    @property
    def shrunk(self) -> bool:
        """The measurements show a loss, which no infant has: one is of another child, or wrong."""
        return self.shown and self.length_cm < 0


def change(earlier: Visit, later: Visit) -> Change:
    """The difference of two lengths with its uncertainty.

    The errors of two visits are taken as independent, so the half widths add in quadrature:
    ``low = d - hypot(L2 - low2, high1 - L1)``, ``high = d + hypot(high2 - L2, L1 - low1)`` with ``d = L2 - L1``.
    What two visits get wrong alike (the same camera file, the same child's proportions) cancels in a difference, so
    this is rather too wide than too narrow. A change is called shown only when the intervals do not overlap, which
    is stricter than the difference's own interval leaving out zero. Nobody grows between two visits of one age.
    """
    difference = later.length_cm - earlier.length_cm
    (low1, high1), (low2, high2) = earlier.interval_cm, later.interval_cm
    low = difference - float(np.hypot(later.length_cm - low2, high1 - earlier.length_cm))
    high = difference + float(np.hypot(high2 - later.length_cm, earlier.length_cm - low1))
    apart = low2 > high1 or high2 < low1
    one_age = abs(later.age_months - earlier.age_months) < _SAME_AGE_MONTHS
    return Change(difference, (low, high), shown=apart and not one_age, contradictory=apart and one_age)


def changes(visits: Sequence[Visit]) -> list[Change | None]:
    """The change at each visit since the one before; None at the first."""
    return [None, *(change(a, b) for a, b in pairwise(visits))][: len(visits)]


def contradictions(visits: Sequence[Visit]) -> list[tuple[Visit, Visit]]:
    """All pairs of visits of one age whose intervals do not overlap, also where others lie between them."""
    return [(a, b) for a, b in combinations(visits, 2) if change(a, b).contradictory]
