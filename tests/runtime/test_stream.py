"""Stream addresses, served by a thread of the test on this machine."""

from __future__ import annotations

import logging
import socket
import threading

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
