"""WHO length-for-age, 0 to 24 months (WHO Child Growth Standards, 2006), by the LMS method with L = 1.

z = (length / M - 1) / S. M and S are interpolated linearly between the table's months. These numbers describe
a measured length; they never take part in measuring it.
"""

from __future__ import annotations

import csv
import math
from functools import cache
from importlib import resources

import numpy as np

from heightpose.errors import ConfigError

SEXES = ("female", "male")
TABLE = "who_length_for_age_0_24_months.csv"
#: Where the standard for length ends.
LAST_MONTH = 24.0


@cache
def _table() -> dict[str, np.ndarray]:
    text = resources.files("heightpose.data").joinpath(TABLE).read_text(encoding="utf-8")
    rows: dict[str, list[list[float]]] = {sex: [] for sex in SEXES}
    for row in csv.DictReader(text.splitlines()):
        rows[row["sex"]].append([float(row["month"]), float(row["M"]), float(row["S"])])
    return {sex: np.array(sorted(values)) for sex, values in rows.items()}


def median_and_spread(sex: str, age_months: float) -> tuple[float, float]:
    """WHO median length in cm and coefficient of variation S for a sex and age.

    Raises:
        ConfigError: the sex is not in the table or the age lies outside 0-24 months.
    """
    if sex not in SEXES:
        raise ConfigError("unknown sex", expected=" or ".join(SEXES), got=sex)
    if not 0.0 <= age_months <= LAST_MONTH:
        raise ConfigError("age outside the WHO table", expected="0 to 24 months", got=f"{age_months:g}")
    table = _table()[sex]
    return tuple(float(np.interp(age_months, table[:, 0], table[:, k])) for k in (1, 2))  # type: ignore[return-value]


def z_score(sex: str, age_months: float, length_cm: float) -> float:
    """z of a length for sex and age."""
    median, spread = median_and_spread(sex, age_months)
    return (length_cm / median - 1.0) / spread


#: WHO Anthro flags length-for-age z-scores beyond this: age, sex or length is wrong, as good as certainly.
FLAG_Z = 6.0


def flagged(z: float) -> bool:
    """Whether the WHO takes the z-score of a length, to two decimals as it is reported, for implausible."""
    return abs(round(z, 2)) > FLAG_Z


def flag_text(z: float) -> str:
    """What to do about a flagged z-score: ``z -8.02 is beyond the limits ...: check age, sex and length``."""
    limits = f"-{FLAG_Z:g} to +{FLAG_Z:g}"
    return f"z {z:+.2f} is beyond the limits of what the WHO takes for plausible ({limits}): check age, sex and length"


#: Smaller numbers may be taken for 0: runtimes of networks switch processors to round so.
_TINIEST = 1e-300


def percentile(z: float) -> float:
    """Percentile of a z-score, above 0 and below 100 however far out it is."""
    # The complement keeps its digits where 1 + erf would cancel to 0.
    value = 50.0 * math.erfc(-z / math.sqrt(2.0))
    return min(max(value, _TINIEST), math.nextafter(100.0, 0.0))


def rounded_percentile(value: float) -> float:
    """For files: to one decimal, and to two significant digits of what is left to 0 or 100, never one of these."""
    tail = min(value, 100.0 - value)
    return round(value, max(1, 1 - math.floor(math.log10(tail))))


def percentile_text(value: float) -> str:
    """For people: ``<0.1``, ``0.4``, ``54``, ``99.2``, ``>99.9``; never 0 or 100, which no child has."""
    if value < 0.1:
        return "<0.1"
    if value > 99.9:
        return ">99.9"
    return f"{value:.1f}" if min(value, 100.0 - value) < 1.0 else f"{value:.0f}"


def length_for_z(sex: str, age_months: float, z: float) -> float:
    """Length in cm at a z-score for sex and age."""
    median, spread = median_and_spread(sex, age_months)
    return median * (1.0 + spread * z)
