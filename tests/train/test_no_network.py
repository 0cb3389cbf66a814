"""A training run with every way to the network closed."""

from __future__ import annotations

import socket

import drawn
import pytest
from tinynet import settings

from heightpose.train import loop


def test_training_uses_no_network(tmp_path, tiny, monkeypatch):
    tried = []

    def refuse(*args, **_):
        tried.append(repr(args)[:200])
        raise OSError(101, "Network is unreachable")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    with pytest.raises(OSError, match="unreachable"):
        socket.socket().connect(("127.0.0.1", 9))
    tried.clear()
    drawn.nursery(tmp_path / "set", train=4, val=2)
    run = loop.train(settings(tmp_path / "set", epochs=1), tmp_path / "run")
    assert run.metrics["best"]["epoch"] == 1
    assert tried == []
