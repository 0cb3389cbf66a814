"""Pictures put into a folder that may hold others: nobody's else is replaced unasked."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from pathlib import Path

from heightpose.errors import InputError
from heightpose.runtime.atomic import atomic_path, new_file


def below_images(relative: Path, name: str) -> Path:
    """Where a picture goes below ``images/``: its way from its set's folder, without an ``images`` or ``clips`` of it.

    Args:
        name: for a picture that lies outside of that folder.
    """
    if relative.parts[0] in ("images", "clips"):
        relative = Path(*relative.parts[1:])
    return Path(name) if ".." in relative.parts else relative


def told_apart(wanted: Iterable[tuple[Hashable, Path, int]]) -> list[Path]:
    """A path for each entry, one for each picture: the wanted one, with numbers behind it where others have it already.

    Args:
        wanted: which picture, its path, and the entry's number.
    """
    path_of: dict[Hashable, Path] = {}
    taken: set[Path] = set()
    paths = []
    for picture, path, number in wanted:
        if picture not in path_of:
            while path in taken:
                path = path.with_name(f"{path.stem}-{number}{path.suffix}")
            path_of[picture] = path
            taken.add(path)
        paths.append(path_of[picture])
    return paths


def place_picture(data: bytes, place: Path, new: list[Path], overwrite: bool) -> None:
    """Write a picture's bytes; the same picture that is there already stays.

    Args:
        new: files of :func:`heightpose.runtime.atomic.all_or_none`, where a new one is listed.
        overwrite: replace another picture of that name.

    Raises:
        InputError: another picture is there, without ``overwrite``. HeightposeError: it cannot be written.
    """
    if not overwrite and place.is_file() and place.read_bytes() != data:
        raise InputError(
            "another picture is there already", where=place, hint="Choose another --out or --overwrite"
        )
    with atomic_path(new_file(place, new)) as tmp:
        tmp.write_bytes(data)
