"""``heightpose train``: a configuration and data in, weights out. The work is in heightpose.train."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from heightpose.cli._params import FilePath, FiniteRange, wandb_option
from heightpose.errors import ConfigError, MissingExtraError

EPILOG = """\b
Writes:
  RUN/
    pose.safetensors, pose.onnx   the best weights (detector.* for a detector)
    metrics.json                  validation of the best and the last epoch, data, time
    progress.txt, log.csv         one line per epoch: watch with tail -f
    losses.csv                    the training loss of every joint, or of the detector's parts
    diagnostics.json              what is wrong with the run, as far as it noticed (heightpose doctor train)
    best.safetensors, last.ckpt   the best so far; where --resume goes on
    config.yaml                   the settings as they were used
    wandb/                        the run for 'wandb sync'; nothing is contacted unless --wandb online
    run.json                      who the run is: time, note, seed, code, data and their hash (heightpose dashboard)

\b
Examples:
  heightpose train configs/pose-fast.yaml --data nursery --out runs/pose
  heightpose train configs/detector.yaml --data nursery --max-minutes 30
  heightpose train configs/pose-fast.yaml --data nursery --repeat 1 --data photos --repeat 0.25
  heightpose train configs/pose-fast.yaml --iteration poc --out runs/poc
  heightpose train configs/pose-fast.yaml --data nursery --out runs/pose --resume
  heightpose train configs/pose-fast.yaml --data nursery --overfit-one-batch --out runs/check

\b
The numbers it prints are on true boxes of the split 'val'. For those of the whole pipeline: heightpose eval.
"""


def _labels(_ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]) -> dict[str, str] | None:
    pairs = [tuple(part.strip() for part in value.partition("=")) for value in values]
    for value, (name, sign, text) in zip(values, pairs, strict=True):
        if not (name and sign and text):
            raise click.BadParameter(f"expected NAME=VALUE such as optim.lr=0.001, got '{value}'")
    return {name: text for name, _, text in pairs} if pairs else None


@click.command("train", epilog=EPILOG)
@click.argument("config", type=FilePath())
@click.option(
    "--data",
    "data",
    type=FilePath(),
    multiple=True,
    help="Data set folder; repeat for several. Replaces data.dirs and data.iteration.",
)
@click.option(
    "--repeat",
    type=FiniteRange(min=0),
    multiple=True,
    help="How often an epoch draws each picture of the --data beside it, in order. Replaces data.repeat.",
)
@click.option(
    "--iteration",
    help="Data iteration by name, exactly as it was drawn. Replaces data.iteration and data.dirs.",
)
@click.option(
    "--iterations-root",
    type=FilePath(file_okay=False),
    help="Folder of the iterations. Replaces data.iterations_root.",
)
@click.option(
    "--out",
    type=FilePath(file_okay=False),
    help="The run's folder; runs/NAME-OF-CONFIG by default.",
)
@click.option("--resume", is_flag=True, help="Go on from RUN/last.ckpt.")
@click.option("--epochs", type=click.IntRange(min=1), help="Replaces optim.epochs.")
@click.option(
    "--max-minutes",
    type=FiniteRange(min=0, min_open=True),
    help="Time limit, resumed time included; the learning rate ends with it.",
)
@click.option(
    "--start-from",
    "--init",
    "start_from",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Weights to start from: ours (.safetensors, .onnx), a published HRNet .pth or a state dict, with joints "
    "matched by name, or timm's ImageNet weights of the backbone.",
)
@click.option(
    "--overfit-one-batch",
    is_flag=True,
    help="Health check: learn one batch by heart (--epochs is its number of steps, 300 by default).",
)
@click.option("--note", help="What is new about this run, in a few words: its name on the timeline.")
@click.option(
    "--label", "labels", multiple=True, metavar="NAME=VALUE", callback=_labels,
    help="The cell of an ablation that the run belongs to; repeat for several.",
)  # fmt: skip
@wandb_option
def train(
    config: Path, data: tuple[Path, ...], repeat: tuple[float, ...], iteration: str | None,
    iterations_root: Path | None, out: Path | None, resume: bool, epochs: int | None,
    max_minutes: float | None, start_from: Path | None, overfit_one_batch: bool, note: str | None,
    labels: dict[str, str] | None, wandb_mode: str | None,
) -> None:  # fmt: skip
    """Train a pose net or a detector as CONFIG says."""
    for package in ("torch", "timm", "lightning", "safetensors", "onnx", "albumentations"):
        if not _installed(package):
            raise MissingExtraError(package, "train", "heightpose train")
    # Before torch loads: its threads otherwise spin while they wait for each other, which on cores shared
    # with any other work made training ten times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from heightpose.config import TrainConfig

    settings = TrainConfig.load(config)
    if data and iteration is not None:
        raise ConfigError("both data sets and a data iteration are named", hint="Give --data or --iteration")
    which = settings.data
    if data:
        which = replace(which, dirs=tuple(str(d) for d in data), iteration=None)
    if repeat:
        which = replace(which, repeat=repeat)
    if iteration is not None:
        which = replace(which, dirs=(), iteration=iteration)
    if iterations_root is not None:
        which = replace(which, iterations_root=str(iterations_root))
    settings = replace(settings, data=which)
    if overfit_one_batch and epochs is None:
        epochs = 300
    if epochs is not None:
        settings = replace(settings, optim=replace(settings.optim, epochs=epochs))
    if max_minutes is not None:
        settings = replace(settings, optim=replace(settings.optim, max_minutes=max_minutes))
    if start_from is not None:
        settings = replace(settings, start_from=str(start_from))

    from heightpose.train.loop import train as run_training

    folder = out if out is not None else Path("runs") / config.stem
    choices: dict[str, Any] = {
        "resume": resume,
        "overfit_one_batch": overfit_one_batch,
        "note": note,
        "labels": labels,
    }
    from heightpose.report.wandb_log import resolve_mode

    mode = resolve_mode(wandb_mode)
    if mode == "off":
        run = run_training(settings, folder, **choices)
    else:
        from heightpose.report.wandb_train import TrainTracking

        with TrainTracking(folder, mode, resume) as tracking:
            run = run_training(settings, folder, **choices, callbacks=[tracking])
            tracking.conclude(run)
    click.echo(f"{headline(run.metrics)}. Weights in {run.weights}")
    if settings.task == "pose" and settings.pose.joints == "infant":
        click.echo(
            "Before measuring with them: heightpose eval confidence --data HELD_OUT --model "
            f"{run.onnx if run.onnx.is_file() else run.weights}",
            err=True,
        )


def headline(metrics: dict) -> str:
    """The run's result in a few words."""
    best = metrics["best"]
    names = (
        ("MeanSmS@0.1", "Mean@0.1")
        if metrics["kind"] == "pose"
        else ("recall@0.5", "false alarms", "head median deg")
    )
    known = [name for name in names if best.get(name) is not None]
    chosen_by = ""
    if names[0] not in known:  # what the best weights are chosen by, where it is known
        known.append("val loss")
        chosen_by = ", chosen by the validation loss"
    return ", ".join(f"{n} {best[n]:.3g}" for n in known) + f" at epoch {best['epoch']}{chosen_by}"


def _installed(package: str) -> bool:
    from importlib.util import find_spec

    return find_spec(package) is not None
