"""What asks the process to end before and after the work, when no frame loop listens."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import makers
import pytest
from commandline import environment

from heightpose.runtime.interrupt import Interrupt

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="signals of POSIX")

#: Takes OpenCV's place: says that it is being imported, and does not come to an end.
_SLOW = "import sys, time\nprint('importing', file=sys.stderr, flush=True)\ntime.sleep(60)\n"


def begin(folder, *args, ignored=()):
    (folder / "slow").mkdir()
    (folder / "slow" / "cv2.py").write_text(_SLOW)
    env = environment()
    env["PYTHONPATH"] = os.pathsep.join([str(folder / "slow"), env["PYTHONPATH"]])
    process = subprocess.Popen(
        [sys.executable, "-m", "heightpose", *args], cwd=folder, env=env, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        preexec_fn=lambda: [signal.signal(number, signal.SIG_IGN) for number in ignored],
    )  # fmt: skip
    for line in process.stderr:
        if line.startswith("importing"):
            return process
    raise AssertionError(process.communicate())


@pytest.mark.parametrize(
    ("how", "times"),  # timeout sends it to the process and to its group
    [(signal.SIGINT, 1), (signal.SIGTERM, 1), (signal.SIGTERM, 2), (signal.SIGHUP, 1), (signal.SIGHUP, 2)],
)
def test_before_the_work_begins(tmp_path, how, times):
    process = begin(tmp_path, "infer", "clip.mp4", "--json")
    for _ in range(times):
        process.send_signal(how)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err.strip()) == (130, "", "interrupted")
    assert os.listdir(tmp_path) == ["slow"]


def test_side_by_side_a_terminal_that_goes_leaves_no_traceback(models, tmp_path):
    makers.clips(tmp_path, 600, 600)
    args = ["infer", "c0.mp4", "c1.mp4", "--jobs", "2", "--out", "res", *map(str, models)]
    process = subprocess.Popen(
        [sys.executable, "-m", "heightpose", *args], cwd=tmp_path, env=environment(), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    until = time.monotonic() + 120
    while time.monotonic() < until and not all((tmp_path / "res" / name).exists() for name in ("c0", "c1")):
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGHUP)  # to every process, as a closed terminal does
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert "resource_tracker" not in err


def test_under_nohup_a_terminal_may_go(tmp_path):
    process = begin(tmp_path, "infer", "clip.mp4", ignored=[signal.SIGHUP])
    process.send_signal(signal.SIGHUP)
    time.sleep(0.5)
    assert process.poll() is None
    process.kill()
    process.communicate()


def test_a_frame_loop_leaves_sighup_ignored_where_it_was(monkeypatch):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interrupt() as interrupt:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not interrupt.requested
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_ctrl_c_while_the_command_itself_is_imported(tmp_path):
    (tmp_path / "click.py").write_text("raise KeyboardInterrupt\n")
    env = environment()
    env["PYTHONPATH"] = os.pathsep.join([str(tmp_path), env["PYTHONPATH"]])
    done = subprocess.run([sys.executable, "-m", "heightpose", "--help"], cwd=tmp_path, env=env, capture_output=True,
                          text=True, check=False)  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")
