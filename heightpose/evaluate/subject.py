"""What is judged: a frozen test set, or one split of a plain data set."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from heightpose.data.clips import Clip
from heightpose.data.coco import Dataset
from heightpose.data.items import Item
from heightpose.data.iterations import picture_hashes
from heightpose.data.testset import MANIFEST, TestSet
from heightpose.errors import ConfigError


@dataclass(frozen=True, eq=False)
class Subject:
    """Labelled frames and clips of known length.

    Attributes:
        folder: what the records' paths are relative to.
        sha256: of the manifest (which holds every file's hash) or of a plain data set's annotations.
        frozen: whether every file's hash was checked.
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
        items = () if found.annotations is None else found.annotations.items
        digest = _sha256(found.folder / MANIFEST)
        return cls(found.name, found.version, found.folder, digest, True, items, found.clips)

    @classmethod
    def of_data(cls, folder: Path, split: str | None) -> Subject:
        """A data set's split (all of it where None). ConfigError when nothing is in the split."""
        dataset = Dataset.load(folder)
        chosen = dataset if split is None else dataset.subset(split)
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
        name = folder.resolve().name + ("" if split is None else f"-{split}")
        return cls(name, None, folder, _sha256(dataset.path), False, chosen.items, (), split)

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
        """A path as the records name it."""
        try:
            return path.resolve().relative_to(self.folder.resolve()).as_posix()
        except ValueError:
            return path.name

    def as_dict(self) -> dict[str, Any]:
        """What a result says about it."""
        files = {} if self.files_sha256 is None else {"files_sha256": self.files_sha256}
        return files | {
            "name": self.name, "version": self.version, "folder": self.folder.resolve().name, "sha256": self.sha256,
            "frozen": self.frozen, "split": self.split, "frames": len(self.items), "clips": len(self.clips),
            "people": sum(len(i.people) for i in self.items), "children": len(children_of(self.items, self.clips)),
        }  # fmt: skip


def children_of(items: Sequence[Item], clips: Sequence[Clip]) -> set[str]:
    """Everybody with a name."""
    return {p.child for i in items for p in i.people if p.child is not None} | {c.child for c in clips}


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
