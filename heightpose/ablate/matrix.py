"""A matrix of trainings as a YAML file: a base configuration, factors with levels, seeds.

Every cell is the base configuration with dotted overrides (``optim.lr: 1.0e-3``), checked as strictly as any other
configuration before anything is trained. The first level of every factor is the base that the others are compared with.
"""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from heightpose.config import DataConfig, TrainConfig, from_dict
from heightpose.errors import ConfigError
from heightpose.textfile import read_yaml
from heightpose.words import one_line

Overrides = dict[str, Any]

#: A cell's ``start_from`` that names a stage of ``pretrain`` instead of a file.
PRETRAINED = "pretrain:"
EACH, PRODUCT = "each", "product"
HIGHER, LOWER = "higher", "lower"
#: Settings that are sections of settings.
_SECTIONS = frozenset(f.name for f in fields(TrainConfig) if is_dataclass(f.default))
#: What cells can be compared by, by task: figures of :mod:`heightpose.ablate.measure` that are one number.
METRICS = {
    "pose": (
        "MeanSmS@0.1", "Mean@0.1", "Edge@0.1", "MeanSmS@0.5", "Mean@0.5", "Edge@0.5", "hidden MeanSmS@0.1",
        "hidden Mean@0.1", "error px", "median error heads", "people", "minutes", "steps",
    ),
    "detector": (
        "recall@0.5", "recall@0.75", "mean IoU", "false alarms", "head median deg", "head >20 deg", "head >90 deg",
        "infants", "empties", "minutes", "steps",
    ),
}  # fmt: skip
#: Folders of ``--out`` that are no matrix's.
_TAKEN = ("runs",)
_LARGEST_SEED = 2**31 - 1

_KEYS = (
    "name", "question", "base", "set", "factors", "combine", "seeds", "metric", "better", "pretrain",
)  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """One combination of levels: factor -> level label, and what it changes in the base configuration."""

    labels: dict[str, str]
    overrides: Overrides

    @property
    def name(self) -> str:
        """Words for people, such as "lr 1.0e-3"."""
        return ", ".join(f"{factor} {level}" for factor, level in self.labels.items())


@dataclass(frozen=True)
class Budget:
    """What makes a quick run of a full matrix.

    Attributes:
        epochs: of the base cell; a cell that sets its own keeps its ratio to the base's.
        limit: training pictures.
        seeds: instead of the matrix's.
        changes: further overrides for all cells, before their own.
        data: data set folders; ``pretrain_data`` those of the pre-training stages where they differ.
    """

    epochs: int | None = None
    limit: int | None = None
    seeds: tuple[int, ...] = ()
    changes: Overrides = field(default_factory=dict)
    data: tuple[str, ...] = ()
    pretrain_data: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """What the results say about it; no paths, only folder names."""
        return {
            "epochs": self.epochs,
            "limit": self.limit,
            "set": self.changes,
            "data": [Path(d).resolve().name for d in self.data],
            "pretrain_data": [Path(d).resolve().name for d in self.pretrain_data],
        }


@dataclass(frozen=True)
class Matrix:
    """A matrix as read.

    Attributes:
        path: the file.
        question: what it is to answer, for people.
        base: the configuration that every cell starts from, ``changes`` included.
        changes: overrides of all cells (``set`` in the file).
        factors: factor -> level label -> overrides; the first level is the base's.
        combine: "each": one factor at a time from the base; "product": all combinations.
        metric: what cells are compared by, ``better`` its good end.
        pretrain: stage -> overrides of the base: trained first, for each seed.
    """

    path: Path
    name: str
    question: str
    base: TrainConfig
    changes: Overrides
    factors: dict[str, dict[str, Overrides]]
    combine: str
    seeds: tuple[int, ...]
    metric: str
    better: str
    pretrain: dict[str, Overrides]

    @classmethod
    def load(cls, path: Path) -> Matrix:
        """Read and check a file, every cell's configuration included.

        Raises:
            ConfigError: an unknown key, a factor without levels, or a cell that is no valid configuration; by name.
        """
        document = read_yaml(path, "ablation", error=ConfigError)
        document = _mapping(document, path, "an ablation")
        _require_known(document, path)
        for key in ("base", "factors"):
            if document.get(key) is None:
                raise ConfigError(f"'{key}' is missing", where=path, hint="See configs/ablations/")
        base = TrainConfig.load(path.parent / str(document["base"]))
        changes = _overrides(document.get("set"), f"{path}: set")
        base, factors = changed(base, changes, f"{path}: set"), _factors(document["factors"], path)
        stages = _mapping(document.get("pretrain"), path, "pretrain")
        matrix = cls(
            path,
            _folder_name(document.get("name", path.stem), path),
            one_line(document.get("question", "")),
            base,
            changes,
            factors,
            _one_of(document.get("combine", EACH), (EACH, PRODUCT), f"{path}: combine"),
            _seeds(document.get("seeds", [1, 2, 3]), path),
            _one_of(document.get("metric", METRICS["pose"][0]), METRICS[base.task], f"{path}: metric"),
            _one_of(document.get("better", HIGHER), (HIGHER, LOWER), f"{path}: better"),
            {str(name): _overrides(v, f"{path}: pretrain {name}") for name, v in stages.items()},
        )
        for cell in matrix.cells():
            matrix.config(cell.overrides, cell.name)
        for name in matrix.pretrain:
            matrix.require_end(name)
        return matrix

    def require_end(self, stage: str) -> None:
        """Raise ConfigError where a pre-training starts, in the end, from itself, or is not valid."""
        passed: list[str] = []
        following: str | None = stage
        while following is not None:
            if following in passed:
                chain = " from ".join([*passed, following])
                raise ConfigError(
                    "a pre-training that starts from itself", where=f"{self.path}: pretrain", got=chain
                )
            passed.append(following)
            following = stage_of(self.config(self.pretrain[following], f"pretrain {following}"))

    @property
    def base_labels(self) -> dict[str, str]:
        """The base cell's level of every factor."""
        return {factor: next(iter(levels)) for factor, levels in self.factors.items()}

    def cells(self) -> list[Cell]:
        """Every cell once, the base cell first."""
        if self.combine == PRODUCT:
            rows = itertools.product(*self.factors.values())
            combinations = [dict(zip(self.factors, row, strict=True)) for row in rows]
        else:
            combinations = [self.base_labels]
            for factor, levels in self.factors.items():
                combinations += [self.base_labels | {factor: level} for level in list(levels)[1:]]
        return [Cell(labels, self._overrides_of(labels)) for labels in combinations]

    def config(self, overrides: Overrides, what: str, budget: Budget | None = None) -> TrainConfig:
        """The configuration of a cell or a stage under a budget, without its seed and its pre-trained weights.

        Raises:
            ConfigError: it is not valid, names a stage that there is not, or data of its own beside the budget's.
        """
        where = f"{self.path}: {what}"
        budget = Budget() if budget is None else budget
        base = changed(self.base, budget.changes, f"{where}: --set")
        made = changed(base, overrides, where)
        stage = stage_of(made)
        if stage is not None and stage not in self.pretrain:
            raise ConfigError("no such pre-training", where=where, expected=tuple(self.pretrain), got=stage)
        epochs, limit = made.optim.epochs, made.data.limit
        if budget.epochs is not None:
            epochs = max(1, round(budget.epochs * epochs / base.optim.epochs))
        if budget.limit is not None and "data.limit" not in overrides:
            limit = budget.limit
        data = replace(made.data, limit=limit)
        if budget.data:
            data = _in_place_of(data, budget.data, {*budget.changes, *overrides}, where)
        return replace(made, data=data, optim=replace(made.optim, epochs=epochs))

    def _overrides_of(self, labels: Mapping[str, str]) -> Overrides:
        merged: Overrides = {}
        for factor, level in labels.items():
            merged |= self.factors[factor][level]
        return merged


def short_name(labels: Mapping[str, str], base: Mapping[str, str]) -> str:
    """A cell by what it changes; the base cell by all its levels."""
    changed = {f: level for f, level in labels.items() if level != base[f]}
    return ", ".join(f"{factor} {level}" for factor, level in (changed if changed else labels).items())


def stage_of(config: TrainConfig) -> str | None:
    """The pre-training stage that a configuration starts from; None where it starts from a file or from nothing."""
    start = config.start_from
    return start.removeprefix(PRETRAINED) if start is not None and start.startswith(PRETRAINED) else None


def changed(config: TrainConfig, overrides: Mapping[str, Any], where: str) -> TrainConfig:
    """A configuration with dotted settings replaced, checked as a whole.

    Raises:
        ConfigError: an unknown setting (with a suggestion), a wrong type, a value out of range, a whole section, or
            the seed, which cells share.
    """
    values = config.to_dict()
    for dotted, value in overrides.items():
        if dotted == "seed":
            raise ConfigError(
                "cells share their seeds", where=where, hint="seeds: [1, 2, 3] in the matrix, or --seeds"
            )
        if dotted in _SECTIONS:  # what it leaves out would go back to its default
            raise ConfigError(
                f"'{dotted}' is a section", where=where, expected=f"single settings, {dotted}.NAME"
            )
        *sections, name = str(dotted).split(".")
        place = values
        for section in sections:
            inner = place.get(section)
            if not isinstance(inner, dict):
                close = difflib.get_close_matches(
                    section, [k for k, v in place.items() if isinstance(v, dict)], 1
                )
                hint = f"Did you mean '{close[0]}'?" if close else None
                raise ConfigError(f"no settings called '{section}'", where=f"{where}: {dotted}", hint=hint)
            place = inner
        place[name] = value
    return from_dict(TrainConfig, values, where)


def _in_place_of(data: DataConfig, dirs: tuple[str, ...], own: Container[str], where: str) -> DataConfig:
    """The base's data replaced by a budget's, which a cell's ``own`` settings may weigh but not name others beside.

    Raises:
        ConfigError: cells that differ in their data would all be the same, or ``repeat`` does not fit the folders.
    """
    for name, value in (("dirs", data.dirs), ("iteration", data.iteration)):
        if f"data.{name}" in own and value:
            raise ConfigError(
                f"data.{name} beside --data, which takes its place", where=where, got=value,
                hint="Leave out --data where cells name their data",
            )  # fmt: skip
    repeat = data.repeat if "data.repeat" in own else ()  # the base's is for the base's folders
    if repeat and len(repeat) != len(dirs):
        raise ConfigError(
            "not one number per data set", where=f"{where}: data.repeat",
            expected=f"{len(dirs)}, one for each --data", got=list(repeat),
        )  # fmt: skip
    return replace(data, dirs=dirs, repeat=repeat, iteration=None)


def _factors(document: Any, path: Path) -> dict[str, dict[str, Overrides]]:
    factors = {}
    for name, levels in _mapping(document, path, "factors").items():
        where = f"{path}: factors: {name}"
        found = _mapping(levels, where, "levels")
        if len(found) < 2:
            raise ConfigError("a factor has two levels at least", where=where, got=len(found))
        if len({str(k) for k in found}) < len(found):
            raise ConfigError("two levels of one name", where=where, got=[str(k) for k in found])
        factors[str(name)] = {str(k): _overrides(v, f"{where}: {k}") for k, v in found.items()}
    if not factors:
        raise ConfigError("no factors", where=path, hint="See configs/ablations/")
    return factors


def _overrides(document: Any, where: str) -> Overrides:
    found = _mapping(document, where, "dotted settings")
    return {str(key): value for key, value in found.items()}


def _seeds(document: Any, path: Path) -> tuple[int, ...]:
    good = isinstance(document, list) and document and all(type(seed) is int for seed in document)
    if not good or len(set(document)) != len(document):
        raise ConfigError(
            "not seeds", where=f"{path}: seeds", expected="different whole numbers", got=document
        )
    return require_seeds(document, f"{path}: seeds")


def require_seeds(seeds: Sequence[int], where: str) -> tuple[int, ...]:
    """The seeds. Raises ConfigError where a training takes no such number."""
    if not all(0 <= seed <= _LARGEST_SEED for seed in seeds):
        raise ConfigError("not seeds", where=where, expected=f"0 to {_LARGEST_SEED}", got=list(seeds))
    return tuple(seeds)


def _folder_name(value: Any, path: Path) -> str:
    """The matrix's name, which its results' folder has."""
    name = str(value) if isinstance(value, (str, int, float)) else ""
    if not name.strip() or name in _TAKEN or name.startswith(".") or set(name) & set("/\\\0\n"):
        raise ConfigError(
            "no name of a folder", where=f"{path}: name", expected=f"a word other than {', '.join(_TAKEN)}",
            got=repr(value),
        )  # fmt: skip
    return name


def _one_of(value: Any, choices: Sequence[str], where: str) -> str:
    if value not in choices:
        raise ConfigError("unknown value", where=where, expected=choices, got=repr(value))
    return str(value)


def _mapping(document: Any, where: object, what: str) -> dict[Any, Any]:
    """A YAML mapping; nothing written is an empty one."""
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise ConfigError(f"not {what}", where=where, expected="name: value", got=repr(document))
    return document


def _require_known(document: Mapping[Any, Any], path: Path) -> None:
    for key in document:
        if key not in _KEYS:
            close = difflib.get_close_matches(str(key), _KEYS, 1)
            hint = f"Did you mean '{close[0]}'?" if close else f"Keys here are {', '.join(_KEYS)}"
            raise ConfigError(f"unknown key '{key}'", where=path, hint=hint)
