"""CVAT: the XML of "CVAT for images 1.1", with skeletons or single points. (Its COCO export is the format coco.)

Each ``skeleton`` is an infant and its points are joints by their label; single ``points`` are joints of one infant,
or of one per ``group_id``. ``outside`` is not labelled, ``occluded`` is labelled but hidden. A ``box`` belongs
to the infant of its group, without a group to the picture's only infant; labelled ``head_box`` it is the head box.
The attribute ``child`` names the child, other attributes become strata. An image's ``subset`` is its split where it is
called after one (Train, Validation, Test).

CVAT's canvas counts from the picture's corner (a pixel's centre is at .5), most converters do not: see ``--pixels``.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

from heightpose.data.importers.joints import JointMap
from heightpose.data.importers.labels import Labelled, Problems, find_picture
from heightpose.data.importers.shapes import Group, joint, number, size
from heightpose.data.importers.splits import split_named
from heightpose.errors import FileFormatError, InputError


def read(source: Path, joints: JointMap, problems: Problems) -> Iterator[Labelled]:
    """The pictures of an unpacked export (its folder or its ``annotations.xml``)."""
    path = source / "annotations.xml" if source.is_dir() else source
    root = _root(path)
    if root.find("track") is not None:
        raise FileFormatError("CVAT for video", where=path, hint="Export the task as 'CVAT for images 1.1'")
    for entry in root.findall("image"):
        with problems.guard():
            yield _picture(entry, path, joints)


def _root(path: Path) -> ET.Element:
    try:
        text = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"cannot be read: {error.strerror}", where=path, hint="Name the export's .zip or its folder"
        ) from error
    # CVAT writes no document type; one could define entities that unfold without end.
    if re.search(rb"<!\s*(DOCTYPE|ENTITY)", text, re.IGNORECASE):
        raise FileFormatError("an XML file with a document type", where=path, expected="plain CVAT XML")
    try:
        root = ET.fromstring(text)
    except (ET.ParseError, ValueError, LookupError) as error:
        raise FileFormatError(
            "not an XML file", where=path, got=error, hint="Name the export's .zip or its folder"
        ) from error
    if root.tag != "annotations":
        raise FileFormatError("not CVAT's XML", where=path, expected="<annotations>", got=f"<{root.tag}>")
    return root


def _picture(entry: ET.Element, path: Path, joints: JointMap) -> Labelled:
    name = entry.get("name", "")
    where = f"{path}: image {entry.get('id', '?')} ({name})"
    subset = entry.get("subset", "default")
    folders = (path.parent / "images", path.parent / "images" / subset, path.parent)
    picture, folder = find_picture(folders, name, where)
    size_wh = size(entry.get("width"), entry.get("height"), f"{where}, width, height")
    skeletons: list[tuple[str, Group]] = []
    loose: dict[str, Group] = {}
    boxes: list[tuple[str, ET.Element]] = []
    for index, shape in enumerate(entry):
        spot = f"{where}, {shape.tag} {index}"
        number_ = shape.get("group_id", "0")
        if shape.tag == "skeleton":
            group = Group(attributes=_attributes(shape))
            for point in shape.findall("points"):
                _add_point(group, point, joints, spot)
            skeletons.append((number_, group))
        elif shape.tag == "points":
            group = loose.setdefault(number_, Group())
            group.attributes |= _attributes(shape)
            _add_point(group, shape, joints, spot)
        elif shape.tag == "box" and not joints.leaves_out(shape.get("label", "")):
            boxes.append((number_, shape))
    for number_, box in boxes:
        _add_box(box, number_, skeletons, loose, f"{where}, box")
    groups = [g for _, g in skeletons] + list(loose.values())
    people = tuple(g.person(f"{where}, infant {k}") for k, g in enumerate(groups) if g.joints or g.boxes)
    return Labelled(picture, folder, where, people, size_wh, split_named(subset))


def _attributes(shape: ET.Element) -> dict[str, str]:
    return {a.get("name", ""): a.text for a in shape.findall("attribute") if a.text is not None}


def _add_point(group: Group, point: ET.Element, joints: JointMap, where: str) -> None:
    label = point.get("label", "")
    if point.get("outside", "0") == "1":
        return
    name = joint(joints, label, where)
    pairs = [pair.split(",") for pair in point.get("points", "").split(";")]
    if len(pairs) != 1 or len(pairs[0]) != 2:
        raise FileFormatError(
            "not one point", where=f"{where} ({label}), points", expected="x,y",
            got=point.get("points"), hint="Label each joint by its name, or use a skeleton",
        )  # fmt: skip
    x, y = (number(v, f"{where} ({label}), points") for v in pairs[0])
    if name is not None:
        group.add_point(name, x, y, point.get("occluded", "0") == "1", where)


def _add_box(
    box: ET.Element, number_: str, skeletons: list[tuple[str, Group]], loose: dict[str, Group], where: str
) -> None:
    if number(box.get("rotation", "0"), f"{where}, rotation"):
        raise FileFormatError(
            "a turned box", where=f"{where}, rotation", expected="0", got=box.get("rotation")
        )
    corners = [number(box.get(key), f"{where}, {key}") for key in ("xtl", "ytl", "xbr", "ybr")]
    owners = [g for n, g in skeletons if n == number_] + ([loose[number_]] if number_ in loose else [])
    if number_ == "0" and not owners:
        owners = [g for _, g in skeletons] + list(loose.values())
    if len(owners) > 1:
        raise FileFormatError(
            "whose box is this?", where=where, got=f"{len(owners)} infants it may belong to",
            hint="Group each box with its skeleton",
        )  # fmt: skip
    owner = owners[0] if owners else loose.setdefault(number_, Group())
    owner.add_box(box.get("label", ""), corners)
    owner.attributes |= _attributes(box)
