"""LabelMe: a folder with one JSON per picture.

A ``point`` shape is a joint, its label the joint's name; a ``rectangle`` is the infant's box, or its head box when
labelled ``head_box``; other shapes are passed over. ``group_id`` tells infants apart. A point whose flag
``hidden`` or ``occluded`` is set is labelled but hidden. A joint without a point is not labelled.

LabelMe itself counts from the picture's corner (a pixel's centre is at .5), most converters do not: see ``--pixels``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from heightpose.data.importers.joints import JointMap
from heightpose.data.importers.labels import Labelled, Problems, files_in, find_picture
from heightpose.data.importers.shapes import Group, joint, number, size
from heightpose.errors import FileFormatError, InputError
from heightpose.textfile import read_json


def read(source: Path, joints: JointMap, problems: Problems) -> Iterator[Labelled]:
    """The pictures of a folder of LabelMe files (searched to any depth), or of one file."""
    files = [source] if source.is_file() else files_in(source, "**/*.json")
    if not files:
        raise InputError("no LabelMe files here", where=source, expected="one .json per picture")
    folder = source if source.is_dir() else source.parent
    for path in files:
        with problems.guard():
            yield _picture(path, folder, joints)


def _picture(path: Path, folder: Path, joints: JointMap) -> Labelled:
    document = read_json(path, "labels' file")
    if not isinstance(document, dict) or not isinstance(document.get("shapes"), list):
        raise FileFormatError("not a LabelMe file", where=f"{path}, field shapes", expected="a list")
    name = document.get("imagePath")
    if not isinstance(name, str) or not name:
        raise FileFormatError("names no picture", where=f"{path}, field imagePath", got=repr(name))
    picture, _ = find_picture((path.parent,), name.replace("\\", "/"), f"{path}, field imagePath")
    width, height = document.get("imageWidth"), document.get("imageHeight")
    size_wh = None
    if width is not None and height is not None:
        size_wh = size(width, height, f"{path}, fields imageWidth, imageHeight")
    groups: dict[Any, Group] = {}
    for index, shape in enumerate(document["shapes"]):
        _add(groups, shape, joints, f"{path}: shapes[{index}]")
    people = tuple(g.person(f"{path}: group {key}") for key, g in groups.items())
    return Labelled(picture, folder, str(path), people, size_wh)


def _add(groups: dict[Any, Group], shape: Any, joints: JointMap, where: str) -> None:
    if not isinstance(shape, dict):
        raise FileFormatError("not a shape", where=where, expected="an object", got=repr(shape))
    kind, label = shape.get("shape_type", "polygon"), str(shape.get("label", ""))
    if kind not in ("point", "rectangle") or joints.leaves_out(label):
        return
    group = shape.get("group_id")
    if group is not None and not isinstance(group, (int, str)):
        raise FileFormatError("not a group", where=f"{where}, field group_id", got=repr(group))
    points = shape.get("points")
    corners = 1 if kind == "point" else 2
    if not isinstance(points, list) or len(points) != corners or any(not _pair(p) for p in points):
        raise FileFormatError(
            "wrong number of points", where=f"{where} ({label}), field points",
            expected=f"{corners} of [x, y]", got=points,
        )  # fmt: skip
    values = [number(v, f"{where} ({label}), field points") for p in points for v in p]
    if kind == "rectangle":
        groups.setdefault(group, Group()).add_box(label, values)
        return
    name = joint(joints, label, where)
    if name is not None:
        flags = shape.get("flags")
        hidden = isinstance(flags, dict) and bool(flags.get("hidden") or flags.get("occluded"))
        groups.setdefault(group, Group()).add_point(name, values[0], values[1], hidden, where)


def _pair(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2
