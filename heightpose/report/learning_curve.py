"""How error falls with data: a power law's exponent for every stratum's values, fitted to the iterations seen so far.

Each curve's own slope is drawn towards the slope common to all by what it rests on; before there are two iterations an
exponent is assumed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from heightpose.report.advice_measured import children_in_train, mean_sms_of
from heightpose.report.timeline import Step, TestSet, Timeline

#: Exponent while nothing is measured: in the middle of what Hestness et al. found for pictures (0.07 to 0.35).
ASSUMED = 0.25
#: A fitted exponent stays within: below, no stratum would be worth anything; above, the fit is noise.
_BOUNDS = (0.05, 1.0)


def iterations_of(timeline: Timeline, step: Step, testset: TestSet) -> tuple[list[Step], bool]:
    """The steps that show what more data do: of the same settings where there are two, else of any."""
    judged = [s for s in timeline.judged("mean_sms_0.1", testset) if s.runs and s.runs[0].strata.get("train")]
    judged = [s for s in judged if s.created <= step.created]
    training = step.training
    same = [s for s in judged if training is not None and s.runs[0].settings == training.settings]
    for steps, mixed in ((same, False), (judged, True)):
        latest = {s.runs[0].data_key: s for s in steps}  # of each data the last word
        if len(latest) >= 2:
            return list(latest.values()), mixed
    return [], False


def curve_of(
    iterations: Sequence[Step], testset: TestSet, stratum: str, value: str
) -> tuple[tuple[int, float], ...]:
    """Points of a value's learning curve: (children in train, error) of each iteration that has both."""
    points = []
    for step in iterations:
        each = [mean_sms_of(e.document, stratum, value) for e in step.results[testset]]
        known = [sms for sms in each if sms is not None]
        children = children_in_train(step, stratum, value)
        if known and children is not None:
            points.append((children, 100.0 - sum(known) / len(known)))
    return tuple(points)


def exponents_of(
    curves: Mapping[tuple[str, str], Sequence[tuple[int, float]]],
) -> tuple[dict[tuple[str, str], float], float, bool]:
    """The power law's exponent of each curve, the common one, and whether anything was there to fit."""
    sums = {key: _sums(curve) for key, curve in curves.items()}
    spread = [sxx for sxx, _ in sums.values() if sxx > 0]
    if not spread:
        return dict.fromkeys(curves, ASSUMED), ASSUMED, False
    common = _bounded(-sum(sxy for _, sxy in sums.values()) / sum(spread))
    prior = sum(spread) / len(spread)
    return (
        {key: _bounded((-sxy + prior * common) / (sxx + prior)) for key, (sxx, sxy) in sums.items()},
        common,
        True,
    )


def _sums(curve: Sequence[tuple[int, float]]) -> tuple[float, float]:
    """Sums of squares and of products of log children and log error, around their means."""
    if len(curve) < 2:
        return 0.0, 0.0
    xs, ys = [math.log(n + 1) for n, _ in curve], [math.log(max(e, 0.1)) for _, e in curve]
    x, y = sum(xs) / len(xs), sum(ys) / len(ys)
    return sum((a - x) ** 2 for a in xs), sum((a - x) * (b - y) for a, b in zip(xs, ys, strict=True))


def _bounded(exponent: float) -> float:
    return min(max(exponent, _BOUNDS[0]), _BOUNDS[1])
