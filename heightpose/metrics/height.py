"""How far measured lengths are from the truth: pure functions of arrays, one row per clip of a child.

A clip that was rejected has no measured length: it counts against the yield, and its length, where the geometry had
one, only in ``estimate_mae_cm``, which a stricter gate cannot flatter. Everything stands beside the null model, which
says the WHO median for the child's sex and age without looking at the clip.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import ndtri

from heightpose.errors import ConfigError
from heightpose.metrics import who
from heightpose.metrics.bootstrap import (
    LEVEL,
    ROUNDS,
    Draws,
    binomial_interval,
)
from heightpose.types import require_shape

#: Shares of clips within so many centimetres are reported.
WITHIN_CM = (0.5, 1.0, 2.0)
#: Nominal levels of the reliability curve.
NOMINAL = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
#: Bland and Altman's limits hold 95 % of the differences (Lancet 327, 1986).
_LIMITS_SD = 1.96


@dataclass(frozen=True, eq=False)
class Lengths:
    """Clips with their true and measured lengths, cm.

    Attributes:
        truth: ``(N,)``.
        measured: ``(N,)``, NaN where the clip was rejected.
        low, high: ``(N,)`` the measurement's interval, NaN where there is none.
        children: N names.
        null: ``(N,)`` what the null model says, NaN where sex or age is not known.
        level: nominal level of (low, high).
        estimate: ``(N,)`` every length that the geometry had, given out or refused, NaN where it had none; those
            measured unless given.

    Raises:
        ValueError: shapes that do not fit, or a truth that is not a positive number.
    """

    truth: np.ndarray
    measured: np.ndarray
    low: np.ndarray
    high: np.ndarray
    children: Sequence[object]
    null: np.ndarray
    level: float = 0.9
    estimate: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.estimate is None:
            object.__setattr__(self, "estimate", self.measured)
        for name in ("truth", "measured", "low", "high", "null", "estimate"):
            array = np.asarray(getattr(self, name), dtype=np.float64)
            require_shape(name, array, (len(self.children),))
            object.__setattr__(self, name, array)
        if not (np.isfinite(self.truth).all() and (self.truth > 0).all()):
            raise ValueError("truth: expected positive lengths in cm")

    @property
    def is_measured(self) -> np.ndarray:
        """``(N,)`` bool."""
        return np.isfinite(self.measured)

    @property
    def error(self) -> np.ndarray:
        """``(N,)`` measured - truth, NaN where rejected."""
        return self.measured - self.truth

    def chosen(self, rows: np.ndarray) -> Lengths:
        """The clips of a mask or of indices."""
        index = np.arange(len(self.truth))[np.asarray(rows)]
        return Lengths(
            self.truth[index], self.measured[index], self.low[index], self.high[index],
            [self.children[int(i)] for i in index], self.null[index], self.level, np.asarray(self.estimate)[index],
        )  # fmt: skip


def null_length(sex: str | None, age_months: float | None) -> float:
    """WHO median for sex and age; NaN where one is not known or lies outside the table."""
    if sex is None or age_months is None:
        return float("nan")
    try:
        return who.median_and_spread(sex, age_months)[0]
    except ConfigError:
        return float("nan")


def pairs_of_one_child(children: Sequence[object]) -> np.ndarray:
    """``(P, 2)`` int: every pair of rows that show the same child."""
    names = np.array([str(c) for c in children])
    first, second = np.nonzero(np.triu(names[:, None] == names[None, :], k=1))
    return np.column_stack([first, second])


def error_figures(error: np.ndarray) -> dict[str, float | None]:
    """``mae_cm``, ``bias_cm`` and ``p95_cm`` (of the absolute error) of ``(N,)`` errors in cm; None each of none."""
    if not len(error):
        return {"mae_cm": None, "bias_cm": None, "p95_cm": None}
    size = np.abs(error)
    return {
        "mae_cm": float(size.mean()), "bias_cm": float(error.mean()), "p95_cm": float(np.quantile(size, 0.95)),
    }  # fmt: skip


def covers(lengths: Lengths) -> np.ndarray:
    """``(N,)`` bool: the interval holds the truth; False where rejected."""
    with np.errstate(invalid="ignore"):
        return (lengths.low <= lengths.truth) & (lengths.truth <= lengths.high)


def reliability(lengths: Lengths, levels: Sequence[float] = NOMINAL) -> list[dict[str, Any]]:
    """Share of truths inside the interval were it stated for other levels, as a normal error would have it.

    Each side of the interval is scaled by the ratio of normal quantiles; a method whose intervals mean what they say
    has "share" near "nominal" throughout.

    Returns:
        per level "nominal", "share" and "share_interval" (binomial), "clips".
    """
    done = lengths.is_measured
    error = -lengths.error[done]  # truth - measured
    side = np.where(
        error >= 0, lengths.high[done] - lengths.measured[done], lengths.measured[done] - lengths.low[done]
    )
    reach = np.abs(error) / np.maximum(side, 1e-9)
    own = float(ndtri(0.5 + lengths.level / 2))
    curve = []
    for level in levels:
        hits = int((reach <= float(ndtri(0.5 + level / 2)) / own * (1 + 1e-9)).sum())
        number = int(done.sum())
        curve.append(
            {
                "nominal": level,
                "share": hits / number if number else None,
                "share_interval": binomial_interval(hits, number),
                "clips": number,
            }
        )
    return curve


def drawn_statistics(lengths: Lengths, draws: Draws) -> dict[str, np.ndarray]:
    """Every scalar of :func:`summary` in each draw of children: name -> ``(R,)``, NaN where it has no value."""
    done = lengths.is_measured
    error = np.where(done, lengths.error, 0.0)
    size = np.abs(error)
    kept = Draws(draws.child[done], draws.times)
    bias, square = draws.means(error, done), draws.means(error**2, done)
    number = draws.sums(done)
    with np.errstate(invalid="ignore", divide="ignore"):
        sd = np.sqrt(np.maximum(square - bias**2, 0.0) * number / (number - 1))
    sd = np.where(number > 1, sd, np.nan)
    drawn = {
        "mae_cm": draws.means(size, done),
        "bias_cm": bias,
        "sd_cm": sd,
        "median_cm": kept.quantiles(size[done], 0.5),
        "p95_cm": kept.quantiles(size[done], 0.95),
        "rmse_cm": np.sqrt(square),
        "limit_low_cm": bias - _LIMITS_SD * sd,
        "limit_high_cm": bias + _LIMITS_SD * sd,
        "yield": draws.means(done),
        "coverage": draws.means(covers(lengths), done),
        "tem_cm": _drawn_tem(lengths, draws),
    }
    for limit in WITHIN_CM:
        drawn[f"within_{limit:g}_cm"] = draws.means(size <= limit * (1 + 1e-9), done)
    estimate = np.asarray(lengths.estimate)
    worked_out = np.isfinite(estimate)
    drawn["estimate_mae_cm"] = draws.means(
        np.where(worked_out, np.abs(estimate - lengths.truth), 0.0), worked_out
    )
    known = np.isfinite(lengths.null)
    null_size = np.where(known, np.abs(lengths.null - lengths.truth), 0.0)
    drawn["null_mae_cm"] = draws.means(null_size, known & done)
    drawn["null_mae_all_cm"] = draws.means(null_size, known)
    drawn["gain_over_null_cm"] = draws.means(null_size - size, known & done)
    return drawn


def counted_clips(lengths: Lengths) -> dict[str, np.ndarray]:
    """The clips that each scalar of :func:`summary` has a value of: name -> ``(N,)`` bool."""
    done, known = lengths.is_measured, np.isfinite(lengths.null)
    names = (
        "mae_cm",
        "bias_cm",
        "sd_cm",
        "median_cm",
        "p95_cm",
        "rmse_cm",
        "limit_low_cm",
        "limit_high_cm",
        "coverage",
    )
    counted = dict.fromkeys((*names, *(f"within_{limit:g}_cm" for limit in WITHIN_CM)), done)
    counted |= dict.fromkeys(("null_mae_cm", "gain_over_null_cm"), known & done)
    counted |= {"null_mae_all_cm": known, "estimate_mae_cm": np.isfinite(np.asarray(lengths.estimate))}
    paired = np.isin(np.arange(len(done)), _measured_pairs(lengths))
    return counted | {"yield": np.ones(len(done), dtype=bool), "tem_cm": paired}


def _measured_pairs(lengths: Lengths) -> np.ndarray:
    """``(P, 2)`` int: every pair of measured clips that show the same child."""
    done = np.flatnonzero(lengths.is_measured)
    return done[pairs_of_one_child([lengths.children[int(i)] for i in done])]


def _drawn_tem(lengths: Lengths, draws: Draws) -> np.ndarray:
    """Technical error of measurement ``sqrt(sum d^2 / 2n)`` over n pairs in each draw; NaN of none.

    A child drawn twice gives its pairs twice, not pairs with itself: those would have no difference.
    """
    pairs = _measured_pairs(lengths)
    d = lengths.error[pairs[:, 0]] - lengths.error[pairs[:, 1]] if len(pairs) else np.zeros(0)
    of_child = Draws(draws.child[pairs[:, 0]] if len(pairs) else np.zeros(0, dtype=np.intp), draws.times)
    return np.sqrt(of_child.means(d**2) / 2)


def summary(lengths: Lengths, *, level: float = LEVEL, rounds: int = ROUNDS, seed: int = 0) -> dict[str, Any]:
    """Height error with all that belongs to it, as plain JSON values; None where something has no value.

    Scalars: ``mae_cm``, ``bias_cm`` (measured - truth), ``sd_cm``, ``median_cm`` and ``p95_cm`` of the absolute error,
    ``rmse_cm``, ``within_{0.5,1,2}_cm`` (shares of the measured clips), ``limit_low_cm`` and ``limit_high_cm``
    (Bland-Altman), ``tem_cm`` over pairs of measured clips of one child (differences of their errors, so that a child
    that grew between them does not count as error), ``yield``, ``coverage``, ``null_mae_cm`` on the measured clips,
    ``null_mae_all_cm`` on all, ``gain_over_null_cm`` (mean of the null model's absolute error less ours, paired),
    ``estimate_mae_cm`` of every length that the geometry had, refused or not. Each has ``NAME_interval``, resampled by
    child; yield and coverage also ``NAME_binomial``.

    Counts: ``clips``, ``measured``, ``estimated``, ``children``, ``pairs``, ``null_clips``. ``reliability``
    as :func:`reliability`.
    """
    draws = Draws.by_child(lengths.children, rounds, seed)
    drawn = drawn_statistics(lengths, draws)
    counted = counted_clips(lengths)
    once = Draws(draws.child, np.ones((1, draws.children), dtype=np.int64))
    done = lengths.is_measured
    result: dict[str, Any] = {
        "clips": len(lengths.truth),
        "measured": int(done.sum()),
        "estimated": int(np.isfinite(np.asarray(lengths.estimate)).sum()),
        "children": draws.children,
        "pairs": len(_measured_pairs(lengths)),
        "null_clips": int(np.isfinite(lengths.null).sum()),
        "interval_level": level,
        "nominal_coverage": lengths.level,
    }
    for name, values in drawn_statistics(lengths, once).items():
        result[name] = float(values[0]) if np.isfinite(values[0]) else None
        interval = draws.interval(drawn[name], level, counted=counted[name])
        result[f"{name}_interval"] = None if result[name] is None else interval
    result["yield_binomial"] = binomial_interval(int(done.sum()), len(done), level)
    result["coverage_binomial"] = binomial_interval(int(covers(lengths)[done].sum()), int(done.sum()), level)
    result["reliability"] = reliability(lengths)
    return result


def worst(lengths: Lengths, number: int) -> np.ndarray:
    """Indices of the measured clips with the largest absolute error, worst first."""
    done = np.flatnonzero(lengths.is_measured)
    return done[np.argsort(-np.abs(lengths.error[done]), kind="stable")][:number]
