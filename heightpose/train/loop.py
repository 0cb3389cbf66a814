"""One training run from configuration to weights; ``heightpose train`` calls :func:`train`."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
import yaml
from lightning.pytorch.callbacks import Callback

from heightpose.config import TrainConfig
from heightpose.data.batches import Batches
from heightpose.errors import ConfigError
from heightpose.models.checkpoint import load_weights, save_weights
from heightpose.models.denormals import flushed_denormals
from heightpose.models.onnx_graph import export_onnx
from heightpose.runtime.atomic import make_folder, write_json, write_text
from heightpose.runtime.output import sha256
from heightpose.train.callbacks import BEST, LAST, LOG, PARTS, PROGRESS, Journal, Keeper, Stopper
from heightpose.train.module import TrainingModule, difference
from heightpose.train.observe import Observer
from heightpose.train.observed import DIAGNOSTICS
from heightpose.train.record import begin
from heightpose.train.resume import judged_on, require_resumable
from heightpose.train.tasks import Task, batches_of, make_task, without_weights
from heightpose.train.trainer import device_name, make_trainer, prepare_process
from heightpose.train.training_data import load_data, shows_any

log = logging.getLogger(__name__)

#: Training samples that the best weights are judged on at the end, and those looked at with every validation.
_OVERFIT_SAMPLES, _PROBE_SAMPLES = 200, 100
#: What a finished run leaves that nobody wants written over.
_RESULTS = ("metrics.json", "pose.safetensors", "detector.safetensors")


@dataclass(frozen=True)
class Run:
    """What a finished run wrote. ``metrics`` is the content of ``metrics.json``. Of a network that ONNX has no words
    for there is no ``onnx``."""

    folder: Path
    weights: Path
    onnx: Path
    metrics: dict[str, Any]


def train(
    config: TrainConfig,
    out: Path,
    *,
    resume: bool = False,
    overfit_one_batch: bool = False,
    note: str | None = None,
    labels: dict[str, str] | None = None,
    callbacks: Sequence[Callback] = (),
) -> Run:
    """Train and write ``out/{pose|detector}.{safetensors,onnx}``, ``run.json`` and ``metrics.json``.

    Args:
        config: everything; ``config.data`` names data sets or a data iteration.
        out: the run's folder, made if needed.
        resume: go on from ``out/last.ckpt``.
        overfit_one_batch: the health check: learn one unvaried batch by heart and validate on it.
        note: what is new about this run, for the timeline. None: as before, of a resumed run.
        labels: the ablation's cell that this run belongs to, name and value.
        callbacks: who else watches the run.

    Raises:
        ConfigError: no data, no such devices, nothing to resume or nothing that fits, or a folder that already holds a
            run.
        HeightposeError: data that cannot be read, or a training that diverged.
        KeyboardInterrupt: interrupted; ``last.ckpt`` is written.
    """
    last = out / LAST
    if resume and not last.is_file():
        raise ConfigError("there is no run to resume", where=last, hint="Leave --resume out to start one")
    if not resume:
        _require_no_run(out)
    if overfit_one_batch:
        config = for_one_batch(config)
    prepare_process(config)
    journal, keeper, stopper = Journal(out), Keeper(out), Stopper()
    # In this order: a row is written before the checkpoint that goes on after it.
    trainer = make_trainer(config, out, [journal, keeper, stopper])
    # A resumed run has its weights in the checkpoint: the files that it started from may be gone.
    task = make_task(without_weights(config) if resume else config)
    training, validation, about = load_data(config, task, overfit_one_batch)
    training.shard = validation.shard = lambda: (trainer.global_rank, trainer.world_size)
    training.require_enough()
    # Nothing is written before all that can be wrong with the settings and the data has had its say.
    module = TrainingModule(task.net(), task, config, total_steps=config.optim.epochs * len(training))
    module.judged_on = judged_on(config, about["data"])
    if not (resume and config.optim.norm == "kept"):  # which are kept stands in the checkpoint
        module.require_batches_of(training.batch_size)
    if resume:
        keeper.anew = not require_resumable(out, module, config)
    make_folder(out)
    if not resume:
        for name in (PROGRESS, LOG, PARTS, DIAGNOSTICS):  # of a run that died before its first checkpoint
            (out / name).unlink(missing_ok=True)
    record = begin(out, config, about["data"], note=note, labels=labels, resume=resume)
    # Weights carry what identifies their data, not its tables.
    about["data"] = {k: v for k, v in about["data"].items() if k != "strata"}
    about["run"] = record["id"]
    keeper.about = about
    write_text(out / "config.yaml", yaml.safe_dump(config.to_dict(), sort_keys=False))

    observer = Observer(out, config, overfit_one_batch)
    trainer.callbacks[:0] = [observer]  # type: ignore[attr-defined]
    trainer.callbacks.extend(callbacks)  # type: ignore[attr-defined]
    training.epoch_of = lambda: trainer.current_epoch
    training.done_of = lambda: trainer.fit_loop.epoch_loop.batch_progress.current.completed
    # Of this process's share, which is known only now.
    module.total_steps = max(1, config.optim.epochs * len(training))
    module.on_train = lambda net: on_train(net, task, training, _PROBE_SAMPLES)
    log.info(
        "training %s on %s, %s, %d samples, validating on %d", task.kind, device_name(trainer), trainer.precision,
        len(training.samples), len(validation.samples),
    )  # fmt: skip
    with stopper.listening(trainer), flushed_denormals():
        _fit(trainer, module, training, validation, last if resume else None)
    training.done_of = lambda: 0  # whoever iterates from here on wants whole epochs
    about |= {"precision": str(trainer.precision)}
    return _finish(out, task, module, trainer, keeper, about, training)


def _require_no_run(out: Path) -> None:
    """Raises ConfigError where a run goes on, or a finished one's results are, whether or not it can be resumed."""
    if (out / LAST).is_file():
        raise ConfigError(
            "the folder already holds a run", where=out, hint="Add --resume or choose another --out"
        )
    held = next((name for name in _RESULTS if (out / name).is_file()), None)
    if held is not None:
        raise ConfigError(
            "the folder already holds a finished run", where=out, got=held, hint="Choose another --out"
        )


def for_one_batch(config: TrainConfig) -> TrainConfig:
    """The configuration that learns one batch by heart: nothing varied, nothing decayed, a quick average."""
    optim = replace(
        config.optim, weight_decay=0.0, warmup_steps=min(10, config.optim.warmup_steps), ema_decay=0.9
    )
    optim = replace(optim, val_every_epochs=max(1, min(25, optim.epochs)))
    return replace(
        config,
        augment=replace(config.augment, enabled=False),
        optim=optim,
        data=replace(config.data, repeat=(), oversample={}),
    )


def _fit(
    trainer: lightning.Trainer,
    module: TrainingModule,
    training: Batches,
    validation: Batches,
    last: Path | None,
) -> None:
    with warnings.catch_warnings():
        # Advice on Lightning's own loaders and on resuming inside an epoch, neither of which applies here.
        warnings.filterwarnings("ignore", module="lightning")
        try:
            trainer.fit(
                module, training, validation, ckpt_path=None if last is None else str(last), weights_only=True
            )
            # The run may end between two validations, by the clock above all, and its last weights are its best.
            if not trainer.interrupted and module.validated_step != trainer.global_step:
                trainer.validate(module, validation, verbose=False)
        except SystemExit as error:  # Lightning turns Ctrl-C into an exit code of its own
            if trainer.interrupted:
                raise KeyboardInterrupt from error
            raise
    if trainer.interrupted:
        raise KeyboardInterrupt


def _finish(
    out: Path,
    task: Task,
    module: TrainingModule,
    trainer: lightning.Trainer,
    keeper: Keeper,
    about: dict[str, Any],
    training: Batches,
) -> Run:
    """The best weights under their final name, in both forms, and the run's numbers."""
    weights, onnx = out / f"{task.kind}.safetensors", out / f"{task.kind}.onnx"
    metrics = {
        "kind": task.kind,
        "best": keeper.best,
        "last": module.val_metrics,
        "epochs": trainer.current_epoch,
        "steps": trainer.global_step,
        "minutes": round(module.elapsed_s / 60.0, 2),
        "device": device_name(trainer),
        **about,
    }
    if trainer.is_global_zero:
        model, meta = load_weights(out / BEST)
        metrics["on train"] = on_train(model, task, training)
        metrics["overfit"] = difference(metrics["on train"], keeper.best, "Mean@0.1")
        metrics["overfit MeanSmS@0.1"] = difference(metrics["on train"], keeper.best, "MeanSmS@0.1")
        save_weights(weights, model.state_dict(), meta)
        try:
            export_onnx(model, onnx, meta)
        except ConfigError as error:  # the training is not to be lost for it
            log.warning("%s", error)
        metrics["weights"] = {path.name: sha256([path]) for path in (weights, onnx) if path.is_file()}
        metrics["finished"] = datetime.now(UTC).isoformat(timespec="seconds")
        write_json(out / "metrics.json", json.loads(json.dumps(metrics)))
    return Run(out, weights, onnx, metrics)


@torch.no_grad()
def on_train(
    model: torch.nn.Module, task: Task, training: Batches, number: int = _OVERFIT_SAMPLES
) -> dict[str, Any]:
    """Validation's figures on what the weights learned from: evenly spread training samples, not varied.

    Of the kind that is validated on (``validation.leave_out``); nothing where no training picture is.
    """
    pictures = training.samples.pictures  # type: ignore[attr-defined]
    samples = task.samples(pictures, None)
    left_out = task.config.validation.leave_out
    judged = [k for k in range(len(samples)) if not shows_any(samples.item(k), left_out)]
    if not judged:
        return {}
    places = np.linspace(0, len(judged) - 1, min(number, len(judged)))
    chosen = np.array(judged)[np.unique(places.astype(int))]
    device, results = next(model.parameters()).device, []
    for batch in batches_of(task, samples, chosen, training.batch_size, np.random.default_rng(0)):
        results += task.validate(model(batch["image"].to(device).float()), batch)
    return task.metrics(results)
