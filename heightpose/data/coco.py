"""Data sets as COCO keypoints: read strictly, written atomically.

A folder holds ``annotations.json`` and the pictures it names. Beyond plain COCO an annotation carries
``child``, ``strata``, ``out_of_frame`` and perhaps ``head_box_xyxy``, an image ``split`` ("train", "val" or "test",
decided by child), perhaps ``strata`` of its own and the ``recording`` it was taken from, and either a ``file_name`` or
a ``video`` with a ``frame``. An image without annotations is an empty cot.
Pixels are 0-based, an integer coordinate is a pixel's centre. Joints are matched by name, so a set that
labels fewer joints loads too.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from heightpose.data.entries import Entries, has_joints, joint_order
from heightpose.data.items import Item, Person
from heightpose.errors import FileFormatError, InputError
from heightpose.runtime.atomic import write_json
from heightpose.skeleton import INFANT, Skeleton
from heightpose.textfile import read_json

#: Raised when a field changes its meaning or becomes required; a new optional field leaves it as it is.
SCHEMA = 1

log = logging.getLogger(__name__)
T = TypeVar("T")


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
        cls,
        dir_or_json: Path | str,
        skip_bad: bool = False,
        *,
        skeleton: Skeleton = INFANT,
        quiet: bool = False,
    ) -> Dataset:
        """Read and check a data set; pictures must exist but are not decoded.

        Args:
            dir_or_json: the folder or its ``annotations.json``.
            skip_bad: leave bad images and annotations out with a warning instead of stopping at the first.
            quiet: without the warnings, for a caller that shows ``skipped`` itself.

        Raises:
            InputError: there is no such file.
            FileFormatError: not a data set of this schema, or (without ``skip_bad``) a bad entry.
        """
        path = Path(dir_or_json)
        path = path / "annotations.json" if path.is_dir() else path
        document = _read(path)
        reader = Entries(path, joint_order(path, document, skeleton), skeleton)
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
        images = require_own_ids(path, "images", document["images"])
        require_own_ids(path, "annotations", document["annotations"])
        # A picture whose infant is skipped must go with it: kept, it would teach that the cot is empty.
        spoilt: set[int] = set()
        crowded: set[int] = set()

        def read(annotation: Any) -> None:
            image_id = reader.image_of(annotation, images)
            if not has_joints(path, document["categories"], annotation):
                return
            if annotation.get("iscrowd"):  # labels nobody
                crowded.add(image_id)
            else:
                people.setdefault(image_id, []).append(reader.person(annotation, images))

        for annotation in document["annotations"]:
            image_id = annotation.get("image_id") if isinstance(annotation, dict) else None
            if not checked(read, [annotation]) and isinstance(image_id, int):
                spoilt.add(image_id)
        items = checked(lambda image: reader.item(image, people), document["images"])
        items = [_with_crowd(item, crowded) for item in items if item.id not in spoilt]
        for line in () if quiet else skipped:
            log.warning("skipped: %s", line)
        require_one_split_per_child(path, items)
        require_one_split_per_picture(path, items)
        return cls(path, tuple(items), skeleton, tuple(skipped))

    def subset(self, split: str) -> Dataset:
        """The items of one split; of "all" every one, those of no split among them."""
        items = tuple(i for i in self.items if split in (i.split, "all"))
        return Dataset(self.path, items, self.skeleton)

    def save(self, folder: Path) -> Path:
        """Write ``folder/annotations.json`` atomically; pictures stay where they are. Returns its path."""
        final = Path(folder) / "annotations.json"
        write_json(final, _document(self, final.parent))
        return final


def _with_crowd(item: Item, crowded: set[int]) -> Item:
    """The item; in a crowd there is at least one infant more than are labelled, where the set does not say."""
    if item.id not in crowded or item.infants_in_view is not None:
        return item
    return replace(item, infants_in_view=len(item.people) + 1)


def require_own_ids(path: Path, name: str, entries: Iterable[Any]) -> set[int]:
    """The ids of a list's entries; that two share one is the file's fault as a whole: which is meant?"""
    ids = Counter(e["id"] for e in entries if isinstance(e, dict) and isinstance(e.get("id"), int))
    repeated = [number for number, count in ids.items() if count > 1]
    if repeated:
        raise FileFormatError(
            f"ids repeat in {name}",
            where=f"{path}: {name}, field id",
            expected="an id of its own for each",
            got=f"{ids[repeated[0]]} with the id {repeated[0]}",
            hint="Number them anew, and the annotations' image_id with them",
        )
    return set(ids)


def require_one_split_per_child(path: Path, items: Iterable[Item]) -> None:
    """FileFormatError when pictures of one child are in two splits."""
    split_of: dict[str, str | None] = {}
    for item in items:
        for person in item.people:
            if person.child is not None and split_of.setdefault(person.child, item.split) != item.split:
                raise FileFormatError(
                    f"the child '{person.child}' is in two splits, so held-out figures would be too good",
                    where=f"{path}: images", expected="every picture of a child in one split",
                    got=f"{split_of[person.child]} and {item.split}", hint="Split by child",
                )  # fmt: skip


def require_one_split_per_picture(path: Path, items: Iterable[Item]) -> None:
    """FileFormatError when a picture or video frame that is named more than once is in two splits."""
    split_of: dict[tuple[str, int | None], str | None] = {}
    for item in items:
        split = split_of.setdefault((os.path.abspath(item.path), item.frame), item.split)
        if split != item.split:
            raise FileFormatError(
                f"the picture '{item.name}' is in two splits, so held-out figures would be too good",
                where=f"{path}: images, {item.path}", expected="every picture in one split",
                got=f"{split} and {item.split}", hint="Name each picture once, or in one split only",
            )  # fmt: skip


def require_schema(path: Path, document: dict[str, Any]) -> None:
    """FileFormatError unless a COCO document is of our schema, or says nothing about one."""
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


def _read(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise InputError(
            "no such data set", where=path, expected="a folder with annotations.json", hint="Check --data"
        )
    document = read_json(path, "data set")
    if not isinstance(document, dict):
        raise FileFormatError(
            "not COCO keypoints", where=path, expected="an object", got=type(document).__name__
        )
    require_schema(path, document)
    for key in ("images", "annotations", "categories"):
        if not isinstance(document.get(key), list):
            raise FileFormatError(
                "not COCO keypoints",
                where=f"{path}: {key}",
                expected="a list",
                got=type(document.get(key)).__name__,
            )
    return document


def _document(dataset: Dataset, folder: Path) -> dict[str, Any]:
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for item in dataset.items:
        relative = Path(os.path.relpath(item.path.resolve(), folder.resolve())).as_posix()
        image: dict[str, Any] = {"id": item.id, "width": item.size_wh[0], "height": item.size_wh[1]}
        image |= {"file_name": relative} if item.frame is None else {"video": relative, "frame": item.frame}
        image |= {
            k: v
            for k, v in (
                ("split", item.split),
                ("infants_in_view", item.infants_in_view),
                ("recording", item.recording),
                ("recording_sha256", item.recording_sha256),
            )
            if v is not None
        }
        images.append(image | ({"strata": item.strata} if item.strata else {}))
        for person in item.people:
            annotations.append(annotation_of(person, len(annotations) + 1, item.id))
    names = list(dataset.skeleton.names)
    bones = [[child + 1, parent + 1] for child, parent in dataset.skeleton.edges]
    return {
        "heightpose": {"schema": SCHEMA, "pixels": "0-based, integer = pixel centre"},
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 1, "name": "infant", "keypoints": names, "skeleton": bones}],
    }


def annotation_of(person: Person, number: int, image_id: int, offset: float = 0.0) -> dict[str, Any]:
    """One infant as an entry of ``annotations``, coordinates of joints to 0.001 px, which nobody can label.

    Args:
        number: its id; from 1, as COCO's own evaluation takes an annotation with the id 0 for none.
        offset: added to every coordinate, px.
    """
    labelled = person.visibility > 0
    kpts = np.where(labelled[:, None], (person.kpts_frame + offset).round(3), 0.0)
    table = np.column_stack([kpts, person.visibility])
    x0, y0, x1, y1 = (float(v) for v in person.bbox_xyxy + offset)
    entry: dict[str, Any] = {
        "id": number,
        "image_id": image_id,
        "category_id": 1,
        "iscrowd": 0,
        "bbox": [x0, y0, x1 - x0, y1 - y0],
        "area": (x1 - x0) * (y1 - y0),
        "keypoints": [v for x, y, seen in table.tolist() for v in (x, y, int(seen))],
        "num_keypoints": int(labelled.sum()),
        "out_of_frame": person.out_of_frame.tolist(),
        "strata": person.strata,
    }
    if person.head_box_xyxy is not None:
        entry["head_box_xyxy"] = (person.head_box_xyxy + offset).tolist()
    return entry if person.child is None else entry | {"child": person.child}
