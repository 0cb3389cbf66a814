"""What to annotate next: strata ranked by how much an equal number of new children is expected to gain.

For each value of a stratum, with e its joint error (100 - MeanSmS@0.1, seen joints, on the test set), p its share of
the target distribution and n its children in train, the gain of m more children is

    score = p * e * (1 - ((n + 1) / (n + 1 + m)) ** b)

in points of MeanSmS@0.1 over the target: error falls with data as a power law of exponent b (Hestness et al. 2017,
arXiv:1712.00409). b is fitted to the iterations seen so far, each stratum's own slope drawn towards the slope common to
all by what it rests on; before there are two iterations it is assumed, and the reasons say so. The error of a stratum
with few test children is drawn towards the whole set's, so that a ranking is not led by three unlucky infants.

m is small, so scores are what the first new children bring; the budget itself is given out part by part, each to the
stratum that gains most from it after what it got before. Strata that gain no more than as many children drawn at random
get nothing. Strata overlap (a child lies on its side and is covered); gains of different strata do not add up.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from heightpose.errors import ConfigError
from heightpose.evaluate.text import figure
from heightpose.report.timeline import Step, TestSet, Timeline

SCHEMA = 1
#: Exponent while nothing is measured: in the middle of what Hestness et al. found for pictures (0.07 to 0.35).
ASSUMED = 0.25
#: A fitted exponent stays within: below, no stratum would be worth anything; above, the fit is noise.
_BOUNDS = (0.05, 1.0)
#: Test children that weigh as much as the whole set's error.
_PRIOR = 8
#: New children that a score is reckoned for, as a share of those in train, and how many such parts a budget has.
_PART, _PARTS = 0.005, 20
#: Who labelled and where from are nothing that can be annotated more of.
_NOT_CONTENT = ("annotator", "source")
_UNKNOWN = "unknown"
#: Children in train of weights that nobody knows the training of; the ranking hardly depends on it.
_UNCOUNTED = 1000


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
    rows = _rows(step, testset, target or {})
    trained = _train_children(step)
    part = max(1, round(_PART * trained))
    iterations, mixed = _iterations(timeline, step, testset)
    curves = {key: _curve(iterations, testset, *key) for key in rows}
    exponents, common, fitted = _exponents(curves)
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
        for a in sorted(made, key=lambda a: -a.score)
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


def read_target(path: Path) -> dict[str, dict[str, float]]:
    """``--target``: YAML or JSON, stratum -> value -> share. Shares are scaled to sum to 1 in every stratum.

    Raises:
        HeightposeError: it cannot be read, or a share is no number from 0.
    """
    from heightpose.textfile import read_yaml

    document = read_yaml(path, "target distribution", error=ConfigError)
    found: dict[str, dict[str, float]] = {}
    for stratum, shares in document.items() if isinstance(document, dict) else [("", None)]:
        if not isinstance(shares, dict) or not shares:
            raise ConfigError("not a target distribution", where=path, expected="stratum: {value: share}")
        for value, share in shares.items():
            if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 <= share < math.inf:
                raise ConfigError("not a share", where=f"{path}: {stratum}.{value}", got=share)
        total = sum(shares.values())
        if total <= 0:
            raise ConfigError("shares sum to nothing", where=f"{path}: {stratum}")
        found[str(stratum)] = {str(value): share / total for value, share in shares.items()}
    return found


def _rows(
    step: Step, testset: TestSet, target: Mapping[str, Mapping[str, float]]
) -> dict[tuple[str, str], dict[str, Any]]:
    """What is measured of each value: the repetitions' means, shares, counts."""
    results = [e.document for e in step.results[testset]]
    lengths = _height_strata(step, testset)
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for stratum, values in results[0]["strata"].items():
        people = {v: both["pose"]["people"] for v, both in values.items() if both["pose"] is not None}
        known = {v: n for v, n in people.items() if v != _UNKNOWN}
        if stratum in _NOT_CONTENT or len(known) < 2:
            continue
        for value, number in known.items():
            each = [sms for d in results if (sms := _mean_sms(d, stratum, value)) is not None]
            if not each:
                continue
            pose = values[value]["pose"]
            height = lengths.get((stratum, value)) or {}
            shares = target.get(stratum)
            rows[stratum, value] = {
                "mean_sms": sum(each) / len(each),
                "interval": pose["pckh"]["0.1"]["mean_sms_interval"] if len(results) == 1 else None,
                "share": number / sum(known.values()) if shares is None else shares.get(value, 0.0),
                "test": pose["children"],
                "train": children_in_train(step, stratum, value),
                "height_mae": height.get("mae_cm"),
                "height_yield": height.get("yield"),
            }
    return rows


def _height_strata(step: Step, testset: TestSet) -> dict[tuple[str, str], dict[str, Any]]:
    """Heights of the same test set, or of another where this one has no clips."""
    for one in (testset, *(t for t in step.results if t != testset)):
        document = step.results[one][0].document
        if document["height"] is not None:
            return {(s, v): b["height"] for s, vs in document["strata"].items() for v, b in vs.items()}
    return {}


def children_in_train(step: Step, stratum: str, value: str) -> int | None:
    """Children of a stratum's value that the step was trained on; None where that was not recorded."""
    strata = step.runs[0].strata.get("train") if step.runs else None
    if strata is None or stratum not in strata:
        return None
    return int(strata[stratum].get(value, {}).get("children", 0))


def _train_children(step: Step) -> int:
    """About how many: those of the stratum that counts most, as a child may show several values.

    Of a run whose children were not counted its pictures, of weights without a record a number that stands for some.
    """
    strata = step.runs[0].strata.get("train") if step.runs else None
    if strata:
        return max(sum(v["children"] for v in values.values()) for values in strata.values())
    train = (step.runs[0].data.get("train") or {}) if step.runs else {}
    return int(train.get("samples") or _UNCOUNTED)


def _iterations(timeline: Timeline, step: Step, testset: TestSet) -> tuple[list[Step], bool]:
    """The steps that show what more data do: of the same settings where there are two, else of any."""
    judged = [s for s in timeline.judged("mean_sms_0.1", testset) if s.runs and s.runs[0].strata.get("train")]
    judged = [s for s in judged if s.created <= step.created]
    same = [s for s in judged if step.runs and s.runs[0].settings == step.runs[0].settings]
    for steps, mixed in ((same, False), (judged, True)):
        latest = {s.runs[0].data_key: s for s in steps}  # of each data the last word
        if len(latest) >= 2:
            return list(latest.values()), mixed
    return [], False


def _curve(
    iterations: Sequence[Step], testset: TestSet, stratum: str, value: str
) -> tuple[tuple[int, float], ...]:
    points = []
    for step in iterations:
        each = [_mean_sms(e.document, stratum, value) for e in step.results[testset]]
        known = [sms for sms in each if sms is not None]
        children = children_in_train(step, stratum, value)
        if known and children is not None:
            points.append((children, 100.0 - sum(known) / len(known)))
    return tuple(points)


def _exponents(
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


def _mean_sms(document: Mapping[str, Any], stratum: str, value: str) -> float | None:
    both = document["strata"].get(stratum, {}).get(value)
    pose = None if both is None else both["pose"]
    return None if pose is None else pose["pckh"]["0.1"]["mean_sms"]


def _required(value: float | None) -> float:
    assert value is not None
    return value


def _reasons(a: Advice, ranking: Ranking, whole: float) -> tuple[str, ...]:
    words = [f"MeanSmS@0.1 {figure(a.mean_sms, a.interval)} against {100 - whole:.1f} over all"]
    if a.test < _PRIOR:
        words.append(
            f"only {_children(a.test)} in the test set, so its error is drawn towards the whole set's"
        )
    words.append(f"{100 * a.share:.0f} % of the target ({_children(a.test)} in test)")
    words.append("children in train not recorded" if a.train is None else f"{_children(a.train)} in train")
    halved = 100.0 * (1.0 - 2.0**-a.exponent)
    if not ranking.fitted:
        words.append(f"no learning curve yet: error assumed to fall by {halved:.0f} % when children double")
    elif len(a.curve) < 2:
        words.append(f"error falls by {halved:.0f} % when children double, as all strata together show")
    else:
        points = ", ".join(f"{e:.0f} at {n}" for n, e in a.curve)
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
    return "1 child" if number == 1 else f"{number} children"
