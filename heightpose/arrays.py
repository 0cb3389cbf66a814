"""Files of arrays, NumPy's ``.npz``: read whole, never executed."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np

from heightpose.errors import FileFormatError


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
