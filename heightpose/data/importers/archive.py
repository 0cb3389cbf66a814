"""Exports that arrive as one .zip: unpacked for the time of the import."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from heightpose.errors import FileFormatError, InputError

#: Labels and compressed pictures hardly shrink further; what unfolds more than this is no export.
_MOST_UNFOLDING = 200
_SMALL_BYTES = 50_000_000


@contextlib.contextmanager
def unpacked(source: Path) -> Iterator[Path]:
    """The folder of an export: ``source`` itself, or a temporary one with what the .zip holds.

    An archive whose files all lie in one folder is that folder. What macOS adds is passed over. Names that climb out
    of the archive are cut to stay inside (:mod:`zipfile` sees to it); links are not followed.

    Raises:
        InputError: not readable, or too little room to unpack it.
        FileFormatError: a damaged archive, an encrypted one, or one that unfolds beyond measure.
    """
    if source.suffix.lower() != ".zip" or not source.is_file():
        yield source
        return
    with tempfile.TemporaryDirectory(prefix="heightpose-import-") as name:
        folder = Path(name)
        _extract(source, folder)
        inside = list(folder.iterdir())
        yield inside[0] if len(inside) == 1 and inside[0].is_dir() else folder


def _added_by_macos(name: str) -> bool:
    """Whether a name, by any of its parts, is of the files that macOS keeps beside others': they are no export's."""
    return any(p in ("__MACOSX", ".DS_Store") or p.startswith("._") for p in name.split("/"))


def _extract(source: Path, folder: Path) -> None:
    try:
        with zipfile.ZipFile(source) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
            if size > max(_SMALL_BYTES, _MOST_UNFOLDING * source.stat().st_size):
                raise FileFormatError(
                    "the archive unfolds to far more than pictures and labels do", where=source,
                    got=f"{size / 1e9:.1f} GB", hint="Unpack it yourself and name the folder",
                )  # fmt: skip
            if size > shutil.disk_usage(folder).free:
                raise InputError(
                    "no room to unpack the archive", where=source,
                    expected=f"{size / 1e9:.1f} GB free in {folder.parent}",
                    hint="Set TMPDIR to a larger disk, or unpack it and name the folder",
                )  # fmt: skip
            archive.extractall(folder, [e for e in archive.infolist() if not _added_by_macos(e.filename)])
    except (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError) as error:
        raise FileFormatError(
            "not a whole .zip archive", where=source, got=error, hint="Export it again"
        ) from error
    except RuntimeError as error:  # zipfile's word for a password
        raise FileFormatError(
            "an encrypted archive", where=source, hint="Unpack it and name the folder"
        ) from error
    except OSError as error:
        raise InputError(f"cannot be unpacked: {error.strerror}", where=source) from error
