"""--fps, --start and --end from file to results, and being stopped while a camera is silent."""

from __future__ import annotations

import json
import os
import re
import signal
import threading

import makers
import pytest

from heightpose.cli import main
from heightpose.errors import ConfigError
from heightpose.runtime import batch, session
from heightpose.runtime.batch import Settings, run_all
from heightpose.runtime.clip import Clip, Frame
from heightpose.runtime.interrupt import Interrupt
from heightpose.runtime.networks import Detector, PoseModel
from heightpose.runtime.scale import Scale


@pytest.fixture
def settings(tmp_path):
    pose, detector = makers.tiny_pose(tmp_path / "p.onnx"), makers.tiny_detector(tmp_path / "d.onnx")
    return {"out": tmp_path / "res", "model": str(pose), "detector": str(detector)}


def test_a_span_at_a_rate(tmp_path, settings):
    import av

    frames = [makers.scene((160, 120), (60 + i, 50)) for i in range(20)]
    path = makers.write_video(tmp_path / "c.mp4", frames)  # 10 frames per second
    (item,) = run_all([(str(path), "c")], Settings(**settings, fps=5.0, start=0.4, end=1.2, smooth=True))
    assert item.document["frames"]["total"] == 5
    assert item.document["frames"]["decoded"] == 13  # nothing after the end
    listed = json.loads((settings["out"] / "c" / "poses.json").read_text())["frames"]
    assert [f["index"] for f in listed if "skipped" not in f] == [4, 6, 8, 10, 12]
    assert all(f["keypoints"] is None for f in listed if "skipped" in f)
    # Smoothing is for the eye: the joints listed are where the spot is.
    assert [round(f["keypoints"][0][0] - 60) for f in listed if "skipped" not in f] == [4, 6, 8, 10, 12]
    with av.open(str(settings["out"] / "c" / "overlay.mp4")) as video:
        times = [round(f.time, 2) for f in video.decode(video=0)]
    assert times == [0.0, 0.2, 0.4, 0.6, 0.8]  # as far apart as they are; the wait before them is not shown
    with pytest.raises(ConfigError, match="--every and --fps"):
        list(run_all([(str(path), "c")], Settings(**settings, fps=5.0, every=2)))


class Silent(Clip):
    """A camera that gives three frames and then hangs."""

    def __init__(self, hang, how):
        self.name, self.kind, self.size_wh, self.live = "silent", "stream", (160, 120), True
        self._hang, self._how = hang, how

    def frames(self):
        for i in range(3):
            yield Frame(i, 0.04 * i, makers.scene((160, 120), (60, 50)))
        threading.Timer(0.1, os.kill, (os.getpid(), self._how)).start()
        self._hang.wait(30)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_stopped_while_a_camera_is_silent(settings, how):
    hang = threading.Event()
    networks = Detector.load(settings["detector"]), PoseModel.load(settings["model"])
    # The frames that there are wait for a full group, and none is looked at.
    with Interrupt() as interrupt, pytest.raises(session.StoppedBeforeError):
        session.measure_clip(Silent(hang, how), *networks, Scale(), interrupt=interrupt)
    assert not hang.is_set()
    hang.set()


@pytest.mark.parametrize(
    ("times", "words", "jobs"),
    [
        ({"start": 60.0}, "lasts 0.40 s, got from 60 s on", 1),
        ({"start": 0.12, "end": 0.18}, "lasts 0.40 s, got 0.12 s to 0.18 s", 1),
        ({"start": 0.15, "end": 0.15}, "lasts 0.40 s, got 0.15 s to 0.15 s", 1),
        ({"start": 60.0}, "lasts 0.40 s, got from 60 s on", 2),
    ],
    ids=["after the end", "between two frames", "a moment between two frames", "in two processes"],
)
def test_times_without_a_frame_are_told_and_leave_nothing(tmp_path, settings, times, words, jobs):
    frames = [makers.scene((160, 120), (60 + i, 50)) for i in range(4)]
    inputs = [(str(makers.write_video(tmp_path / f"{n}.mp4", frames)), n) for n in "ab"[:jobs]]
    for item in run_all(inputs, Settings(**settings, **times, jobs=jobs)):
        assert item.code == 2
        assert f"{item.name}.mp4: no frame lies between --start and --end" in item.answer
        assert words in item.answer
    assert not settings["out"].exists()


def test_the_first_frame_alone(tmp_path, settings):
    frames = [makers.scene((160, 120), (60 + i, 50)) for i in range(4)]
    source = str(makers.write_video(tmp_path / "c.mp4", frames))
    (item,) = run_all([(source, "c")], Settings(**settings, end=0.0))
    assert item.error is None
    assert item.document["frames"]["total"] == item.document["frames"]["decoded"] == 1


def test_how_long_a_clip_of_uneven_rate_lasts_is_told_by_its_own_times(tmp_path, settings):
    times = [0.0, 0.1, 0.2, 0.3, 5.0]
    frames = [makers.scene((160, 120), (60, 50))] * len(times)
    path = makers.write_video(tmp_path / "c.mp4", frames, times_s=times)
    (item,) = run_all([(str(path), "c")], Settings(**settings, start=60.0))
    lasts_s = float(re.search(r"lasts ([\d.]+) s", item.answer)[1])
    assert 5.0 <= lasts_s < 6.5


class Brief(Clip):
    """A stream, or a picture, of three frames."""

    def __init__(self, live):
        self.name, self.kind, self.size_wh, self.live = "brief", "stream", (160, 120), live

    def frames(self):
        for i in range(3):
            yield Frame(i, 0.04 * i, makers.scene((160, 120), (60, 50)))


@pytest.mark.parametrize("live", [False, True])
def test_times_without_a_frame_in_a_source_of_unknown_rate(settings, monkeypatch, live):
    monkeypatch.setattr(batch, "open_clip", lambda source: Brief(live))
    (item,) = run_all([("x", "c")], Settings(**settings, start=60.0))
    assert item.code == 2
    assert "brief: no frame lies between --start and --end" in item.answer
    assert "lasts 0.08 s" in item.answer
    assert not settings["out"].exists()


def test_a_stream_stopped_before_its_first_frame_has_no_results(settings, monkeypatch, capsys):
    class Mute(Brief):
        def frames(self):
            os.kill(os.getpid(), signal.SIGINT)
            yield from ()

    monkeypatch.setattr(batch, "open_clip", lambda source: Mute(True))
    (item,) = run_all([("x", "c")], Settings(**settings))
    assert item.code == 130
    assert item.answer == "error: x: not measured: interrupted before it began"
    assert not settings["out"].exists()
    # the command too was interrupted, and its input is not one that cannot be read
    options = [part for name, value in settings.items() for part in (f"--{name}", str(value))]
    assert main._run(["infer", "x.mp4", *options, "--json"], False) == 130
    out, err = capsys.readouterr()
    assert json.loads(out)["status"] == "error"
    assert err.strip().endswith("error: x.mp4: not measured: interrupted before it began")
