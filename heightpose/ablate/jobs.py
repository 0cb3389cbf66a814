"""What a matrix comes to: trainings, each done once however many cells and matrices need it, and measurements.

A training's folder is named by the hash of everything that decides its result. So the same command goes on where it
was stopped, the base cell that several matrices share is trained once, a changed setting never meets the weights of
the old one, and cells that differ in how they are validated only (decoding, test-time augmentation) judge the same
weights.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from heightpose import __version__
from heightpose.ablate.matrix import Budget, Cell, Matrix, Overrides, require_seeds, short_name, stage_of
from heightpose.config import FILES, TrainConfig
from heightpose.data.iterations import chain
from heightpose.errors import ConfigError

RUNS = "runs"
#: A training's last averaged weights: what is measured, and what a pre-training hands on.
FINAL = "final.safetensors"
#: Sections and settings that do not change what is learned.
_AFTERWARDS = ("validation",)
_MACHINE = (("data", "memory_mb"), ("data", "workers"), ("data", "iterations_root"), ("data", "skip_bad"))


@dataclass(frozen=True)
class Training:
    """One training to be done.

    Attributes:
        config: what to train; ``start_from`` already names the pre-training's weights.
        after: the folder whose training must be finished first; None for most.
    """

    folder: Path
    config: TrainConfig
    labels: dict[str, str]
    after: Path | None = None


@dataclass(frozen=True)
class Measurement:
    """One cell at one seed: which training, and under which settings its weights are validated."""

    cell: Cell
    seed: int
    training: Training
    config: TrainConfig

    @property
    def file(self) -> Path:
        """Where its figures are kept, in the training's folder."""
        return self.training.folder / f"measured-{_digest(_part(self.config, _AFTERWARDS))[:8]}.json"


@dataclass(frozen=True)
class Plan:
    """Everything a matrix needs under a budget, in the order in which it is done."""

    trainings: tuple[Training, ...]
    measurements: tuple[Measurement, ...]


def plan(matrix: Matrix, budget: Budget, out: Path, only: Sequence[str] = ()) -> Plan:
    """Lay a matrix out below ``out``.

    Args:
        only: keep the base cell and cells of whose changes the words contain one of these texts.

    Raises:
        ConfigError: no data, a cell that is not valid, or a text of ``only`` that no cell contains.
    """
    cells = matrix.cells()
    if only:
        names = {short_name(cell.labels, matrix.base_labels): cell for cell in cells[1:]}
        unknown = [text for text in only if not any(text in name for name in names)]
        if unknown:
            raise ConfigError(
                "no cell matches", where="--only", got=unknown, hint=f"Cells: {'; '.join(names)}"
            )
        cells = [cells[0], *(cell for name, cell in names.items() if any(text in name for text in only))]
    trainings: dict[Path, Training] = {}
    measurements = []
    for seed in require_seeds(budget.seeds, "--seeds") or matrix.seeds:
        for cell in cells:
            config = replace(matrix.config(cell.overrides, cell.name, budget), seed=seed)
            if not config.data.dirs and config.data.iteration is None:
                raise ConfigError("no data set is named", where=matrix.path, hint="Add --data DIR")
            training = _training(
                matrix, config, {"ablation": matrix.name, **cell.labels}, budget, out, trainings
            )
            measurements.append(Measurement(cell, seed, training, config))
    # A pre-training comes into the dictionary before what needs it.
    return Plan(tuple(trainings.values()), tuple(measurements))


def _training(
    matrix: Matrix, config: TrainConfig, labels: dict[str, str], budget: Budget, out: Path,
    known: dict[Path, Training],
) -> Training:  # fmt: skip
    """The training of a cell, and of the stage that it starts from, once."""
    after, stage = None, stage_of(config)
    if stage is not None:
        before = _stage(matrix, stage, matrix.pretrain[stage], config.seed, budget, out, known)
        after = before.folder
        config = replace(config, start_from=str(after / FINAL))
    folder = out / RUNS / _name(config, None if after is None else after.name)
    return known.setdefault(folder, Training(folder, config, labels, after))


def _stage(
    matrix: Matrix, name: str, overrides: Overrides, seed: int, budget: Budget, out: Path,
    known: dict[Path, Training],
) -> Training:  # fmt: skip
    data = budget.pretrain_data if budget.pretrain_data else budget.data
    config = replace(matrix.config(overrides, f"pretrain {name}", replace(budget, data=data)), seed=seed)
    labels = {"ablation": matrix.name, "pretrain": name}
    return _training(matrix, config, labels, replace(budget, data=data), out, known)


def _name(config: TrainConfig, after: str | None) -> str:
    """The folder's name of a training: task, what decides its result as a hash, seed."""
    about = asdict(config)
    for section in (*_AFTERWARDS, "hardware", "seed"):
        about.pop(section, None)
    for section, key in _MACHINE:
        about[section].pop(key, None)
    about["precision"] = config.hardware.precision
    about["data"]["dirs"] = [_data_hash(Path(d)) for d in config.data.dirs]
    if config.data.iteration is not None:
        about["data"]["iteration"] = chain(config.data.iteration, config.data.iterations_root)[-1].hash
    if after is not None:
        about["start_from"] = after
    elif config.start_from is not None:
        about["start_from"] = _file_hash(Path(config.start_from))
    for section, key in FILES:
        about[section][key] = _content(about[section][key])
    return f"{config.task}-{_digest([about, __version__])[:12]}-seed{config.seed}"


def _part(config: TrainConfig, sections: Sequence[str]) -> dict[str, Any]:
    whole = asdict(config)
    return {section: whole.get(section) for section in sections}


def _data_hash(folder: Path) -> str:
    """Of a data set's labels; its pictures are checked by nobody here but named in the run's own record."""
    return _file_hash(folder / "annotations.json" if folder.is_dir() else folder)


def _content(named: Any) -> Any:
    """The hash of the file that a setting names; what is no file, or gone, as it is: its training tells."""
    return _file_hash(Path(named)) if isinstance(named, str) and Path(named).is_file() else named


def _file_hash(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise ConfigError(
            f"cannot be read: {error.strerror}", where=path, hint="Name a data set's folder with --data"
        ) from error


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()
