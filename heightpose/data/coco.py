"""Data sets as COCO keypoints: read strictly, written atomically.

A folder holds ``annotations.json`` and the pictures it names. Beyond plain COCO an annotation carries ``child``,
``strata`` and ``out_of_frame``, an image ``split`` ("train", "val" or "test", decided by child) and either a
``file_name`` or a ``video`` with a ``frame``. An image without annotations is an empty cot. Pixels are 0-based, an
integer coordinate is a pixel's centre. Joints are matched by name, so a set that labels fewer joints loads too.
"""

from __future__ import annotations

import difflib
import json
import logging
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from heightpose.errors import FileFormatError, InputError
from heightpose.runtime.atomic import write_json
from heightpose.skeleton import INFANT, Skeleton

SCHEMA = 1
SPLITS = ("train", "val", "test")

log = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Person:
    """One labelled infant.

    Attributes:
        kpts_frame: ``(K, 2)`` px; 0 where a joint is not labelled.
        visibility: ``(K,)`` int: 2 seen, 1 labelled but hidden, 0 not labelled.
        out_of_frame: ``(K,)`` bool.
        bbox_xyxy: ``(4,)`` px.
        child: whom the picture shows; None where the set does not say.
    """

    kpts_frame: np.ndarray
    visibility: np.ndarray
    out_of_frame: np.ndarray
    bbox_xyxy: np.ndarray
    child: str | None = None
    strata: dict[str, str] = field(default_factory=dict)
    id: int = 0

    @property
    def usable(self) -> np.ndarray:
        """``(K,)`` bool: labelled and inside the frame."""
        return (self.visibility > 0) & ~self.out_of_frame


@dataclass(frozen=True, eq=False)
class Item:
    """One picture or video frame with the infants labelled in it; none of them means an empty cot.

    Attributes:
        path: the picture, or the video when ``frame`` is not None.
        name: what the file calls it, for messages.
        infants_in_view: how many infants there are, labelled or not; None where the set does not say.
    """

    id: int
    path: Path
    frame: int | None
    size_wh: tuple[int, int]
    split: str | None
    people: tuple[Person, ...]
    infants_in_view: int | None = None

    @property
    def name(self) -> str:
        return self.path.name if self.frame is None else f"{self.path.name} frame {self.frame}"


@dataclass(frozen=True, eq=False)
class Dataset:
    """The pictures of one ``annotations.json``.

    Attributes:
        path: that file.
        skeleton: the joints of every ``(K, ...)`` array, whatever order the file has them in.
        skipped: what ``skip_bad`` left out and why, one line each.
    """

    path: Path
    items: tuple[Item, ...]
    skeleton: Skeleton = INFANT
    skipped: tuple[str, ...] = ()

    @classmethod
    def load(
        cls, dir_or_json: Path | str, skip_bad: bool = False, *, skeleton: Skeleton = INFANT
    ) -> Dataset:
        """Read and check a data set; pictures must exist but are not decoded.

        Args:
            dir_or_json: the folder or its ``annotations.json``.
            skip_bad: leave bad images and annotations out with a warning instead of stopping at the first.

        Raises:
            InputError: there is no such file.
            FileFormatError: not a data set of this schema, or (without ``skip_bad``) a bad entry.
        """
        path = Path(dir_or_json)
        path = path / "annotations.json" if path.is_dir() else path
        document = _read(path)
        reader = _Reader(path, _joint_order(path, document, skeleton), skeleton)
        skipped: list[str] = []

        def checked(make: Callable[[Any], T], entries: Iterable[Any]) -> list[T]:
            made = []
            for entry in entries:
                try:
                    made.append(make(entry))
                except FileFormatError as error:
                    if not skip_bad:
                        raise
                    skipped.append(str(error))
            return made

        people: dict[int, list[Person]] = {}
        ids = [i["id"] for i in document["images"] if isinstance(i, dict) and isinstance(i.get("id"), int)]
        images = set(ids)
        if len(images) != len(ids):
            raise FileFormatError("image ids repeat", where=f"{path}: images", hint="Give every image its own id")
        # A picture whose infant is skipped must go with it: kept, it would teach that the cot is empty.
        spoilt: set[int] = set()
        for annotation in document["annotations"]:
            made = checked(lambda a: reader.person(a, images), [annotation])
            image_id = annotation.get("image_id") if isinstance(annotation, dict) else None
            if made:
                people.setdefault(int(annotation["image_id"]), []).append(made[0])
            elif isinstance(image_id, int):
                spoilt.add(image_id)
        items = checked(lambda image: reader.item(image, people), document["images"])
        items = [item for item in items if item.id not in spoilt]
        for line in skipped:
            log.warning("skipped: %s", line)
        _require_one_split_per_child(path, items)
        return cls(path, tuple(items), skeleton, tuple(skipped))

    def subset(self, split: str) -> Dataset:
        """The items of one split."""
        return Dataset(self.path, tuple(i for i in self.items if i.split == split), self.skeleton)

    def save(self, folder: Path) -> Path:
        """Write ``folder/annotations.json`` atomically; pictures stay where they are. Returns its path."""
        final = Path(folder) / "annotations.json"
        write_json(final, _document(self, final.parent))
        return final


def _require_one_split_per_child(path: Path, items: Iterable[Item]) -> None:
    split_of: dict[str, str | None] = {}
    for item in items:
        for person in item.people:
            if person.child is not None and split_of.setdefault(person.child, item.split) != item.split:
                raise FileFormatError(
                    f"the child '{person.child}' is in two splits, so held-out figures would be too good",
                    where=f"{path}: images", expected="every picture of a child in one split",
                    got=f"{split_of[person.child]} and {item.split}", hint="Split by child",
                )  # fmt: skip


def head_angle_deg(kpts: np.ndarray, labelled: np.ndarray, skeleton: Skeleton = INFANT) -> float | None:
    """Image direction from pelvis to crown: 0 up, positive clockwise, in (-180, 180].

    Where one of the two is not labelled its nearest stand-in is used (head top, neck, thorax, mid-shoulders; mid-hips,
    thorax); None when not even those say which way the body lies.

    Args:
        kpts: ``(K, 2)`` px of any space.
        labelled: ``(K,)`` bool.
    """
    kpts, labelled = np.asarray(kpts, dtype=np.float64), np.asarray(labelled, dtype=bool)

    def first(choices: tuple[tuple[str, ...], ...]) -> tuple[tuple[str, ...], np.ndarray] | None:
        for names in choices:
            if all(n in skeleton.names for n in names) and labelled[skeleton.indices(*names)].all():
                return names, kpts[skeleton.indices(*names)].mean(axis=0)
        return None

    shoulders, hips = ("left_shoulder", "right_shoulder"), ("left_hip", "right_hip")
    top = first((("crown",), ("head_top",), ("upper_neck",), ("thorax",), shoulders))
    bottom = first((("pelvis",), hips, ("thorax",), shoulders))
    if top is None or bottom is None or top[0] == bottom[0]:
        return None
    dx, dy = top[1] - bottom[1]
    if np.hypot(dx, dy) < 1e-6:
        return None
    angle = float(np.rad2deg(np.arctan2(dx, -dy)))
    return 180.0 if angle == -180.0 else angle


def _read(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(
            "no such data set", where=path, expected="a folder with annotations.json", hint="Check --data"
        ) from error
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=path) from error
    except ValueError as error:
        raise FileFormatError("not a JSON file", where=path, got=error, hint="Write it again") from error
    if not isinstance(document, dict):
        raise FileFormatError("not COCO keypoints", where=path, expected="an object", got=type(document).__name__)
    about = document.get("heightpose", {"schema": SCHEMA})
    schema = about.get("schema") if isinstance(about, dict) else None
    if schema != SCHEMA:
        raise FileFormatError(
            "a data set of another version",
            where=f"{path}: heightpose.schema",
            expected=SCHEMA,
            got=schema,
            hint="Install the version of heightpose that wrote it, or write the data set again",
        )
    for key in ("images", "annotations", "categories"):
        if not isinstance(document.get(key), list):
            raise FileFormatError(
                "not COCO keypoints", where=f"{path}: {key}", expected="a list", got=type(document.get(key)).__name__
            )
    return document


def _joint_order(path: Path, document: dict[str, Any], skeleton: Skeleton) -> np.ndarray:
    """``(K_file,)``: index in the skeleton of each of the file's joints."""
    where = f"{path}: categories[0].keypoints"
    try:
        names = [str(name) for name in document["categories"][0]["keypoints"]]
    except (IndexError, KeyError, TypeError) as error:
        raise FileFormatError("the joints' names are missing", where=where, expected="a list of names") from error
    for name in names:
        if name not in skeleton.names:
            close = difflib.get_close_matches(name, skeleton.names, 1)
            hint = f"Did you mean '{close[0]}'?" if close else f"Joints are {', '.join(skeleton.names)}"
            raise FileFormatError("unknown joint", where=where, got=repr(name), hint=hint)
    if len(set(names)) != len(names):
        raise FileFormatError("joint names repeat", where=where, got=names)
    return skeleton.indices(*names)


@dataclass(frozen=True)
class _Reader:
    """Turns entries into checked values; every error names the file, the entry and the field."""

    path: Path
    order: np.ndarray
    skeleton: Skeleton

    def person(self, entry: Any, images: set[int]) -> Person:
        where = f"{self.path}: annotation {entry.get('id', '?') if isinstance(entry, dict) else entry!r}"
        if not isinstance(entry, dict) or entry.get("image_id") not in images:
            got = entry.get("image_id") if isinstance(entry, dict) else None
            raise FileFormatError("belongs to no image", where=f"{where}, field image_id", got=got)
        where += f" (image {entry['image_id']})"
        count = len(self.order)
        flat = _numbers(entry.get("keypoints"), 3 * count, f"{where}, field keypoints", self._joint_name)
        table = flat.reshape(count, 3)
        if not np.isin(table[:, 2], (0, 1, 2)).all():
            raise FileFormatError(
                "impossible visibility", where=f"{where}, field keypoints", expected="0, 1 or 2",
                got=table[~np.isin(table[:, 2], (0, 1, 2)), 2].tolist(),
            )  # fmt: skip
        size = len(self.skeleton)
        kpts, seen, outside = np.zeros((size, 2)), np.zeros(size, dtype=np.int8), np.zeros(size, dtype=bool)
        labelled = table[:, 2] > 0
        kpts[self.order[labelled]] = table[labelled, :2]
        seen[self.order] = table[:, 2].astype(np.int8)
        if entry.get("out_of_frame") is not None:
            flags = _numbers(entry["out_of_frame"], count, f"{where}, field out_of_frame", self._joint_name)
            outside[self.order] = flags != 0
        x, y, w, h = _numbers(entry.get("bbox"), 4, f"{where}, field bbox")
        if w <= 0 or h <= 0:
            raise FileFormatError("an empty box", where=f"{where}, field bbox", got=[x, y, w, h])
        child = entry.get("child")
        strata = entry.get("strata") or {}
        return Person(
            kpts, seen, outside, np.array([x, y, x + w, y + h]),
            None if child is None else str(child), dict(strata), int(entry.get("id", 0)),
        )  # fmt: skip

    def _joint_name(self, index: int) -> str:
        per_joint = index // 3
        return self.skeleton.names[self.order[per_joint]] if per_joint < len(self.order) else ""

    def item(self, entry: Any, people: dict[int, list[Person]]) -> Item:
        where = f"{self.path}: image {entry.get('id', '?') if isinstance(entry, dict) else entry!r}"
        if not isinstance(entry, dict) or not isinstance(entry.get("id"), int):
            raise FileFormatError("an image without an id", where=where, expected="an integer id")
        name, video, frame = entry.get("file_name"), entry.get("video"), entry.get("frame")
        if (name is None) == (video is None) or (video is not None and not isinstance(frame, int)):
            raise FileFormatError("names no picture", where=where, expected="file_name, or video with frame")
        picture = self.path.parent / str(name if video is None else video)
        if not picture.is_file():
            raise FileFormatError("the picture is missing", where=f"{where}, {picture}", hint="Copy the data set again")
        width, height = _numbers([entry.get("width"), entry.get("height")], 2, f"{where}, fields width, height")
        split = entry.get("split")
        if split is not None and split not in SPLITS:
            raise FileFormatError("unknown split", where=f"{where}, field split", expected=SPLITS, got=repr(split))
        return Item(
            entry["id"], picture, None if video is None else frame, (int(width), int(height)), split,
            tuple(people.get(entry["id"], ())), entry.get("infants_in_view"),
        )  # fmt: skip


def _numbers(
    value: Any, count: int, where: str, name_of: Callable[[int], str] = lambda index: ""
) -> np.ndarray:
    """``count`` finite numbers, or an error that says which one is not."""
    if not isinstance(value, list) or len(value) != count:
        got = f"{len(value)} numbers" if isinstance(value, list) else type(value).__name__
        raise FileFormatError("wrong number of values", where=where, expected=f"{count} numbers", got=got)
    for i, number in enumerate(value):
        if not isinstance(number, (int, float)) or not np.isfinite(number):
            joint = f" ({name_of(i)})" if name_of(i) else ""
            raise FileFormatError("not a finite number", where=f"{where}[{i}]{joint}", got=repr(number))
    return np.array(value, dtype=np.float64)


def _document(dataset: Dataset, folder: Path) -> dict[str, Any]:
    images, annotations = [], []
    for item in dataset.items:
        relative = Path(os.path.relpath(item.path.resolve(), folder.resolve())).as_posix()
        image: dict[str, Any] = {"id": item.id, "width": item.size_wh[0], "height": item.size_wh[1]}
        image |= {"file_name": relative} if item.frame is None else {"video": relative, "frame": item.frame}
        image |= {k: v for k, v in (("split", item.split), ("infants_in_view", item.infants_in_view)) if v is not None}
        images.append(image)
        for person in item.people:
            annotations.append(_annotation(person, item.id, len(annotations)))
    names = list(dataset.skeleton.names)
    bones = [[child + 1, parent + 1] for child, parent in dataset.skeleton.edges]
    return {
        "heightpose": {"schema": SCHEMA, "pixels": "0-based, integer = pixel centre"},
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 1, "name": "infant", "keypoints": names, "skeleton": bones}],
    }


def _annotation(person: Person, image_id: int, number: int) -> dict[str, Any]:
    x0, y0, x1, y1 = (float(v) for v in person.bbox_xyxy)
    table = np.column_stack([person.kpts_frame.round(3), person.visibility])
    entry: dict[str, Any] = {
        "id": number,
        "image_id": image_id,
        "category_id": 1,
        "iscrowd": 0,
        "bbox": [x0, y0, x1 - x0, y1 - y0],
        "area": (x1 - x0) * (y1 - y0),
        "keypoints": [v for x, y, seen in table.tolist() for v in (x, y, int(seen))],
        "num_keypoints": int((person.visibility > 0).sum()),
        "out_of_frame": person.out_of_frame.tolist(),
        "strata": person.strata,
    }
    return entry if person.child is None else entry | {"child": person.child}
