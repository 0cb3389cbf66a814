"""An import from end to end: read the labels, look at every picture, move the pixels, choose splits, write the set."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from heightpose.data.coco import Dataset, require_one_split_per_child, require_one_split_per_picture
from heightpose.data.entries import require_each_once, require_in_picture
from heightpose.data.importers import coco, cvat, label_studio, labelme, lsp, mpii
from heightpose.data.importers.archive import unpacked
from heightpose.data.importers.copying import copied
from heightpose.data.importers.joints import COCO_17, LSP, JointMap
from heightpose.data.importers.labels import Labelled, Problems
from heightpose.data.importers.splits import with_splits
from heightpose.data.items import Item, Person
from heightpose.data.pictures import read_picture
from heightpose.data.suggest.back import Suggested
from heightpose.data.verify import broken_pictures
from heightpose.errors import FileFormatError, HeightposeError, InputError
from heightpose.runtime.atomic import make_folder, no_empty_folders

FORMATS = ("coco", "mpii", "lsp", "labelme", "cvat", "label-studio")

#: What to take off a coordinate so that a pixel's centre is an integer and the first pixel is 0.
OFFSETS = {"centre": 0.0, "corner": 0.5, "matlab": 1.0}


@dataclass(frozen=True)
class Options:
    """How to import.

    Attributes:
        pixels: a key of :data:`OFFSETS`; None for what the format is known to use.
        split: for pictures whose source names none; None for a seeded choice of train and val.
        keep_empty: keep pictures without labels as empty cots; None for what the format means by them.
        copy: copy the pictures into the set instead of pointing at them.
        suggested: folder of ``heightpose data suggest`` that the pictures come from: says whose they are where the
            annotation tool dropped it.
    """

    joint_map: Path | None = None
    skip_bad: bool = False
    copy: bool = False
    pixels: str | None = None
    split: str | None = None
    val_share: float = 0.05
    seed: int = 0
    keep_empty: bool | None = None
    overwrite: bool = False
    suggested: Path | None = None


@dataclass(frozen=True)
class Report:
    """What an import wrote.

    Attributes:
        bad: one line per item left out.
        empty: pictures without labels that were left out.
    """

    path: Path
    items: tuple[Item, ...]
    bad: tuple[str, ...]
    empty: int

    @property
    def splits(self) -> dict[str, int]:
        """Pictures per split."""
        return dict(sorted(Counter(str(item.split) for item in self.items).items()))


def import_labels(format_: str, source: Path, out: Path, options: Options) -> Report:
    """Read ``source`` in one of :data:`FORMATS` and write the data set ``out``; nothing is written on an error.

    A .zip is unpacked for the time of the import, so its pictures are always copied.

    Raises:
        HeightposeError: unreadable source, or (without ``skip_bad``) the first bad item.
    """
    if not source.exists():
        raise InputError("no such file or folder", where=source, hint="Check SOURCE")
    with unpacked(source) as folder:
        if folder == source:
            return _import(format_, source, out, options, Problems(options.skip_bad))

        def as_given(text: str) -> str:
            """The archive's name: the folder it was unpacked to is gone when a person reads the text."""
            return text.replace(str(folder), str(source))

        problems = Problems(options.skip_bad, as_given=as_given)
        try:
            return _import(format_, folder, out, dataclasses.replace(options, copy=True), problems)
        except (FileFormatError, InputError) as error:
            raise type(error)(as_given(str(error))) from error


def _import(format_: str, source: Path, out: Path, options: Options, problems: Problems) -> Report:
    if (out / "annotations.json").exists() and not options.overwrite:
        raise InputError("there is a data set already", where=out, hint="Choose another --out or --overwrite")
    with no_empty_folders([out]):
        make_folder(out)  # reading may take long
        items, folders, empty = _read(format_, source, options, problems)
        pictures = copied(items, folders, out, options.overwrite) if options.copy else nullcontext(items)
        with pictures as items:
            path = Dataset(out / "annotations.json", tuple(items)).save(out)
    return Report(path, tuple(items), tuple(problems.lines), empty)


def _read(
    format_: str, source: Path, options: Options, problems: Problems
) -> tuple[list[Item], dict[int, Path], int]:
    """The items, the source's folder of pictures of each by id, and how many pictures without labels were left out."""
    found, pixels, empty_means_cot = _reader(format_, source, options, problems)
    offset = OFFSETS[pixels if options.pixels is None else options.pixels]
    keep_empty = empty_means_cot if options.keep_empty is None else options.keep_empty
    suggested = None if options.suggested is None else Suggested(options.suggested)
    items: list[Item] = []
    folders: dict[int, Path] = {}
    empty = 0
    for labelled in tqdm(found, desc=f"reading {format_}", unit="picture", disable=None):
        with problems.guard():
            if not labelled.people and not keep_empty:
                empty += 1
                continue
            if suggested is not None:
                labelled = dataclasses.replace(
                    labelled,
                    people=suggested.known(labelled.people, labelled.path),
                    recording_sha256=labelled.recording_sha256 or suggested.recording_sha256(labelled.path),
                )
            item = _item(labelled, len(items) + 1, offset, options)
            folders[item.id] = labelled.folder
            items.append(item)
    items = _without_broken_frames(items, problems)
    if not items:
        raise FileFormatError(
            "nothing to import", where=source, expected="pictures with labelled infants",
            got=f"{len(problems.lines)} bad and {empty} without labels",
        )  # fmt: skip
    items = with_splits(items, folders, options.seed, options.val_share)
    require_one_split_per_child(source, items)
    require_one_split_per_picture(source, items)
    return items, folders, empty


def _reader(
    format_: str, source: Path, options: Options, problems: Problems
) -> tuple[Iterator[Labelled], str, bool]:
    """The pictures, the format's pixels, and whether a picture without labels is an empty cot there."""
    if format_ == "coco":
        return coco.read(source, JointMap.load(options.joint_map, COCO_17), problems), "centre", True
    if format_ == "mpii":
        return mpii.read(source, JointMap.load(options.joint_map), problems), "matlab", False
    if format_ == "lsp":
        return lsp.read(source, JointMap.load(options.joint_map, LSP), problems), "centre", False
    if format_ == "labelme":
        return labelme.read(source, JointMap.load(options.joint_map), problems), "centre", False
    if format_ == "label-studio":
        return label_studio.read(source, JointMap.load(options.joint_map), problems), "corner", True
    if format_ == "cvat":
        return cvat.read(source, JointMap.load(options.joint_map), problems), "centre", False
    raise ValueError(f"formats are {FORMATS}, got {format_!r}")


def _item(labelled: Labelled, number: int, offset: float, options: Options) -> Item:
    size_wh = labelled.size_wh
    if labelled.frame is None:
        try:
            height, width = read_picture(labelled.path).shape[:2]
        except InputError:
            raise
        except HeightposeError as error:
            raise FileFormatError(f"{error.what}", where=f"{labelled.where}, {error.where}", got=error.got,
                                  hint=error.hint) from error  # fmt: skip
        if size_wh is not None and size_wh != (width, height):
            raise FileFormatError(
                "the picture's size is not the one its labels are for", where=f"{labelled.where}, {labelled.path}",
                expected=f"{size_wh[0]}x{size_wh[1]}", got=f"{width}x{height}",
            )  # fmt: skip
        size_wh = (width, height)
    if size_wh is None:
        raise FileFormatError("a video frame without its size", where=labelled.where)
    people = tuple(_moved(person, offset, size_wh) for person in labelled.people)
    for person in people:
        require_in_picture(person, size_wh, labelled.where)
    require_each_once(people, labelled.where)
    split = labelled.split if labelled.split is not None else options.split
    return Item(
        number, labelled.path, labelled.frame, size_wh, split, people, labelled.infants_in_view,
        strata=labelled.strata, recording=labelled.recording, recording_sha256=labelled.recording_sha256,
    )  # fmt: skip


def _moved(person: Person, offset: float, size_wh: tuple[int, int]) -> Person:
    """Into our pixels, with the labelled joints that lie off the picture marked so."""
    labelled = person.visibility > 0
    kpts = np.where(labelled[:, None], person.kpts_frame - offset, 0.0)
    outside = ((kpts < -0.5) | (kpts >= np.array(size_wh) - 0.5)).any(axis=1) & labelled
    return dataclasses.replace(
        person,
        kpts_frame=kpts,
        out_of_frame=person.out_of_frame | outside,
        bbox_xyxy=person.bbox_xyxy - offset,
        head_box_xyxy=None if person.head_box_xyxy is None else person.head_box_xyxy - offset,
    )


def _without_broken_frames(items: list[Item], problems: Problems) -> list[Item]:
    """Frames of videos are looked at together, so that each video is read once."""
    broken = broken_pictures([i for i in items if i.frame is not None], progress=False)
    for text in broken.values():
        with problems.guard():
            raise FileFormatError(text)
    return [i for i in items if i.id not in broken]
