"""Arrays out of files: NumPy's ``.npz``, read whole, never executed, and the numbers that JSON and YAML hold."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np

from heightpose.errors import FileFormatError

_LARGEST = 1e12


def read_arrays(path: Path, what: str = "a file of arrays") -> dict[str, np.ndarray]:
    """All arrays of a file by name.

    Args:
        what: the file should be, for the error.

    Raises:
        FileFormatError: it cannot be read, is cut off or holds pickles.
    """
    try:  # a TypeError: one array alone, an .npy, is not closed again
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (EOFError, OSError, TypeError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise FileFormatError(
            f"not {what}", where=path, expected="an .npz", got=str(error) or type(error).__name__,
            hint="Copy it again",
        ) from None  # fmt: skip


def as_floats(value: object, shape: tuple[int, ...]) -> np.ndarray | None:
    """Finite numbers of that shape, or None: for checking what a file holds.

    Beyond 1e12 nothing in a camera, plane or sheet file means anything, and arithmetic with it overflows.
    """
    if not _has_shape(value, shape):
        return None
    try:
        array = np.array(value, dtype=np.float64)
    except OverflowError:  # an integer of 400 digits
        return None
    return array if (np.abs(array) <= _LARGEST).all() else None


def _has_shape(value: object, shape: tuple[int, ...]) -> bool:
    """Looked at first and no further than it fits: numpy would unfold a YAML file's aliases of aliases."""
    if not shape:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return (
        isinstance(value, (list, tuple))
        and len(value) == shape[0]
        and all(_has_shape(item, shape[1:]) for item in value)
    )
