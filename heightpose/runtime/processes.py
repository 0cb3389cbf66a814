"""Several processes for one job. They end with the first one, and where one is killed that is said, not waited for.

:class:`multiprocessing.pool.Pool` waits for ever for what a killed process was doing, as the kernel does where memory
runs out.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import connection
from typing import Any, TypeVar

from heightpose.errors import HeightposeError
from heightpose.runtime.interrupt import REQUESTS

In = TypeVar("In")
Out = TypeVar("Out")


def side_by_side(
    function: Callable[[In], Out], work: Sequence[In], jobs: int, start: Callable[..., None], *share: Any
) -> Iterator[Out]:
    """``function`` of every item, as they come, in ``jobs`` new processes that call ``start(*share)`` first.

    All that is sent, functions too, is pickled. Ctrl-C is heard by the first process only. Where that or an error ends
    the work, the processes are killed: what they write must be atomic.

    Raises:
        HeightposeError: a process was killed. Else what ``start`` and ``function`` raise.
    """
    if not work:
        return
    others = multiprocessing.active_children()
    # Not a fork, which the threads of networks and renderers do not survive.
    context = multiprocessing.get_context("spawn")
    try:
        with deaf():
            pool = ProcessPoolExecutor(min(jobs, len(work)), context, _begin, (start, share))
            futures = [pool.submit(_do, function, item) for item in work]
        for future in as_completed(futures):
            yield future.result()
        pool.shutdown()
    except BaseException as error:
        for process in multiprocessing.active_children():
            if process not in others:
                process.kill()
        if isinstance(error, BrokenProcessPool):
            raise HeightposeError(
                "a process was killed", hint="Out of memory? Try fewer --jobs; the same command goes on"
            ) from error
        raise


@contextmanager
def deaf() -> Iterator[None]:
    """Processes started in here never hear Ctrl-C, SIGTERM or SIGHUP (:data:`REQUESTS`)."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, REQUESTS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_with_parent() -> None:
    """End this process, at once, when the one that started it has ended: else it would wait for work for ever."""
    threading.Thread(target=_wait_for_parent, daemon=True).start()


#: What is still to be called in this process before its first item.
_to_start: list[tuple[Callable[..., None], tuple[Any, ...]]] = []


def _begin(start: Callable[..., None], share: tuple[Any, ...]) -> None:
    end_with_parent()
    _to_start.append((start, share))


def _do(function: Callable[[In], Out], item: In) -> Out:
    if _to_start:  # not in _begin, whose errors nobody hears
        start, share = _to_start[0]
        start(*share)
        _to_start.clear()
    return function(item)


def _wait_for_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os._exit(1)
