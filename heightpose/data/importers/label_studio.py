"""Label Studio: its JSON export, with a key point per joint and perhaps a rectangle per infant.

A ``keypointlabels`` region is a joint by its label; a ``choices`` region of the same id that says ``hidden`` (or
``occluded``) makes it labelled but hidden. A ``rectanglelabels`` region is an infant's box, labelled ``head_box`` its
head box. Joints belong to the rectangle that is their parent (``parentID``), without one to the picture's only infant.
``data.child`` names the child. Of several annotations of a task the last that was not cancelled counts; a task that
nobody annotated is passed over, whatever a model predicted for it, and one annotated with nothing is an empty cot; one
whose regions are all of other kinds is refused.

Coordinates are per cent of the picture from its corner, so half a pixel comes off: ``--pixels corner`` is the default.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from heightpose.data.entries import recording_sha256_in
from heightpose.data.importers.joints import JointMap
from heightpose.data.importers.labels import Labelled, Problems, files_in, find_picture
from heightpose.data.importers.shapes import Group, joint, number, size
from heightpose.errors import FileFormatError, InputError
from heightpose.textfile import read_json

_HIDDEN = ("hidden", "occluded")
_KINDS = ("keypointlabels", "rectanglelabels")
#: What is said of a picture or a region, and places nothing.
_SAID = {"choices", "datetime", "number", "rating", "taxonomy", "textarea"}


def read(source: Path, joints: JointMap, problems: Problems) -> Iterator[Labelled]:
    """The annotated pictures of an export, or of a folder's exports."""
    files = [source] if source.is_file() else files_in(source, "*.json")
    if not files:
        raise InputError("no Label Studio export here", where=source, expected="a .json file")
    found = 0
    for path in files:
        document = read_json(path, "labels' file")
        if source.is_dir() and not _is_export(document):
            continue  # a folder of suggestions holds other JSON too
        found += 1
        tasks = document if isinstance(document, list) else [document]
        for index, task in enumerate(tasks):
            with problems.guard():
                labelled = _task(task, path, f"{path}: task {index}", joints)
                if labelled is not None:
                    yield labelled
    if not found:
        raise FileFormatError(
            "no Label Studio export here", where=source, expected="a list of tasks with annotations"
        )


def _is_export(document: Any) -> bool:
    return isinstance(document, list) and all(isinstance(t, dict) and "data" in t for t in document)


def _task(task: Any, path: Path, where: str, joints: JointMap) -> Labelled | None:
    if not isinstance(task, dict) or not isinstance(task.get("data"), dict):
        raise FileFormatError(
            "not a Label Studio task", where=where, expected="an object with data and annotations"
        )
    annotations = task.get("annotations", [])
    if not isinstance(annotations, list) or any(not isinstance(a, dict) for a in annotations):
        raise FileFormatError(
            "not annotations", where=f"{where}, field annotations", got=repr(annotations)[:80]
        )
    kept = [a for a in annotations if not a.get("was_cancelled")]
    if not kept:
        return None
    regions = kept[-1].get("result")
    if not isinstance(regions, list) or any(not isinstance(r, dict) for r in regions):
        raise FileFormatError(
            "not a result", where=f"{where}, field annotations.result", got=repr(regions)[:80]
        )
    for index, region in enumerate(regions):
        for key in ("id", "parentID"):
            if not isinstance(region.get(key), str | int | None):
                raise FileFormatError(
                    "not an id", where=f"{where}, result[{index}].{key}", got=repr(region[key])[:40]
                )
    picture, folder = _picture(task["data"].get("image"), path.parent, where)
    groups = _groups(regions, joints, where)
    child = task["data"].get("child")
    for group in groups:
        if child is not None and len(groups) == 1:
            group.attributes.setdefault("child", str(child))
    people = tuple(g.person(f"{where}, infant {k}") for k, g in enumerate(groups))
    kinds = {str(r.get("type")) for r in regions if "original_width" in r}
    drawn = sorted(kinds - _SAID)
    if drawn and not people:
        raise FileFormatError(
            "regions, but neither joint nor box of an infant: not an empty cot", where=where,
            expected=" or ".join(_KINDS), got=", ".join(drawn),
            hint="Label with KeyPointLabels and RectangleLabels, or remove the regions of an empty cot",
        )  # fmt: skip
    digest = recording_sha256_in(task["data"], f"{where}, data")
    return Labelled(picture, folder, where, people, _size(regions, where), recording_sha256=digest)


def _require_unturned(region: dict[str, Any], where: str) -> None:
    """FileFormatError where the picture was turned in the tool: its places are the turned picture's."""
    if region.get("image_rotation"):
        raise FileFormatError(
            "labelled on a turned picture", where=f"{where}.image_rotation", expected="0",
            got=repr(region["image_rotation"])[:40], hint="Turn it back in Label Studio and export again",
        )  # fmt: skip


def _groups(regions: list[dict[str, Any]], joints: JointMap, where: str) -> list[Group]:
    hidden = {r.get("id") for r in regions if r.get("type") == "choices" and _says_hidden(r)}
    infants: dict[Any, Group] = {}
    rest: list[tuple[dict[str, Any], str]] = []
    for index, region in enumerate(regions):
        spot = f"{where}, result[{index}]"
        _require_unturned(region, spot)
        if region.get("type") not in _KINDS or joints.leaves_out(_label(region, spot)):
            continue
        if region["type"] == "rectanglelabels" and _label(region, spot) != "head_box":
            infants.setdefault(region.get("id"), Group()).add_box("", _corners(region, spot))
        else:
            rest.append((region, spot))
    for region, spot in rest:
        owner = _owner(region, infants, spot)
        if region["type"] == "rectanglelabels":
            owner.add_box("head_box", _corners(region, spot))
            continue
        name = joint(joints, _label(region, spot), spot)
        if name is not None:
            x, y = _point(region, spot)
            owner.add_point(name, x, y, region.get("id") in hidden, spot)
    return [g for g in infants.values() if g.joints or g.boxes]


def _owner(region: dict[str, Any], infants: dict[Any, Group], where: str) -> Group:
    parent = region.get("parentID")
    if parent is not None and parent in infants:
        return infants[parent]
    if len(infants) > 1:
        raise FileFormatError(
            "whose joint is this?", where=where, got=f"{len(infants)} infants it may belong to",
            hint="Drag the joint into its infant's rectangle in the list of regions",
        )  # fmt: skip
    return next(iter(infants.values())) if infants else infants.setdefault(None, Group())


def _says_hidden(region: dict[str, Any]) -> bool:
    value = region.get("value")
    chosen = value.get("choices") if isinstance(value, dict) else None
    return isinstance(chosen, list) and any(str(c).lower() in _HIDDEN for c in chosen)


def _label(region: dict[str, Any], where: str) -> str:
    value = region.get("value")
    labels = value.get(region["type"]) if isinstance(value, dict) else None
    if not isinstance(labels, list) or len(labels) != 1:
        raise FileFormatError("not one label", where=f"{where}, value.{region['type']}", got=repr(labels))
    return str(labels[0])


def _numbers(region: dict[str, Any], names: tuple[str, ...], where: str) -> list[float]:
    value = region.get("value", {})
    return [number(value.get(name), f"{where}, value.{name}") for name in names]


def _sides(region: dict[str, Any], where: str) -> tuple[int, int]:
    return size(
        region.get("original_width"), region.get("original_height"), f"{where}, original_width, _height"
    )


def _point(region: dict[str, Any], where: str) -> tuple[float, float]:
    width, height = _sides(region, where)
    x, y = _numbers(region, ("x", "y"), where)
    return x * width / 100.0, y * height / 100.0


def _corners(region: dict[str, Any], where: str) -> list[float]:
    width, height = _sides(region, where)
    if region.get("value", {}).get("rotation"):
        raise FileFormatError("a turned box", where=f"{where}, value.rotation", expected="0")
    x, y, w, h = _numbers(region, ("x", "y", "width", "height"), where)
    return [x * width / 100.0, y * height / 100.0, (x + w) * width / 100.0, (y + h) * height / 100.0]


def _size(regions: list[dict[str, Any]], where: str) -> tuple[int, int] | None:
    return next((_sides(r, where) for r in regions if "original_width" in r), None)


def _picture(image: Any, folder: Path, where: str) -> tuple[Path, Path]:
    """An address of Label Studio's own storage, an upload with its random prefix, or a plain path."""
    if not isinstance(image, str) or not image:
        raise FileFormatError("names no picture", where=f"{where}, field data.image", got=repr(image))
    if image.startswith("data:"):
        raise FileFormatError(
            "the picture lies inside the task", where=f"{where}, field data.image", expected="the name of a file",
            got=image[:40], hint="Save the pictures as files and name them there",
        )  # fmt: skip
    parts = urlsplit(image)
    name = parse_qs(parts.query).get("d", [unquote(parts.path)])[0].lstrip("/")
    tail = [p for p in name.split("/") if p not in ("", ".", "..")]
    names = ["/".join(tail[k:]) for k in range(len(tail))]  # whatever is above the folder that was handed out
    names.append(re.sub(r"^[0-9a-f]{8}-", "", tail[-1]) if tail else name)
    for one in names:
        for place in (folder, folder / "images"):
            if os.path.isfile(place / one):  # False, unlike Path's, where no disk could have the name
                return place / one, place
    return find_picture((folder,), names[0], f"{where}, field data.image")
