"""Data iterations: named, ordered, hashed chunks of labelled pictures, each a superset of the one before.

A folder (``iterations/``) holds one JSON manifest per iteration with the chunk it adds: data sets, item ids, and
for every item the SHA-256 of its labels and of its picture. The manifest's own hash covers those and the
parent's hash, as in a chain of commits, so a run that names an iteration and its hash says exactly what it
learned from, and whatever changed since is refused by name. Labels are hashed item by item, not by file: a data
set may grow without touching the iterations drawn from it.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from heightpose.data.coco import Dataset
from heightpose.data.items import Item
from heightpose.errors import ConfigError, FileFormatError, InputError
from heightpose.runtime.atomic import write_json
from heightpose.textfile import read_json

#: 2 added the picture's strata and recording to what is hashed of its labels; manifests of 1 are checked without.
SCHEMA = 2
_SCHEMAS = (1, SCHEMA)
ROOT = Path("iterations")


@dataclass(frozen=True)
class Entry:
    """One item of a chunk: its id in the data set, and the hashes of its labels and of its picture or video."""

    id: int
    labels: str
    picture: str


@dataclass(frozen=True)
class HeldOut:
    """A frozen test set as it was when an iteration was drawn: whom and which files training must never see."""

    name: str
    version: str
    children: tuple[str, ...]
    pictures: tuple[str, ...]


@dataclass(frozen=True)
class Manifest:
    """One iteration as written.

    Attributes:
        path: the file.
        order: 1 for the first of the folder.
        parent_hash: the hash of the iteration before; None for the first.
        created: UTC, ISO 8601; not part of the hash, so that the same draw gives the same hash.
        share: of the pool's children, 0..1; ``where`` the strata it was aimed at, each with its values.
        chunk: data set folder relative to the manifest's -> the items this iteration adds.
        testsets: held out from this iteration on.
        weights: "stratum=value" -> share of the chunk that was drawn for it; empty where it was not so aimed.
        schema: what its labels' hashes are of, see :func:`labels_hash`.
    """

    path: Path
    name: str
    order: int
    parent: str | None
    parent_hash: str | None
    created: str
    share: float
    where: dict[str, tuple[str, ...]]
    seed: int
    chunk: dict[str, tuple[Entry, ...]]
    testsets: tuple[HeldOut, ...]
    weights: dict[str, float] = field(default_factory=dict)
    schema: int = SCHEMA

    @property
    def hash(self) -> str:
        """SHA-256 of the content; where the data lie and when it was drawn do not matter."""
        document = _document(self)
        document["chunk"] = [part["items"] for part in document["chunk"]]
        del document["created"]
        return _digest(document)

    def save(self) -> None:
        """Write the manifest atomically."""
        write_json(self.path, {**_document(self), "hash": self.hash})


@dataclass(frozen=True, eq=False)
class Iteration:
    """An iteration's data: ``items`` of it and of all before it, ``added`` those of its own chunk."""

    name: str
    hash: str
    items: tuple[Item, ...]
    added: tuple[Item, ...]


def manifests(root: Path | str = ROOT) -> list[Manifest]:
    """Every iteration of a folder in order; empty where there is none. Checks the chain of hashes.

    Raises:
        FileFormatError: a manifest is damaged, was edited, or does not follow the one before; by name.
    """
    found = sorted((_read(path) for path in sorted(Path(root).glob("*.json"))), key=lambda m: m.order)
    for number, manifest in enumerate(found):
        before = found[number - 1] if number else None
        parent = (None, None) if before is None else (before.name, before.hash)
        if manifest.order != number + 1 or (manifest.parent, manifest.parent_hash) != parent:
            raise FileFormatError(
                "does not follow the iteration before it", where=manifest.path,
                expected=f"number {number + 1} after {parent[0]}, hash {str(parent[1])[:12]}",
                got=f"number {manifest.order} after {manifest.parent}, hash {str(manifest.parent_hash)[:12]}",
                hint="Restore the folder's manifests: an iteration is never changed or removed",
            )  # fmt: skip
    return found


def chain(name: str, root: Path | str = ROOT) -> list[Manifest]:
    """The iterations up to and including ``name``, oldest first. Raises ConfigError with a suggestion."""
    found = manifests(root)
    names = [manifest.name for manifest in found]
    if name not in names:
        close = difflib.get_close_matches(name, names, 1)
        hint = f"Did you mean '{close[0]}'?" if close else f"Iterations here: {', '.join(names) or 'none'}"
        raise ConfigError(f"unknown data iteration '{name}'", where=root, hint=hint)
    return found[: names.index(name) + 1]


def load(name: str, root: Path | str = ROOT, *, pictures: bool = True) -> Iteration:
    """An iteration's items, exactly as they were when it was drawn.

    Args:
        pictures: check the pictures' bytes too (False: only the labels; never for training).

    Raises:
        ConfigError: there is no such iteration.
        InputError: a data set, or an item or picture of it, is gone.
        FileFormatError: a manifest, a label or a picture has changed, or a child is in a held-out test set; by name.
    """
    line = chain(name, root)
    datasets: dict[Path, dict[int, Item]] = {}
    items: list[Item] = []
    added: list[Item] = []
    for manifest in line:
        added = []
        for relative, entries in manifest.chunk.items():
            folder = Path(os.path.normpath(manifest.path.parent.resolve() / relative))
            if folder not in datasets:
                # Broken items outside the iteration are not its business; broken ones inside are missed below.
                datasets[folder] = {item.id: item for item in Dataset.load(folder, skip_bad=True).items}
            added += [_unchanged(manifest, folder, datasets[folder], entry) for entry in entries]
        items += added
    if pictures:
        _verify_pictures(line, items)
    require_held_out(held_out(root), items, [e for m in line for part in m.chunk.values() for e in part])
    return Iteration(name, line[-1].hash, tuple(items), tuple(added))


def held_out(root: Path | str) -> tuple[HeldOut, ...]:
    """Every test set recorded in a folder of iterations, by whichever of them."""
    return tuple(testset for manifest in manifests(root) for testset in manifest.testsets)


def require_held_out(testsets: Iterable[HeldOut], items: Iterable[Item], entries: Iterable[Entry]) -> None:
    """Raise FileFormatError when a child or a picture of a test set is among the items of an iteration."""
    items = list(items)
    children = {p.child: item for item in items for p in item.people if p.child is not None}
    pictures = {entry.picture for entry in entries} | recordings_of(items)
    for testset in testsets:
        shared = sorted(children.keys() & set(testset.children))
        if shared:
            raise FileFormatError(
                f"the child '{shared[0]}' is in this iteration and in a frozen test set",
                where=children[shared[0]].path, got=f"test set {testset.name} version {testset.version}",
                hint="A child can never be in train and test: take it out of the test set, as a new version",
            )  # fmt: skip
        if pictures & set(testset.pictures):
            raise FileFormatError(
                "a picture of this iteration is also in a frozen test set",
                where=f"test set {testset.name} version {testset.version}",
                got=f"SHA-256 {min(pictures & set(testset.pictures))[:12]}...",
                hint="Take it out of the test set, as a new version",
            )  # fmt: skip


def recordings_of(items: Iterable[Item]) -> set[str]:
    """SHA-256 of the videos that pictures were cut from, where their sets say so."""
    return {item.recording_sha256 for item in items if item.recording_sha256 is not None}


def entry_of(item: Item, folder: Path, picture_hash: str) -> Entry:
    """What a manifest keeps of an item in a data set's folder."""
    return Entry(item.id, labels_hash(item, folder), picture_hash)


def labels_hash(item: Item, folder: Path, schema: int = SCHEMA) -> str:
    """SHA-256 of everything the labels of one item say, independent of how the file is laid out.

    Args:
        schema: 1 leaves out the picture's own strata and its recording, which teach nothing.
    """
    people = []
    for person in sorted(item.people, key=lambda p: p.id):
        label: dict[str, Any] = {
            "bbox": person.bbox_xyxy.tolist(),
            "keypoints": person.kpts_frame.tolist(),
            "visibility": person.visibility.tolist(),
            "out_of_frame": person.out_of_frame.tolist(),
            "child": person.child,
            "strata": person.strata,
        }
        if person.head_box_xyxy is not None:
            label["head_box"] = [float(v) for v in person.head_box_xyxy]
        people.append(label)
    name = item.path.relative_to(folder).as_posix() if item.path.is_relative_to(folder) else item.path.name
    about: dict[str, Any] = {"picture": name, "frame": item.frame, "size": item.size_wh, "split": item.split}
    if schema > 1:
        about |= {"strata": item.strata, "recording": item.recording}
    if item.recording_sha256 is not None:  # left out elsewhere, so that older manifests keep their hashes
        about["recording_sha256"] = item.recording_sha256
    return _digest(about | {"in_view": item.infants_in_view, "people": people})


def picture_hashes(items: Iterable[Item]) -> dict[Path, str]:
    """SHA-256 of the items' picture and video files, each read once. Raises InputError when one is gone."""
    from tqdm import tqdm

    from heightpose.runtime.output import sha256

    paths = sorted({item.path for item in items})
    return {p: sha256([p]) for p in tqdm(paths, unit="file", desc="hashing pictures", disable=None)}


def _unchanged(manifest: Manifest, folder: Path, there: dict[int, Item], entry: Entry) -> Item:
    item = there.get(entry.id)
    if item is None:
        raise InputError(
            f"image {entry.id} of the data iteration '{manifest.name}' is gone or broken",
            where=folder / "annotations.json",
            hint="Restore the data set; 'heightpose data validate' says what is broken",
        )
    if labels_hash(item, folder, manifest.schema) != entry.labels:
        raise FileFormatError(
            f"the labels of image {item.id} ({item.name}) have changed since the data iteration "
            f"'{manifest.name}' was drawn",
            where=folder / "annotations.json",
            hint="Restore the labels, or draw a new iteration in another --root",
        )
    return item


def _verify_pictures(line: Iterable[Manifest], items: list[Item]) -> None:
    hashes = picture_hashes(items)
    for item, (manifest, entry) in zip(items, _entries(line), strict=True):
        if hashes[item.path] != entry.picture:
            raise FileFormatError(
                f"the picture has changed since the data iteration '{manifest.name}' was drawn",
                where=item.path, expected=f"SHA-256 {entry.picture[:12]}...",
                got=f"{hashes[item.path][:12]}...", hint="Restore the file",
            )  # fmt: skip


def _entries(line: Iterable[Manifest]) -> Iterator[tuple[Manifest, Entry]]:
    for manifest in line:
        for entries in manifest.chunk.values():
            yield from ((manifest, entry) for entry in entries)


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _document(manifest: Manifest) -> dict[str, Any]:
    aim: dict[str, Any] = {"share": manifest.share, "where": {k: list(v) for k, v in manifest.where.items()}}
    if manifest.weights:  # left out elsewhere, so that older manifests keep their hash
        aim["weights"] = manifest.weights
    return {
        "schema": manifest.schema,
        "name": manifest.name,
        "order": manifest.order,
        "parent": manifest.parent,
        "parent_hash": manifest.parent_hash,
        "created": manifest.created,
        "aim": aim,
        "seed": manifest.seed,
        "testsets": [
            {"name": t.name, "version": t.version, "children": list(t.children), "pictures": list(t.pictures)}
            for t in manifest.testsets
        ],
        "chunk": [
            {"data": path, "items": [[e.id, e.labels, e.picture] for e in entries]}
            for path, entries in manifest.chunk.items()
        ],
    }


def _read(path: Path) -> Manifest:
    document = read_json(path, "data iteration")
    try:
        if not isinstance(document, dict) or document["schema"] not in _SCHEMAS:
            raise ValueError(f"expected an object of schema {' or '.join(map(str, _SCHEMAS))}")
        manifest = Manifest(
            path, document["name"], document["order"], document["parent"], document["parent_hash"],
            document["created"], document["aim"]["share"],
            {key: tuple(values) for key, values in document["aim"]["where"].items()}, document["seed"],
            {part["data"]: tuple(Entry(*entry) for entry in part["items"]) for part in document["chunk"]},
            tuple(
                HeldOut(t["name"], t["version"], tuple(t["children"]), tuple(t["pictures"]))
                for t in document["testsets"]
            ),
            {str(key): float(weight) for key, weight in document["aim"].get("weights", {}).items()},
            document["schema"],
        )  # fmt: skip
        written = document["hash"]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FileFormatError("not a data iteration", where=path, got=f"{error!r}") from error
    if manifest.hash != written:
        raise FileFormatError(
            "the data iteration's manifest was edited", where=path, expected=f"hash {str(written)[:12]}...",
            got=f"{manifest.hash[:12]}...", hint="Restore it: an iteration is never changed, only followed",
        )  # fmt: skip
    return manifest
