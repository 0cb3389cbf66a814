"""W&B workspaces and the report of all data iterations, built from code: one view of everything, one of each iteration.

The views are objects of wandb-workspaces; :func:`specification` turns them into plain JSON without an account, and
:func:`publish` saves them with one. What panels show is what :mod:`heightpose.report.wandb_train` and
:mod:`heightpose.report.wandb_eval` log; the report's tables are computed here, from the run records.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from heightpose.errors import MissingExtraError
from heightpose.report.run_model import TrainRun
from heightpose.report.runs import Runs
from heightpose.report.wandb_log import PROJECT
from heightpose.skeleton import INFANT

SCHEMA = 1
_STEP, _ORDER = "trainer/step", "iteration/order"
_GROUP, _NUMBER = "data_iteration", "data_iteration_order"
_NO_ITERATION = "without an iteration"


@dataclass(frozen=True)
class Iteration:
    """A data iteration as the runs know it, oldest first: its trainings, best MeanSmS@0.1 of each."""

    name: str | None
    order: int
    trainings: tuple[TrainRun, ...]

    @property
    def title(self) -> str:
        return _NO_ITERATION if self.name is None else self.name


@dataclass(frozen=True)
class Views:
    """Built, not saved: ``workspaces`` (the first is the overview) and ``report``."""

    workspaces: tuple[Any, ...]
    report: Any


def iterations_of(runs: Runs) -> list[Iteration]:
    """The pose runs by data iteration, in the order the iterations were drawn; those without one come last."""
    found: dict[str | None, list[TrainRun]] = {}
    for run in runs.trainings:
        if run.task == "pose":
            found.setdefault(None if run.iteration is None else str(run.iteration["name"]), []).append(run)
    made = [Iteration(name, _order(trainings[0]), tuple(trainings)) for name, trainings in found.items()]
    return sorted(made, key=lambda i: (i.name is None, i.order))


def _order(run: TrainRun) -> int:
    order = (run.iteration or {}).get("order")
    return 0 if order is None else int(order)


def build(runs: Runs, entity: str, project: str = PROJECT) -> Views:
    """The overview, a workspace of each iteration and the report. Nothing is contacted.

    Raises:
        MissingExtraError: wandb-workspaces is not installed.
    """
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    try:
        import wandb_workspaces.reports.v2 as wr
        import wandb_workspaces.workspaces as ws
    except ImportError as error:
        raise MissingExtraError("wandb-workspaces", "wandb", "heightpose dashboard wandb") from error
    iterations = iterations_of(runs)
    overview = ws.Workspace(
        entity=entity, project=project, name="Data iterations", sections=_sections(ws, wr, grouped=True),
        settings=ws.WorkspaceSettings(x_axis=_STEP),
        runset_settings=ws.RunsetSettings(groupby=[ws.Config(_GROUP)], order=[ws.Ordering(ws.Config(_NUMBER))]),
    )  # fmt: skip
    own = [
        ws.Workspace(
            entity=entity, project=project, name=f"Iteration {iteration.title}",
            sections=_sections(ws, wr, grouped=False),
            settings=ws.WorkspaceSettings(x_axis=_STEP),
            runset_settings=ws.RunsetSettings(filters=[ws.Config(_GROUP) == iteration.name]),
        )
        for iteration in iterations
        if iteration.name is not None
    ]  # fmt: skip
    return Views((overview, *own), _report(wr, runs, iterations, entity, project))


def _sections(ws: Any, wr: Any, *, grouped: bool) -> list[Any]:
    panels = _panels(wr, grouped)
    return [
        ws.Section(name=name, panels=made, is_open=index < 3)
        for index, (name, made) in enumerate(panels.items())
    ]


def _panels(wr: Any, grouped: bool) -> dict[str, list[Any]]:
    by: dict[str, Any] = (
        {"groupby": _GROUP, "groupby_aggfunc": "mean", "groupby_rangefunc": "minmax"} if grouped else {}
    )

    def line(title: str, *metrics: str, x: str = _STEP, y: str = "") -> Any:
        return wr.LinePlot(title=title, x=x, y=list(metrics), title_x=x, title_y=y or None, **by)

    def dots(title: str, x: Any, metric: str, **more: Any) -> Any:
        return wr.ScatterPlot(title=title, x=x, y=wr.SummaryMetric(metric), **more)

    splits, number = ("train", "val"), wr.Config(_NUMBER)
    return {
        "Joints": [
            line("MeanSmS@0.1, train and validation", *(f"{s}/MeanSmS@0.1" for s in splits), y="%"),
            line("Mean@0.1, train and validation", *(f"{s}/Mean@0.1" for s in splits), y="%"),
            line("Overfit: train minus validation", "overfit/Mean@0.1", "overfit/MeanSmS@0.1", y="points"),
            line("Loss", "train/loss", "val/loss"),
        ],
        "Test sets by data iteration": [
            dots("MeanSmS@0.1 on test", number, "test/MeanSmS@0.1"),
            dots("Mean@0.1 on test", number, "test/Mean@0.1"),
            dots("Height error (MAE, cm)", number, "height/mae_cm"),
            dots("Joints against height error", wr.SummaryMetric("test/MeanSmS@0.1"), "height/mae_cm", regression=True),
            line(
                "Height error: measured, refused ones too, null model",
                *(f"height/{name}" for name in ("mae_cm", "estimate_mae_cm", "null_mae_cm")), x=_ORDER, y="cm",
            ),
            line("Yield", "height/yield", x=_ORDER),
        ],
        "Worst cases, faces blurred": [
            wr.MediaBrowser(title="Test", media_keys=["worst cases/test"], num_columns=4),
            wr.MediaBrowser(title="Validation", media_keys=["worst cases/val"], num_columns=4),
        ],
        "Joint by joint": [line(joint, f"val per joint/{joint}", y="% @0.1") for joint in INFANT.names],
        "Tables": [
            wr.WeavePanelSummaryTable(table_name=name) for name in ("test strata", "test joints", "per joint", "strata")
        ],
    }  # fmt: skip


def _report(wr: Any, runs: Runs, iterations: Sequence[Iteration], entity: str, project: str) -> Any:
    from wandb_workspaces import expr

    blocks: list[Any] = [
        wr.TableOfContents(),
        wr.H1(text="All iterations"),
        wr.MarkdownBlock(text=_table(runs, iterations)),
        wr.PanelGrid(runsets=[wr.Runset(name="all", groupby=[f"config.{_GROUP}"])],
                     panels=[p for name in ("Joints", "Test sets by data iteration") for p in _panels(wr, True)[name]]),
    ]  # fmt: skip
    for iteration in iterations:
        blocks += [
            wr.H1(text=f"Iteration {iteration.title}"),
            wr.MarkdownBlock(text=_paragraph(runs, iteration)),
        ]
        if iteration.name is not None:
            # Without a project of its own a run set is of the report's; naming it would ask W&B for its number.
            runset = wr.Runset(name=iteration.name, filters=[expr.Config(_GROUP) == iteration.name])
            panels = _panels(wr, False)
            chosen = [p for name in ("Joints", "Worst cases, faces blurred") for p in panels[name]]
            blocks.append(wr.PanelGrid(runsets=[runset], panels=chosen))
    return wr.Report(
        entity=entity, project=project, title="heightpose: data iterations", width="fluid", blocks=blocks,
        description="What each data iteration brought: joints on train, validation and test, overfit, height error.",
    )  # fmt: skip


def _table(runs: Runs, iterations: Sequence[Iteration]) -> str:
    """A Markdown table: the best training of each iteration and its evaluations."""
    lines = [
        "| iteration | runs | MeanSmS@0.1 val | Mean@0.1 val | overfit | test set | MeanSmS@0.1 test | Mean@0.1 test | "
        "height MAE cm |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for iteration in iterations:
        best = _best(iteration)
        own = [
            iteration.title,
            len(iteration.trainings),
            best.best.get("MeanSmS@0.1"),
            best.best.get("Mean@0.1"),
            best.overfit,
        ]
        tests = runs.evaluations_of(best)
        rows = [
            [
                e.testset[0],
                e.headline.get("mean_sms_0.1"),
                e.headline.get("mean_0.1"),
                e.headline.get("height_mae_cm"),
            ]
            for e in tests
        ]
        for row in rows if rows else [[None] * 4]:
            lines.append("| " + " | ".join(_cell(v) for v in [*own, *row]) + " |")
    return "\n".join(lines)


def _paragraph(runs: Runs, iteration: Iteration) -> str:
    lines = []
    for run in iteration.trainings:
        data = (run.data.get("train") or {}).get("samples")
        words = [
            f"**{run.note or run.name}** (run {run.id})",
            f"data {(run.data_hash or 'of unknown hash')[:12]}",
        ]
        words += [f"{data} training samples"] if data is not None else []
        words += [f"code {run.code.get('commit') or run.code.get('version')}"]
        words += [
            f"MeanSmS@0.1 {_cell(run.best.get('MeanSmS@0.1'))} on validation, overfit {_cell(run.overfit)}"
        ]
        words += [
            f"{e.testset[0]}: {_cell(e.headline.get('mean_sms_0.1'))}" for e in runs.evaluations_of(run)
        ]
        lines.append("- " + "; ".join(words))
    return "\n".join(lines)


def _best(iteration: Iteration) -> TrainRun:
    return max(
        iteration.trainings,
        key=lambda r: -1.0 if r.best.get("MeanSmS@0.1") is None else r.best["MeanSmS@0.1"],
    )


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.1f}" if isinstance(value, float) else str(value).replace("|", "/")


def specification(views: Views) -> dict[str, Any]:
    """The views as plain JSON, in the form that W&B itself stores."""
    return {
        "schema": SCHEMA,
        "workspaces": [_plain(workspace) for workspace in views.workspaces],
        "report": _plain(views.report),
    }


def _plain(view: Any) -> dict[str, Any]:
    return json.loads(view._to_model().model_dump_json(by_alias=True, exclude_none=True))


def publish(views: Views) -> list[str]:
    """Save the views in the user's account; returns their addresses. Errors are W&B's own."""
    saved = [workspace.save() for workspace in views.workspaces] + [views.report.save()]
    return [str(view.url) for view in saved]
