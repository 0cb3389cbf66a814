"""Every picture of a data set really decoded, every bad item named: what loading a set leaves to the training."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from heightpose.data.coco import Dataset
from heightpose.data.items import Item
from heightpose.data.pictures import Pictures
from heightpose.errors import HeightposeError


@dataclass(frozen=True)
class Verdict:
    """What is good in a data set and what is not.

    Attributes:
        good: items that load and whose pictures decode to the size their labels are for.
        bad: one line per bad item: file, item and field.
    """

    good: tuple[Item, ...]
    bad: tuple[str, ...]


def verify(dir_or_json: Path) -> Verdict:
    """Read a whole data set, going on after every bad item.

    Raises:
        HeightposeError: the file as a whole is bad (no JSON, another schema, repeated ids, a child or picture in two
            splits).
    """
    data = Dataset.load(dir_or_json, skip_bad=True, quiet=True)
    broken = broken_pictures(data.items)
    good = tuple(item for item in data.items if item.id not in broken)
    lines = [f"{data.path}: image {number}, {text}" for number, text in broken.items()]
    return Verdict(good, (*data.skipped, *lines))


def broken_pictures(items: Sequence[Item], progress: bool = True) -> dict[int, str]:
    """Item id -> what is wrong with its picture. A video is read once, in sequence."""
    videos: dict[Path, list[Item]] = defaultdict(list)
    for item in items:
        if item.frame is not None:
            videos[item.path].append(item)
    groups: Iterable[list[Item]] = [*([i] for i in items if i.frame is None), *videos.values()]
    found: dict[int, str] = {}
    for group in tqdm(groups, desc="decoding", unit="file", disable=None if progress else True):
        try:
            Pictures(group, memory_mb=0)
        except HeightposeError as error:
            found |= _each(group, error)
    return found


def _each(group: list[Item], whole: HeightposeError) -> dict[int, str]:
    """Which items of a bad video are bad: those whose frame alone cannot be read either."""
    if len(group) == 1:
        return {group[0].id: str(whole)}
    found = {}
    for item in group:
        try:
            Pictures([item], memory_mb=0)
        except HeightposeError as error:
            found[item.id] = str(error)
    return found
