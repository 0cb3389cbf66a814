"""What the user gave is never written over: inputs and settings files, known by what they are, not by their names."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from pathlib import Path

from heightpose.errors import ConfigError

Identity = tuple[int, int]


def identity(path: str | Path) -> Identity | None:
    """What is the same for all names of one file or folder; None where there is none."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino


def identities(paths: Iterable[str | Path | None]) -> set[Identity]:
    """Of the files and folders among ``paths`` that are there."""
    return {file for path in paths if path is not None and (file := identity(path)) is not None}


def refuse_to_replace(given: Collection[Identity], written: Iterable[Path], hint: str) -> None:
    """Raises ConfigError where a file to be written, or the folder of one, is among what was given."""
    for path in written:
        if identity(path) in given:
            raise ConfigError(
                "is an input or a settings file, and the results would be written "
                + ("into it" if path.is_dir() else "over it"),
                where=path,
                hint=hint,
            )
