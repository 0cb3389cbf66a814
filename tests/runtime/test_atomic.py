"""Unfinished files: those of a process that was killed go with the next run, all others stay."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from heightpose.runtime.atomic import atomic_path, make_folder, write_text

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no locks, nothing is cleared")

_WRITER = """
import sys, time
from pathlib import Path
from heightpose.runtime.atomic import atomic_path
with atomic_path(Path(sys.argv[1])) as tmp:
    tmp.write_bytes(b"half")
    print(tmp, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def writer(tmp_path):
    """Starts processes in the midst of writing a file; gives (process, unfinished file)."""
    begun = []

    def start(name):
        process = subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(tmp_path / name)], stdout=subprocess.PIPE, text=True
        )
        begun.append(process)
        return process, process.stdout.readline().strip()

    yield start
    for process in begun:
        process.kill()
        process.communicate()


def test_what_a_killed_process_left_goes_and_what_a_living_one_writes_stays(tmp_path, writer):
    killed, left = writer("overlay.mp4")
    _, written = writer("poses.json")
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert os.path.exists(left)
    with atomic_path(tmp_path / "mine.json") as mine:
        make_folder(tmp_path)
        assert sorted(tmp_path.iterdir()) == sorted([mine, type(mine)(written)])
        mine.write_text("{}")
    assert (tmp_path / "mine.json").read_text() == "{}"


def test_only_names_of_ours_are_cleared(tmp_path):
    names = [
        ".overlay.mp4",
        ".a.tmp",
        ".a.12345678.tmp.mp4",
        "a.12345678.heightpose.mp4",
        ".a.1234567.heightpose",
    ]
    for name in names:
        (tmp_path / name).touch()
    (tmp_path / ".a.abcdefgh.heightpose").mkdir()
    (tmp_path / "elsewhere").touch()
    (tmp_path / ".b.abcdefgh.heightpose.mp4").symlink_to(tmp_path / "elsewhere")
    (tmp_path / ".c.abcdefgh.heightpose.mp4").touch()
    make_folder(tmp_path)
    kept = {*names, "elsewhere", ".a.abcdefgh.heightpose", ".b.abcdefgh.heightpose.mp4"}
    assert set(os.listdir(tmp_path)) == kept


def test_a_file_that_was_cleared_before_it_was_locked_is_begun_again(tmp_path, monkeypatch):
    from heightpose.runtime import atomic

    lock, left = atomic._lock, []

    def late(handle):
        if not left:
            (path,) = tmp_path.iterdir()
            left.append(path)
            path.unlink()
        return lock(handle)

    monkeypatch.setattr(atomic, "_lock", late)
    write_text(tmp_path / "a.txt", "whole")
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_long_name_can_be_written(tmp_path):
    write_text(tmp_path / ("é" * 120 + ".json"), "{}")
    assert len(list(tmp_path.iterdir())) == 1
