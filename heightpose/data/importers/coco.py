"""COCO keypoints: anybody's, CVAT's COCO export, our own export, or our own data sets.

Joints go by the names in ``categories``; COCO's 17 are known, others need a map. Annotations of a category without
joints are passed over. A region of a crowd (``iscrowd`` 1) labels nobody: it only says that more people are in view
than are labelled. A missing ``bbox`` is the joints' extent. Our own fields (``child``, ``strata``, ``out_of_frame``,
``head_box_xyxy``, ``split``, ``infants_in_view``, ``video``, an image's ``strata``, ``recording`` and its hash) come
along where they are there. Of an annotation's ``attributes``, where CVAT keeps what annotators entered, ``child`` is
the child and the others are strata, as in CVAT's XML; fields of our own go before them.

Pixels are 0-based and an integer is a pixel's centre, as every trainer on COCO reads them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from heightpose.data.coco import require_own_ids, require_schema
from heightpose.data.entries import (
    SPLITS,
    Entries,
    infants_in_view,
    joint_table,
    picture_size,
    recording_in,
    recording_sha256_in,
    strata_in,
)
from heightpose.data.importers.joints import JointMap
from heightpose.data.importers.labels import Labelled, Problems, files_in, find_picture, joints_box
from heightpose.data.importers.splits import split_named
from heightpose.data.items import Person
from heightpose.errors import FileFormatError, InputError
from heightpose.skeleton import INFANT
from heightpose.textfile import read_json


def read(source: Path, joints: JointMap, problems: Problems) -> Iterator[Labelled]:
    """The pictures of a COCO file, or of the files of a folder's ``annotations/`` (else of the folder itself)."""
    for path in _files(source):
        with problems.guard():  # of several files one may be of another version
            yield from _File.open(path, joints).pictures(problems)


def _files(source: Path) -> list[Path]:
    if not source.is_dir():
        return [source]
    own = source / "annotations.json"
    files = [own] if own.is_file() else files_in(source / "annotations", "*.json")
    files = files if files else files_in(source, "*.json")
    keypoints = [p for p in files if "keypoints" in p.stem]  # beside instances_*.json and captions_*.json
    files = keypoints if keypoints else files
    if not files:
        raise InputError("no COCO file here", where=source, expected="annotations/person_keypoints_*.json")
    return files


#: Attributes that CVAT adds by itself: they say nothing of the infant.
_CVATS_OWN = ("occluded", "rotation", "track_id", "keyframe")


@dataclass(frozen=True)
class _Category:
    """How a category's joints are read: ``take[i]`` is the file's index of our joint ``entries.order[i]``."""

    theirs: list[str]
    take: list[int]
    entries: Entries


@dataclass(frozen=True)
class _File:
    """A labels' file; ``jointless`` are the ids of its categories that declare no joints."""

    path: Path
    document: dict[str, Any]
    categories: dict[int, _Category]
    jointless: frozenset[int | None]

    @classmethod
    def open(cls, path: Path, joints: JointMap) -> _File:
        document = read_json(path, "labels' file")
        lists = ("images", "annotations", "categories")
        if not isinstance(document, dict) or any(not isinstance(document.get(k), list) for k in lists):
            raise FileFormatError(
                "not COCO keypoints", where=path, expected="the lists images, annotations, categories"
            )
        require_schema(path, document)
        for entry in [*document["images"], *document["annotations"]]:
            _make_ids_whole(entry)
        categories = {}
        jointless: set[int | None] = set()
        for index, entry in enumerate(document["categories"]):
            where = f"{path}: categories[{index}].keypoints"
            if not isinstance(entry, dict):
                continue
            number = _whole(entry.get("id"))
            if not entry.get("keypoints"):
                jointless.add(number)
                continue
            if number is None or not isinstance(entry["keypoints"], list):
                raise FileFormatError("not a category", where=where, expected="an id and a list of names")
            theirs = [str(name) for name in entry["keypoints"]]
            names = joints.names(theirs, where)
            take = [i for i, name in enumerate(names) if name is not None]
            order = INFANT.indices(*(name for name in names if name is not None))
            categories[number] = _Category(theirs, take, Entries(path, order, INFANT))
        if not categories:
            raise FileFormatError(
                "the joints' names are missing", where=f"{path}: categories", expected="keypoints"
            )
        return cls(path, document, categories, frozenset(jointless))

    def pictures(self, problems: Problems) -> Iterator[Labelled]:
        labels: dict[Any, list[Any]] = {}
        images = require_own_ids(self.path, "images", self.document["images"])
        for entry in self.document["annotations"]:
            with problems.guard():
                if not isinstance(entry, dict):
                    raise FileFormatError("not an annotation", where=self.path, got=repr(entry))
                if not _is_id(image_id := entry.get("image_id")) or image_id not in images:
                    raise FileFormatError(
                        "belongs to no image",
                        where=f"{self.path}: annotation {entry.get('id', '?')}, field image_id",
                        got=repr(image_id),
                    )
                labels.setdefault(image_id, []).append(entry)
        for image in self.document["images"]:
            with problems.guard():
                yield self._picture(image, labels, images)

    def _picture(self, image: Any, labels: dict[Any, list[Any]], images: set[int]) -> Labelled:
        where = f"{self.path}: image {image.get('id', '?') if isinstance(image, dict) else image!r}"
        if not isinstance(image, dict) or not _is_id(image.get("id")):
            raise FileFormatError("an image without an id", where=where, expected="an integer id")
        name, frame = image.get("file_name"), None
        if name is None and isinstance(image.get("frame"), int):
            name, frame = image.get("video"), image["frame"]
        if not isinstance(name, str):
            raise FileFormatError("names no picture", where=f"{where}, field file_name", got=repr(name))
        picture, folder = find_picture(self._folders(), name, where)
        size_wh = picture_size(image, where)
        split = image.get("split", split_named(self._subset))
        if split is not None and split not in SPLITS:
            raise FileFormatError("unknown split", where=f"{where}, field split", expected=SPLITS, got=split)
        entries = [a for a in labels.get(image["id"], []) if self._has_joints(a)]
        people = tuple(self._person(a, images) for a in entries if not a.get("iscrowd"))
        in_view = infants_in_view(image, where)
        if in_view is None and len(people) < len(entries):
            in_view = len(people) + 1  # a crowd: at least one more
        return Labelled(
            picture, folder, where, people, size_wh, split, in_view, frame, strata_in(image, where),
            recording_in(image, where), recording_sha256_in(image, where),
        )  # fmt: skip

    def _has_joints(self, entry: dict[str, Any]) -> bool:
        """FileFormatError where the file does not say: passed over, an infant would make an empty cot."""
        number = _whole(entry.get("category_id"))
        if number is None or number not in self.jointless.union(self.categories):
            raise FileFormatError(
                "belongs to no category",
                where=f"{self.path}: annotation {entry.get('id', '?')} (image {entry['image_id']}), "
                "field category_id",
                expected="the id of one of the file's categories",
                got=repr(entry["category_id"]) if "category_id" in entry else "none",
            )
        return number in self.categories

    def _folders(self) -> list[Path]:
        """Where a ``file_name`` may start: COCO's own archives, CVAT's, and beside the file."""
        root = self.path.parent.parent if self.path.parent.name == "annotations" else self.path.parent
        places = [
            self.path.parent,
            root,
            root / "images",
            root / "images" / self._subset,
            root / self._subset,
        ]
        return list(dict.fromkeys(places))

    @property
    def _subset(self) -> str:
        """``person_keypoints_val2017`` -> val2017."""
        return self.path.stem.removeprefix("person_keypoints_")

    def _person(self, entry: dict[str, Any], images: set[int]) -> Person:
        category = self.categories[entry["category_id"]]
        where = f"{self.path}: annotation {entry.get('id', '?')} (image {entry['image_id']}), field keypoints"
        count = len(category.theirs)
        flat = entry.get("keypoints", [0] * (3 * count))
        table = joint_table(flat, count, where, lambda i: category.theirs[i])
        ours = {**_with_attributes(entry), "keypoints": table[category.take].ravel().tolist()}
        flags = entry.get("out_of_frame")
        if isinstance(flags, list) and len(flags) == count:
            ours["out_of_frame"] = [flags[i] for i in category.take]
        if entry.get("bbox") is None:
            box = joints_box(table[table[:, 2] > 0, :2], where)
            ours["bbox"] = np.concatenate([box[:2], box[2:] - box[:2]]).tolist()
        return category.entries.person(ours, images)


def _with_attributes(entry: dict[str, Any]) -> dict[str, Any]:
    """An annotation with what its ``attributes`` say in our own fields."""
    given = entry.get("attributes")
    if not isinstance(given, dict) or not isinstance(entry.get("strata", {}), dict):
        return entry
    known = {
        name: str(value).lower() if isinstance(value, bool) else value
        for name, value in given.items()
        if name not in _CVATS_OWN and isinstance(value, (str, int, float)) and value != ""
    }
    child = {"child": known.pop("child")} if "child" in known else {}
    return child | entry | {"strata": known | entry.get("strata", {})}


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _make_ids_whole(entry: Any) -> None:
    """Write an entry's ids without a fraction of 0; what is no id stays, to be refused where it is read."""
    for key in ("id", "image_id"):
        if isinstance(entry, dict) and (number := _whole(entry.get(key))) is not None:
            entry[key] = number


def _whole(value: Any) -> int | None:
    """An id; some writers make every number a float."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if _is_id(value) else None
