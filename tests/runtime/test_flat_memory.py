"""Memory stays flat: a stream of 20,000 frames peaks at most 5 % over one of 500."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from heightpose.runtime.clip import Frame
from heightpose.runtime.poselog import PoseLog
from heightpose.types import Detection, FrameResult, Pose

ROOT = Path(__file__).resolve().parents[2]


def test_a_long_stream_takes_no_more_memory_than_a_short_one():
    """Each in its own process, as peaks are the process's. A sixteenth of the long one is looked at, to be quick."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests" / "runtime" / "flat_memory.py"), "--every", "16"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["ratio"] <= 1.05, found


def result(index, times=1.0):
    kpts = np.full((21, 2), 10.0) + index / 100
    return FrameResult(
        index, index * times, Pose(kpts, np.full(21, 0.5), Detection(np.array([1, 2, 30, 40.0]), 3, 0.9))
    )


def test_rows_on_disk_come_back_whatever_the_order():
    log = PoseLog(21)
    for frame in log.note(Frame(i, 0.5 * i, None) for i in range(5000)):
        if frame.index % 3 == 0:
            log.add(result(frame.index, 0.5))
    for index in (0, 4998, 3, 2046, 1023, 4998, 1026, 0):
        back = log[index]
        assert (back.index, back.t_s) == (index, 0.5 * index)
        np.testing.assert_allclose(back.pose.kpts_frame, 10 + index / 100, atol=1e-4)
    assert log[4].pose is None
    assert log[4].t_s == 2.0
    assert log.looked_at().tolist() == list(range(0, 5000, 3))


def test_a_look_far_behind_the_decoding_finds_its_row():
    log = PoseLog(21)
    noted = list(log.note(Frame(i, 0.5 * i, None) for i in range(4000)))
    assert log[10].pose is None
    log.add(result(10, 0.5))
    log.add(result(3999, 0.5))
    assert len(noted) == 4000
    np.testing.assert_allclose(log[10].pose.kpts_frame, 10.1, atol=1e-4)
    assert log[9].pose is None
    assert log[11].t_s == 5.5
    assert log.looked_at().tolist() == [10, 3999]
    log.cut(3000)
    assert log.looked_at().tolist() == [10]
    assert log.last_t_s == 0.5 * 2999


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of the GNU C library")
def test_large_blocks_go_back_to_the_system_though_small_ones_live_on_between_them():
    """In a process of its own: the setting stays for the rest of a process."""
    code = """
import sys
import numpy as np
from heightpose.runtime.memory import LARGE, return_large_blocks

def resident_mb():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 / 2**20

if sys.argv[1] == "set":
    assert return_large_blocks()
for size in (8, 16, 30):  # freeing these is what makes the C library keep smaller ones
    np.ones((size, 2**20), np.uint8)
before, large, small = resident_mb(), [], []
for _ in range(50):
    large.append(np.ones(LARGE, np.uint8))
    small.append(bytearray(2000))
large.clear()
print(resident_mb() - before)
"""
    grown = {}
    for how in ("set", "leave"):
        done = subprocess.run([sys.executable, "-c", code, how], capture_output=True, text=True, cwd=ROOT)
        assert done.returncode == 0, done.stderr
        grown[how] = float(done.stdout)
    assert grown["set"] < 5, grown
    assert grown["leave"] > 50, grown  # else this shows nothing
