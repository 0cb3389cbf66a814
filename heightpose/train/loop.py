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

import cv2
import lightning
import numpy as np
import torch
import yaml
from lightning.pytorch.callbacks import Callback

from heightpose import __version__
from heightpose.config import DataConfig, TrainConfig
from heightpose.data.batches import Batches, draws_per_epoch
from heightpose.data.coco import Dataset
from heightpose.data.draw import require_one_split
from heightpose.data.items import Item
from heightpose.data.iterations import load as load_iteration
from heightpose.data.pictures import Pictures
from heightpose.errors import ConfigError
from heightpose.models.checkpoint import load_weights, save_weights
from heightpose.models.onnx_graph import export_onnx
from heightpose.runtime.atomic import make_folder, write_json, write_text
from heightpose.runtime.output import sha256
from heightpose.train.callbacks import BEST, LAST, LOG, PARTS, PROGRESS, Journal, Keeper, Stopper
from heightpose.train.module import TrainingModule, difference
from heightpose.train.observe import Observer
from heightpose.train.observed import DIAGNOSTICS
from heightpose.train.record import begin, describe_data
from heightpose.train.tasks import Task, make_task

log = logging.getLogger(__name__)

#: Training samples that the best weights are judged on at the end, and those looked at with every validation.
_OVERFIT_SAMPLES, _PROBE_SAMPLES = 200, 100

_MOST_REPEATS = 1000


@dataclass(frozen=True)
class Run:
    """What a finished run wrote. ``metrics`` is the content of ``metrics.json``."""

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
        ConfigError: no data, nothing to resume, or a folder that already holds a run.
        HeightposeError: data that cannot be read, or a training that diverged.
        KeyboardInterrupt: interrupted; ``last.ckpt`` is written.
    """
    last = out / LAST
    if resume and not last.is_file():
        raise ConfigError("there is no run to resume", where=last, hint="Leave --resume out to start one")
    if not resume and last.is_file():
        raise ConfigError(
            "the folder already holds a run", where=out, hint="Add --resume or choose another --out"
        )
    if overfit_one_batch:
        config = for_one_batch(config)
    _prepare_process(config)
    task = make_task(config)
    training, validation, about = load_data(config, task, overfit_one_batch)
    # Nothing is written before all that can be wrong with the settings and the data has had its say.
    module = TrainingModule(task.net(), task, config, total_steps=config.optim.epochs * len(training))
    make_folder(out)
    if not resume:
        for name in (PROGRESS, LOG, PARTS, DIAGNOSTICS):  # of a run that died before its first checkpoint
            (out / name).unlink(missing_ok=True)
    record = begin(out, config, about["data"], note=note, labels=labels, resume=resume)
    # Weights carry what identifies their data, not its tables.
    about["data"] = {k: v for k, v in about["data"].items() if k != "strata"}
    about["run"] = record["id"]
    trainer_keeper = Keeper(out, about)
    write_text(out / "config.yaml", yaml.safe_dump(config.to_dict(), sort_keys=False))

    precision = resolve_precision(config.hardware.precision, config.hardware.accelerator)
    stopper = Stopper()
    trainer = _trainer(config, out, precision, trainer_keeper, stopper)
    observer = Observer(out, config, overfit_one_batch)
    trainer.callbacks[:0] = [observer]  # type: ignore[attr-defined]
    trainer.callbacks.extend(callbacks)  # type: ignore[attr-defined]
    shard = lambda: (trainer.global_rank, trainer.world_size)  # noqa: E731
    training.shard = validation.shard = shard
    training.epoch_of = lambda: trainer.current_epoch
    training.done_of = lambda: trainer.fit_loop.epoch_loop.batch_progress.current.completed
    # Of this process's share, which is known only now.
    module.total_steps = max(1, config.optim.epochs * len(training))
    module.on_train = lambda net: on_train(net, task, training, _PROBE_SAMPLES)
    log.info(
        "training %s on %s, %s, %d samples, validating on %d", task.kind, _device(trainer), precision,
        len(training.samples), len(validation.samples),
    )  # fmt: skip
    with stopper.listening(trainer):
        _fit(trainer, module, training, validation, last if resume else None)
    training.done_of = lambda: 0  # whoever iterates from here on wants whole epochs
    about |= {"precision": precision}
    return _finish(out, task, module, trainer, trainer_keeper, about, training)


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
        data=replace(config.data, limit=optim.batch_size, repeat=()),
    )


def load_data(config: TrainConfig, task: Task, same: bool = False) -> tuple[Batches, Batches, dict[str, Any]]:
    """Training and validation batches (``same``: both of the training samples), and what data they are of.

    Raises:
        ConfigError: no data set is named, or a split is empty.
    """
    everything, about = load_items(config.data)
    about |= describe_data(everything, config.data)
    items = {s: [task.relabel(i) for i in everything if i.split == s] for s in ("train", "val")}
    items["train"] = items["train"][: config.data.limit]
    seed, optim, workers = config.seed, config.optim, config.data.workers
    batches = []
    cache: Pictures | None = None
    for split in ("train", "val"):
        if not (same and cache is not None):
            cache = Pictures(items[split], config.data.memory_mb, config.data.skip_bad)
        training = split == "train"
        samples = task.samples(cache, config.augment if training else None)
        if not len(samples):
            raise ConfigError(
                f"no labelled picture in the split '{split}'",
                where=config.data.iteration or ", ".join(config.data.dirs),
                hint="Give every image of annotations.json a split: train, val or test",
            )  # fmt: skip
        repeats = np.array([samples.item(k).repeat if training else 1.0 for k in range(len(samples))])
        per_epoch = draws_per_epoch(repeats)
        if not per_epoch:
            raise ConfigError("no picture would ever be drawn", where="data.repeat", got=config.data.repeat)
        batches.append(
            Batches(
                samples,
                task.collate,
                min(optim.batch_size, per_epoch),
                shuffle=training,
                seed=seed,
                workers=workers,
                repeats=repeats,
            )
        )
        about[split] = {"pictures": len(cache), "samples": len(samples)}
        if per_epoch != len(samples):
            about[split]["samples per epoch"] = per_epoch
    return batches[0], batches[1], {"data": about, "version": __version__}


def load_items(data: DataConfig) -> tuple[list[Item], dict[str, Any]]:
    """All items of the data sets or of the data iteration, and what identifies the iteration.

    Raises:
        ConfigError: neither or both are named, the iteration is unknown, or ``repeat`` does not fit ``dirs``.
        HeightposeError: data that changed since the iteration was drawn, or a child in two splits.
    """
    if data.repeat and len(data.repeat) != len(data.dirs):
        raise ConfigError(
            "not one number per data set", where="data.repeat",
            expected=f"{len(data.dirs)}, one for each folder of data.dirs", got=list(data.repeat),
            hint="An iteration draws every picture once: leave data.repeat empty" if data.iteration else None,
        )  # fmt: skip
    if any(not 0 <= repeat <= _MOST_REPEATS for repeat in data.repeat):
        raise ConfigError(
            "out of range", where="data.repeat", expected=f"0 to {_MOST_REPEATS}", got=list(data.repeat)
        )
    if data.iteration is None:
        if not data.dirs:
            raise ConfigError(
                "no data set is named", where="data.dirs", hint="Add --data DIR or --iteration NAME"
            )
        datasets = [Dataset.load(d, data.skip_bad) for d in data.dirs]
        require_one_split(datasets)
        if not data.repeat:
            return [i for d in datasets for i in d.items], {}
        mixed = [
            replace(item, repeat=repeat)
            for d, repeat in zip(datasets, data.repeat, strict=True)
            for item in d.items
        ]
        return mixed, {"repeat": list(data.repeat)}
    if data.dirs:
        raise ConfigError(
            "both data sets and a data iteration are named", where="data", hint="Leave data.dirs empty"
        )
    iteration = load_iteration(data.iteration, data.iterations_root)
    return list(iteration.items), {"iteration": {"name": iteration.name, "hash": iteration.hash}}


def resolve_precision(precision: str, accelerator: str = "auto") -> str:
    """Turn "auto" into bf16-mixed where that is fast: GPUs that have it, AMX and AVX512-BF16 processors."""
    if precision != "auto":
        return precision
    if accelerator != "cpu" and torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported() else "16-mixed"
    # Elsewhere bf16 is emulated and several times slower than plain single precision.
    checks = (getattr(torch.cpu, f"_is_{name}_supported", None) for name in ("amx_tile", "avx512_bf16"))
    return "bf16-mixed" if any(check is not None and check() for check in checks) else "32-true"


def _prepare_process(config: TrainConfig) -> None:
    lightning.seed_everything(config.seed, verbose=False)
    torch.set_num_threads(config.hardware.threads)
    torch.set_flush_denormal(True)  # fading weights would otherwise slow the processor manyfold
    torch.set_float32_matmul_precision("high")
    cv2.setNumThreads(1)  # the batches' own threads do the work


def _trainer(
    config: TrainConfig, out: Path, precision: str, keeper: Keeper, stopper: Stopper
) -> lightning.Trainer:
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    devices = config.hardware.devices
    return lightning.Trainer(
        default_root_dir=out,
        accelerator=config.hardware.accelerator,
        devices=int(devices) if devices.isdigit() else devices,
        precision=precision,  # type: ignore[arg-type]
        max_epochs=config.optim.epochs,
        min_epochs=0,  # so that the clock may stop in the first epoch
        gradient_clip_val=config.optim.clip_norm if config.optim.clip_norm > 0 else None,
        check_val_every_n_epoch=config.optim.val_every_epochs,
        num_sanity_val_steps=0,
        logger=False,
        # In this order: a row is written before the checkpoint that goes on after it.
        callbacks=[Journal(out), keeper, stopper],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,  # Batches shard themselves
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
        "device": _device(trainer),
        **about,
    }
    if trainer.is_global_zero:
        model, meta = load_weights(out / BEST)
        metrics["on train"] = on_train(model, task, training)
        metrics["overfit"] = difference(metrics["on train"], keeper.best, "Mean@0.1")
        metrics["overfit MeanSmS@0.1"] = difference(metrics["on train"], keeper.best, "MeanSmS@0.1")
        save_weights(weights, model.state_dict(), meta)
        export_onnx(model, onnx, meta)
        metrics["weights"] = {path.name: sha256([path]) for path in (weights, onnx)}
        metrics["finished"] = datetime.now(UTC).isoformat(timespec="seconds")
        write_json(out / "metrics.json", json.loads(json.dumps(metrics)))
    return Run(out, weights, onnx, metrics)


@torch.no_grad()
def on_train(
    model: torch.nn.Module, task: Task, training: Batches, number: int = _OVERFIT_SAMPLES
) -> dict[str, Any]:
    """Validation's figures on what the weights learned from: evenly spread training samples, not varied."""
    pictures = training.samples.pictures  # type: ignore[attr-defined]
    samples = task.samples(pictures, None)
    chosen = np.unique(np.linspace(0, len(samples) - 1, min(number, len(samples))).astype(int))
    rng, results = np.random.default_rng(0), []
    device = next(model.parameters()).device
    for start in range(0, len(chosen), training.batch_size):
        part = [samples.sample(int(i), rng) for i in chosen[start : start + training.batch_size]]
        batch = task.collate(part)  # type: ignore[arg-type]
        results += task.validate(model(batch["image"].to(device).float()), batch)
    return task.metrics(results)


def _device(trainer: lightning.Trainer) -> str:
    name = type(trainer.accelerator).__name__.removesuffix("Accelerator")
    return f"{trainer.num_devices} x {name}"
