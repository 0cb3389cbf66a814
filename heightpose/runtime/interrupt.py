"""Ctrl-C and SIGTERM as a request: the frame loop is asked to stop and writes what was seen."""

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
    """While the context is open, SIGINT and SIGTERM set :attr:`requested`; a further SIGINT raises KeyboardInterrupt.

    A further SIGTERM does not: ``timeout`` sends it to a process and to its group, which is twice.
    """

    def __init__(self) -> None:
        self.requested = False
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Interrupt:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            if handler is not None:
                signal.signal(number, handler)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if self.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.requested = True
