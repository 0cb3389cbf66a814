"""Pictures put into a folder that may hold others: nobody's else is replaced unasked."""

from __future__ import annotations

from pathlib import Path

from heightpose.errors import InputError
from heightpose.runtime.atomic import atomic_path, new_file


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
