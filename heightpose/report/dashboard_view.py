"""What a dashboard is made from, before anything is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from heightpose.metrics.correlation import Correlation, pearson
from heightpose.report.advice import Ranking, rank
from heightpose.report.dashboard_sources import Record, Sources
from heightpose.report.runs import Runs, read_runs
from heightpose.report.timeline import HEIGHT_ERRORS, Step, TestSet, Timeline, timeline

Points = list[tuple[Step, Record, float, float]]


@dataclass(frozen=True)
class Options:
    """What a dashboard is made of besides run records.

    Attributes:
        checks: ``findings.json`` files of ``heightpose data check``.
        pictures: folders of test sets, for the worst cases and the commands; those under eval/testsets are found by
            name.
        target: stratum -> value -> share where the product is used.
        blur: make every infant's face unrecognisable.
    """

    checks: tuple[Path, ...] = ()
    pictures: tuple[Path, ...] = ()
    target: Mapping[str, Mapping[str, float]] | None = None
    blur: bool = True
    title: str = "How the models develop"


@dataclass(frozen=True)
class View:
    """The records in order, and the test sets that most of them share."""

    runs: Runs
    line: Timeline
    numbers: Sources
    joints: TestSet | None
    heights: TestSet | None
    ranking: Ranking

    @property
    def behind(self) -> str:
        """That the ranking is not of the newest step, in words; empty where it is."""
        judged = [s for s in self.line.steps if s.results]
        if self.ranking.step is None or self.ranking.testset is None or self.ranking.step is judged[-1]:
            return ""
        ranked, newest = (self.line.steps.index(s) + 1 for s in (self.ranking.step, judged[-1]))
        return (
            f"what to annotate next is of step {ranked}: step {newest}, the newest, has no MeanSmS@0.1 on "
            f"{self.ranking.testset[0]}, which most steps were judged on"
        )


def look(roots: Sequence[Path], options: Options) -> View:
    """Everything that the page shows, before it is drawn."""
    runs = read_runs(roots)
    line = timeline(runs)
    return View(
        runs, line, Sources(runs, options.pictures), line.main_testset("mean_sms_0.1"),
        next((t for t in map(line.main_testset, (*HEIGHT_ERRORS, "height_yield")) if t is not None), None),
        rank(line, options.target),
    )  # fmt: skip


def correlations(view: View) -> list[tuple[TestSet, TestSet, Points, Correlation]]:
    """Per test set with heights: MeanSmS@0.1 (of the same set, else of the main one) against height MAE over runs."""
    found = []
    for heights in view.line.testsets:
        own = view.line.judged("mean_sms_0.1", heights)
        joints = heights if own else view.joints
        if joints is None or not view.line.judged("height_mae_cm", heights):
            continue
        points: Points = []
        for step in view.line.steps:
            sms = {e.model_sha256: v for e, v in step.figures("mean_sms_0.1", joints)}
            points += [
                (step, e, sms[e.model_sha256], mae)
                for e, mae in step.figures("height_mae_cm", heights)
                if e.model_sha256 in sms
            ]
        found.append((joints, heights, points, pearson([p[2] for p in points], [p[3] for p in points])))
    return found
