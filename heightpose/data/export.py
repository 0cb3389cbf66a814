"""A data set as plain COCO keypoints in COCO's own folder layout, for CVAT, FiftyOne, Label Studio and trainers.

``annotations/person_keypoints_<split>.json`` beside ``images/``: what CVAT's "COCO Keypoints 1.0" expects. Every
annotation has all that these tools insist on: a category id above 0, ``bbox``, ``area``, ``iscrowd``, an empty
``segmentation`` (without the key CVAT's reader refuses the file; with it Label Studio's stumbles, so that its
variant leaves it out), visibility 0, 1 or 2 with zeros for what is not labelled, 1-based skeleton edges, ids from 1.
Our own fields stay in as well; other tools pass them over, and ``heightpose data import coco`` reads them back. Frames
of videos become PNG pictures.
"""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from heightpose.data.coco import Dataset, annotation_of
from heightpose.data.items import Item
from heightpose.data.pictures import Pictures
from heightpose.data.placing import below_images, place_picture, told_apart
from heightpose.errors import InputError
from heightpose.runtime.atomic import (
    all_or_none,
    make_folder,
    new_file,
    no_empty_folders,
    write_json,
)
from heightpose.runtime.output import sha256


@dataclass(frozen=True)
class Exported:
    """What was written: the label files, and how many pictures and infants they hold."""

    files: tuple[Path, ...]
    pictures: int
    infants: int


def export_coco(
    data: Dataset,
    out: Path,
    *,
    pictures: bool = True,
    segmentation: bool = True,
    pixel_offset: float = 0.0,
    overwrite: bool = False,
) -> Exported:
    """Write ``out/annotations/person_keypoints_<split>.json`` and ``out/images``.

    Args:
        pictures: copy the pictures; without, only their names below ``images/`` are written.
        segmentation: write the empty ``segmentation`` that CVAT needs and Label Studio cannot read.
        pixel_offset: added to every coordinate: 0.5 for tools that count from the picture's corner.
        overwrite: replace labels, which somebody may have corrected, and other pictures that have these names there.

    Where it fails or is interrupted, the files that are new go again.

    Raises:
        InputError: there is nothing to export, a picture or video frame cannot be read, or (without ``overwrite``)
            other labels or pictures are there.
        HeightposeError: a folder that cannot be written.
    """
    if not data.items:
        raise InputError("no pictures to export", where=data.path, hint="Check --split")
    names = _names(data)
    folders = {out / "annotations", *((out / "images" / name).parent for name in names.values())}
    splits: dict[str, list[Item]] = defaultdict(list)
    for item in data.items:
        splits[item.split if item.split is not None else "default"].append(item)
    files = {split: out / "annotations" / f"person_keypoints_{split}.json" for split in sorted(splits)}
    for path in () if overwrite else files.values():
        if path.exists():
            raise InputError(
                "there are labels already", where=path, hint="Choose another --out or --overwrite"
            )
    with no_empty_folders(folders), all_or_none() as new:
        make_folder(out / "annotations")
        if pictures:
            _write_pictures(data.items, names, out / "images", new, overwrite)
        videos = {i.path: sha256([i.path]) for i in data.items if i.frame is not None}
        for split, path in files.items():
            document = _document(data, splits[split], names, videos, segmentation, pixel_offset)
            write_json(new_file(path, new), document)
    return Exported(tuple(files.values()), len(data.items), sum(len(i.people) for i in data.items))


def _names(data: Dataset) -> dict[int, str]:
    """Each item's name below ``images/``: the one it has in the set, without the set's own ``images/``."""
    wanted = []
    for item in data.items:
        path = _below(data, item.path)
        if item.frame is not None:
            path = path.with_name(f"{path.stem}_{item.frame:06d}.png")
        wanted.append(((item.path, item.frame), path, item.id))
    return {item.id: path.as_posix() for item, path in zip(data.items, told_apart(wanted), strict=True)}


def _below(data: Dataset, path: Path) -> Path:
    """A picture's or video's name in the set, without the set's own ``images/``; its own name outside of it."""
    relative = Path(os.path.relpath(path.resolve(), data.path.parent.resolve()))
    return below_images(relative, path.name)


def _write_pictures(
    items: tuple[Item, ...], names: dict[int, str], folder: Path, new: list[Path], overwrite: bool
) -> None:
    videos: dict[Path, list[Item]] = defaultdict(list)
    for item in tqdm(items, desc="copying", unit="picture", disable=None):
        if item.frame is not None:
            videos[item.path].append(item)
            continue
        try:
            data = item.path.read_bytes()
        except OSError as error:
            raise InputError(f"cannot be read: {error.strerror}", where=item.path) from error
        place_picture(data, folder / names[item.id], new, overwrite)
    for frames in videos.values():
        decoded = Pictures(frames)
        for index, item in enumerate(decoded.items):
            bgr = np.ascontiguousarray(decoded.picture(index)[..., ::-1])
            png = cv2.imencode(".png", bgr)[1].tobytes()
            place_picture(png, folder / names[item.id], new, overwrite)


def _document(
    data: Dataset, items: list[Item], names: dict[int, str], videos: dict[Path, str], segmentation: bool,
    offset: float,
) -> dict[str, Any]:  # fmt: skip
    """``videos``: SHA-256 of those that frames are cut from."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, item in enumerate(items, start=1):
        image: dict[str, Any] = {
            "id": number,
            "file_name": names[item.id],
            "width": item.size_wh[0],
            "height": item.size_wh[1],
        }
        if item.split is not None:
            image["split"] = item.split
        if item.infants_in_view is not None:
            image["infants_in_view"] = item.infants_in_view
        if item.strata:
            image["strata"] = item.strata
        recording = item.recording if item.frame is None else _below(data, item.path).as_posix()
        if recording is not None:
            image["recording"] = recording
        digest = item.recording_sha256 if item.frame is None else videos[item.path]
        if digest is not None:
            image["recording_sha256"] = digest
        images.append(image)
        for person in item.people:
            entry = annotation_of(person, len(annotations) + 1, number, offset)
            annotations.append(entry | ({"segmentation": []} if segmentation else {}))
    category = {
        "id": 1,
        "name": "infant",
        "supercategory": "person",
        "keypoints": list(data.skeleton.names),
        "skeleton": [[child + 1, parent + 1] for child, parent in data.skeleton.edges],
    }
    about = {"description": "infant keypoints", "version": "1.0", "year": 0, "contributor": "", "url": ""}
    return {
        "info": about | {"date_created": ""},
        "licenses": [],
        "images": images,
        "annotations": annotations,
        "categories": [category],
    }
