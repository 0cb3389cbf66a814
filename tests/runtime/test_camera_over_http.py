"""A camera that sends JPEGs over HTTP (multipart/x-mixed-replace), served by a thread of the test on this machine."""

from __future__ import annotations

import logging
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import makers
import numpy as np
import pytest

from heightpose.errors import InputError
from heightpose.runtime import video
from heightpose.runtime.video import open_clip

#: Seconds between two pictures: a camera of 10 pictures a second, which is not what FFmpeg takes it for.
STEP_S = 0.1


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    monkeypatch.setattr(video, "_RETRY_WAIT_S", 0.05)
    monkeypatch.setattr(video, "_TIMEOUT_S", 2.0)


class Camera(ThreadingHTTPServer):
    """Answers one request after the other as the plan says, and any further one with 503.

    Args:
        plan: by request, how many pictures are sent.
        cut: end each answer in the middle of one more picture.
        lengths: state each picture's bytes, which some cameras do not.
    """

    def __init__(self, plan, *, cut=False, lengths=True):
        super().__init__(("127.0.0.1", 0), _Answer)
        self.plan, self.cut, self.lengths = list(plan), cut, lengths
        self.asked = 0

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server_port}/video"


class _Answer(BaseHTTPRequestHandler):
    server: Camera

    def log_message(self, *_):
        pass

    def do_GET(self):
        camera = self.server
        camera.asked += 1
        if not camera.plan:
            self.send_error(503)
            return
        pictures = camera.plan.pop(0)
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=picture")
        self.end_headers()
        begun = time.monotonic()
        with suppress(OSError):  # the reader has gone
            for i in range(pictures + camera.cut):
                data = picture(i)
                time.sleep(max(0.0, begun + i * STEP_S - time.monotonic()))
                length = f"Content-Length: {len(data)}\r\n" if camera.lengths else ""
                self.wfile.write(f"--picture\r\nContent-Type: image/jpeg\r\n{length}\r\n".encode())
                self.wfile.write(data[: len(data) // 2] if i == pictures else data + b"\r\n")


def picture(number):
    """A JPEG of a few kilobytes: FFmpeg waits for two of them before it knows what comes."""
    noise = np.random.default_rng(number).integers(0, 60, (64, 96, 3), dtype=np.uint8)
    data = cv2.imencode(".jpg", makers.scene((96, 64), (20 + number, 20)) // 2 + noise)[1].tobytes()
    assert len(data) > 2048
    return data


@pytest.fixture
def serve():
    cameras = []

    def start(plan, **kwargs):
        camera = Camera(plan, **kwargs)
        thread = threading.Thread(target=camera.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        cameras.append((camera, thread))
        return camera

    yield start
    for camera, thread in cameras:
        camera.shutdown()
        thread.join(10)
        camera.server_close()


@pytest.mark.parametrize("lengths", [True, False])
def test_times_are_those_of_arrival(serve, lengths):
    with open_clip(serve([12], lengths=lengths).address) as clip:
        assert clip.live
        assert clip.fps is None  # the 25 that FFmpeg states are nobody's
        t_s = [f.t_s for f in clip.frames()]
    assert t_s[0] == 0
    assert len(t_s) >= 11  # without lengths the last picture has no end
    assert np.median(np.diff(t_s)) == pytest.approx(STEP_S, abs=0.03)
    assert t_s[10] == pytest.approx(10 * STEP_S, abs=0.2)


def test_pictures_that_waited_for_the_networks_keep_their_times(serve):
    with open_clip(serve([8]).address) as clip:
        time.sleep(5 * STEP_S)  # as long as models are loaded
        t_s = []
        for frame in clip.frames():
            t_s.append(frame.t_s)
            time.sleep(0.02)
    assert t_s[1] < 4 * STEP_S
    assert t_s[7] == pytest.approx(7 * STEP_S, abs=0.2)


def test_a_drop_is_tried_again_and_the_clock_goes_on(serve, caplog):
    caplog.set_level(logging.WARNING)
    camera = serve([4, 3])
    with open_clip(camera.address) as clip:
        frames = list(clip.frames())
    assert [f.index for f in frames] == list(range(7))
    gap_s = frames[4].t_s - frames[3].t_s
    assert gap_s > 0.05  # the pause before the second request, not one frame's
    assert np.median(np.diff([f.t_s for f in frames])[[0, 1, 2, 4, 5]]) == pytest.approx(STEP_S, abs=0.03)
    assert camera.asked == 2 + 3
    assert "trying again, 1 of 3" in caplog.text
    assert "gone after 7 frames" in caplog.text


def test_half_a_picture_is_not_one(serve):
    with open_clip(serve([3, 2], cut=True).address) as clip:
        assert len(list(clip.frames())) == 5


def test_leaving_early_ends_the_thread(serve):
    camera = serve([1000])
    with open_clip(camera.address) as clip:
        next(clip.frames())
    deadline = time.monotonic() + 5
    while any(t.name == "arrivals" for t in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_no_picture_at_all_is_an_error(serve):
    with pytest.raises(InputError, match="does not answer"):
        open_clip(serve([]).address)
