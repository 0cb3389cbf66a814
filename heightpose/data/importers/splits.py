"""Splits of an import: those that its source names, and for the rest a seeded hash, whole children and whoever lies
beside them."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from heightpose.data.entries import SPLITS
from heightpose.data.groups import Group, groups_of
from heightpose.data.items import Item


def split_named(subset: str) -> str | None:
    """The split that the name of a part of a set begins with (``val2017`` and ``Validation``: val), else None."""
    return next((split for split in SPLITS if subset.lower().startswith(split)), None)


def seeded_split(key: str, seed: int, val_share: float) -> str:
    """Train or val for a child or picture, whatever order and company it comes in."""
    digest = hashlib.sha256(f"{seed}:{key}".encode()).digest()
    return "val" if int.from_bytes(digest[:8], "big") / 2.0**64 < val_share else "train"


def with_splits(
    items: Sequence[Item], folders: Mapping[int, Path], seed: int, val_share: float
) -> list[Item]:
    """The items, those without a split in that of their group: twins and all pictures of theirs are one.

    Of a group that has a split in part, the rest gets the same.

    Args:
        folders: item id -> the source's folder of pictures; a picture of nobody with a name goes by its path below it.
    """
    split_of: dict[int, str] = {}
    for group in groups_of([(folders[item.id], item) for item in items]):
        given = {item.split for _, item in group.members if item.split is not None}
        chosen = min(given) if given else seeded_split(_key(group), seed, val_share)
        split_of |= {item.id: chosen for _, item in group.members}
    return [i if i.split is not None else dataclasses.replace(i, split=split_of[i.id]) for i in items]


def _key(group: Group) -> str:
    if group.children:
        return min(group.children)
    folder, item = group.members[0]
    return os.path.relpath(item.path, folder)
