"""Files appear under their final name whole or not at all: write beside it, then rename."""

from __future__ import annotations

import csv
import io
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from heightpose.errors import HeightposeError


def cannot_write(path: Path, error: OSError) -> HeightposeError:
    """The user-facing error for a file that could not be written (full disk, read-only folder, ...)."""
    why = error.strerror or str(error) or type(error).__name__
    return HeightposeError(
        f"cannot be written: {why}",
        where=path,
        hint="Choose another folder with --out, or free some space or permissions there",
    )


@contextmanager
def atomic_path(final: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``final``; on success it replaces ``final``, on failure it goes.

    The temporary name keeps the suffix, starts with a dot and is unique, so two runs never share one.

    Raises:
        HeightposeError: the folder or the file cannot be written.
    """
    tmp: Path | None = None
    try:
        try:
            handle, name = tempfile.mkstemp(
                prefix=f".{final.stem}.", suffix=f".tmp{final.suffix}", dir=final.parent
            )
            tmp = Path(name)
            os.close(handle)
            tmp.chmod(0o666 & ~_umask())  # mkstemp makes files private; results are ordinary files
            yield tmp
            _sync(tmp)
            os.replace(tmp, final)
            tmp = None
        except OSError as error:
            raise cannot_write(final, error) from error
    finally:
        if tmp is not None:
            tmp.unlink(missing_ok=True)


def write_text(final: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with atomic_path(final) as tmp:
        tmp.write_text(text, encoding="utf-8")


def write_json(final: Path, value: Any) -> None:
    """Write a JSON value atomically. ValueError if it holds NaN or infinity, which JSON cannot."""
    write_text(final, json.dumps(value, indent=2, allow_nan=False) + "\n")


def write_csv(final: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows of the same keys as CSV atomically, with a header; an empty file of no rows."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]) if rows else [], lineterminator="\n")
    if rows:
        writer.writeheader()
    writer.writerows(rows)
    write_text(final, text.getvalue())


def make_folder(folder: Path) -> None:
    """Create a result folder and prove it can be written before any long work starts."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".probe.", dir=folder)
        os.close(handle)
        os.unlink(name)
    except OSError as error:
        raise cannot_write(folder, error) from error


def remove(path: Path) -> None:
    """Remove a file, where there is one. Raises HeightposeError where it cannot be removed."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise HeightposeError(
            f"cannot be removed: {error.strerror}",
            where=path,
            hint="Remove it, or choose another folder with --out",
        ) from error


@contextmanager
def no_empty_folders(folders: Iterable[Path]) -> Iterator[None]:
    """At the end, remove those of ``folders``, and of the folders they lie in, that are new and hold nothing."""
    known = {path for folder in folders for path in (folder, *folder.parents)}
    new = [path for path in known if not os.path.lexists(path)]
    try:
        yield
    finally:
        for path in sorted(new, key=lambda path: len(path.parts), reverse=True):
            with suppress(OSError):  # it holds something, or was never made
                path.rmdir()


def _sync(path: Path) -> None:
    """Flush to disk, so that a crash after the rename cannot leave an empty file under the final name."""
    handle = os.open(path, os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
