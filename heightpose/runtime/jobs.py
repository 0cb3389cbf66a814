"""Several inputs side by side, each worker a process of its own with its share of the cores.

Workers do not hear Ctrl-C themselves: the terminal sends it to all of them at once, a service only to the first. They
ask a shared flag instead, which the first process sets, and each finishes its input with what it saw.
"""

from __future__ import annotations

import logging
import multiprocessing
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor, TimeoutError
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from typing import Any

from tqdm import tqdm

from heightpose.errors import EXIT_INTERRUPTED, HeightposeError
from heightpose.runtime.backends import usable_cores
from heightpose.runtime.batch import Item, Settings, Worker, unusable
from heightpose.runtime.interrupt import Interrupt
from heightpose.runtime.scale import Scale

#: Seconds between two looks at whether the user pressed Ctrl-C.
_GLANCE_S = 0.2


class _Flag:
    """The shared flag, asked like an :class:`Interrupt`."""

    def __init__(self, event: Any) -> None:
        self._event = event

    @property
    def requested(self) -> bool:
        return bool(self._event.is_set())


_worker: Worker | None = None


def run_side_by_side(
    inputs: list[tuple[str, str]], settings: Settings, scale: Scale, jobs: int
) -> Iterator[Item]:
    """What :func:`heightpose.runtime.batch.run_all` yields, from ``jobs`` processes, in the order of the inputs.

    Raises:
        HeightposeError: a model cannot be used.
    """
    threads = settings.threads if settings.threads is not None else max(1, usable_cores() // jobs)
    context = multiprocessing.get_context(
        "spawn"
    )  # a fork would share the networks' threads, which then hang
    event = context.Event()
    share = replace(settings, jobs=jobs, threads=threads)
    level = logging.getLogger("heightpose").level
    pool = ProcessPoolExecutor(jobs, context, _start, (share, scale, event, level))
    with Interrupt() as interrupt, tqdm(total=len(inputs), unit="clip", disable=None, file=sys.stderr) as bar:
        try:
            waiting = [pool.submit(_measure, source, name) for source, name in inputs]
            for (_, name), future in zip(inputs, waiting, strict=True):
                item = _wait(future, name, interrupt, event)
                bar.update()
                if item is not None:
                    yield item
        finally:
            event.set()
            pool.shutdown(wait=True, cancel_futures=True)


def _wait(future: Future[Item | None], name: str, interrupt: Interrupt, event: Any) -> Item | None:
    """The item of one input; None for one that was not begun when the user stopped."""
    while True:
        try:
            return future.result(timeout=_GLANCE_S)
        except TimeoutError:
            if interrupt.requested:
                event.set()
        except BrokenProcessPool:
            error = HeightposeError(
                "a process that measured ended without a word",
                where=name,
                hint="There may be too little memory for --jobs: try fewer",
            )
            item = unusable(name, error)
            return replace(item, code=EXIT_INTERRUPTED) if interrupt.requested else item


def _start(settings: Settings, scale: Scale, event: Any, level: int) -> None:
    """In a worker: set up, once."""
    global _worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.addLevelName(logging.WARNING, "warning: ")
    logging.addLevelName(logging.INFO, "")
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s%(message)s")
    logging.getLogger("heightpose").setLevel(level)
    _worker = Worker(settings, scale, _Flag(event))


def _measure(source: str, name: str) -> Item | None:
    assert _worker is not None
    return None if _worker.stop.requested else _worker.measure(source, name)
