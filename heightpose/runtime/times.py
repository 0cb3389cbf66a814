"""How long each stage of the way from pictures to joints takes."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

T = TypeVar("T")


@dataclass
class StageTimes:
    """Seconds spent per stage, for the summary line and the benchmark.

    Stages run beside each other and wait for the same cores: :attr:`wall_s` is what it took, not their sum.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    frames: int = 0
    wall_s: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            spent = time.perf_counter() - start
            with self._lock:
                self.seconds[name] = self.seconds.get(name, 0.0) + spent

    def timed(self, name: str, items: Iterable[T]) -> Iterator[T]:
        """Pass items through, counting the time it takes to get each."""
        iterator = iter(items)
        while True:
            with self.stage(name):
                try:
                    item = next(iterator)
                except StopIteration:
                    return
            yield item

    def per_frame_ms(self) -> dict[str, float]:
        """Milliseconds per frame of each stage, in the order the stages were first met."""
        return {name: 1000.0 * s / max(self.frames, 1) for name, s in self.seconds.items()}
