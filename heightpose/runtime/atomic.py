"""Files appear under their final name whole or not at all: write beside it, then rename.

A process that is killed leaves its unfinished file. While it lives it holds a lock on it, which the system lets go
whatever ends it: what has the name of an unfinished file and no lock is stale, and goes with the next run.
"""

from __future__ import annotations

import csv
import io
import json
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

from heightpose.errors import HeightposeError

try:
    import fcntl
except ImportError:  # Windows: nothing is locked, and nothing cleared
    fcntl = None  # type: ignore[assignment]

log = logging.getLogger("heightpose")

#: Ends the name of an unfinished file, before its suffix.
_UNFINISHED = ".heightpose"
#: With the eight characters of mkstemp.
_STALE = re.compile(rf"\..*\.[a-z0-9_]{{8}}{re.escape(_UNFINISHED)}(\.[^.]+)?")
#: Each of them fails only where another process clears the folder at that very moment.
_TRIES = 10


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

    The temporary name keeps the suffix, starts with a dot and is unique, so two runs never share one. Write to the
    file that is there rather than put another in its place: its lock says that it is not stale.

    Raises:
        HeightposeError: the folder or the file cannot be written.
    """
    tmp: Path | None = None
    handle: int | None = None
    try:
        try:
            handle, tmp = _begin(final.parent, final.stem, final.suffix)
            tmp.chmod(0o666 & ~_umask())  # mkstemp makes files private; results are ordinary files
            if fcntl is None:
                os.close(handle)  # Windows renames no open file
                handle = None
            yield tmp
            _sync(tmp)
            os.replace(tmp, final)
            tmp = None
        except OSError as error:
            raise cannot_write(final, error) from error
    finally:
        if tmp is not None:
            tmp.unlink(missing_ok=True)
        if handle is not None:
            os.close(handle)


def _begin(folder: Path, stem: str, suffix: str = "") -> tuple[int, Path]:
    """A new unfinished file, open and locked."""
    for _ in range(_TRIES):
        handle, name = tempfile.mkstemp(prefix=f".{stem[:40]}.", suffix=_UNFINISHED + suffix, dir=folder)
        if _lock(handle) is not False and os.fstat(handle).st_nlink:
            break
        os.close(handle)  # taken for stale before it was locked
        with suppress(OSError):
            os.unlink(name)
    return handle, Path(name)


def _lock(handle: int) -> bool | None:
    """Whether the lock of an open file could be had; None where there are none."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without
        return None
    return True


def clear_stale(folder: Path) -> None:
    """Remove unfinished files and folders in a folder that were left by processes that are no more.

    Those of other names, and those of a process that lives, in another container too, are not touched; nor is any
    where the file system knows no locks.
    """
    paths: list[Path] = []
    with suppress(OSError):  # a folder that may be written to but not be looked at
        paths = list(folder.iterdir())
    for path in paths:
        folder_too = path.is_dir()
        if not _STALE.fullmatch(path.name) or path.is_symlink() or not (path.is_file() or folder_too):
            continue
        with suppress(OSError):
            handle = os.open(path, os.O_RDONLY if folder_too else os.O_RDWR)
            try:
                if _lock(handle):
                    shutil.rmtree(path) if folder_too else os.unlink(path)
                    log.info("%s: removed, an unfinished file of a run that was killed", path)
            finally:
                os.close(handle)


@contextmanager
def all_at_once(folder: Path, *, last: str) -> Iterator[Path]:
    """Yield a temporary folder for files that belong together: they move to ``folder`` when all are written.

    Args:
        last: the file that moves after the others: where it is, the others are.

    Raises:
        HeightposeError: the folder or a file cannot be written.
    """
    try:
        stage = Path(tempfile.mkdtemp(prefix=".together.", suffix=_UNFINISHED, dir=folder))
        handle = os.open(stage, os.O_RDONLY)
    except OSError as error:
        raise cannot_write(folder, error) from error
    try:
        _lock(handle)
        try:
            yield stage
        except HeightposeError as error:  # told of the file by the name that it would have had
            if isinstance(error.where, Path) and error.where.is_relative_to(stage):
                raise error.at(folder / error.where.relative_to(stage)) from error
            raise
        for path in sorted(stage.iterdir(), key=lambda path: (path.name == last, path.name)):
            try:
                os.replace(path, folder / path.name)
            except OSError as error:
                raise cannot_write(folder / path.name, error) from error
    finally:
        shutil.rmtree(stage, ignore_errors=True)
        os.close(handle)


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keep a hidden file in a folder of results to come, so that no other run takes it for empty and removes it."""
    try:
        handle, marker = _begin(folder, "held")
    except OSError as error:
        raise cannot_write(folder, error) from error
    try:
        yield
    finally:
        with suppress(OSError):
            marker.unlink()
        os.close(handle)


def write_text(final: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with atomic_path(final) as tmp:
        tmp.write_text(text, encoding="utf-8")


def append_text(path: Path, text: str) -> None:
    """Add whole lines of UTF-8 to a file that grows. Raises HeightposeError where it cannot be written."""
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise cannot_write(path, error) from error


def whole_lines(path: Path) -> str:
    """What :func:`append_text` wrote, without a last line that the machine did not finish; nothing where no file is."""
    return path.read_text(encoding="utf-8").rpartition("\n")[0] if path.is_file() else ""


def write_json(final: Path, value: Any) -> None:
    """Write a JSON value atomically. ValueError if it holds NaN or infinity, which JSON cannot."""
    write_text(final, json.dumps(value, indent=2, allow_nan=False) + "\n")


def write_csv(final: Path, rows: Sequence[Mapping[str, Any]], columns: Sequence[str] = ()) -> None:
    """Write rows as CSV atomically, with a header; an empty file of no rows without ``columns``.

    Args:
        columns: by default the first row's keys, which all rows have then; what else the rows hold is left out.
    """
    text = io.StringIO()
    names = list(columns) if columns else list(rows[0]) if rows else []
    extra: Literal["ignore", "raise"] = "ignore" if columns else "raise"
    writer = csv.DictWriter(text, names, extrasaction=extra, lineterminator="\n")
    if names:
        writer.writeheader()
    writer.writerows(rows)
    write_text(final, text.getvalue())


def make_folder(folder: Path) -> None:
    """Create a result folder and prove it can be written before any long work starts; stale files in it go."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle, probe = _begin(folder, "probe")
        os.close(handle)
        probe.unlink(missing_ok=True)
        clear_stale(folder)
    except OSError as error:
        raise cannot_write(folder, error) from error


def folder_name(text: str) -> str:
    """A name as that of one folder, which leads to no other: all but letters, digits and ``-._`` become ``-``."""
    name = "".join(c if c.isalnum() or c in "-._" else "-" for c in text)
    return name if name.strip(".") else "-" * max(len(name), 1)


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


@contextmanager
def all_or_none() -> Iterator[list[Path]]:
    """New files, listed by the caller before they are written, go again where what it does fails or is interrupted."""
    new: list[Path] = []
    try:
        yield new
    except BaseException:
        for path in new:
            with suppress(OSError):
                path.unlink()
        raise


def new_file(path: Path, new: list[Path]) -> Path:
    """The path, its folder made, and listed in ``new`` (:func:`all_or_none`) where nothing is there yet.

    Raises:
        HeightposeError: the folder cannot be made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(path.parent, error) from error
    if not path.exists():
        new.append(path)
    return path


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
