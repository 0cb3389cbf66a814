"""Clips of children whose length is known: the ``clips.json`` of a test set, read strictly."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from heightpose.data.strata import known_values
from heightpose.errors import FileFormatError, InputError
from heightpose.metrics.who import SEXES
from heightpose.textfile import read_json


@dataclass(frozen=True)
class Clip:
    """One clip of a child whose crown-heel length is known.

    Attributes:
        video: a file or a folder of pictures.
        sheet, plane: the scale; at least one of them is there.
        length_cm: measured crown-heel length.
        truth: a file with the true plane and 3D joints, which only rendered clips have.
        sex: "female" or "male"; it and the age only ever serve the null model, and are None where nobody knows them.
    """

    id: str
    child: str
    video: Path
    camera: Path
    sheet: Path | None
    plane: Path | None
    length_cm: float
    sex: str | None
    age_months: float | None
    strata: dict[str, str] = field(default_factory=dict)
    truth: Path | None = None


def read_clips(path: Path) -> tuple[Clip, ...]:
    """Read and check a ``clips.json``; its paths are relative to it, and the files must exist.

    Raises:
        InputError: the list or a file it names is missing.
        FileFormatError: a clip breaks the contract; names the clip and the field.
    """
    document = read_json(path, "list of clips")
    if not isinstance(document, list):
        raise FileFormatError(
            "not a list of clips", where=path, expected="a list", got=type(document).__name__
        )
    clips = tuple(_clip(path, number, entry) for number, entry in enumerate(document))
    seen: set[str] = set()
    for clip in clips:
        if clip.id in seen:
            raise FileFormatError("two clips share an id", where=f"{path}: id", got=repr(clip.id))
        seen.add(clip.id)
    return clips


def _clip(path: Path, number: int, entry: Any) -> Clip:
    name = entry.get("id") if isinstance(entry, dict) else None
    where = f"{path}: clip {number if name is None else repr(name)}"
    if not isinstance(entry, dict):
        raise FileFormatError("not a clip", where=where, expected="an object", got=repr(entry))

    def text(key: str) -> str:
        value = entry.get(key)
        if not isinstance(value, (str, int)) or isinstance(value, bool) or value == "":
            raise FileFormatError("a field is missing", where=f"{where}, field {key}", got=repr(value))
        return str(value)

    def number_of(key: str, low: float, high: float) -> float:
        value = entry.get(key)
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not low <= value <= high:
            raise FileFormatError(
                "not a plausible number", where=f"{where}, field {key}", expected=f"{low:g} to {high:g}",
                got=repr(value),
            )  # fmt: skip
        return float(value)

    def file(key: str) -> Path | None:
        if entry.get(key) is None:
            return None
        found = path.parent / inside(text(key), f"{where}, field {key}")
        if not (found.is_file() or (key == "video" and found.is_dir())):
            raise InputError("the file is missing", where=f"{where}, field {key}, {found}")
        return found

    video, camera, sheet, plane, truth = (file(k) for k in ("video", "camera", "sheet", "plane", "truth"))
    if video is None or camera is None or (sheet is None and plane is None):
        raise FileFormatError("a field is missing", where=where, expected="video, camera, and sheet or plane")
    sex = None if entry.get("sex") is None else text("sex").lower()
    sex = next((name for name in SEXES if sex in (name, name[0])), sex)
    if sex is not None and sex not in SEXES:
        raise FileFormatError(
            "unknown sex", where=f"{where}, field sex", expected=" or ".join((*SEXES, "null")), got=sex
        )
    age_months = None if entry.get("age_months") is None else number_of("age_months", 0, 60)
    strata = entry.get("strata", {})
    if not isinstance(strata, dict):
        raise FileFormatError(
            "not strata", where=f"{where}, field strata", expected="name: value", got=strata
        )
    return Clip(
        text("id"), text("child"), video, camera, sheet, plane, number_of("length_cm", 20, 150), sex,
        age_months, known_values(strata), truth,
    )  # fmt: skip


def inside(path: str, where: str) -> str:
    """The relative path with forward slashes. Raises FileFormatError when it leaves the folder."""
    pure = PurePosixPath(path.replace("\\", "/"))
    if pure.is_absolute() or ".." in pure.parts or not pure.parts:
        raise FileFormatError("not a path inside the test set's folder", where=where, got=repr(path))
    return pure.as_posix()
