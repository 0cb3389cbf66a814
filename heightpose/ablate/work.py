"""Doing a plan: several processes, each with one torch thread on the processor or one device of its own.

Nothing is lost by an interruption: finished trainings and measurements are files, a training that was stopped goes
on from its checkpoint, and one that fails (a learning rate so high that it diverges, say) is reported in its cell and
stops nothing else.
"""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from heightpose.ablate.jobs import FINAL, Measurement, Plan, Training
from heightpose.ablate.possible import require_possible
from heightpose.errors import HeightposeError
from heightpose.runtime.atomic import make_folder, write_json
from heightpose.runtime.processes import end_with_parent
from heightpose.words import one_line

log = logging.getLogger("heightpose")

DONE = "metrics.json"
#: What ends one training and not the others: data of which nothing is drawn, a divergence, a network too large.
FAILURES = (HeightposeError, RuntimeError, MemoryError)


def work(plan: Plan, jobs: int = 1, devices: Sequence[str] = ()) -> dict[Path, str]:
    """Do what is not done yet; returns the failed trainings' folders and why.

    Args:
        jobs: processes; with ``devices`` their number does not count.
        devices: one process each, which sees that device alone (CUDA_VISIBLE_DEVICES).

    Raises:
        HeightposeError: a training that cannot be, before any is begun; a process was killed from outside.
        KeyboardInterrupt: interrupted; the same call goes on.
    """
    wanted: dict[Path, list[Measurement]] = {t.folder: [] for t in plan.trainings}
    for measurement in plan.measurements:
        wanted[measurement.training.folder].append(measurement)
    left = [t for t in plan.trainings if not _is_done(t, wanted[t.folder])]
    require_possible(left, [m for t in left for m in wanted[t.folder]])
    failed: dict[Path, str] = {}
    places = len(devices) if devices else jobs
    with Bench(places, devices) as bench:
        progress = tqdm(
            total=len(plan.trainings), initial=len(plan.trainings) - len(left), unit="run", disable=None
        )
        running: dict[Future, Training] = {}
        while left or running:
            # No more than there are places: what waits inside the pool would be begun even after an interrupt.
            for training in _ready(left, running.values(), failed)[: places - len(running)]:
                left.remove(training)
                if training.after in failed:
                    failed[training.folder] = f"its pre-training failed: {failed[training.after]}"
                    progress.update()
                    continue
                chosen = _single(training, bool(devices)) if places > 1 or devices else training
                running[bench.submit(do, chosen, wanted[training.folder])] = training
            for future in wait(running, return_when=FIRST_COMPLETED).done if running else ():
                training = running.pop(future)
                trouble = _trouble(future, training)
                if trouble is not None:
                    failed[training.folder] = trouble
                    log.warning("%s failed: %s", training.folder.name, trouble)
                progress.update()
        progress.close()
    return failed


def do(training: Training, measurements: Sequence[Measurement]) -> None:
    """Train where that is not done, then write every measurement's figures that are not there yet.

    Raises:
        HeightposeError: the training diverged or cannot be done.
    """
    if not (training.folder / FINAL).is_file():
        _train(training)
    missing = [m for m in measurements if not m.file.is_file()]
    if missing:
        from heightpose.ablate.measure import measure

        spent = json.loads((training.folder / DONE).read_text(encoding="utf-8"))
        for measurement in missing:
            figures = measure(measurement.config, training.folder / FINAL)
            write_json(measurement.file, figures | {"minutes": spent["minutes"], "steps": spent["steps"]})


def _train(training: Training) -> None:
    from heightpose.ablate.measure import keep_last
    from heightpose.train.callbacks import LAST
    from heightpose.train.loop import train

    folder = training.folder
    make_folder(folder)
    if not (folder / DONE).is_file():
        train(training.config, folder, resume=(folder / LAST).is_file(), labels=training.labels)
    keep_last(training.config, folder / LAST, folder / FINAL)


class Bench:
    """Where work is done: in this process, or in several others, each with one device where they are named."""

    def __init__(self, jobs: int, devices: Sequence[str]) -> None:
        self.jobs, self.devices = jobs, list(devices)
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Bench:
        # For the processes that are started here, before torch is loaded there.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        if self.jobs > 1 or self.devices:
            context = multiprocessing.get_context("spawn")
            free: Any = context.Queue()
            for device in self.devices:
                free.put(device)
            self._pool = ProcessPoolExecutor(
                self.jobs, mp_context=context, initializer=_prepare, initargs=(free, bool(self.devices))
            )
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=kind is not None)

    def submit(self, function: Callable[..., None], *args: Any) -> Future:
        """Start something, or do it."""
        if self._pool is not None:
            return self._pool.submit(function, *args)
        future: Future = Future()
        try:
            function(*args)
            future.set_result(None)
        except FAILURES as error:
            future.set_exception(error)
        return future


def _ready(left: list[Training], running: Any, failed: dict[Path, str]) -> list[Training]:
    """What may start: all but that which waits for a pre-training."""
    waited_for = {t.folder for t in (*left, *running)}
    return [t for t in left if t.after is None or t.after not in waited_for or t.after in failed]


def _is_done(training: Training, measurements: Sequence[Measurement]) -> bool:
    return (training.folder / FINAL).is_file() and all(m.file.is_file() for m in measurements)


def _trouble(future: Future, training: Training) -> str | None:
    try:
        future.result()
    except BrokenProcessPool as error:
        raise HeightposeError(
            "a training's process was killed", where=training.folder,
            hint="Out of memory? Try fewer --jobs; the same command goes on",
        ) from error  # fmt: skip
    except FAILURES as error:
        return one_line(error, 300)
    return None


def _single(training: Training, device: bool) -> Training:
    """One thread per process, as they would only get in each other's way; one device where each has its own."""
    hardware = replace(training.config.hardware, threads=1)
    hardware = replace(hardware, devices="1") if device else hardware
    return replace(training, config=replace(training.config, hardware=hardware))


def _prepare(free: Any, has_device: bool) -> None:
    """A new process: its device and its threads, before torch is loaded."""
    end_with_parent()
    os.environ["OMP_NUM_THREADS"] = "1"
    if has_device:
        os.environ["CUDA_VISIBLE_DEVICES"] = free.get()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s%(message)s")
