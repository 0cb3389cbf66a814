"""Threads beside each other: order, bounds, errors where they belong, and an end when asked."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from heightpose.runtime.stages import Beside, ahead, depth_for

ROOT = Path(__file__).parents[2]


def named(name):
    return [t for t in threading.enumerate() if t.name.startswith(name)]


def test_items_come_in_order_and_from_another_thread():
    seen = []

    def source():
        for i in range(50):
            seen.append(threading.current_thread().name)
            yield i

    assert list(ahead(source(), 3, name="source")) == list(range(50))
    assert set(seen) == {"source"}
    assert not named("source")


def test_no_more_than_the_depth_is_held():
    taken = []

    def endless():
        while True:
            taken.append(len(taken))
            yield taken[-1]

    items = ahead(endless(), 3, name="endless")
    for want in range(5):
        assert next(items) == want
    time.sleep(0.3)
    assert len(taken) <= 5 + 3 + 1  # given out, waiting, and one in the hand that waits for room
    items.close()
    assert not named("endless")


def test_an_error_comes_after_the_items_before_it():
    def failing():
        yield 1
        raise OSError("gone")

    items = ahead(failing(), 4)
    assert next(items) == 1
    with pytest.raises(OSError, match="gone"):
        next(items)


def test_leaving_closes_the_source_in_its_own_thread():
    closed = []

    def source():
        try:
            while True:
                yield 0
        finally:
            closed.append(threading.current_thread().name)

    items = ahead(ahead(source(), 1, name="inner"), 1, name="outer")
    next(items)
    items.close()
    assert closed == ["inner"]
    assert not named("inner")
    assert not named("outer")


def test_a_source_that_hangs_does_not_hold_up_the_end():
    hang, asked = threading.Event(), threading.Event()

    def silent():
        yield 0
        hang.wait(20)

    items = ahead(silent(), 1, stopped=asked.is_set)
    assert next(items) == 0
    threading.Timer(0.2, asked.set).start()
    assert list(items) == []
    assert not hang.is_set()  # it was left alone, not waited for
    hang.set()


@pytest.mark.parametrize(("hang_s", "out"), [(20, "answer\n"), (0, "answer\nat exit\n")])
def test_a_process_ends_at_once_while_a_thread_is_in_a_library(hang_s, out):
    """The interpreter's own end stops such a thread, which networks answer by aborting the process."""
    code = (
        "import atexit, time; from heightpose.runtime.ending import end_if_busy\n"
        "from heightpose.runtime.stages import ahead\n"
        "atexit.register(print, 'at exit')\n"
        f"items = ahead((time.sleep(i * {hang_s}) for i in range(2)), 1)\n"
        "next(items); items.close(); print('answer'); end_if_busy(130); raise SystemExit(130)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=15, cwd=ROOT, check=False
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, out, "")


def test_calls_beside_are_in_order_bounded_and_finished_at_the_end():
    done, go = [], threading.Event()
    with Beside(2) as beside:
        beside.call(go.wait, 20)
        futures = [beside.call(lambda i=i: done.append(i) or i) for i in range(1)]
        caller = threading.Thread(target=lambda: futures.append(beside.call(done.append, 9)))
        caller.start()
        caller.join(0.3)
        assert caller.is_alive()  # two are in, the third waits
        go.set()
        caller.join(5)
    assert done == [0, 9]
    assert futures[0].result() == 0


def test_an_error_beside_is_raised_and_ends_it():
    def fail():
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"), Beside(2) as beside:
        beside.call(fail)


def test_the_callers_own_error_comes_first():
    beside = Beside(2)
    beside.call([].pop)
    beside.__exit__(ValueError, ValueError("mine"), None)  # raises nothing of its own
    assert not named("beside")


@pytest.mark.parametrize(
    ("size_wh", "depth"), [((640, 480), 8), ((1920, 1080), 7), ((3840, 2160), 1), ((8000, 6000), 1)]
)
def test_large_frames_make_short_queues(size_wh, depth):
    assert depth_for(size_wh) == depth
