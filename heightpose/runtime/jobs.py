"""Several inputs side by side, each worker a process of its own with its share of the cores.

Workers do not hear Ctrl-C, SIGTERM or SIGHUP themselves: a terminal and systemd send them to all at once, others only
to the first. They ask a shared flag instead, which the first process sets, and each finishes its input with what it
saw. The flag is a plain byte: a lock, as in :class:`multiprocessing.Event`, stays locked for everybody where the
process that held it is killed.
"""

from __future__ import annotations

import atexit
import logging
import signal
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor, TimeoutError
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import replace
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import Any

from tqdm import tqdm

from heightpose.cores import usable_cores
from heightpose.errors import EXIT_INTERRUPTED, HeightposeError
from heightpose.runtime.batch import Item, Settings, Worker, given_files, not_begun, unusable
from heightpose.runtime.earlier import Earlier
from heightpose.runtime.ending import end_if_busy
from heightpose.runtime.interrupt import REQUESTS, Interrupt
from heightpose.runtime.processes import deaf, end_with_parent
from heightpose.runtime.scale import Scale

#: Seconds between two looks at whether the user pressed Ctrl-C.
_GLANCE_S = 0.2


class _Flag:
    """The shared flag, asked like an :class:`Interrupt`.

    Attributes:
        shared: a byte of memory that all processes see.
    """

    def __init__(self, shared: Any) -> None:
        self.shared = shared

    @property
    def requested(self) -> bool:
        return bool(self.shared.value)

    def request(self) -> None:
        """Ask all to stop."""
        self.shared.value = 1


class _Process(SpawnProcess):
    """A worker, which its pool ends with SIGTERM once another of them was killed."""

    def terminate(self) -> None:
        self.kill()


class _Context(SpawnContext):
    """Not a fork: it would share the networks' threads, which then hang."""

    Process = _Process


_worker: Worker | None = None
_inputs: list[tuple[str, str]] = []
_begun: Any = None  # by item, shared: whether a worker has begun it


def run_side_by_side(
    inputs: list[tuple[str, str]], settings: Settings, scale: Scale, jobs: int
) -> Iterator[Item]:
    """What :func:`heightpose.runtime.batch.run_all` yields, from ``jobs`` processes, in the order of the inputs.

    Raises:
        HeightposeError: a model cannot be used.
    """
    threads = settings.threads if settings.threads is not None else max(1, usable_cores() // jobs)
    share = replace(settings, jobs=jobs, threads=threads)
    with Interrupt() as interrupt, tqdm(total=len(inputs), unit="clip", disable=None, file=sys.stderr) as bar:
        crew = _Crew(inputs, share, scale)
        told = False
        try:
            crew.hire(0)
            for number, (source, name) in enumerate(inputs):
                item = _wait(crew, number, source, name, interrupt)
                bar.update()
                if item is not None:
                    told = told or item.code == EXIT_INTERRUPTED
                    yield item
                elif not told:
                    told = True
                    yield not_begun(source, name)
        finally:
            crew.dismiss()


class _Crew:
    """The worker processes, and what each item waits for.

    Where one of them is killed the others of its pool end too, and nothing says whose item was too much. Those that
    were at work are measured again, each alone, so that only what kills its process twice is lost; those that none had
    begun are given to a new pool.
    """

    def __init__(self, inputs: list[tuple[str, str]], settings: Settings, scale: Scale) -> None:
        self._context = _Context()
        self.stop = _Flag(self._context.RawValue("b", 0))
        self._begun = self._context.RawArray("b", len(inputs))
        level = logging.getLogger("heightpose").level
        self._share = (settings, scale, inputs, self.stop.shared, self._begun, level)
        self._jobs = settings.jobs
        self._given = given_files(settings, inputs)
        self._earlier = [Earlier.of(settings.out / name) for _, name in inputs]
        self._pool: ProcessPoolExecutor | None = None
        self._pool_items: list[int] = []
        self._again: set[int] = set()
        #: By item; None for one whose process was killed for good.
        self.waiting: list[Future[Item | None] | None] = [_broken() for _ in inputs]

    def hire(self, wanted: int) -> None:
        """Give what has no result to a new pool: all that none had begun, or the ``wanted`` item alone where that is
        to be measured again."""
        if self._pool is not None:
            self._pool.shutdown(wait=True)  # is broken or idle; afterwards none of it begins another item
            self._sort_out()
        rest = [i for i, future in enumerate(self.waiting) if future is not None and _is_broken(future)]
        if self.stop.requested:
            not_needed: Future[Item | None] = Future()
            not_needed.set_result(None)
            for i in rest:
                self.waiting[i] = not_needed
            return
        alone = wanted in self._again
        self._pool_items = [i for i in rest if (i == wanted if alone else i not in self._again)]
        if not self._pool_items:
            return
        # The first pool starts Python's process that tidies up, too.
        with deaf(), suppress(BrokenProcessPool):
            workers = min(self._jobs, len(self._pool_items))
            self._pool = ProcessPoolExecutor(workers, self._context, _start, self._share)
            for i in self._pool_items:
                self.waiting[i] = self._pool.submit(_measure, i)

    def is_busy(self) -> bool:
        """Whether items of the last pool are still at work or waiting."""
        return any((f := self.waiting[i]) is not None and not f.done() for i in self._pool_items)

    def _sort_out(self) -> None:
        """Of a broken pool's items: which are to be measured again, and which are lost."""
        left = [i for i in self._pool_items if (f := self.waiting[i]) is not None and _is_broken(f)]
        begun = [i for i in left if self._begun[i]]
        # A pool that began nothing is not tried again: its items are lost too.
        for i in begun or left:
            if begun and i not in self._again:
                self._again.add(i)
                self._begun[i] = 0
            else:
                self.waiting[i] = None

    def set_aside(self, number: int) -> None:
        """What an earlier run answered for an item that has no result."""
        self._earlier[number].set_aside(self._given)

    def dismiss(self) -> None:
        """End all processes, as soon as they have written what they saw."""
        self.stop.request()
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)


def _broken() -> Future[Item | None]:
    future: Future[Item | None] = Future()
    future.set_exception(BrokenProcessPool())
    return future


def _is_broken(future: Future[Item | None]) -> bool:
    return future.done() and isinstance(future.exception(), BrokenProcessPool)


def _wait(crew: _Crew, number: int, source: str, name: str, interrupt: Interrupt) -> Item | None:
    """The item of one input; None for one that was not begun when the user stopped."""
    while (future := crew.waiting[number]) is not None:
        try:
            return future.result(timeout=_GLANCE_S)
        except TimeoutError:
            _pass_on(interrupt, crew)
        except BrokenProcessPool:
            while crew.is_busy():  # with items that come later
                _pass_on(interrupt, crew)
                time.sleep(_GLANCE_S)
            _pass_on(interrupt, crew)
            crew.hire(number)
    crew.set_aside(number)
    error = HeightposeError(
        "a process that measured ended without a word, and once more alone",
        hint="There may be too little memory for it",
    )
    return unusable(source, name, error, interrupt.requested)


def _pass_on(interrupt: Interrupt, crew: _Crew) -> None:
    """Tell the workers that the user wants to stop."""
    if interrupt.requested:
        crew.stop.request()


def _start(
    settings: Settings, scale: Scale, inputs: list[tuple[str, str]], flag: Any, begun: Any, level: int
) -> None:
    """In a worker: set up, once."""
    global _worker, _inputs, _begun
    for number in REQUESTS:
        signal.signal(number, signal.SIG_IGN)
    end_with_parent()
    atexit.register(end_if_busy, 0)
    # Its own is a semaphore shared by processes, of which Python warns at the end where this one is killed.
    tqdm.set_lock(threading.RLock())
    logging.addLevelName(logging.WARNING, "warning: ")
    logging.addLevelName(logging.INFO, "")
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s%(message)s")
    logging.getLogger("heightpose").setLevel(level)
    _worker, _inputs, _begun = Worker(settings, scale, _Flag(flag), inputs), inputs, begun


def _measure(number: int) -> Item | None:
    assert _worker is not None
    if _worker.stop.requested:
        return None
    _begun[number] = 1
    return _worker.measure(*_inputs[number])
