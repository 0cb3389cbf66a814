"""Run records: what ``heightpose train``, ``eval`` and ``ablate`` left in their folders, read back and checked.

The dashboard, the W&B logger and the ablation tables read runs through this module alone, so that all of them mean
the same by "the run", "its data" and "its overfit". Nothing here is heavy: no torch, no pictures.

What is read (docs/formats.md, "Run records", has the fields):

- a **training run** is a folder with ``run.json`` (who: id, time, note, labels, seed, code, data, parent; written when
  the run starts), ``config.yaml``, ``metrics.json`` (figures; written when it ends) and ``log.csv``. Runs from before
  ``run.json`` are read too, with what their files tell.
- an **evaluation** is a folder with ``result.json``. Its ``trained`` names the run that made the weights.
- an **ablation** is a folder with ``ablation.json``: ``{"name", "metric", "cells": [{"labels": {..}, "seeds": [{"seed",
  "run", "metrics": {..}}]}]}``, ``run`` a folder relative to it.

:func:`read_runs` walks folders and never fails for a record: one that is corrupted or half-written is in
``Runs.skipped`` with its path and the reason.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from heightpose.errors import HeightposeError, InputError
from heightpose.report.run_files import SCHEMA, read_ablation, read_evaluation, read_training
from heightpose.report.run_model import (
    ABLATION,
    CONFIG,
    LOG,
    METRICS,
    RESULT,
    RUN,
    Ablation,
    Cell,
    EvalRun,
    Seed,
    Skipped,
    TrainRun,
    flat_config,
)  # fmt: skip

__all__ = [
    "SCHEMA", "Ablation", "Cell", "EvalRun", "Runs", "Seed", "Skipped", "TrainRun", "flat_config", "read_ablation",
    "read_evaluation", "read_runs", "read_training",
]  # fmt: skip

T = TypeVar("T")


@dataclass(frozen=True)
class Runs:
    """Everything found, oldest first."""

    roots: tuple[Path, ...]
    trainings: tuple[TrainRun, ...]
    evaluations: tuple[EvalRun, ...]
    ablations: tuple[Ablation, ...]
    skipped: tuple[Skipped, ...]
    _by_id: dict[str, TrainRun] = field(default_factory=dict, repr=False)
    _by_weights: dict[str, TrainRun] = field(default_factory=dict, repr=False)

    def training_of(self, evaluation: EvalRun) -> TrainRun | None:
        """The run that made the judged weights: by its id, else by the hash of the weights.

        A folder's name alone decides nothing: many runs are called "pose".
        """
        trained = evaluation.trained
        if trained is not None and trained.get("id") in self._by_id:
            return self._by_id[trained["id"]]
        return self._by_weights.get(evaluation.model_sha256)

    def evaluations_of(self, training: TrainRun) -> list[EvalRun]:
        """A run's evaluations, oldest first."""
        return [e for e in self.evaluations if self.training_of(e) is training]

    def parent_of(self, training: TrainRun) -> TrainRun | None:
        """The run whose weights this one started from, where it is among these."""
        parent = training.parent
        if parent is None:
            return None
        found = self._by_id.get(parent.get("run") or "")
        return found if found is not None else self._by_weights.get(parent.get("sha256") or "")


def read_runs(roots: Iterable[Path]) -> Runs:
    """Every record below some folders; links are not followed, hidden folders are passed over.

    Raises:
        InputError: a root is no folder.
    """
    kept = tuple(roots)
    trainings: list[TrainRun] = []
    evaluations: list[EvalRun] = []
    ablations: list[Ablation] = []
    skipped: list[Skipped] = []
    for folder in _folders(kept):
        names = {p.name for p in folder.iterdir()}
        if names & {RUN, METRICS} or (CONFIG in names and names & {LOG, "last.ckpt"}):
            _take(folder / (METRICS if METRICS in names else RUN), read_training, folder, trainings, skipped)
        if RESULT in names:
            _take(folder / RESULT, read_evaluation, folder / RESULT, evaluations, skipped)
        if ABLATION in names:
            _take(folder / ABLATION, read_ablation, folder / ABLATION, ablations, skipped)
    by_id: dict[str, TrainRun] = {}
    for run in sorted(trainings, key=lambda r: (r.created, r.folder)):
        if run.id in by_id:
            skipped.append(Skipped(run.file, f"a copy of the run in {by_id[run.id].folder}"))
        else:
            by_id[run.id] = run
    by_weights = {digest: run for run in by_id.values() for digest in run.weights.values()}
    evaluations.sort(key=lambda e: (e.created, e.folder))
    return Runs(
        kept, tuple(by_id.values()), tuple(evaluations), tuple(ablations), tuple(skipped), by_id, by_weights
    )


def _folders(roots: Sequence[Path]) -> list[Path]:
    found: dict[Path, Path] = {}
    for root in roots:
        if not root.is_dir():
            raise InputError(
                "no such folder", where=root, hint="Name the folder that holds the runs: --runs DIR"
            )
        for place, below, _ in os.walk(root):
            below[:] = sorted(d for d in below if not d.startswith(".") and d not in ("records", "wandb"))
            found.setdefault(Path(place).resolve(), Path(place))
    return list(found.values())


def _take(
    path: Path, read: Callable[[Path], T], argument: Path, into: list[T], skipped: list[Skipped]
) -> None:
    try:
        into.append(read(argument))
    except HeightposeError as error:
        # Several files make a record: the one that is broken is named, where it is one of them alone.
        broken = error.where if isinstance(error.where, Path) and error.where != path.parent else path
        skipped.append(Skipped(broken, str(error).removeprefix(f"{error.where}: ")))
