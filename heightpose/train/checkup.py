"""A run's folder examined after the fact: what the run recorded, and what its weights do with a few samples."""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from heightpose.config import AugmentConfig, DataConfig, TrainConfig, from_dict
from heightpose.data.items import Item
from heightpose.data.pictures import Pictures
from heightpose.errors import FileFormatError, HeightposeError, InputError
from heightpose.report.run_model import CONFIG, LOG, METRICS
from heightpose.textfile import read_json, read_yaml
from heightpose.train.diagnostics import diagnose
from heightpose.train.observed import DIAGNOSTICS, Evidence, Finding, Look, Stretch, Targets, read_evidence

if TYPE_CHECKING:
    from torch import nn

    from heightpose.train.pose_task import PoseTask
    from heightpose.train.task_parts import Batch
    from heightpose.train.tasks import Task

#: Pictures of each split that are looked at, so many at once; training samples, whatever the number of pictures.
_PICTURES, _BATCH, _TARGETS = 64, 16, 96


@dataclass(frozen=True)
class Checkup:
    """What was found.

    Attributes:
        findings: the worst first.
        sources: what it rests on, for people.
        skipped: what could not be looked at and why, for people.
    """

    run: Path
    findings: tuple[Finding, ...]
    sources: tuple[str, ...]
    skipped: tuple[str, ...]

    @property
    def looked(self) -> bool:
        """Whether there was anything of the run but its settings."""
        return self.sources != (CONFIG,)

    def document(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "schema": 1,
            "run": str(self.run),
            "findings": [asdict(f) for f in self.findings],
            "sources": list(self.sources),
            "skipped": list(self.skipped),
        }


def check(
    run: Path, data: tuple[Path, ...] = (), look: bool = True, limit: float | None = None,
    by_heart_steps: int = 0,
) -> Checkup:  # fmt: skip
    """Examine a run.

    Args:
        run: its folder, of a run that is finished, goes on or broke off.
        data: data sets to look at instead of the run's own.
        look: whether to run its weights on some validation samples.
        limit: of overfit, points; None for the run's own.
        by_heart_steps: train a new net on one batch of the data for so many steps; 0: do not.

    Raises:
        InputError: there is no run in the folder.
        HeightposeError: one of its records is damaged.
    """
    if not (run / CONFIG).is_file():
        raise InputError("no training run is here", where=run, expected=CONFIG, hint="Give a run's folder")
    sources, skipped = [CONFIG], []
    config, why = _config(run, data)
    if (run / DIAGNOSTICS).is_file():
        evidence = read_evidence(run / DIAGNOSTICS)
        sources.append(DIAGNOSTICS)
    else:
        evidence = _settings(read_yaml(run / CONFIG, "configuration"))
    rows = _rows(run / LOG)
    if DIAGNOSTICS not in sources:
        skipped.append(
            f"how far steps moved the weights: no {DIAGNOSTICS} (an older run)" if rows
            else "steps: the run recorded none; it has only begun, or ended in its first ones"
        )  # fmt: skip
    if rows:
        sources.append(LOG)
        evidence = with_log(evidence, rows)
    if (run / METRICS).is_file():
        sources.append(METRICS)
        evidence = with_metrics(evidence, _json(run / METRICS))
    if limit is not None:
        evidence = replace(evidence, overfit_limit=limit)
    # What was noticed while it went counts even if today's code and data no longer show it.
    found = diagnose(evidence)
    if not look and not by_heart_steps:
        skipped.append("weights on validation samples: not asked for")
    elif config is None:
        skipped.append(f"weights on validation samples: {why}")
    else:
        if look:
            try:
                evidence, used = with_weights(run, evidence, config)
                sources.append(used)
            except HeightposeError as error:
                skipped.append(f"weights on validation samples: {error}")
        if by_heart_steps:
            try:
                found += _by_heart(config, by_heart_steps)
                sources.append(f"a new net on one batch, {by_heart_steps} steps")
            except HeightposeError as error:
                skipped.append(f"a new net on one batch: {error}")
    for finding in diagnose(evidence):
        if finding.name not in {one.name for one in found}:
            found.append(finding)
    found.sort(key=lambda f: -f.severity)
    return Checkup(run, tuple(found), tuple(sources), tuple(skipped))


def with_log(e: Evidence, rows: list[dict[str, float]]) -> Evidence:
    """The evidence with what ``log.csv`` says of times that were not recorded more closely."""
    told = max((s.last for s in e.stretches), default=0)
    looked = {look.step for look in e.looks}
    stretches, looks = list(e.stretches), list(e.looks)
    last = max((row["step"] for row in rows), default=1.0)
    before, judged = 0, None
    for row in rows:
        step = int(row["step"])
        if step > told and step > before and "loss" in row:
            stretches.append(Stretch(max(before, told) + 1, step, row["loss"], row.get("lr", 0.0)))
        before = step
        # Between validations the log repeats the last one's figures.
        figures = (row.get("MeanSmS@0.1"), row.get("val loss"))
        if row.get("Mean@0.1") is not None and step not in looked and figures != judged:
            looks.append(
                Look(step, step / last, score=row.get("MeanSmS@0.1"), train_mean=row.get("train Mean@0.1"),
                     overfit=row.get("overfit"))
            )  # fmt: skip
        judged = figures
    looks.sort(key=lambda look: look.step)
    return replace(e, stretches=tuple(stretches), looks=tuple(looks))


def with_metrics(e: Evidence, metrics: dict[str, Any]) -> Evidence:
    """The evidence with the final verdict on overfit, of the best weights on more training samples."""
    best, train = metrics.get("best"), metrics.get("on train")
    overfit = _number(metrics.get("overfit"), None)
    if not isinstance(best, dict) or overfit is None:
        return e
    train_mean = _number(train.get("Mean@0.1"), None) if isinstance(train, dict) else None
    steps = max((look.step for look in e.looks), default=0)
    last = Look(
        max(steps, int(_number(metrics.get("steps"), 0))), 1.0, train_mean=train_mean, overfit=overfit
    )
    return replace(e, looks=(*e.looks, last))


def with_weights(run: Path, e: Evidence, config: TrainConfig) -> tuple[Evidence, str]:
    """The evidence with a look at the run's weights on validation samples, and what was looked at.

    Raises:
        HeightposeError: no weights or data, or they cannot be read.
    """
    from heightpose.models.checkpoint import load_weights
    from heightpose.train.pose_task import PoseTask
    from heightpose.train.tasks import make_task, without_weights
    from heightpose.train.training_data import load_items, validated

    names = (f"{config.task}.safetensors", "best.safetensors")
    path = next((run / n for n in names if (run / n).is_file()), None)
    if path is None:
        raise InputError("no weights yet", where=run, expected=" or ".join(names))
    net, _ = load_weights(path)
    task = make_task(without_weights(config))
    everything, _ = load_items(config.data)
    taught = [task.relabel(item) for item in everything if item.split == "train" and item.people]
    validation = [task.relabel(item) for item in validated(everything, config.validation) if item.people]
    if not validation:
        raise InputError("no labelled picture in the split 'val'", where=", ".join(config.data.dirs))
    last = max((look.step for look in e.looks), default=0)
    known = next((look for look in reversed(e.looks) if look.overfit is not None), Look(last, 1.0))
    score = next((look.score for look in reversed(e.looks) if look.score is not None), None)
    # Of a run under way as young as its last look: what is not told of a young run is not told here.
    done = 1.0 if (run / METRICS).is_file() or not e.looks else e.looks[-1].progress
    look = replace(known, step=last, progress=done, score=score)
    look = _looked(look, net, task, _batches(_few(validation), task, config.data, None, 1))
    e = replace(e, looks=(*e.looks, look))
    if isinstance(task, PoseTask):
        e = replace(
            e, targets=_targets(task, taught, config), joints=task.skeleton.names,
            flip_map=tuple(int(k) for k in task.skeleton.flip_map),
        )  # fmt: skip
    return e, f"{path.name} on {look.samples} validation samples"


def _few(items: list[Item]) -> list[Item]:
    """Up to :data:`_PICTURES` of the pictures, spread over all of them."""
    return items[:: max(1, len(items) // _PICTURES)][:_PICTURES]


def _batches(
    items: list[Item], task: Task, data: DataConfig, augment: AugmentConfig | None, rounds: int
) -> Iterator[Batch]:
    """Batches of all samples of the pictures, ``rounds`` times; not varied without ``augment``."""
    from heightpose.train.tasks import batches_of

    samples = task.samples(Pictures(items, data.memory_mb, data.skip_bad), augment)
    return batches_of(task, samples, list(range(len(samples))) * rounds, _BATCH, np.random.default_rng(0))


def _looked(look: Look, net: nn.Module, task: Task, batches: Iterable[Batch]) -> Look:
    """The look with what the network answers to the batches, and which of its channels are dead."""
    import torch

    from heightpose.train.activity import Activity
    from heightpose.train.gaze import Gaze

    gaze, activity = Gaze(net, task), Activity(net)
    try:
        with torch.no_grad():
            for batch in batches:
                net(batch["image"].float())
                gaze.add(batch)
                if gaze.full:
                    break
    finally:
        gaze.close()
        activity.close()
    return activity.into(gaze.into(look))


def _targets(task: PoseTask, taught: list[Item], config: TrainConfig) -> Targets:
    """What the training pictures tell the network to answer."""
    from heightpose.train.target_tally import TargetTally

    tally, chosen = TargetTally(task), _few(taught)
    tally.add_pictures(taught)
    # Several rounds, so that every joint is seen mirrored and not.
    for batch in _batches(chosen, task, config.data, config.augment, -(-_TARGETS // max(1, len(chosen)))):
        tally.add(batch, maps=True)
    return tally.targets()


def _by_heart(config: TrainConfig, steps: int) -> list[Finding]:
    """What the health check on one batch finds: a new net learns it by heart, or does not."""
    from heightpose.train.loop import train
    from heightpose.train.tasks import without_weights

    # New in every part: the run's first weights may be gone, and what had learned already would prove nothing.
    optim = replace(config.optim, epochs=steps, max_minutes=None, freeze="none", norm="batch")
    config = replace(without_weights(config), optim=optim)
    with tempfile.TemporaryDirectory(prefix="heightpose-doctor-") as folder:
        train(config, Path(folder) / "run", overfit_one_batch=True)
        e = read_evidence(Path(folder) / "run" / DIAGNOSTICS)
    return [f for f in diagnose(e) if f.name in ("one-batch", "rate-too-high", "rate-too-low")]


def _config(run: Path, data: tuple[Path, ...]) -> tuple[TrainConfig | None, str]:
    """The run's settings with other data, those of another version left out; None and why where that is not enough."""
    try:
        document = read_yaml(run / CONFIG, "configuration")
        config = from_dict(TrainConfig, _known(TrainConfig, document), str(run / CONFIG))
    except HeightposeError as error:
        return None, str(error)
    if data:
        # What is drawn how often was said of the run's own sets and strata.
        which = replace(
            config.data,
            dirs=tuple(str(d) for d in data),
            iteration=None,
            repeat=(),
            oversample={},
            not_infants=(),
        )
        config = replace(config, data=which, validation=replace(config.validation, leave_out=()))
    return config, ""


def _known(cls: Any, values: Any) -> Any:
    """The values whose settings exist in this version."""
    if not isinstance(values, dict):
        return values
    sections = {f.name: f.default for f in fields(cls)}
    return {
        k: _known(type(sections[k]), v) if is_dataclass(sections[k]) else v
        for k, v in values.items()
        if k in sections
    }


def _settings(document: Any) -> Evidence:
    """What detectors need of settings that may be another version's."""
    document = document if isinstance(document, dict) else {}
    optim = document.get("optim") if isinstance(document.get("optim"), dict) else {}
    own = document.get("diagnostics") if isinstance(document.get("diagnostics"), dict) else {}
    e = Evidence()
    return replace(
        e, kind="detector" if document.get("task") == "detector" else "pose",
        lr=_number(optim.get("lr"), 0.0), warmup_steps=int(_number(optim.get("warmup_steps"), 0.0)),
        overfit_limit=_number(own.get("overfit_limit"), e.overfit_limit),
    )  # fmt: skip


def _rows(path: Path) -> list[dict[str, float]]:
    """Rows with an epoch and a step; what is empty or no number is left out."""
    if not path.is_file():
        return []
    rows = []
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        for row in csv.DictReader(file):
            numbers = {k: n for k, v in row.items() if (n := _number(v, None)) is not None}
            if "step" in numbers:
                rows.append(numbers)
    return rows


def _json(path: Path) -> dict[str, Any]:
    value = read_json(path, "run's figures")
    if not isinstance(value, dict):
        raise FileFormatError("not the figures of a run", where=path, expected="a JSON object")
    return value


def _number(value: Any, default: Any) -> Any:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return default
    return number if abs(number) < float("inf") else default
