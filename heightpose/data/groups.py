"""What is drawn as one: a child's pictures, with those of whoever shares one with it; and how it is counted."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from heightpose.data.items import Item, Person
from heightpose.data.strata import counts_of, value_of


@dataclass(frozen=True, eq=False)
class Group:
    """Items that stay together: all of a child's, with those of whoever shares a picture with it.

    ``key`` orders groups and names a group without children by its picture.
    """

    key: str
    split: str
    members: tuple[tuple[Path, Item], ...]

    @property
    def children(self) -> frozenset[str]:
        """The children that the labels name."""
        return frozenset(p.child for p in self.people if p.child is not None)

    @property
    def size(self) -> int:
        """What it counts of a share: its children, twins as two; one where the labels name none."""
        return max(1, len(self.children))

    @property
    def people(self) -> list[Person]:
        return [person for _, item in self.members for person in item.people]

    def shows(self, where: dict[str, tuple[str, ...]]) -> bool:
        """Whether one infant of the group has a wanted value in every stratum of ``where``."""
        return any(all(value_of(p, s) in values for s, values in where.items()) for p in self.people)


@dataclass(frozen=True)
class Count:
    """What some groups hold.

    Attributes:
        children: whom the labels name, twins as two.
        unnamed: files, pictures or videos, of infants whom the labels do not name.
        empty: items, pictures or frames, of empty cots.
    """

    children: int
    unnamed: int
    empty: int

    @classmethod
    def of(cls, groups: Sequence[Group]) -> Count:
        counts = counts_of(item for group in groups for _, item in group.members)
        unnamed = sum(bool(g.people) and not g.children for g in groups)
        return cls(counts["children"], unnamed, counts["empty"])


def groups_of(pool: list[tuple[Path, Item]]) -> list[Group]:
    """Twins, and whoever else shares a picture, join their children's items into one group (union-find)."""
    above: dict[str, str] = {}

    def top(key: str) -> str:
        while above.setdefault(key, key) != key:
            key = above[key]
        return key

    def names(folder: Path, item: Item) -> list[str]:
        children = sorted({f"child {p.child}" for p in item.people if p.child is not None})
        # Frames of one unnamed infant's video belong together, so the video is the name.
        file = item.recording or Path(os.path.relpath(item.path, folder)).as_posix()
        return children or [f"picture {folder.name}/{file}"]

    for folder, item in pool:
        first, *others = names(folder, item)
        for other in others:
            low, high = sorted((top(first), top(other)))
            above[high] = low
    members: dict[str, list[tuple[Path, Item]]] = defaultdict(list)
    for folder, item in pool:
        members[top(names(folder, item)[0])].append((folder, item))
    return [Group(key, str(parts[0][1].split), tuple(parts)) for key, parts in sorted(members.items())]
