"""Batches made ahead in background threads, reproducible whatever the number of threads.

cv2 and numpy release the interpreter's lock for the work that counts, so threads do, and pictures stay in
memory once. Every batch has its own random generator, seeded by run, epoch and place.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np

from heightpose.errors import ConfigError

#: Batches made ahead per worker.
_AHEAD = 2
#: Keeps a batch's random numbers apart from those of the order: numpy takes [s, e] and [s, e, 0, 0] for one seed.
_VARIATION = 1


class Samples(Protocol):
    """Anything with a length that makes a sample by index."""

    def __len__(self) -> int: ...
    def sample(self, index: int, rng: np.random.Generator) -> Any: ...


def draw(repeats: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Indices of the samples of one epoch, not yet shuffled.

    Samples of equal repeat belong together: each is there as often as its repeat's whole part says, and a random
    choice of them once more, as many as its fraction says (rounded up).

    Args:
        repeats: ``(N,)`` not negative; how often each sample is drawn per epoch.

    Returns:
        As many indices, in ascending order, for the same repeats whatever ``rng``; with a fraction others every
        time, else ``rng`` is left untouched.
    """
    drawn = []
    for repeat in np.unique(repeats):
        group = np.flatnonzero(repeats == repeat)
        whole = int(repeat)
        drawn += [group] * whole
        more = int(np.ceil(round((float(repeat) - whole) * len(group), 6)))
        if more:
            drawn.append(rng.permutation(group)[:more])
    return np.sort(np.concatenate(drawn)) if drawn else np.zeros(0, dtype=np.intp)


def draws_per_epoch(repeats: np.ndarray) -> int:
    """How many samples :func:`draw` gives."""
    return len(draw(repeats, np.random.default_rng(0)))


class Batches:
    """An endless-by-epoch loader: each iteration is one epoch.

    Args:
        samples: what to draw from.
        collate: list of samples -> batch.
        batch_size: samples per batch and device.
        shuffle: a new order every epoch, the last incomplete batch left out; else in order and complete: among all
            processes every sample once. Of these each process has equally many batches, and one that has no sample
            left for the last gets None.
        seed: of the order and of every sample's variation.
        workers: background threads.
        repeats: ``(len(samples),)`` how often an epoch draws each sample (see :func:`draw`); all once by default.
        shard: returns (rank, number of processes); each process takes its share of every epoch.
        epoch_of: returns the epoch's number, so that a resumed run goes on with new variations and does not
            repeat the first ones; counted from 0 by itself when left out.
        done_of: returns how many batches of the epoch a run that was interrupted inside it has had already; they
            are not made again.
    """

    def __init__(
        self,
        samples: Samples,
        collate: Callable[[list[Any]], Any],
        batch_size: int,
        *,
        shuffle: bool,
        seed: int = 0,
        workers: int = 1,
        repeats: np.ndarray | None = None,
        shard: Callable[[], tuple[int, int]] = lambda: (0, 1),
        epoch_of: Callable[[], int] | None = None,
        done_of: Callable[[], int] = lambda: 0,
    ) -> None:
        self.samples, self.collate, self.batch_size = samples, collate, batch_size
        self.shuffle, self.seed, self.workers = shuffle, seed, workers
        self.shard, self.epoch_of, self.done_of = shard, epoch_of, done_of
        self.repeats = np.ones(len(samples)) if repeats is None else np.asarray(repeats, dtype=np.float64)
        self._total = draws_per_epoch(self.repeats)
        self.epoch = 0

    def __len__(self) -> int:
        count = self._share()
        return max(1, count // self.batch_size) if self.shuffle else -(-count // self.batch_size)

    def require_enough(self) -> None:
        """Raises ConfigError where an epoch has no sample for each of the processes that share it."""
        _, world = self.shard()
        if self._total < world:
            raise ConfigError(
                "an epoch has fewer samples than there are devices to train on", where="hardware.devices",
                got=f"{self._total} for {world}", hint="Use fewer devices or more data",
            )  # fmt: skip

    def _share(self) -> int:
        # Every process gets equally many, so that none waits for the others' gradients at the end.
        total, (_, world) = self._total, self.shard()
        return total // world if self.shuffle else -(-total // world)

    def __iter__(self) -> Iterator[Any]:
        rank, world = self.shard()
        if self.epoch_of is not None:
            self.epoch = self.epoch_of()
        rng = np.random.default_rng([self.seed, self.epoch])
        order = draw(self.repeats, rng)
        if self.shuffle:
            rng.shuffle(order)
        mine = order[rank::world][: self._share()]
        chunks = [mine[i * self.batch_size : (i + 1) * self.batch_size] for i in range(len(self))]
        epoch, self.epoch = self.epoch, self.epoch + 1
        first = self.done_of()

        def make(number: int) -> Any:
            chosen = chunks[number]
            if not len(chosen) and not self.shuffle:
                return None
            return self._make(chosen, np.random.default_rng([self.seed, epoch, rank, number, _VARIATION]))

        def finished(made: Any) -> Any:
            return None if made is None else self._finish(made)

        pool = ThreadPoolExecutor(self.workers, thread_name_prefix="batches")
        waiting: deque[Future] = deque()
        try:
            for number in range(first, len(chunks)):
                waiting.append(pool.submit(make, number))
                if len(waiting) > _AHEAD * self.workers:
                    yield finished(waiting.popleft().result())
            while waiting:
                yield finished(waiting.popleft().result())
        finally:  # also when the run stops in the middle of an epoch
            pool.shutdown(wait=False, cancel_futures=True)

    def _make(self, chosen: np.ndarray, rng: np.random.Generator) -> Any:
        """What a background thread does for a batch of the samples ``chosen``."""
        return self.collate([self.samples.sample(int(i), rng) for i in chosen])

    def _finish(self, made: Any) -> Any:
        """What is left to do where the batch is used."""
        return made


class MixedBatches(Batches):
    """Batches of which some are made of other samples: the same pictures in another size, say.

    Args:
        other: (samples, collate) of those, as many samples as of the first.
        share: of the batches, on average; whether a batch is one of them is drawn with its own random numbers.
    """

    def __init__(
        self, *args: Any, other: tuple[Samples, Callable[[list[Any]], Any]], share: float, **options: Any
    ) -> None:
        super().__init__(*args, **options)
        if len(other[0]) != len(self.samples):
            raise ValueError(f"{len(other[0])} other samples beside {len(self.samples)}")
        self.other, self.share = other, share

    def _make(self, chosen: np.ndarray, rng: np.random.Generator) -> Any:
        if rng.random() >= self.share:
            return super()._make(chosen, rng)
        samples, collate = self.other
        return collate([samples.sample(int(i), rng) for i in chosen])
