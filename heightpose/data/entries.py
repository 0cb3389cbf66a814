"""Entries of a COCO file turned into checked values; every error names the file, the entry and the field."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from heightpose.data.items import Item, Person
from heightpose.errors import FileFormatError
from heightpose.skeleton import Skeleton

SPLITS = ("train", "val", "test")

#: Of a place or size in px: far beyond any picture, and far from where arithmetic overflows.
_LARGEST = 1e7

#: Px; an infant whose box or joints span less is no infant: its places are shares of the picture, not px.
_LEAST_EXTENT = 2.0


_SHA256 = re.compile(r"[0-9a-f]{64}")


def joint_order(path: Path, document: dict[str, Any], skeleton: Skeleton) -> np.ndarray:
    """``(K_file,)``: index in the skeleton of each of the file's joints."""
    where = f"{path}: categories[0].keypoints"
    try:
        names = [str(name) for name in document["categories"][0]["keypoints"]]
    except (IndexError, KeyError, TypeError) as error:
        raise FileFormatError(
            "the joints' names are missing", where=where, expected="a list of names"
        ) from error
    for name in names:
        if name not in skeleton.names:
            close = difflib.get_close_matches(name, skeleton.names, 1)
            hint = f"Did you mean '{close[0]}'?" if close else f"Joints are {', '.join(skeleton.names)}"
            raise FileFormatError("unknown joint", where=where, got=repr(name), hint=hint)
    if len(set(names)) != len(names):
        raise FileFormatError("joint names repeat", where=where, got=names)
    return skeleton.indices(*names)


def has_joints(path: Path, categories: list[Any], entry: dict[str, Any]) -> bool:
    """Whether an annotation is of the category whose joints are read, the file's first; one that names none is.

    Raises:
        FileFormatError: of another category with joints, or of none of the file's: passed over, an infant would make
            an empty cot.
    """
    number, own = entry.get("category_id"), categories[0].get("id")
    if number is None or own is None or number == own:
        return True
    other = next((c for c in categories[1:] if isinstance(c, dict) and c.get("id") == number), None)
    if other is not None and not other.get("keypoints"):
        return False
    what = "belongs to no category" if other is None else "belongs to a category whose joints are not read"
    raise FileFormatError(
        what, where=f"{path}: annotation {entry.get('id', '?')} (image {entry['image_id']}), field category_id",
        expected=f"{own!r}, the id of categories[0]", got=repr(number)[:40],
        hint=None if other is None else "'heightpose data import coco' reads all categories",
    )  # fmt: skip


@dataclass(frozen=True)
class Entries:
    """Turns entries into checked values; every error names the file, the entry and the field."""

    path: Path
    order: np.ndarray
    skeleton: Skeleton

    def image_of(self, entry: Any, images: set[int]) -> int:
        """The id of an annotation's image; ``images`` are those there are."""
        where = f"{self.path}: annotation {entry.get('id', '?') if isinstance(entry, dict) else entry!r}"
        if not isinstance(entry, dict):
            raise FileFormatError("not an annotation", where=where, expected="an object", got=repr(entry))
        image_id = entry.get("image_id")
        if not isinstance(image_id, int) or image_id not in images:
            raise FileFormatError("belongs to no image", where=f"{where}, field image_id", got=repr(image_id))
        return image_id

    def person(self, entry: Any, images: set[int]) -> Person:
        """The infant of an annotation; ``images`` are the ids there are."""
        image_id = self.image_of(entry, images)
        where = f"{self.path}: annotation {entry.get('id', '?')} (image {image_id})"
        number = entry.get("id", 0)
        if not isinstance(number, int):
            raise FileFormatError(
                "not an id", where=f"{where}, field id", expected="an integer", got=repr(number)
            )
        count = len(self.order)
        table = joint_table(entry.get("keypoints"), count, f"{where}, field keypoints", self._joint_name)
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
            flags = numbers(entry["out_of_frame"], count, f"{where}, field out_of_frame", self._joint_name)
            outside[self.order] = flags != 0
        x, y, w, h = numbers(entry.get("bbox"), 4, f"{where}, field bbox")
        if w <= 0 or h <= 0:
            raise FileFormatError("an empty box", where=f"{where}, field bbox", got=entry["bbox"])
        head = None
        if entry.get("head_box_xyxy") is not None:
            head = numbers(entry["head_box_xyxy"], 4, f"{where}, field head_box_xyxy")
            if (head[2:] <= head[:2]).any():
                raise FileFormatError(
                    "an empty box", where=f"{where}, field head_box_xyxy", got=head.tolist()
                )
        child = entry.get("child")
        return Person(
            kpts, seen, outside, np.array([x, y, x + w, y + h]),
            None if child is None else str(child), strata_in(entry, where), number, head,
        )  # fmt: skip

    def _joint_name(self, index: int) -> str:
        return self.skeleton.names[self.order[index]]

    def item(self, entry: Any, people: dict[int, list[Person]]) -> Item:
        """An image with the ``people`` annotated in it, by image id."""
        where = f"{self.path}: image {entry.get('id', '?') if isinstance(entry, dict) else entry!r}"
        if not isinstance(entry, dict) or not isinstance(entry.get("id"), int):
            raise FileFormatError("an image without an id", where=where, expected="an integer id")
        name, video, frame = entry.get("file_name"), entry.get("video"), entry.get("frame")
        if (name is None) == (video is None) or (video is not None and not isinstance(frame, int)):
            raise FileFormatError("names no picture", where=where, expected="file_name, or video with frame")
        picture = self.path.parent / str(name if video is None else video)
        if not os.path.isfile(picture):  # False, unlike Path's, where no disk could have the name
            raise FileFormatError(
                "the picture is missing", where=f"{where}, {picture}", hint="Copy the data set again"
            )
        size_wh = picture_size(entry, where)
        infants = infants_in_view(entry, where)
        split = entry.get("split")
        if split is not None and split not in SPLITS:
            raise FileFormatError(
                "unknown split", where=f"{where}, field split", expected=SPLITS, got=repr(split)
            )
        infants_here = tuple(people.get(entry["id"], ()))
        for person in infants_here:
            require_in_picture(person, size_wh, f"{self.path}: annotation {person.id} (image {entry['id']})")
        require_each_once(infants_here, where)
        return Item(
            entry["id"], picture, None if video is None else frame, size_wh, split,
            infants_here, infants, strata=strata_in(entry, where),
            recording=recording_in(entry, where), recording_sha256=recording_sha256_in(entry, where),
        )  # fmt: skip


def require_in_picture(person: Person, size_wh: tuple[int, int], where: str) -> None:
    """FileFormatError for a label whose box misses the picture or all its joints, or that is told in shares of it.

    Of an infant all of whose labelled joints are out of the frame nothing is asked: it is not judged either.
    """
    labelled = person.visibility > 0
    if labelled.any() and not person.usable.any():
        return
    x0, y0, x1, y1 = person.bbox_xyxy
    box = f"{x0:.6g},{y0:.6g} to {x1:.6g},{y1:.6g}"
    width, height = size_wh
    if x1 <= -0.5 or y1 <= -0.5 or x0 >= width - 0.5 or y0 >= height - 0.5:
        raise FileFormatError(
            "the box misses the picture", where=f"{where}, field bbox", expected=f"within {width}x{height} px", got=box
        )  # fmt: skip
    joints = person.kpts_frame[person.usable]
    several = len(joints) > 2
    joints_span = np.ptp(joints, axis=0).max() if several else np.inf
    if max(x1 - x0, y1 - y0) < _LEAST_EXTENT or joints_span < _LEAST_EXTENT:
        raise FileFormatError(
            "an infant smaller than two pixels", where=where, expected="box and joints in px", got=f"box {box}",
            hint="Places that are shares of the picture are to be multiplied by its width and height",
        )  # fmt: skip
    if several and not ((joints >= [x0, y0]) & (joints <= [x1, y1])).all(axis=1).any():
        raise FileFormatError(
            "the box holds none of the infant's joints", where=where, expected="the infant's box", got=f"box {box}",
            hint="Is it another thing's? Give it to none of the infants",
        )  # fmt: skip


def require_each_once(people: Sequence[Person], where: str) -> None:
    """FileFormatError where two labels of a picture are one: the second infant would be one that is always missed."""
    places = [
        (p.child, p.bbox_xyxy.tobytes(), p.kpts_frame.tobytes(), p.visibility.tobytes()) for p in people
    ]
    again = next((k for k, place in enumerate(places) if place in places[:k]), None)
    if again is not None:
        raise FileFormatError(
            "one infant is labelled twice", where=where, expected="places of its own for each annotation",
            got=f"infants {places.index(places[again]) + 1} and {again + 1} of the picture at the same places",
            hint="Remove one of them",
        )  # fmt: skip


def infants_in_view(image: dict[str, Any], where: str) -> int | None:
    """How many infants an image entry says there are, None where it does not. FileFormatError for no count."""
    infants = image.get("infants_in_view")
    if infants is not None and not (isinstance(infants, int) and infants >= 0):
        raise FileFormatError("not a count", where=f"{where}, field infants_in_view", got=repr(infants)[:40])
    return infants


def recording_in(image: dict[str, Any], where: str) -> str | None:
    """The video that an image entry says it was taken from. FileFormatError for no text."""
    recording = image.get("recording")
    if recording is not None and not (isinstance(recording, str) and recording):
        raise FileFormatError(
            "not a video's name",
            where=f"{where}, field recording",
            expected="a text",
            got=repr(recording)[:40],
        )
    return recording


def recording_sha256_in(image: dict[str, Any], where: str) -> str | None:
    """The hash of the video that an image entry was taken from. FileFormatError for none."""
    digest = image.get("recording_sha256")
    if digest is not None and not (isinstance(digest, str) and _SHA256.fullmatch(digest)):
        raise FileFormatError(
            "not a SHA-256",
            where=f"{where}, field recording_sha256",
            expected="64 hexadecimal digits in lower case",
            got=repr(digest)[:70],
        )
    return digest


def strata_in(entry: dict[str, Any], where: str) -> dict[str, Any]:
    """The strata of an entry. FileFormatError unless each value is a text or a finite number, true, false or null."""
    strata = entry.get("strata", {})
    if not isinstance(strata, dict):
        raise FileFormatError(
            "not strata", where=f"{where}, field strata", expected="name: value", got=repr(strata)[:80]
        )
    for name, value in strata.items():
        finite = not isinstance(value, float) or np.isfinite(value)
        if not (value is None or isinstance(value, (str, int, float))) or not finite:
            raise FileFormatError(
                "not a value of a stratum", where=f"{where}, field strata, {name}",
                expected="a text or a finite number", got=repr(value)[:80],
            )  # fmt: skip
    return dict(strata)


def joint_table(value: Any, count: int, where: str, name_of: Callable[[int], str]) -> np.ndarray:
    """``(count, 3)`` of x, y and visibility from a COCO list; the places of joints that are not labelled become 0.

    Tools leave there what they like, NaN and null included: nobody looks at it.

    Args:
        name_of: a joint's name by its number, for messages.
    """
    if isinstance(value, list) and len(value) == 3 * count:
        blank = {i for i, seen in enumerate(value[2::3]) if isinstance(seen, (int, float)) and seen == 0}
        value = [0 if i % 3 < 2 and i // 3 in blank else number for i, number in enumerate(value)]
    return numbers(value, 3 * count, where, lambda i: name_of(i // 3)).reshape(count, 3)


def picture_size(image: dict[str, Any], where: str) -> tuple[int, int]:
    """(width, height) of an image entry in px. FileFormatError unless both are whole and above 0."""
    where = f"{where}, fields width, height"
    width, height = numbers([image.get("width"), image.get("height")], 2, where)
    got = f"{width:.12g}x{height:.12g}"
    if width < 1 or height < 1:
        raise FileFormatError("an empty picture", where=where, got=got)
    if width % 1 or height % 1:
        raise FileFormatError("not a picture's size", where=where, expected="whole px", got=got)
    return int(width), int(height)


def numbers(
    value: Any, count: int, where: str, name_of: Callable[[int], str] = lambda index: ""
) -> np.ndarray:
    """``count`` finite numbers, or an error that says which one is not."""
    if not isinstance(value, list) or len(value) != count:
        got = f"{len(value)} numbers" if isinstance(value, list) else type(value).__name__
        raise FileFormatError("wrong number of values", where=where, expected=f"{count} numbers", got=got)
    for i, number in enumerate(value):
        finite = isinstance(number, int) or (isinstance(number, float) and np.isfinite(number))
        if not finite or abs(number) > _LARGEST:
            joint = f" ({name_of(i)})" if name_of(i) else ""
            what = "impossibly large" if finite else "not a finite number"
            raise FileFormatError(what, where=f"{where}[{i}]{joint}", got=repr(number)[:40])
    return np.array(value, dtype=np.float64)
