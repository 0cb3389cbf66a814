"""Stages that overlap: each in a thread of its own, with a short queue to the next.

Decoding, the networks, drawing and encoding spend their time in libraries that release Python's lock, so a few threads
use both cores where one would leave the other idle. Queues are bounded: a slow stage holds up the ones before it, and
an hour of video is never in memory.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from heightpose.runtime.ending import may_outlive

T = TypeVar("T")

#: Seconds after which a waiting thread asks whether it should stop.
_GLANCE_S = 0.1
#: Seconds to wait for a thread that hangs in a library, such as in a camera that is silent.
_PATIENCE_S = 1.0
#: The same for a thread that calls the networks, which ends by itself, if late on a busy machine.
NETWORKS_S = 15.0

#: Frames that a stage may be ahead of the next, and the pixels they may hold together.
_AHEAD, _AHEAD_PIXELS = 8, 16e6


def depth_for(size_wh: tuple[int, int]) -> int:
    """How many frames of this size a stage may be ahead."""
    return max(1, min(_AHEAD, int(_AHEAD_PIXELS / (size_wh[0] * size_wh[1]))))


@dataclass(frozen=True)
class _Last:
    """Ends a queue: the items are over, or getting the next one failed."""

    error: BaseException | None = None


def ahead(
    items: Iterable[T],
    depth: int,
    *,
    stopped: Callable[[], bool] = lambda: False,
    name: str = "stage",
    patience_s: float = _PATIENCE_S,
) -> Generator[T, None, None]:
    """The same items, taken by a thread that is up to ``depth`` (at least 1) of them ahead.

    Closing the generator ends the thread and closes ``items`` in it. What ``items`` raises is raised here, in its turn.

    Args:
        stopped: asked while waiting; once it is true no more items are given, even if the source hangs.
        patience_s: how long to wait for the thread at the end; :data:`NETWORKS_S` for one that calls the networks.
    """
    ready: queue.Queue[T | _Last] = queue.Queue(max(1, depth))
    leave = threading.Event()
    thread = threading.Thread(target=_fill, args=(items, ready, leave), name=name, daemon=True)
    may_outlive(thread)
    thread.start()
    try:
        while not stopped():
            try:
                item = ready.get(timeout=_GLANCE_S)
            except queue.Empty:
                continue
            if isinstance(item, _Last):
                if item.error is not None:
                    raise item.error
                return
            yield item
            del item  # not held while waiting for the next: it may be a frame of 25 MB
    finally:
        leave.set()
        thread.join(patience_s)


def _fill(items: Iterable[Any], ready: queue.Queue, leave: threading.Event) -> None:
    def put(item: Any) -> bool:
        while not leave.is_set():
            try:
                ready.put(item, timeout=_GLANCE_S)
            except queue.Full:
                continue
            return True
        return False

    last = _Last()
    try:
        for item in items:
            if not put(item):
                break
            del item
    except BaseException as error:  # raised again where the items are used
        last = _Last(error)
    close = getattr(items, "close", None)
    if close is not None:  # in the thread that used it: a generator cannot be closed while it runs in another
        close()
    put(last)


class Beside(Generic[T]):
    """Runs calls one after the other in a thread of its own while the caller goes on.

    As a context: waits for all calls at its end, and raises the first error that one of them raised.

    Args:
        waiting: calls that may wait; one more makes the caller wait.
    """

    def __init__(self, waiting: int, name: str = "beside") -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._room = threading.BoundedSemaphore(max(1, waiting))
        self._failed: BaseException | None = None

    def call(self, function: Callable[..., T], *args: Any) -> Future[T]:
        """Queue a call. Raises what an earlier one raised."""
        if self._failed is not None:
            raise self._failed
        self._room.acquire()
        future = self._pool.submit(function, *args)
        future.add_done_callback(self._done)
        return future

    def _done(self, future: Future[T]) -> None:
        self._room.release()
        if not future.cancelled() and self._failed is None:
            self._failed = future.exception()

    def __enter__(self) -> Beside[T]:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=kind is not None)
        if kind is None and self._failed is not None:
            raise self._failed
