"""From the data sets or the data iteration that a configuration names to a run's batches."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from heightpose import __version__
from heightpose.config import DataConfig, TrainConfig, ValidationConfig
from heightpose.data.batches import Batches, MixedBatches, draws_per_epoch
from heightpose.data.coco import Dataset
from heightpose.data.draw import require_one_split
from heightpose.data.items import Item, Person
from heightpose.data.iterations import load as load_iteration
from heightpose.data.pictures import Pictures
from heightpose.data.strata import value_of
from heightpose.errors import ConfigError
from heightpose.train.pose_task import PoseTask
from heightpose.train.record import describe_data
from heightpose.train.tasks import Task

_MOST_REPEATS = 1000


def load_data(config: TrainConfig, task: Task, same: bool = False) -> tuple[Batches, Batches, dict[str, Any]]:
    """Training and validation batches, and what data they are of.

    Args:
        same: both of one and the same batch of training samples.

    Raises:
        ConfigError: no data set is named, a split is empty, or nothing of it would be learned or judged.
    """
    everything, about = load_items(config.data)
    about |= describe_data(everything, config.data)
    taught = [item for item in everything if item.split == "train"][: config.data.limit]
    of_split = {"train": taught, "val": validated(everything, config.validation)}
    items = {split: [task.relabel(item) for item in of] for split, of in of_split.items()}
    if same:
        items["train"] = _one_batch(items["train"], task, config.optim.batch_size)
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
                hint="validation.leave_out leaves no other: add data with infants in the split val"
                if split == "val" and config.validation.leave_out
                else "Give every image of annotations.json a split: train, val or test",
            )  # fmt: skip
        task.require_learnable(samples, split)  # type: ignore[arg-type]
        repeats = np.array([samples.item(k).repeat if training else 1.0 for k in range(len(samples))])
        per_epoch = draws_per_epoch(repeats)
        if not per_epoch:
            raise ConfigError("no picture would ever be drawn", where="data.repeat", got=config.data.repeat)
        loader: Callable[..., Batches] = Batches
        collate: Callable[[list[Any]], Any] = task.collate
        if training and config.data.on_device:
            loader, collate = _device_loader(task)
        finer = task.finer() if training and not same and isinstance(task, PoseTask) else None
        if finer is not None:
            other = finer.samples(cache, config.augment), finer.collate
            loader = partial(MixedBatches, other=other, share=config.pose.fine_share)
        batches.append(
            loader(
                samples,
                collate,
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


def validated(items: list[Item], validation: ValidationConfig) -> list[Item]:
    """The pictures of the split val that weights are judged by.

    Raises:
        ConfigError: ``leave_out`` has a key that no picture shows.
    """
    _require_shown(items, validation.leave_out, "validation.leave_out")
    return [i for i in items if i.split == "val" and not shows_any(i, validation.leave_out)]


def _one_batch(items: list[Item], task: Task, batch_size: int) -> list[Item]:
    """The first pictures that fill a batch; each is there with all its samples, or not at all."""
    chosen, left = [], batch_size
    for item in items:
        count = task.count(item)
        if 0 < count <= left:
            chosen.append(item)
            left -= count
    return chosen


def _device_loader(task: Task) -> tuple[type[Batches], Callable[[list[Any]], Any]]:
    if not isinstance(task, PoseTask):
        raise ConfigError(
            "only a pose net's crops can be varied on the device", where="data.on_device", got=True,
            hint="Set data.on_device: false and raise data.workers",
        )  # fmt: skip
    if task.config.pose.fine_share > 0:
        raise ConfigError(
            "crops that are varied on the device have one size", where="pose.fine_share",
            got=task.config.pose.fine_share, hint="Set data.on_device: false, or pose.fine_share: 0",
        )  # fmt: skip
    from heightpose.data.device_batches import DeviceBatches

    return DeviceBatches, task.points


def load_items(data: DataConfig) -> tuple[list[Item], dict[str, Any]]:
    """All items of the data sets or of the data iteration, and what identifies the iteration.

    Raises:
        ConfigError: neither or both are named, the iteration is unknown, ``repeat`` does not fit ``dirs``, or
            ``oversample`` or ``not_infants`` the strata.
        HeightposeError: data that changed since the iteration was drawn, or a child or picture in two splits.
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
    about: dict[str, Any] = {}
    if data.iteration is not None:
        if data.dirs:
            raise ConfigError(
                "both data sets and a data iteration are named", where="data", hint="Leave data.dirs empty"
            )
        iteration = load_iteration(data.iteration, data.iterations_root)
        items = list(iteration.items)
        about["iteration"] = {"name": iteration.name, "hash": iteration.hash}
    elif not data.dirs:
        raise ConfigError(
            "no data set is named", where="data.dirs", hint="Add --data DIR or --iteration NAME"
        )
    else:
        datasets = [Dataset.load(d, data.skip_bad) for d in data.dirs]
        require_one_split(datasets)
        repeats = data.repeat or (1.0,) * len(datasets)
        items = [
            replace(item, repeat=repeat)
            for d, repeat in zip(datasets, repeats, strict=True)
            for item in d.items
        ]
        about |= {"repeat": list(data.repeat)} if data.repeat else {}
    if data.oversample:
        items = _oversampled(items, data.oversample)
        about["oversample"] = data.oversample
    if data.not_infants:
        items = _with_others(items, data.not_infants)
        about["not infants"] = list(data.not_infants)
    return items, about


def _oversampled(items: list[Item], factors: dict[str, float]) -> list[Item]:
    """The items with ``repeat`` multiplied by the largest of the factors whose STRATUM=VALUE an infant of theirs has.

    Raises:
        ConfigError: a key that no picture shows, or a factor out of range.
    """
    _require_shown(items, factors, "data.oversample")
    for key, factor in factors.items():
        if not 0 <= factor <= _MOST_REPEATS:
            raise ConfigError(
                "out of range", where=f"data.oversample: {key}", expected=f"0 to {_MOST_REPEATS}", got=factor
            )

    def factor_of(item: Item) -> float:
        return max((factors[key] for key in factors if _shows(item, key)), default=1.0)

    return [replace(item, repeat=item.repeat * factor_of(item)) for item in items]


def _with_others(items: list[Item], keys: Collection[str]) -> list[Item]:
    """The items with the people who have one of the STRATUM=VALUE marked as no infants.

    Raises:
        ConfigError: a key that no picture shows.
    """
    _require_shown(items, keys, "data.not_infants")

    def marked(person: Person) -> Person:
        return replace(person, is_infant=False) if any(_is(person, key) for key in keys) else person

    return [replace(item, people=tuple(marked(person) for person in item.people)) for item in items]


def _require_shown(items: list[Item], keys: Collection[str], where: str) -> None:
    for key in keys:
        if not any(_shows(item, key) for item in items):
            people = [person for item in items for person in item.people]
            names = {name for person in people for name in person.strata}
            named = key.partition("=")[0]
            choices = {f"{n}={value_of(p, n)}" for n in names & {named} or names for p in people}
            raise ConfigError(
                "no picture shows it", where=where, expected="STRATUM=VALUE of the data", got=key,
                hint=f"There are {', '.join(sorted(choices))}",
            )  # fmt: skip


def shows_any(item: Item, keys: Collection[str]) -> bool:
    """Whether somebody in the picture has one of the STRATUM=VALUE."""
    return any(_shows(item, key) for key in keys)


def _shows(item: Item, key: str) -> bool:
    return any(_is(person, key) for person in item.people)


def _is(person: Person, key: str) -> bool:
    """Whether STRATUM=VALUE is true of the person; a missing stratum is "unknown"."""
    stratum, equals, value = key.partition("=")
    return bool(equals) and value_of(person, stratum) == value
