"""What is drawn as one: a child's pictures, with those of whoever shares one with it; and how it is counted."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
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
    """Twins, and whoever else shares a picture, join their children's items into one group (union-find).

    Pictures of nobody with a name are told apart by the whole way to their folder. The groups' keys have as much of it
    as tells the pool's folders apart, mostly the name alone: the same data elsewhere are drawn in the same order.
    """
    above: dict[str, str] = {}
    whole = {folder: folder.resolve() for folder, _ in pool}
    short = _short_names(set(whole.values()))
    shown: dict[str, str] = {}

    def top(key: str) -> str:
        while above.setdefault(key, key) != key:
            key = above[key]
        return key

    def names(folder: Path, item: Item) -> list[str]:
        children = sorted({f"child {p.child}" for p in item.people if p.child is not None})
        # Frames of one unnamed infant's video belong together, so the video is the name.
        file = item.recording or Path(os.path.relpath(item.path, folder)).as_posix()
        if not children:
            shown[f"picture {whole[folder]}/{file}"] = f"picture {short[whole[folder]]}/{file}"
        return children or [f"picture {whole[folder]}/{file}"]

    for folder, item in pool:
        first, *others = names(folder, item)
        for other in others:
            low, high = sorted((top(first), top(other)))
            above[high] = low
    members: dict[str, list[tuple[Path, Item]]] = defaultdict(list)
    for folder, item in pool:
        members[top(names(folder, item)[0])].append((folder, item))
    groups = [Group(shown.get(k, k), str(parts[0][1].split), tuple(parts)) for k, parts in members.items()]
    return sorted(groups, key=lambda group: group.key)


def _short_names(folders: set[Path]) -> dict[Path, str]:
    """Each folder's name, with as many of the folders above it as it takes to tell it from others of that name."""
    found: dict[Path, str] = {}
    left, depth = folders, 1
    while left:
        count = Counter(folder.parts[-depth:] for folder in left)
        alone = {f for f in left if count[f.parts[-depth:]] == 1}
        found |= {f: Path(*f.parts[-depth:]).as_posix() for f in alone}
        left, depth = left - alone, depth + 1
    return found
