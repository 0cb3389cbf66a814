"""Unfinished files: those of a process that was killed go with the next run, all others stay."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from heightpose.errors import HeightposeError
from heightpose.runtime.atomic import (
    all_at_once,
    append_text,
    atomic_path,
    cannot_write,
    held,
    make_folder,
    no_empty_folders,
    whole_lines,
    write_csv,
    write_text,
)

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
    (tmp_path / ".a.abcdefgh.other").mkdir()
    (tmp_path / ".a.abcdefgh.heightpose").mkdir()
    (tmp_path / ".a.abcdefgh.heightpose" / "unfinished.json").touch()
    (tmp_path / "elsewhere").touch()
    (tmp_path / ".b.abcdefgh.heightpose.mp4").symlink_to(tmp_path / "elsewhere")
    (tmp_path / ".c.abcdefgh.heightpose.mp4").touch()
    make_folder(tmp_path)
    kept = {*names, "elsewhere", ".a.abcdefgh.other", ".b.abcdefgh.heightpose.mp4"}
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


def test_an_error_names_the_file_that_was_to_be_written(tmp_path):
    with pytest.raises(HeightposeError) as caught, all_at_once(tmp_path, last="a.json") as together:
        raise cannot_write(together / "preview.png", OSError(errno.ENOSPC, "No space left on device"))
    assert caught.value.where == tmp_path / "preview.png"
    assert "preview.png: cannot be written: No space left" in str(caught.value)


def test_files_that_belong_together_come_all_or_none(tmp_path):
    (tmp_path / "a.json").write_text("old")

    def write_a_half():
        with all_at_once(tmp_path, last="a.json") as together:
            (together / "a.json").write_text("new")
            make_folder(tmp_path)  # another run's, which leaves alone what is in work
            assert (together / "a.json").read_text() == "new"
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_a_half()
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    assert (tmp_path / "a.json").read_text() == "old"
    with all_at_once(tmp_path, last="a.json") as together:
        for name in ("a.json", "b.json"):
            (together / name).write_text("new")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a.json": "new", "b.json": "new"}


def test_a_folder_that_is_held_is_not_taken_for_empty(tmp_path):
    new = tmp_path / "results"
    with no_empty_folders([new]):
        make_folder(new)
        with held(new):
            with suppress(OSError):
                new.rmdir()
            write_text(new / "a.txt", "whole")
    assert [path.name for path in new.iterdir()] == ["a.txt"]


def test_a_table_has_its_columns_with_and_without_rows(tmp_path):
    path = tmp_path / "t.csv"
    write_csv(path, [{"a": 1, "b": None}, {"a": "x,y", "b": 2.5}])
    assert path.read_bytes() == b'a,b\n1,\n"x,y",2.5\n'
    write_csv(path, [{"a": 1, "b": 2, "more": 3}], ["b", "a"])
    assert path.read_bytes() == b"b,a\n2,1\n"
    write_csv(path, [], ["b", "a"])
    assert path.read_bytes() == b"b,a\n"
    write_csv(path, [])
    assert path.read_bytes() == b""


def test_lines_that_are_whole_come_back(tmp_path):
    path = tmp_path / "log.csv"
    assert whole_lines(path) == ""
    append_text(path, "a\nb\n")
    append_text(path, "c\nno e")
    assert whole_lines(path).splitlines() == ["a", "b", "c"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a full disk of Linux")
def test_a_line_on_a_full_disk_is_one_error():
    with pytest.raises(HeightposeError, match="cannot be written"):
        append_text(Path("/dev/full"), "a\n")
