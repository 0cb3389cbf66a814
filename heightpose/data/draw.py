"""Drawing the next data iteration: whole children, from the right pool, aimed at strata."""

from __future__ import annotations

import difflib
import math
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from heightpose.data import iterations
from heightpose.data.advice import short_of, where_of
from heightpose.data.coco import Dataset
from heightpose.data.groups import Count, Group, groups_of
from heightpose.data.items import Item
from heightpose.data.iterations import HeldOut, Manifest
from heightpose.data.strata import STRATA, UNKNOWN, value_of
from heightpose.data.testset import TestSet
from heightpose.errors import ConfigError, FileFormatError
from heightpose.runtime.atomic import make_folder
from heightpose.words import plural

SPLITS = ("train", "val")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Drawn:
    """A new iteration and what a person should know about how it was drawn.

    Attributes:
        added, pool: what was drawn, and what there was in all, earlier iterations' included.
        wanted: how many children, and groups of infants without a name, the share asked for.
        left_out: children of frozen test sets that the data sets hold, left out.
        unsplit: items without a split, or in the split test, left out.
        unknown: stratum -> drawn infants whose labels lack it.
        short: "stratum=value" -> children drawn that show it and children its weight asks for, where no more were left.
    """

    manifest: Manifest
    added: Count
    pool: Count
    wanted: int
    left_out: tuple[str, ...]
    unsplit: int
    unknown: dict[str, int]
    short: dict[str, tuple[int, int]]


def draw(
    name: str,
    data: Sequence[Path],
    *,
    share: float,
    where: dict[str, tuple[str, ...]] | None = None,
    weights: dict[str, float] | None = None,
    fill: bool = False,
    seed: int = 0,
    testsets: Sequence[Path | str] = (),
    root: Path = iterations.ROOT,
) -> Drawn:
    """Draw and write the next iteration of ``root``.

    Args:
        data: data set folders; none means those of the iteration before.
        share: part of the pool's children (earlier iterations' included), 0..1, of train and of val alike. Twins are
            two children and drawn together, by which a draw may hold more. Infants without a name count as one child
            per picture or video.
        where: stratum -> values; only children with an infant picture that has one of them in every stratum.
        weights: "stratum=value" -> share of the chunk that children who show it get, instead of ``where``. Where
            too few are left, the others get it, and at last anybody.
        fill: top up with other children when too few match ``where``.
        testsets: frozen test sets, held out from now on; those recorded in ``root`` are held out anyway.

    Raises:
        ConfigError: the name is taken or not a name, nothing is left to draw, or nothing matches ``where``.
        FileFormatError: a child or a picture is in train and in test, or earlier data have changed.
    """
    where, weights = where or {}, weights or {}
    if where and weights:
        raise ConfigError("aimed twice", where=name, hint="Give strata to aim at or weights of strata")
    line = iterations.manifests(root)
    _require_new(name, line, root)
    folders = _folders(data, line, root)
    datasets = {folder: Dataset.load(folder) for folder in folders}
    require_one_split(datasets.values())
    new_testsets = tuple(_held_out(TestSet.load(t)) for t in testsets)
    barred = tuple(t for m in line for t in m.testsets) + new_testsets
    if line:
        before = iterations.load(line[-1].name, root)  # nothing may follow what has changed
        entries = [entry for m in line for part in m.chunk.values() for entry in part]
        iterations.require_held_out(new_testsets, before.items, entries)
    pool = [(f, i) for f, d in datasets.items() for i in d.items if i.split in SPLITS]
    if not pool:
        raise ConfigError(
            "nothing can be drawn", where=name, expected="pictures in the splits train or val",
            got=f"{plural(sum(len(d.items) for d in datasets.values()), 'picture')} of the split test or of none",
            hint="Add --data with pictures of these splits: heightpose data stats shows a set's",
        )  # fmt: skip
    hashes = iterations.picture_hashes(item for _, item in pool)
    groups = groups_of(pool)
    allowed = [g for g in groups if not _is_barred(g, barred, hashes)]
    if not allowed:
        raise ConfigError(
            "nothing can be drawn", where=name, expected="children that no frozen test set holds",
            got=f"{len(groups)} groups, all held out", hint="Add --data with pictures of other children",
        )  # fmt: skip
    _require_known_values(where, allowed)
    taken = {(_absolute(m, relative), e.id) for m in line for relative, es in m.chunk.items() for e in es}
    chosen, wanted = _choose(allowed, taken, share, where, weights, fill, seed)
    if not chosen:
        raise ConfigError(
            "nothing is left to draw", where=name, expected="children that no iteration holds yet",
            got=f"{len(allowed)} groups, all drawn" if not where else f"none left that match {where}",
            hint="Add --data with new pictures, or widen --where",
        )  # fmt: skip
    chunk = _chunk(chosen, hashes, root)
    created = datetime.now(UTC).isoformat(timespec="seconds")
    parent = line[-1] if line else None
    manifest = Manifest(
        root / f"{name}.json", name, len(line) + 1, parent.name if parent else None,
        parent.hash if parent else None, created, share, where, seed, chunk, new_testsets, weights,
    )  # fmt: skip
    make_folder(root)
    manifest.save()
    people = [person for group in chosen for person in group.people]
    missing = {s: sum(value_of(p, s) == UNKNOWN for p in people) for s in STRATA}
    return Drawn(
        manifest,
        added=Count.of(chosen),
        pool=Count.of(allowed),
        wanted=wanted,
        left_out=tuple(sorted({c for g in set(groups) - set(allowed) for c in g.children or {g.key}})),
        unsplit=sum(item.split not in SPLITS for d in datasets.values() for item in d.items),
        unknown={s: count for s, count in missing.items() if count},
        short=short_of(weights, chosen, [g for g in allowed if _without(g, taken).members]),
    )


def require_one_split(datasets: Iterable[Dataset]) -> None:
    """Raise FileFormatError when a child, a picture or a video frame is in different splits of different data sets.

    Pictures are told apart by where they lie, through links.
    """
    child_in: dict[str, tuple[str | None, Path]] = {}
    picture_in: dict[tuple[str, int | None], tuple[str | None, Path]] = {}
    for dataset in datasets:
        for item in dataset.items:
            for child in {p.child for p in item.people if p.child is not None}:
                split, path = child_in.setdefault(child, (item.split, dataset.path))
                if split != item.split:
                    raise FileFormatError(
                        f"the child '{child}' is in two splits, so held-out figures would be too good",
                        where=dataset.path, expected=f"{split}, as in {path}", got=item.split,
                        hint="A child can never be in train and test: split by child over all data sets",
                    )  # fmt: skip
            picture = os.path.realpath(item.path), item.frame
            split, path = picture_in.setdefault(picture, (item.split, dataset.path))
            if split != item.split:
                raise FileFormatError(
                    f"the picture '{item.name}' is in two splits, so held-out figures would be too good",
                    where=f"{dataset.path}: images, {item.path}", expected=f"{split}, as in {path}",
                    got=item.split, hint="Name each picture in one split only, over all data sets",
                )  # fmt: skip


def _require_new(name: str, line: list[Manifest], root: Path) -> None:
    if not _NAME.fullmatch(name):
        raise ConfigError("not a name", where=name, expected="letters, digits, dots, dashes, underscores")
    # Some file systems hold names that differ in case for one: the second would replace the first.
    taken = next((m for m in line if m.name.casefold() == name.casefold()), None)
    if taken is not None:
        raise ConfigError(
            "there is such an iteration already", where=taken.path,
            hint="An iteration is never changed: choose another name",
        )  # fmt: skip


def _folders(data: Sequence[Path], line: list[Manifest], root: Path) -> list[Path]:
    given = [(d if d.is_dir() else d.parent).resolve() for d in data]
    if not given and line:
        given = [_absolute(line[-1], relative) for relative in line[-1].chunk]
    if not given:
        raise ConfigError("no data set is named", where=root, hint="Add --data DIR")
    return list(dict.fromkeys(given))


def _absolute(manifest: Manifest, relative: str) -> Path:
    return Path(os.path.normpath(manifest.path.parent.resolve() / relative))


def _held_out(testset: TestSet) -> HeldOut:
    items = () if testset.annotations is None else testset.annotations.items
    paths = {item.path.resolve() for item in items} | {clip.video.resolve() for clip in testset.clips}
    files = {testset.folder / name: digest for name, digest in testset.files.items()}
    # A clip may be a folder of pictures.
    pictures = {digest for path, digest in files.items() if paths & {path.resolve(), path.parent.resolve()}}
    pictures |= iterations.recordings_of(items)
    children = tuple(sorted(testset.children()))
    return HeldOut(testset.name, str(testset.version), children, tuple(sorted(pictures)))


def _is_barred(group: Group, testsets: Iterable[HeldOut], hashes: dict[Path, str]) -> bool:
    pictures = {hashes[item.path] for _, item in group.members}
    pictures |= iterations.recordings_of(item for _, item in group.members)
    return any(group.children & set(t.children) or pictures & set(t.pictures) for t in testsets)


def _require_known_values(where: dict[str, tuple[str, ...]], groups: list[Group]) -> None:
    people = [person for group in groups for person in group.people]
    for stratum, values in where.items():
        strata = sorted({key for p in people for key in p.strata} | set(STRATA))
        if stratum not in strata:
            close = difflib.get_close_matches(stratum, strata, 1)
            hint = f"Did you mean '{close[0]}'?" if close else f"Strata are {', '.join(strata)}"
            raise ConfigError(f"unknown stratum '{stratum}'", where="--where", hint=hint)
        known = sorted({value_of(p, stratum) for p in people})
        for value in values:
            if value not in known:
                close = difflib.get_close_matches(value, known, 1)
                hint = f"Did you mean '{close[0]}'?" if close else f"Values here: {', '.join(known)}"
                raise ConfigError(f"no infant has {stratum}={value}", where="--where", hint=hint)


def _choose(
    groups: list[Group], taken: set[tuple[Path, int]], share: float, where: dict[str, tuple[str, ...]],
    weights: dict[str, float], fill: bool, seed: int,
) -> tuple[list[Group], int]:  # fmt: skip
    """The drawn groups with what is new of them, and how many children the share asks for."""
    rng = np.random.default_rng(seed)
    chosen: list[Group] = []
    for split in SPLITS:
        for infants in (True, False):
            kind = [g for g in groups if g.split == split and bool(g.people) == infants]
            count = _part(share, kind)
            # A group with one item drawn is drawn: its child must not be split, so later items of it follow.
            left = [(g, rest) for g in kind if (rest := _without(g, taken)).members]
            order = [left[int(k)] for k in rng.permutation(len(left))]
            begun = [rest for g, rest in order if rest.members != g.members]
            fresh = [g for g, rest in order if rest.members == g.members]
            if where:
                others = [g for g in fresh if not g.shows(where)] if fill and infants else []
                # Empty cots show no stratum: an aimed iteration takes none.
                fresh = [g for g in fresh if g.shows(where)] + others
            if weights:
                fresh = _weighted(fresh, weights, rng) if infants else []
            chosen += begun + _first(fresh, count - sum(g.size for g in begun))
    # Of all together: each split's part was rounded up.
    return chosen, _part(share, [g for g in groups if g.people])


def _part(share: float, groups: Iterable[Group]) -> int:
    """How many children of some groups a share is, rounded up."""
    return math.ceil(share * sum(g.size for g in groups) - 1e-9)


def _without(group: Group, taken: set[tuple[Path, int]]) -> Group:
    return replace(group, members=tuple(m for m in group.members if (m[0], m[1].id) not in taken))


def _first(groups: list[Group], size: int) -> list[Group]:
    """So many from the front that they hold ``size`` children; twins may make it more."""
    before = np.cumsum([0, *(g.size for g in groups)])
    return [g for g, held in zip(groups, before, strict=False) if held < size]


def _weighted(groups: list[Group], weights: dict[str, float], rng: np.random.Generator) -> list[Group]:
    """The groups in the order in which a chunk of any size takes them: each place goes to a value by its weight.

    Values that nobody left shows pass their weight to the others; when none is left, the rest follows as it was.
    """
    left = dict.fromkeys(range(len(groups)))
    showing: dict[str, list[int]] = {}
    for key in weights:
        showing[key] = [k for k, g in enumerate(groups) if g.shows(where_of(key))]
    ordered: list[int] = []
    while True:
        showing = {key: kept for key, of in showing.items() if (kept := [k for k in of if k in left])}
        if not showing:
            return [groups[k] for k in (*ordered, *left)]
        shares = np.array([weights[key] for key in showing])
        key = list(showing)[int(rng.choice(len(showing), p=shares / shares.sum()))]
        ordered.append(showing[key][0])
        del left[showing[key][0]]


def _chunk(
    chosen: list[Group], hashes: dict[Path, str], root: Path
) -> dict[str, tuple[iterations.Entry, ...]]:
    by_folder: dict[Path, list[Item]] = defaultdict(list)
    for group in chosen:
        for folder, item in group.members:
            by_folder[folder].append(item)
    return {
        Path(os.path.relpath(folder, root.resolve())).as_posix(): tuple(
            iterations.entry_of(item, folder, hashes[item.path]) for item in sorted(items, key=lambda i: i.id)
        )
        for folder, items in sorted(by_folder.items())
    }
