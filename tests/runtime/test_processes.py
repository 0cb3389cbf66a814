"""Several processes for one job: all of it done, errors whole, and no waiting for the dead."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from heightpose.errors import ConfigError, HeightposeError
from heightpose.runtime.processes import side_by_side

_base = 0


def begin(base: int) -> None:
    global _base
    _base = base


def cannot_begin(where: str) -> None:
    raise ConfigError("no such swatches", where=where, hint="Name another folder")


def add(number: int) -> int:
    return _base + number


def die(number: int) -> int:
    if number == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.2)
    return number


def refuse(number: int) -> int:
    raise ConfigError("too odd", got=number)


def children() -> int:
    until = time.monotonic() + 20
    while multiprocessing.active_children() and time.monotonic() < until:
        time.sleep(0.02)
    return len(multiprocessing.active_children())


def test_every_item_once_in_processes_that_were_prepared():
    assert sorted(side_by_side(add, range(7), 3, begin, 40)) == list(range(40, 47))
    assert children() == 0


def test_a_killed_process_is_told_instead_of_waited_for():
    with pytest.raises(HeightposeError, match="a process was killed") as told:
        list(side_by_side(die, range(50), 2, begin, 0))
    assert "Try fewer --jobs" in str(told.value)
    assert children() == 0


def test_errors_cross_whole_and_end_the_others():
    with pytest.raises(ConfigError, match="no such swatches") as told:
        list(side_by_side(add, range(4), 2, cannot_begin, "cloth"))
    assert "Name another folder" in str(told.value)
    with pytest.raises(ConfigError, match="too odd"):
        list(side_by_side(refuse, range(4), 1, begin, 0))
    assert children() == 0


def test_one_who_stops_asking_leaves_no_process_behind():
    some = side_by_side(die, range(2, 500), 2, begin, 0)
    assert next(some) >= 2
    some.close()
    assert children() == 0


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks for processes in /proc")
def test_the_processes_end_with_the_first_one(tmp_path):
    script = tmp_path / "first.py"
    script.write_text(
        "import sys, time\nfrom pathlib import Path\nfrom heightpose.runtime.processes import side_by_side\n"
        "def work(n):\n    Path(sys.argv[1], str(n)).touch()\n    time.sleep(600)\ndef start():\n    pass\n"
        "if __name__ == '__main__':\n    list(side_by_side(work, range(2), 2, start))\n"
    )
    first = subprocess.Popen([sys.executable, str(script), str(tmp_path)], stderr=subprocess.DEVNULL)
    until = time.monotonic() + 120
    while time.monotonic() < until and not ((tmp_path / "0").exists() and (tmp_path / "1").exists()):
        time.sleep(0.05)
    theirs = Path(f"/proc/{first.pid}/task/{first.pid}/children").read_text().split()
    assert len(theirs) >= 2
    first.kill()
    first.wait()

    def running(pid: str) -> bool:
        try:
            return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
        except FileNotFoundError:
            return False

    while time.monotonic() < until and any(running(pid) for pid in theirs):
        time.sleep(0.05)
    assert not any(running(pid) for pid in theirs)
