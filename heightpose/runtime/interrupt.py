"""Ctrl-C as a request: the first one asks the frame loop to stop and lets it write what was seen."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any, Protocol


class Stop(Protocol):
    """What the frame loop asks whether to stop."""

    @property
    def requested(self) -> bool: ...


class Interrupt:
    """While the context is open, SIGINT sets :attr:`requested`; a second one raises KeyboardInterrupt."""

    def __init__(self) -> None:
        self.requested = False
        self._previous: Any = None

    def __enter__(self) -> Interrupt:
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)

    def _handle(self, _signal: int, _frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
