"""The development as steps: what changed from one to the next, algorithm or data, and what it did to the figures.

A step is one state of the product: trainings that differ in nothing but their seed (and machine) are repetitions and
stand together. Cells of ablations (runs with labels) are no steps. Weights that are judged without a record of their
training, the shipped ones above all, are a step of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from heightpose.report.run_model import EvalRun, TrainRun, code_key
from heightpose.report.runs import Runs
from heightpose.words import plural

FIRST, DATA, ALGORITHM, BOTH, AGAIN = "first", "data", "algorithm", "data and algorithm", "repetition"
#: (name, hash, split, limit, hash of the pictures), see EvalRun.testset.
TestSet = tuple[str, str, str, int | None, str]
#: Headline figures of height error: of the clips measured, and of every length worked out, refused ones too.
HEIGHT_ERRORS = ("height_mae_cm", "height_estimate_mae_cm")
#: A longer name (a note may be a page) is cut where it stands among figures.
_LONGEST = 120
#: Settings named one by one in a step's changes; more are counted.
_NAMED = 5
#: Models that no option chooses, and what to call them.
_MORE_MODELS = {"cover": "cover model", "elevation": "elevation model"}
_NOT_RECORDED = "not recorded"


@dataclass
class Step:
    """One state of the development.

    Attributes:
        runs: its repetitions, oldest first; empty where only results are known.
        results: test set -> its evaluations, one per run.
        replaced: earlier evaluations of the same weights in the same way, which those of ``results`` took the place of.
        trained: the recorded training of weights that were judged again, where ``runs`` is empty.
        kind: what is new against the step before it of the same task.
        changes: the same in words.
    """

    runs: list[TrainRun] = field(default_factory=list)
    results: dict[TestSet, list[EvalRun]] = field(default_factory=dict)
    replaced: list[EvalRun] = field(default_factory=list)
    trained: TrainRun | None = None
    kind: str = FIRST
    changes: list[str] = field(default_factory=list)

    @property
    def created(self) -> datetime:
        return (
            self.runs[0].created if self.runs else min(e.created for es in self.results.values() for e in es)
        )

    @property
    def training(self) -> TrainRun | None:
        """The training that its data and settings are known from; None of weights without a record."""
        return self.runs[0] if self.runs else self.trained

    @property
    def task(self) -> str:
        return self.runs[0].task if self.runs else "pose"

    @property
    def name(self) -> str:
        """Its note; else the training's note or name; else the judged weights."""
        if self.runs:
            return self.runs[0].note or self.runs[0].name
        one = next(iter(self.results.values()))[0]
        if self.trained is not None:
            return one.note or f"{self.trained.note or self.trained.name}, judged again"
        return one.note or f"{one.document['models']['pose']['name']} {one.model_sha256[:6]}"

    @property
    def label(self) -> str:
        """The name, cut to a length that leaves room for figures."""
        return self.name if len(self.name) <= _LONGEST else self.name[: _LONGEST - 1] + "…"

    def figures(self, key: str, testset: TestSet) -> list[tuple[EvalRun, float]]:
        """A headline figure of each repetition that has it."""
        found = [(e, e.headline.get(key)) for e in self.results.get(testset, ())]
        return [(e, value) for e, value in found if value is not None]

    def mean(self, key: str, testset: TestSet) -> float | None:
        """The repetitions' mean of a headline figure."""
        return _mean([value for _, value in self.figures(key, testset)])

    def told_otherwise(self) -> list[tuple[EvalRun, EvalRun, list[str]]]:
        """Replaced results that are not those shown: (replaced, shown, what differs in how they were made)."""
        found = []
        for was in self.replaced:
            now = next(e for e in self.results[was.testset] if e.model_sha256 == was.model_sha256)
            words = _other_makings(was, now)
            if words or _as_told(was) != _as_told(now):
                found.append((was, now, words))
        return found

    def validation(self) -> float | None:
        """The repetitions' mean of MeanSmS@0.1 on the training's own validation split."""
        return _mean([r.best["MeanSmS@0.1"] for r in self.runs if r.best.get("MeanSmS@0.1") is not None])

    def overfit(self) -> float | None:
        """Mean@0.1 on train minus on validation, the repetitions' mean."""
        return _mean([r.overfit for r in self.runs if r.overfit is not None])


@dataclass(frozen=True)
class Timeline:
    """Steps by time. ``testsets`` those that most steps were judged on first."""

    steps: tuple[Step, ...]
    testsets: tuple[TestSet, ...]

    def judged(self, key: str, testset: TestSet) -> list[Step]:
        """The steps that have a headline figure on a test set."""
        return [step for step in self.steps if step.mean(key, testset) is not None]

    def main_testset(self, key: str) -> TestSet | None:
        """Where a figure is known for most steps, of equals the set with more children."""
        able = [t for t in self.testsets if self.judged(key, t)]

        def worth(testset: TestSet) -> tuple[int, int]:
            steps = self.judged(key, testset)
            return len(steps), int(steps[-1].results[testset][0].document["testset"].get("children") or 0)

        return max(able, key=worth, default=None)


def timeline(runs: Runs) -> Timeline:
    """Steps of everything but ablations."""
    steps: list[Step] = []
    for run in runs.trainings:
        if not run.labels:
            _place(run, steps)
    own = {id(run): step for step in steps for run in step.runs}
    others: list[Step] = []
    for result in runs.evaluations:
        training = runs.training_of(result)
        if training is not None:
            if not training.labels:
                _judge(own[id(training)], training, result, others)
        elif not (result.trained or {}).get("labels"):
            _judge_alone(None, result, others)
    steps = sorted([*steps, *others], key=lambda s: s.created)
    for number, step in enumerate(steps):
        before = next((s for s in reversed(steps[:number]) if s.task == step.task), None)
        step.kind, step.changes = _changes(before, step)
    testsets = {t: None for step in steps for t in step.results}
    ranked = sorted(testsets, key=lambda t: -sum(t in s.results for s in steps))
    return Timeline(tuple(steps), tuple(ranked))


def _place(run: TrainRun, steps: list[Step]) -> None:
    for step in reversed(steps):
        first = step.runs[0]
        alike = first.algorithm == run.algorithm and first.data_key == run.data_key
        if alike and run.seed not in [r.seed for r in step.runs]:
            step.runs.append(run)
            return
    steps.append(Step([run]))


def _judge(step: Step, training: TrainRun, result: EvalRun, others: list[Step]) -> None:
    """Results of a run go to its step; judged anew by other code or settings they are a step of their own."""
    there = step.results.setdefault(result.testset, [])
    same = [e for e in there if e.model_sha256 == result.model_sha256]
    if not same:
        there.append(result)
    elif _way(same[0]) == _way(result):
        _replace(step, same[0], result)
    else:
        _judge_alone(training, result, others)


def _judge_alone(training: TrainRun | None, result: EvalRun, others: list[Step]) -> None:
    for step in others:
        one = next(iter(step.results.values()))[0]
        if one.model_sha256 == result.model_sha256 and _way(one) == _way(result):
            there = step.results.setdefault(result.testset, [])
            if there:
                _replace(step, there[0], result)
            else:
                there.append(result)
            return
    others.append(Step([], {result.testset: [result]}, trained=training))


def _replace(step: Step, before: EvalRun, result: EvalRun) -> None:
    """The later of two that should agree is shown; that they do not is told (:meth:`Step.told_otherwise`)."""
    there = step.results[result.testset]
    there[there.index(before)] = result
    step.replaced.append(before)


def _way(result: EvalRun) -> tuple[Any, ...]:
    """Everything that decides a result besides the pose net and the test set."""
    settings = {k: v for k, v in result.document["settings"].items() if k not in ("truth_crops", "limit")}
    detector = (result.document["models"].get("detector") or {}).get("sha256")
    return detector, repr(sorted(settings.items())), result.note, code_key(result.document.get("code"))


def _other_makings(was: EvalRun, now: EvalRun) -> list[str]:
    """What no option chooses and is another: the models beside the two nets, and what ran them."""
    a, b = _makings(was), _makings(now)
    return [
        f"{name} {a.get(name, _NOT_RECORDED)} → {b.get(name, _NOT_RECORDED)}"
        for name in a | b
        if a.get(name) != b.get(name)
    ]


def _makings(result: EvalRun) -> dict[str, str]:
    models = result.document["models"]
    hashes = {"calibration of joint scores": models["pose"].get("calibration_sha256")} | {
        name: (models.get(kind) or {}).get("sha256") for kind, name in _MORE_MODELS.items()
    }
    # How many threads it had makes no difference.
    active = {
        f"{net} by": " ".join(str(one[key]) for key in ("name", "device", "precision") if key in one)
        for net, one in (result.document.get("backend") or {}).items()
    }
    return {name: digest[:6] for name, digest in hashes.items() if digest is not None} | active


def _as_told(result: EvalRun) -> dict[str, float | None]:
    """Its headline with the digits that are told."""
    return {key: None if value is None else round(value, 2) for key, value in result.headline.items()}


def _changes(before: Step | None, step: Step) -> tuple[str, list[str]]:
    if before is None:
        return FIRST, []
    if not (before.runs and step.runs):
        return ALGORITHM, _changes_of_results(before, step)
    was, now = before.runs[0], step.runs[0]
    algorithm = _changed_settings(was.settings, now.settings)
    if was.code_key != now.code_key:
        algorithm.append(f"code {was.code_key[:7]} → {now.code_key[:7]}")
    start = _start(now, before)
    if start and start != _start(was, None):
        algorithm.append(start)
    data = [] if was.data_key == now.data_key else [_data_words(was, now)]
    if now.note and now.note != was.note and not (algorithm or data):
        algorithm.append("what its name says: no setting, no code differs")
    kind = {(True, True): BOTH, (True, False): DATA, (False, True): ALGORITHM}.get(
        (bool(data), bool(algorithm)), AGAIN
    )
    return kind, data + algorithm


def _changed_settings(was: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Settings that only one of them has came or went with the code, which is named beside."""
    changed = [f"{k} {was[k]} → {now[k]}" for k in now if k in was and now[k] != was[k]]
    more = [] if len(changed) <= _NAMED else [plural(len(changed) - _NAMED, "more setting")]
    return changed[:_NAMED] + more


def _start(run: TrainRun, before: Step | None) -> str:
    if run.parent is None:
        return "" if before is None else "from scratch" if before.runs[0].parent is not None else ""
    own = [] if before is None else [r.id for r in before.runs]
    return (
        "goes on from the step before"
        if run.parent.get("run") in own
        else f"starts from {run.parent['name']}"
    )


def _data_words(was: TrainRun, now: TrainRun) -> str:
    counts = [(run.data.get("train") or {}).get("pictures") for run in (was, now)]
    many = "" if None in counts else f" ({counts[0]} → {counts[1]} pictures)"
    names = was.data_name if was.data_name == now.data_name else f"{was.data_name} → {now.data_name}"
    return f"data {names}{many}"


def _changes_of_results(before: Step, step: Step) -> list[str]:
    """Of steps that are known by results alone, or follow one that is."""
    if not step.results:
        return ["another model, trained"]
    result = next(iter(step.results.values()))[0]
    pairs = [e for es in before.results.values() for e in es]
    if not pairs:
        return [f"weights {result.model_sha256[:6]}"]
    other, words = pairs[0], []
    if other.model_sha256 != result.model_sha256:
        words.append(f"weights {other.model_sha256[:6]} → {result.model_sha256[:6]}")
    was, now = _way(other), _way(result)
    if was[0] != now[0]:
        words.append(f"detector {str(was[0])[:6]} → {str(now[0])[:6]}")
    if was[1] != now[1]:
        words.append("settings of the evaluation")
    words += _other_makings(other, result)
    if was[3] != now[3]:
        words.append(f"code {was[3][:7]} → {now[3][:7]}")
    return words


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
