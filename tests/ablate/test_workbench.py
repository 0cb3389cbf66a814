"""The processes that trainings run in. No torch here: every process imports this module."""

from __future__ import annotations

import json
import os
import signal
from concurrent.futures.process import BrokenProcessPool

import pytest

from heightpose.ablate.work import Bench
from heightpose.errors import ConfigError


def note(folder, name):
    """In another process: who and where it is."""
    keys = ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES")
    (folder / name).write_text(json.dumps([os.getpid(), *(os.environ.get(k) for k in keys)]))
    for _ in range(500):  # until the other one is there too
        if len(list(folder.iterdir())) == 2:
            return
        signal.sigtimedwait([], 0.1)
    raise TimeoutError("alone")


def refuses():
    raise ConfigError("no")


def dies():
    os.kill(os.getpid(), signal.SIGKILL)


def test_each_process_has_one_thread_and_a_device_of_its_own(tmp_path):
    with Bench(2, ["4", "7"]) as bench:
        for future in [bench.submit(note, tmp_path, name) for name in "ab"]:
            future.result()
    seen = [json.loads((tmp_path / name).read_text()) for name in "ab"]
    assert len({pid for pid, *_ in seen} - {os.getpid()}) == 2
    assert [threads for _, threads, _ in seen] == ["1", "1"]
    assert {device for *_, device in seen} == {"4", "7"}


def test_a_killed_process_is_said_so():
    with Bench(2, []) as bench, pytest.raises(BrokenProcessPool):
        bench.submit(dies).result()


def test_an_error_comes_back_from_here_and_from_there():
    for places in (1, 2):
        with Bench(places, []) as bench:
            assert isinstance(bench.submit(refuses).exception(), ConfigError)
