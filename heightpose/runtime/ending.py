"""The end of the process while one of its threads is still in a library."""

from __future__ import annotations

import os
import sys
import threading
import weakref
from contextlib import suppress

_threads: weakref.WeakSet[threading.Thread] = weakref.WeakSet()


def may_outlive(thread: threading.Thread) -> None:
    """Note a daemon thread that calls a library and is not waited for without limit."""
    _threads.add(thread)


def end_if_busy(code: int) -> None:
    """End the process at once, with this exit code, where a noted thread still runs; else do nothing.

    To be called when all is done. In its own end the interpreter stops such a thread where it comes back from the
    library, and those of the networks then abort the process. Standard output and errors are flushed, nothing else is.
    """
    if any(thread.is_alive() for thread in _threads):
        for stream in (sys.stdout, sys.stderr):
            with suppress(Exception):
                stream.flush()
        os._exit(code)
