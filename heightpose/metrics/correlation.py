"""How closely two figures go together over runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from heightpose.metrics.bootstrap import LEVEL, Interval

#: Fisher's interval divides by sqrt(n - 3).
FEWEST = 4


@dataclass(frozen=True)
class Correlation:
    """Pearson's r over ``n`` pairs.

    Attributes:
        r: None of fewer than two pairs, or where one side does not vary.
        interval: Fisher's, None of fewer than four pairs.
    """

    n: int
    r: float | None
    interval: Interval | None


def pearson(x: Sequence[float], y: Sequence[float]) -> Correlation:
    """Pearson's r with the 90 % interval of Fisher's z (Metron 1, 1921).

    The interval takes the pairs for independent draws of a bivariate normal. Runs that grew out of each other are not,
    so it is rather too narrow for them.
    """
    a, b = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if a.shape != b.shape or a.ndim != 1:
        raise ValueError(f"expected two rows of one length, got {a.shape} and {b.shape}")
    if len(a) < 2 or a.std() == 0 or b.std() == 0:
        return Correlation(len(a), None, None)
    r = float(np.clip(np.corrcoef(a, b)[0, 1], -1.0, 1.0))
    if len(a) < FEWEST:
        return Correlation(len(a), r, None)
    if abs(r) > 1 - 1e-12:  # z is infinite: a perfect line has no spread to reckon from
        return Correlation(len(a), r, (r, r))
    half = NormalDist().inv_cdf(0.5 + LEVEL / 2) / math.sqrt(len(a) - 3)
    z = math.atanh(r)
    return Correlation(len(a), r, (math.tanh(z - half), math.tanh(z + half)))
