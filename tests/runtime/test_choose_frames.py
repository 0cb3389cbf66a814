"""--fps, --start and --end from file to results, and Ctrl-C while a camera is silent."""

from __future__ import annotations

import json
import os
import signal
import threading

import makers
import pytest

from heightpose.errors import ConfigError
from heightpose.runtime import session
from heightpose.runtime.batch import Settings, run_all
from heightpose.runtime.clip import Clip, Frame
from heightpose.runtime.interrupt import Interrupt
from heightpose.runtime.networks import Detector, PoseModel


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
    assert times == [0.4, 0.6, 0.8, 1.0, 1.2]
    with pytest.raises(ConfigError, match="--every and --fps"):
        list(run_all([(str(path), "c")], Settings(**settings, fps=5.0, every=2)))


class Silent(Clip):
    """A camera that gives three frames and then hangs."""

    def __init__(self, hang):
        self.name, self.kind, self.size_wh, self.live, self._hang = "silent", "stream", (160, 120), True, hang

    def frames(self):
        for i in range(3):
            yield Frame(i, 0.04 * i, makers.scene((160, 120), (60, 50)))
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
        self._hang.wait(30)


def test_ctrl_c_while_a_camera_is_silent(settings):
    hang = threading.Event()
    networks = Detector.load(settings["detector"]), PoseModel.load(settings["model"])
    with Interrupt() as interrupt:
        outcome = session.measure_clip(Silent(hang), *networks, session.Scale(), interrupt=interrupt)
    assert not hang.is_set()
    hang.set()
    assert outcome.interrupted
    assert len(outcome.log) <= 3  # frames that waited for a full group were not looked at
