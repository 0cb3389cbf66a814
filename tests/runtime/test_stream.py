"""Stream addresses, served by a thread of the test on this machine."""

from __future__ import annotations

import logging
import socket
import threading

import av
import makers
import numpy as np
import pytest

from heightpose.errors import InputError
from heightpose.runtime import video
from heightpose.runtime.video import open_clip


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    monkeypatch.setattr(video, "_RETRY_WAIT_S", 0.05)
    monkeypatch.setattr(video, "_TIMEOUT_S", 2.0)


@pytest.fixture
def serve(tmp_path):
    """Serve each of some byte strings to one connection after the other, then stop listening."""
    threads = []

    def start(*parts):
        listener = socket.create_server(("127.0.0.1", 0))

        def run():
            for part in parts:
                connection, _ = listener.accept()
                with connection:
                    connection.sendall(part)
            listener.close()

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        threads.append(thread)
        return f"tcp://127.0.0.1:{listener.getsockname()[1]}"

    yield start
    for thread in threads:
        thread.join(timeout=10)


@pytest.fixture
def transport(tmp_path):
    frames = [makers.scene((96, 64), (20 + i, 20)) for i in range(30)]
    return makers.write_video(tmp_path / "a.ts", frames, pix_fmt="yuv420p").read_bytes()


def test_a_stream_starts_at_zero_and_is_read_once(serve, transport):
    with open_clip(serve(transport)) as clip:
        frames = list(clip.frames())
        assert clip.live
        assert clip.kind == "stream"
        with pytest.raises(InputError, match="only once"):
            list(clip.frames())
    assert len(frames) == 30
    np.testing.assert_allclose([f.t_s for f in frames], 0.1 * np.arange(30), atol=1e-3)


def test_a_stream_that_drops_and_returns(serve, transport, caplog):
    caplog.set_level(logging.WARNING)
    with open_clip(serve(transport, transport)) as clip:
        frames = list(clip.frames())
    assert len(frames) == 60
    assert [f.index for f in frames] == list(range(60))
    assert np.all(np.diff([f.t_s for f in frames]) > 0)  # the clock goes on
    assert "trying again" in caplog.text
    assert "gone after 60 frames" in caplog.text


def test_a_stream_of_nonsense(serve):
    with pytest.raises(InputError):
        open_clip(serve(b"not a video\n" * 1000))


def test_a_stream_that_sends_nothing(serve, monkeypatch):
    monkeypatch.setattr(video, "_TIMEOUT_S", 0.5)
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        pytest.raises(InputError, match="does not answer"),
    ):
        open_clip(f"tcp://127.0.0.1:{listener.getsockname()[1]}")


def test_a_stream_that_returns_without_a_picture_keeps_what_was_seen(serve, transport, tmp_path, caplog):
    caplog.set_level(logging.WARNING)
    with av.open(str(tmp_path / "sound.ts"), "w") as container:
        stream = container.add_stream("mp2", rate=44100)
        for i in range(40):
            block = av.AudioFrame.from_ndarray(np.zeros((1, 2304), np.int16), layout="stereo")
            block.sample_rate, block.pts = 44100, 1152 * i
            container.mux(stream.encode(block))
        container.mux(stream.encode(None))
    with open_clip(serve(transport, (tmp_path / "sound.ts").read_bytes())) as clip:
        assert len(list(clip.frames())) == 30
    assert "sound but no picture" in caplog.text


@pytest.mark.parametrize("address", ["rtsp://host:99999/x", "rtsp://me:se/cret@host:abc/x", "http://[::1/x"])
def test_an_impossible_address_is_one_clear_line_without_the_login(address):
    with pytest.raises(InputError, match="not a stream address") as caught:
        open_clip(address)
    assert "cret" not in str(caught.value)
