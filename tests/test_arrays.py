"""Files of arrays that are none."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from heightpose.arrays import read_arrays
from heightpose.errors import FileFormatError


@pytest.fixture
def good(tmp_path):
    path = tmp_path / "good.npz"
    np.savez_compressed(path, a=np.arange(20000.0), b=np.eye(3))
    return path


def test_arrays_come_back(good):
    found = read_arrays(good)
    assert list(found) == ["a", "b"]
    np.testing.assert_array_equal(found["b"], np.eye(3))


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: b"PK\x03\x04 and no more",
        lambda data: b"not a zip",
        lambda data: b"\x93NUMPY",
        lambda data: data[: len(data) // 2],
        lambda data: data[:2000] + bytes(50) + data[2050:],
        lambda data: pickle.dumps({"a": 1}),
    ],
)
def test_damaged_files_are_told(good, damage):
    good.write_bytes(damage(good.read_bytes()))
    with pytest.raises(FileFormatError, match="not a thing of ours"):
        read_arrays(good, "a thing of ours")


def test_one_array_alone_objects_and_no_file_at_all(tmp_path):
    np.save(tmp_path / "one.npy", np.eye(2))
    np.savez(tmp_path / "objects.npz", a=np.array([{}], dtype=object))
    for name in ("one.npy", "objects.npz", "absent.npz"):
        with pytest.raises(FileFormatError, match="not a file of arrays"):
            read_arrays(tmp_path / name)
