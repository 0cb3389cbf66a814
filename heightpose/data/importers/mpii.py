"""MPII Human Pose: the release's ``.mat`` file, or the JSON that HRNet's code reads.

Both count pixels from 1, as MATLAB does; the reference code subtracts 1 before use and so does the import. Boxes:
MPII has none, so a person's is the square of side ``200 * scale`` around ``objpos`` (the reference's crop before
its margin of 1.25 and its shift of 15 * scale), or the joints' extent where these are absent. The head box goes
to ``head_box_xyxy``; PCKh's head size is 0.6 of its diagonal.

``.mat``: ``is_visible`` 0 is labelled but hidden, 1 is seen. Where it is missing or empty (head top and upper
neck come from the head box and have none) the joint counts as seen. Pictures of the withheld test set have
no labels and are left out. ``infants_in_view`` counts the people that are annotated without joints as well.

JSON: ``joints_vis`` 0 is not labelled and the rest is seen: this form does not keep hidden joints apart. Head
boxes come from ``gt_valid.mat`` beside ``valid.json``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from heightpose.data.importers.joints import MPII_ORDER, JointMap
from heightpose.data.importers.labels import (
    Labelled,
    Problems,
    files_in,
    find_picture,
    make_person,
    read_mat,
    require_unturned,
    with_way_up,
)
from heightpose.data.items import Person
from heightpose.errors import FileFormatError, InputError
from heightpose.textfile import read_json

_STRATA = {"source": "mpii"}
_SCALE_PX = 200.0


def read(source: Path, joints: JointMap, problems: Problems) -> Iterator[Labelled]:
    """The labelled pictures of a release's ``.mat``, an HRNet-style JSON, or a folder that holds either."""
    names = joints.names(MPII_ORDER, "MPII joints")
    files = [source] if source.is_file() else _labels_in(source)
    if files[0].suffix == ".mat":
        yield from _read_mat(files[0], names, problems)
    else:
        yield from _read_hrnet(files, names, problems)


def _labels_in(folder: Path) -> list[Path]:
    # The release's two archives, unpacked side by side, are images/ and mpii_human_pose_v1_u12_2/.
    for base in (folder / "annot", folder, *sorted(folder.glob("mpii_human_pose*/"))):
        found = [p for p in (base / "train.json", base / "valid.json") if p.is_file()]
        if found:
            return found
        files = [p for p in files_in(base, "*.mat") if p.is_file() and p.name != "gt_valid.mat"]
        release = [p for p in files if p.name.startswith("mpii_human_pose")]
        if files:
            return (release if release else files)[:1]
    raise InputError(
        "no labels of MPII here", where=folder, expected="mpii_human_pose_v1_u12_1.mat, or annot/train.json"
    )


def _picture(labels: Path, name: str, where: str) -> tuple[Path, Path]:
    parents = (labels.parent / "images", labels.parent.parent / "images", labels.parent)
    picture, folder = find_picture(parents, name, where)
    require_unturned(picture, where)
    return picture, folder


# -- the release's .mat ------------------------------------------------------------------------------------


def _read_mat(path: Path, names: list[str | None], problems: Problems) -> Iterator[Labelled]:
    release = read_mat(path, "RELEASE", squeeze=True)
    entries = _structs(getattr(release, "annolist", None), f"{path}: RELEASE.annolist")
    training = _array(
        getattr(release, "img_train", np.ones(len(entries))), None, f"{path}: RELEASE.img_train"
    )
    if not entries or training.shape != (len(entries),):
        raise FileFormatError(
            "not MPII's RELEASE", where=f"{path}: RELEASE", expected="annolist and img_train of one length",
            got=f"{len(entries)} and {'x'.join(map(str, training.shape))}",
        )  # fmt: skip
    for index, entry in enumerate(entries):
        with problems.guard():
            if not _flag(training[index], f"{path}: RELEASE.img_train({index + 1})"):
                continue
            name = getattr(getattr(entry, "image", None), "name", None)
            where = f"{path}: annolist({index + 1})"
            if not isinstance(name, str) or not name:
                raise FileFormatError("names no picture", where=f"{where}, image.name", got=_brief(name))
            where += f" ({name[:80]})"
            rects = _structs(getattr(entry, "annorect", None), f"{where}, annorect")
            found = [_mat_person(r, names, f"{where}, annorect({j + 1})") for j, r in enumerate(rects)]
            people = tuple(p for p in found if p is not None)
            if people:
                picture, folder = _picture(path, name, where)
                yield Labelled(picture, folder, where, people, infants_in_view=len(rects))


def _mat_person(rect: Any, names: list[str | None], where: str) -> Person | None:
    joints: dict[str, tuple[float, float, int]] = {}
    points = _structs(getattr(rect, "annopoints", None), f"{where}, annopoints")
    for point in [
        q for p in points for q in _structs(getattr(p, "point", None), f"{where}, annopoints.point")
    ]:
        number = _number(getattr(point, "id", None), f"{where}, point id")
        if number not in range(len(names)):
            raise FileFormatError("unknown joint id", where=where, expected="0 to 15", got=number)
        name = names[int(number)]
        if name is None:
            continue
        if name in joints:
            raise FileFormatError("a person has a joint twice", where=f"{where}, joint {name}")
        x, y = (_number(getattr(point, axis, None), f"{where}, joint {name}, {axis}") for axis in "xy")
        joints[name] = (x, y, _visibility(getattr(point, "is_visible", None), f"{where}, joint {name}"))
    if not joints:
        return None
    corners = [getattr(rect, key, None) for key in ("x1", "y1", "x2", "y2")]
    head = None if any(_absent(c) for c in corners) else [_number(c, f"{where}, head box") for c in corners]
    scale, centre = getattr(rect, "scale", None), getattr(rect, "objpos", None)
    box = None
    if not _absent(scale) and not _absent(centre):
        where_pos = f"{where}, objpos"
        box = _square(
            _number(getattr(centre, "x", None), where_pos),
            _number(getattr(centre, "y", None), where_pos),
            _number(scale, f"{where}, scale"),
        )
    return with_way_up(make_person(joints, where, bbox_xyxy=box, head_box_xyxy=head, strata=_STRATA))


def _structs(value: Any, where: str) -> list[Any]:
    """A struct array as a list: MATLAB does not tell one struct from an array of one, nor none from empty.

    FileFormatError for anything else: passed over, people in view would not be counted.
    """
    if _absent(value):
        return []
    entries = list(value.ravel()) if isinstance(value, np.ndarray) else [value]
    if not all(hasattr(entry, "_fieldnames") for entry in entries):
        raise FileFormatError("not a struct", where=where, got=_brief(value))
    return entries


def _absent(value: Any) -> bool:
    return (
        value is None
        or (isinstance(value, np.ndarray) and value.size == 0)
        or (isinstance(value, str) and not value)
    )


def _number(value: Any, where: str) -> float:
    try:
        return float(np.asarray(value).item())
    except (OverflowError, TypeError, ValueError) as error:
        raise FileFormatError("not a number", where=where, got=_brief(value)) from error


def _flag(value: Any, where: str) -> bool:
    number = _number(value, where)
    if number not in (0, 1):
        raise FileFormatError("not a flag", where=where, expected="0 or 1", got=number)
    return number == 1


def _brief(value: Any) -> str:
    return repr(value)[:40]


def _visibility(value: Any, where: str) -> int:
    return 2 if _absent(value) or _flag(value, f"{where}, is_visible") else 1


def _square(x: float, y: float, scale: float) -> list[float]:
    half = scale * _SCALE_PX / 2
    return [x - half, y - half, x + half, y + half]


# -- HRNet's JSON ------------------------------------------------------------------------------------------


def _read_hrnet(files: list[Path], names: list[str | None], problems: Problems) -> Iterator[Labelled]:
    """The JSON has a line per person; people of one picture are brought together again."""
    split_of = {"train": "train", "valid": "val", "val": "val", "test": "test"}
    pictures: dict[str, list[tuple[Path, int, Any, Any]]] = {}
    for path in files:
        entries = read_json(path, "labels' file")
        if not isinstance(entries, list):
            raise FileFormatError("not HRNet's MPII JSON", where=path, expected="a list of people")
        heads = _head_boxes(path, len(entries))
        for number, entry in enumerate(entries):
            image = entry.get("image") if isinstance(entry, dict) else None
            pictures.setdefault(str(image), []).append((path, number, entry, heads[number]))
    for image, lines in pictures.items():
        with problems.guard():
            people = tuple(_json_person(*line, names=names) for line in lines)
            picture, folder = _picture(lines[0][0], image, f"{lines[0][0]}: entry {lines[0][1]}")
            # A picture in both files would leak from training into validation: validation keeps it.
            splits = {split_of.get(path.stem) for path, *_ in lines}
            split = "val" if "val" in splits else next(iter(splits))
            yield Labelled(picture, folder, f"{lines[0][0]}: {image}", people, split=split)


def _head_boxes(path: Path, count: int) -> list[Any]:
    """``count`` boxes (x1, y1, x2, y2) from ``gt_<name>.mat`` beside the JSON, None where there is no such file."""
    beside = path.parent / f"gt_{path.stem}.mat"
    if not beside.is_file():
        return [None] * count
    boxes = _array(read_mat(beside, "headboxes_src"), None, f"{beside}: headboxes_src")
    boxes = boxes[:, :, None] if boxes.ndim == 2 else boxes
    if boxes.shape != (2, 2, count):
        raise FileFormatError(
            "head boxes of other people", where=f"{beside}: headboxes_src", expected=f"2x2x{count}",
            got="x".join(map(str, boxes.shape)), hint=f"It must belong to {path.name}",
        )  # fmt: skip
    return boxes.transpose(2, 0, 1).reshape(count, 4).tolist()


def _json_person(path: Path, number: int, entry: Any, head: Any, *, names: list[str | None]) -> Person:
    where = f"{path}: entry {number}"
    if not isinstance(entry, dict) or not isinstance(entry.get("image"), str):
        raise FileFormatError("names no picture", where=f"{where}, field image", expected="a file name")
    where += f" ({entry['image']})"
    points = _array(entry.get("joints"), (len(names), 2), f"{where}, field joints")
    seen = _array(entry.get("joints_vis"), (len(names),), f"{where}, field joints_vis")
    joints = {
        name: (x, y, 2)
        for name, (x, y), flag in zip(names, points.tolist(), seen.tolist(), strict=True)
        if name is not None and _flag(flag, f"{where}, field joints_vis, joint {name}")
    }
    box = None
    if entry.get("center") is not None and entry.get("scale") is not None:
        x, y = _array(entry["center"], (2,), f"{where}, field center").tolist()
        scale = _number(entry["scale"], f"{where}, field scale")
        # The reference marks an absent centre with -1.
        box = _square(x, y, scale) if x != -1 and scale > 0 else None
    return with_way_up(make_person(joints, where, bbox_xyxy=box, head_box_xyxy=head, strata=_STRATA))


def _array(value: Any, shape: tuple[int, ...] | None, where: str) -> np.ndarray:
    """Float numbers, at least one-dimensional; FileFormatError unless of ``shape``, where that is not None."""
    try:
        array = np.atleast_1d(np.array(value, dtype=np.float64))
    except (OverflowError, TypeError, ValueError) as error:
        raise FileFormatError("not numbers", where=where, got=repr(value)[:80]) from error
    if shape is not None and array.shape != shape:
        raise FileFormatError("wrong number of values", where=where, expected=shape, got=array.shape)
    return array
