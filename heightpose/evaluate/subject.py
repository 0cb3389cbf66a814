"""What is judged: a frozen test set, or one split of a plain data set."""

from __future__ import annotations

import hashlib
import logging
import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from heightpose.codec.detection import iou
from heightpose.data.clips import Clip
from heightpose.data.coco import Dataset
from heightpose.data.items import Item, Person, relative_path
from heightpose.data.iterations import picture_hashes
from heightpose.data.testset import MANIFEST, TestSet
from heightpose.errors import ConfigError, FileFormatError
from heightpose.metrics.detection import FOUND_IOU
from heightpose.words import plural

log = logging.getLogger("heightpose")


@dataclass(frozen=True, eq=False)
class Subject:
    """Labelled frames and clips of known length.

    Attributes:
        folder: what the records' paths are relative to.
        items: each picture or video frame once, with the people of all image entries that name it.
        sha256: of the manifest (which holds every file's hash) or of a plain data set's annotations.
        frozen: whether every file's hash was checked.
        split: of a plain data set, which one is judged; None: all of it, or a frozen set.
        files_sha256: of a plain data set, over the content of every picture and video that is judged; None of a frozen
            set.
    """

    name: str
    version: int | str | None
    folder: Path
    sha256: str
    frozen: bool
    items: tuple[Item, ...]
    clips: tuple[Clip, ...]
    split: str | None = None
    files_sha256: str | None = None

    @classmethod
    def of_testset(cls, name_or_dir: str) -> Subject:
        """A test set, its files' hashes checked. Errors of :meth:`TestSet.load`."""
        found = TestSet.load(name_or_dir)
        items = () if found.annotations is None else _once_each(found.annotations.items, found.folder)
        digest = _sha256(found.folder / MANIFEST)
        return cls(found.name, found.version, found.folder, digest, True, items, found.clips)

    @classmethod
    def of_data(cls, folder: Path, split: str) -> Subject:
        """A data set's split, as :meth:`Dataset.subset` takes it. ConfigError when nothing is in the split."""
        dataset = Dataset.load(folder)
        chosen = dataset.subset(split)
        if not chosen.items:
            splits = ", ".join(sorted({str(item.split) for item in dataset.items}))
            raise ConfigError(
                "no picture is in this split",
                where=dataset.path,
                expected=splits,
                got=split,
                hint="Check --split",
            )
        folder = dataset.path.parent
        own = None if split == "all" else split
        name = folder.resolve().name + ("" if own is None else f"-{own}")
        items = _once_each(chosen.items, folder)
        return cls(name, None, folder, _sha256(dataset.path), False, items, (), own)

    def with_files_hashed(self) -> Subject:
        """Itself where it is frozen; else with ``files_sha256``. InputError when a picture is gone."""
        if self.frozen:
            return self
        lines = sorted(
            f"{self.relative(path)} {digest}" for path, digest in picture_hashes(self.items).items()
        )
        return replace(self, files_sha256=hashlib.sha256("\n".join(lines).encode()).hexdigest())

    def limited(self, number: int | None) -> Subject:
        """The first ``number`` clips and, beside the clips' own, the first ``number`` labelled frames."""
        if number is None:
            return self
        clips = self.clips[:number]
        kept, others = {c.video.resolve() for c in clips}, {c.video.resolve() for c in self.clips}
        own = [i for i in self.items if i.frame is not None and i.path.resolve() in kept]
        rest = [i for i in self.items if i.frame is None or i.path.resolve() not in others][:number]
        return replace(self, items=(*own, *rest), clips=clips)

    @property
    def of_clips(self) -> dict[Path, list[Item]]:
        """The labelled frames of every clip's video, by its path."""
        videos = {c.video.resolve(): c.video for c in self.clips}
        found: dict[Path, list[Item]] = {c.video: [] for c in self.clips}
        for item in self.items:
            if item.frame is not None and item.path.resolve() in videos:
                found[videos[item.path.resolve()]].append(item)
        return found

    @property
    def stills(self) -> list[Item]:
        """The labelled pictures."""
        return [item for item in self.items if item.frame is None]

    @property
    def videos(self) -> dict[Path, list[Item]]:
        """The labelled frames of videos that are not among the clips, by path."""
        clips = {c.video.resolve() for c in self.clips}
        found: dict[Path, list[Item]] = defaultdict(list)
        for item in self.items:
            if item.frame is not None and item.path.resolve() not in clips:
                found[item.path].append(item)
        return dict(found)

    def relative(self, path: Path) -> str:
        """A path as the records name it (:func:`heightpose.data.items.relative_path`)."""
        return relative_path(path, self.folder)

    def key(self, item: Item) -> str:
        """What a picture's or frame's record is known by."""
        return item.place_in(self.folder)

    def stand_in(self, item: Item, number: int) -> str:
        """What stands for the child of an item's infant whom the labels do not name: the unit of resampling.

        The pictures of a series are of one infant as far as anybody knows, those of a clip of the clip's child.
        """
        if item.frame is not None and item.path.resolve() in self._children_of_clips:
            return self._children_of_clips[item.path.resolve()]
        if item.recording is None and item.frame is None:
            return f"{self.key(item)}#{number}"
        return item.recording or self.relative(item.path)

    @cached_property
    def _children_of_clips(self) -> dict[Path, str]:
        return {clip.video.resolve(): clip.child for clip in self.clips}

    def as_dict(self) -> dict[str, Any]:
        """What a result says about it."""
        files = {} if self.files_sha256 is None else {"files_sha256": self.files_sha256}
        return files | {
            "name": self.name, "version": self.version, "folder": self.folder.resolve().name, "sha256": self.sha256,
            "frozen": self.frozen, "split": self.split, "frames": len(self.items), "clips": len(self.clips),
            "people": sum(len(i.people) for i in self.items), "children": len(children_of(self.items, self.clips)),
        }  # fmt: skip


def _once_each(items: Sequence[Item], folder: Path) -> tuple[Item, ...]:
    """The items, those of one picture or frame merged into one; an infant labelled in several of them counts once.

    Raises:
        FileFormatError: two files that the records could not tell apart.
    """
    entries: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        entries[item.place_in(folder)].append(item)
    found = tuple(_merged(key, *those) for key, those in entries.items())
    again = sum(len(i.people) for i in items) - sum(len(i.people) for i in found)
    if again:
        log.warning(
            "%s left out: of infants labelled in another entry of the same picture", plural(again, "label")
        )
    return found


def _merged(key: str, first: Item, *others: Item) -> Item:
    """One item with everybody in the entries of a picture, whom an earlier entry has left out of the later ones."""
    people = list(first.people)
    for other in others:
        if other.frame != first.frame or not os.path.samefile(other.path, first.path):
            raise FileFormatError(
                "two pictures have one path, and their records would be one", where=key,
                expected="a path of its own for each", got=f"{first.path} and {other.path}",
            )  # fmt: skip
        people += [p for p in other.people if not any(_is_same(p, known) for known in people)]
    in_view = [i.infants_in_view for i in (first, *others) if i.infants_in_view is not None]
    return replace(first, people=tuple(people), infants_in_view=max(in_view, default=None))


def _is_same(one: Person, other: Person) -> bool:
    """Whether two entries of a picture mean one infant: by name, or where one of them tells none by its place."""
    if one.child is not None and other.child is not None:
        return one.child == other.child
    return float(iou(one.bbox_xyxy, other.bbox_xyxy)) >= FOUND_IOU


def children_of(items: Sequence[Item], clips: Sequence[Clip]) -> set[str]:
    """Everybody with a name."""
    return {p.child for i in items for p in i.people if p.child is not None} | {c.child for c in clips}


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
