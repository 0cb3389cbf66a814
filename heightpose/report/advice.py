"""What to annotate next: strata ranked by their share of a budget, which goes where new children gain most.

For each value of a stratum, with e its joint error (100 - MeanSmS@0.1, seen joints, on the test set), p its share of
the target distribution and n its children in train, the gain of m more children is

    score = p * e * (1 - ((n + 1) / (n + 1 + m)) ** b)

in points of MeanSmS@0.1 over the target: error falls with data as a power law of exponent b (Hestness et al. 2017,
arXiv:1712.00409). b is fitted to the iterations seen so far, each stratum's own slope drawn towards the slope common to
all by what it rests on; before there are two iterations it is assumed, and the reasons say so. The error of a stratum
with few test children is drawn towards the whole set's, so that a ranking is not led by three unlucky infants.

m is small, so scores are what the first new children bring; the budget itself is given out part by part, each to the
stratum that gains most from it after what it got before. Strata are ranked by their part of the budget: by the score
alone a value that two test children and a handful in train show, by chance, would lead the ranking although a few more
of it would be all that helps. Strata that gain no more than as many children drawn at random get nothing. Strata
overlap (a child lies on its side and is covered); gains of different strata do not add up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from heightpose.evaluate.text import figure
from heightpose.report.advice_measured import measured_rows, train_children
from heightpose.report.learning_curve import ASSUMED, curve_of, exponents_of, iterations_of
from heightpose.report.timeline import Step, TestSet, Timeline
from heightpose.words import plural

SCHEMA = 1
#: Test children that weigh as much as the whole set's error.
_PRIOR = 8
#: Fewer test children of a value are too few to say where a budget should go.
_ENOUGH = 10
#: New children that a score is reckoned for, as a share of those in train, and how many such parts a budget has.
_PART, _PARTS = 0.005, 20
#: Of a learning curve so many points are named, the last ones.
_POINTS = 5


@dataclass(frozen=True)
class Advice:
    """One value of a stratum.

    Attributes:
        error: 100 - MeanSmS@0.1 drawn towards the whole set's; ``mean_sms`` and ``interval`` as measured.
        share: of the target distribution, 0..1.
        test, train: children (None: not recorded).
        exponent: of the learning curve; ``curve`` its points, (children in train, error) per iteration.
        height_mae, height_yield: of its clips.
        score: expected gain in points of MeanSmS@0.1 over the target; ``weight`` its part of the budget.
    """

    stratum: str
    value: str
    mean_sms: float
    interval: Sequence[float] | None
    error: float
    share: float
    test: int
    train: int | None
    exponent: float
    curve: tuple[tuple[int, float], ...]
    height_mae: float | None
    height_yield: float | None
    score: float = 0.0
    weight: float = 0.0
    reasons: tuple[str, ...] = field(default=())

    @property
    def key(self) -> str:
        return f"{self.stratum}={self.value}"

    @property
    def caveat(self) -> str:
        """What speaks against following it at once; empty where nothing does."""
        return "" if self.test >= _ENOUGH else f"only {_children(self.test)} of it in the test set"

    def gain(self, more: int, trained: int, given: int = 0) -> float:
        """Points that ``more`` children bring after ``given``; ``trained`` is how many there are in train in all."""
        # Where nobody counted, train is taken to be mixed like the target.
        children = self.train if self.train is not None else self.share * trained
        return _gain(self.share, self.error, children + given, more, self.exponent)


@dataclass(frozen=True)
class Ranking:
    """All advice, best first, and what it rests on.

    Attributes:
        step: the state of the product that is judged; None where nothing was.
        part: m, the new children that scores are reckoned for; ``at_random`` what they gain drawn at random.
        exponent: common to all strata; ``fitted`` whether it was measured.
        iterations: steps of different data that the curve is fitted to; ``mixed`` whether their settings differ too.
    """

    advice: tuple[Advice, ...]
    step: Step | None = None
    testset: TestSet | None = None
    part: int = 0
    at_random: float = 0.0
    exponent: float = ASSUMED
    fitted: bool = False
    iterations: int = 0
    mixed: bool = False

    def document(self) -> dict[str, Any]:
        """The advice as JSON, the form in docs/formats.md."""
        strata = [
            {"key": a.key, "score": a.score, "weight": a.weight, "reasons": list(a.reasons)}
            for a in self.advice
        ]
        return {"schema": SCHEMA, "strata": strata}


def rank(timeline: Timeline, target: Mapping[str, Mapping[str, float]] | None = None) -> Ranking:
    """Rank the strata of the newest step that was judged on the main test set.

    Args:
        target: stratum -> value -> share where the product is used; strata without one take the test set's shares.
    """
    testset = timeline.main_testset("mean_sms_0.1")
    if testset is None:
        return Ranking(())
    step = timeline.judged("mean_sms_0.1", testset)[-1]
    rows = measured_rows(step, testset, target or {})
    trained = train_children(step)
    part = max(1, round(_PART * trained))
    iterations, mixed = iterations_of(timeline, step, testset)
    curves = {key: curve_of(iterations, testset, *key) for key in rows}
    exponents, common, fitted = exponents_of(curves)
    whole = 100.0 - _required(step.mean("mean_sms_0.1", testset))
    at_random = _gain(1.0, whole, trained, part, common)
    made = []
    for key, row in rows.items():
        error = (row["test"] * (100.0 - row["mean_sms"]) + _PRIOR * whole) / (row["test"] + _PRIOR)
        one = Advice(*key, error=error, exponent=exponents[key], curve=curves[key], **row)
        score = one.gain(part, trained)
        if score > at_random * (1 + 1e-9):
            made.append(replace(one, score=score))
    ranking = Ranking((), step, testset, part, at_random, common, fitted, len(iterations), mixed)
    weights = _weights(made, part, trained)
    final = [
        replace(a, weight=weights[a.key], reasons=_reasons(a, ranking, whole))
        for a in sorted(made, key=lambda a: (-weights[a.key], -a.score))
    ]
    return replace(ranking, advice=tuple(final))


def _weights(advice: Sequence[Advice], part: int, trained: int) -> dict[str, float]:
    """Share of the budget: parts given out one by one, each where it gains most after what went there before."""
    given = {a.key: 0 for a in advice}
    for _ in range(_PARTS if advice else 0):
        best = max(advice, key=lambda a: a.gain(part, trained, given[a.key] * part))
        given[best.key] += 1
    return {key: parts / _PARTS for key, parts in given.items()}


def _gain(share: float, error: float, children: float, more: int, exponent: float) -> float:
    """Points that ``more`` children bring."""
    return share * error * (1.0 - ((children + 1.0) / (children + 1.0 + more)) ** exponent)


def _required(value: float | None) -> float:
    assert value is not None
    return value


def _reasons(a: Advice, ranking: Ranking, whole: float) -> tuple[str, ...]:
    alike = a.interval is not None and a.interval[0] <= 100 - whole <= a.interval[1]
    words = [
        f"MeanSmS@0.1 {figure(a.mean_sms, a.interval)} against {100 - whole:.1f} over all"
        + (": no difference shown" if alike else "")
    ]
    if a.caveat:
        words.append(f"{a.caveat}: collect test data first; its error is drawn towards the whole set's")
    words.append(f"{100 * a.share:.0f} % of the target ({_children(a.test)} in test)")
    words.append("children in train not recorded" if a.train is None else f"{_children(a.train)} in train")
    halved = 100.0 * (1.0 - 2.0**-a.exponent)
    if not ranking.fitted:
        words.append(f"no learning curve yet: error assumed to fall by {halved:.0f} % when children double")
    elif len(a.curve) < 2:
        words.append(f"error falls by {halved:.0f} % when children double, as all strata together show")
    else:
        points = ("..., " if len(a.curve) > _POINTS else "") + ", ".join(
            f"{e:.0f} at {n}" for n, e in a.curve[-_POINTS:]
        )
        words.append(
            f"learning curve (error at children): {points}; taken as -{halved:.0f} % when they double"
        )
    if a.height_mae is not None:
        share = "" if a.height_yield is None else f", {100 * a.height_yield:.0f} % measured"
        words.append(f"height MAE {a.height_mae:.2f} cm{share}")
    gained = f"{ranking.part} more of it: +{a.score:.3f} points over the target"
    words.append(f"{gained}, {a.score / ranking.at_random:.1f} times what as many at random bring")
    return tuple(words)


def _children(number: int) -> str:
    return plural(number, "child")
