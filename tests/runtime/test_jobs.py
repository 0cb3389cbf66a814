"""Several inputs side by side: the same answers in the same order, and Ctrl-C for all of them."""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import makers
import pytest
from makers import clips

from heightpose.cores import usable_cores
from heightpose.errors import HeightposeError, MissingExtraError
from heightpose.geometry.plane import PlaneError
from heightpose.runtime import jobs
from heightpose.runtime.batch import Settings, run_all, worst


@pytest.fixture
def settings(tmp_path):
    pose, detector = makers.tiny_pose(tmp_path / "p.onnx"), makers.tiny_detector(tmp_path / "d.onnx")
    return Settings(out=tmp_path / "res", model=str(pose), detector=str(detector), no_overlay=True)


def test_two_at_once_give_what_one_after_the_other_gives(tmp_path, settings):
    inputs = clips(tmp_path, 9, 2, 4)
    inputs.insert(1, (str(tmp_path / "absent.mp4"), "absent"))
    alone = list(run_all(inputs, settings))
    before = {name: (settings.out / name / "poses.json").read_text() for name in ("c0", "c1", "c2")}
    both = list(run_all(inputs, replace(settings, jobs=2)))
    assert [(i.name, i.code, i.answer, i.document) for i in both] == [
        (i.name, i.code, i.answer, i.document) for i in alone
    ]
    assert [i.code for i in both] == [3, 2, 3, 3]
    assert "no such file" in str(both[1].error)
    for name, text in before.items():
        assert (settings.out / name / "poses.json").read_text() == text
        active = json.loads((settings.out / name / "provenance.json").read_text())["backend"]["pose"]
        assert active["threads"] == max(1, usable_cores() // 2)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])  # SIGHUP: tests/cli/test_signals.py
def test_interrupted_all_at_work_write_what_they_saw(tmp_path, settings, how):
    inputs = clips(tmp_path, 600, 600, 4)
    handler = signal.getsignal(how)

    def stop():
        until = time.monotonic() + 120
        while time.monotonic() < until and not all((settings.out / n).exists() for n in ("c0", "c1")):
            time.sleep(0.05)
        time.sleep(0.5)  # until they have seen a frame
        for process in multiprocessing.active_children():  # as systemd does; they leave it to the first one
            os.kill(process.pid, how)
        os.kill(os.getpid(), how)
        if how == signal.SIGTERM:  # as timeout does
            os.kill(os.getpid(), how)

    watcher = threading.Thread(target=stop)
    watcher.start()
    items = list(run_all(inputs, replace(settings, jobs=2)))
    watcher.join()
    assert [item.name for item in items] == ["c0", "c1"]
    for item in items:
        assert item.code == 130
        if item.document["status"] == "error":  # it had not
            assert not (settings.out / item.name).exists()
            continue
        assert json.loads((settings.out / item.name / "height.json").read_text())["interrupted"] is True
        frames = json.loads((settings.out / item.name / "poses.json").read_text())["frames"]
        assert len(frames) < 600
    assert not (settings.out / "c2").exists()
    assert signal.getsignal(how) is handler


def until(condition, seconds=120):
    end = time.monotonic() + seconds
    while time.monotonic() < end and not condition():
        time.sleep(0.05)
    return condition()


def test_interrupted_while_the_processes_start(tmp_path, settings):
    inputs = clips(tmp_path, 2, 2, 2)
    timer = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    items = list(run_all(inputs, replace(settings, jobs=2)))
    timer.join()
    assert worst(item.code for item in items) == 130
    assert not settings.out.exists()


def test_what_kills_its_process_twice_is_lost_alone(tmp_path, settings):
    """Its neighbour, whose process ended with it, is measured again, and so is what neither had begun."""

    def kill():
        assert until(lambda: all((settings.out / n).exists() for n in ("c0", "c1")))
        for _ in range(2):
            assert until(lambda: len(multiprocessing.active_children()) > 0)
            children = multiprocessing.active_children()
            os.kill(children[0].pid, signal.SIGKILL)
            assert until(lambda gone=children: not any(child.is_alive() for child in gone))

    killer = threading.Thread(target=kill)
    killer.start()
    items = list(run_all(clips(tmp_path, 150, 150, 3, 2, 4), replace(settings, jobs=2)))
    killer.join()
    assert [(item.name, item.code) for item in items] == [("c0", 2), *((f"c{i}", 3) for i in range(1, 5))]
    assert "without a word" in str(items[0].error)
    assert json.loads((settings.out / "c1" / "height.json").read_text())["frames"]["total"] == 150


def test_a_killed_process_leaves_no_warning_of_python(tmp_path):
    """Of each worker's semaphore for its progress bars, with a line of Python's own source."""
    (tmp_path / "killed.py").write_text(
        "import os, signal\nfrom concurrent.futures import ProcessPoolExecutor\nfrom tqdm import tqdm\n"
        "from heightpose.runtime import jobs\nfrom heightpose.runtime.scale import Scale\n"
        "def die():\n    tqdm(disable=True)\n    os.kill(os.getpid(), signal.SIGKILL)\n"
        "if __name__ == '__main__':\n"
        "    share = jobs.Settings(), Scale(), [], None, None, 30\n"
        "    with ProcessPoolExecutor(1, jobs._Context(), jobs._start, share) as pool:\n"
        "        print(type(pool.submit(die).exception()).__name__)\n"
    )
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    ended = subprocess.run(
        [sys.executable, "killed.py"],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ended.stdout, ended.stderr) == ("BrokenProcessPool\n", "")


def _ask_forever(flag):
    while True:
        flag.requested  # noqa: B018


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs a quick process")
def test_a_process_killed_while_it_asks_for_a_stop_blocks_nobody(settings):
    flag = jobs._Crew([("c0.mp4", "c0")], replace(settings, jobs=2), None).stop
    for _ in range(10):  # with a lock inside, five of six such trials hung
        asking = [
            multiprocessing.get_context("fork").Process(target=_ask_forever, args=(flag,)) for _ in range(3)
        ]
        for process in asking:
            process.start()
        time.sleep(0.03)
        for process in asking:
            process.kill()
        for process in asking:
            process.join()
    stopping = threading.Thread(target=flag.request, daemon=True)
    stopping.start()
    stopping.join(timeout=20)
    assert not stopping.is_alive()
    assert flag.requested


def test_an_item_that_is_lost_with_its_process_leaves_no_earlier_answer_in_place(settings):
    (settings.out / "c0").mkdir(parents=True)
    (settings.out / "c0" / "height.json").write_text('{"status": "measured"}')
    crew = jobs._Crew([("c0.mp4", "c0")], replace(settings, jobs=2), None)
    crew.waiting[0] = None
    item = jobs._wait(crew, 0, "c0.mp4", "c0", SimpleNamespace(requested=False))
    assert item.code == 2
    assert os.listdir(settings.out / "c0") == ["height.earlier.json"]


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks for processes in /proc")
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_processes_end_with_the_first_one(tmp_path, settings, how):
    script = (
        "import sys\nfrom pathlib import Path\nfrom heightpose.runtime.batch import *\n"
        f"settings = Settings(out=Path({str(settings.out)!r}), model={settings.model!r}, "
        f"detector={settings.detector!r}, jobs=2)\nlist(run_all({clips(tmp_path, 900, 900)!r}, settings))\n"
    )
    first = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL)
    assert until(lambda: (settings.out / "c0").exists())
    children = Path(f"/proc/{first.pid}/task/{first.pid}/children").read_text().split()
    assert len(children) >= 2
    first.send_signal(how)
    first.wait()

    def alive(pid):
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        except OSError:
            return False

    assert until(lambda: not any(alive(pid) for pid in children), 10)


def test_a_network_that_cannot_be_loaded_is_told_once(tmp_path, settings):
    (tmp_path / "p.onnx").write_bytes(b"nonsense")
    with pytest.raises(HeightposeError, match=r"p\.onnx"):
        list(run_all(clips(tmp_path, 2, 2), replace(settings, jobs=2)))


@pytest.mark.parametrize(
    "error",
    [
        HeightposeError("what", where="here", expected=1, got=2, hint="Do this"),
        MissingExtraError("torch", "train", "train"),
        PlaneError("too_few_tags", "Only two tags"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_cross_processes_whole(error):
    back = pickle.loads(pickle.dumps(error))
    assert type(back) is type(error)
    assert (str(back), back.__dict__, back.exit_code) == (str(error), error.__dict__, error.exit_code)
