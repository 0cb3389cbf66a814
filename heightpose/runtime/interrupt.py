"""Ctrl-C, SIGTERM and SIGHUP as a request: the frame loop is asked to stop and writes what was seen."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from types import FrameType
from typing import Any, Protocol

log = logging.getLogger("heightpose")

#: What ends a process besides Ctrl-C: service managers and ``timeout``, and a terminal or connection that goes.
_ENDINGS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
#: All that ask for an end.
REQUESTS = (signal.SIGINT, *_ENDINGS)

#: Seconds in which a further signal is the same request: ``timeout`` sends it to a process and to its group.
_SAME_S = 1.0


class Stop(Protocol):
    """What the frame loop asks whether to stop."""

    @property
    def requested(self) -> bool: ...


class Interrupt:
    """While the context is open, :data:`REQUESTS` set :attr:`requested`; a further SIGINT raises KeyboardInterrupt.

    A further SIGTERM or SIGHUP does not: one request may come twice. What is ignored stays so, as SIGHUP is under
    ``nohup`` and SIGINT in a script's background.

    Args:
        notice: what the log says at the first request; nothing where empty.
    """

    def __init__(self, notice: str = "") -> None:
        self.requested = False
        self._notice = notice
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Interrupt:
        self.listen()
        return self

    def listen(self) -> None:
        """Hear them from now on; again, where a library has put handlers of its own in place meanwhile."""
        if threading.current_thread() is threading.main_thread():
            for number in _heard(REQUESTS):
                self._previous.setdefault(number, signal.signal(number, self._handle))

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            if handler is not None:
                signal.signal(number, handler)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if self.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        if self._notice and not self.requested:
            log.warning(self._notice)
        self.requested = True
        before = self._previous.get(number)
        if isinstance(before, _Raiser):
            before.note()


class _Raiser:
    """A signal handler that raises KeyboardInterrupt, once for each request, in the process that it was made in."""

    def __init__(self) -> None:
        self._last_s = -_SAME_S
        self._process = os.getpid()

    def note(self) -> None:
        """Take what follows within a moment for the same request."""
        self._last_s = time.monotonic()

    def __call__(self, number: int, _frame: FrameType | None) -> None:
        if os.getpid() != self._process:  # a fork, which its pool ends with SIGTERM
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        again = time.monotonic() - self._last_s < _SAME_S
        self.note()
        if not again:
            raise KeyboardInterrupt


def raise_on_request() -> None:
    """From now on SIGTERM and SIGHUP do what Ctrl-C does: whatever is open is closed, unfinished files go.

    Where an :class:`Interrupt` is open it decides instead.
    """
    handler = _Raiser()
    for number in _heard(_ENDINGS):
        signal.signal(number, handler)


def ignore_requests() -> None:
    """From now on SIGTERM and SIGHUP are ignored: the work is done, and the exit code must come through.

    By the system, not by a handler: the interpreter takes its handlers away while it ends.
    """
    for number in _ENDINGS:
        signal.signal(number, signal.SIG_IGN)


def _heard(numbers: tuple[int, ...]) -> list[int]:
    return [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]
