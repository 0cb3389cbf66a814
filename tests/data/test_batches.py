"""Batches: the same whatever the number of threads, every sample once per epoch, errors not swallowed."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from heightpose.data.batches import Batches


class Numbers:
    """Samples are (index, a random number)."""

    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def sample(self, index, rng):
        return index, float(rng.random())


def batches(count=10, size=3, **options):
    return Batches(Numbers(count), list, size, **({"shuffle": True, "seed": 4} | options))


def indices(epoch):
    return [index for batch in epoch for index, _ in batch]


def test_threads_change_nothing():
    one, four = (batches(workers=n) for n in (1, 4))
    for _ in range(2):
        assert list(one) == list(four)


def test_epochs_and_seeds_differ_in_order_and_variation():
    loader = batches()
    first, second = list(loader), list(loader)
    assert indices(first) != indices(second)
    assert {v for b in first for _, v in b}.isdisjoint({v for b in second for _, v in b})
    assert list(batches(seed=5)) != first
    assert list(batches(epoch_of=lambda: 1)) == second  # what a resumed run asks for


def test_training_leaves_out_the_incomplete_batch_and_validation_does_not():
    assert len(batches()) == 3
    assert sorted(set(indices(batches()))) == sorted(indices(batches()))
    assert [len(b) for b in batches(shuffle=False)] == [3, 3, 3, 1]
    assert indices(batches(shuffle=False)) == list(range(10))
    assert [len(b) for b in batches(count=2)] == [2]  # rather one small batch than none


def test_processes_share_an_epoch_and_take_equally_many_steps():
    parts = [list(batches(count=11, size=2, shard=lambda r=r: (r, 2))) for r in (0, 1)]
    assert len(parts[0]) == len(parts[1]) == 2
    assert not set(indices(parts[0])) & set(indices(parts[1]))
    whole = [list(batches(count=11, size=2, shuffle=False, shard=lambda r=r: (r, 2))) for r in (0, 1)]
    assert sorted(i for part in whole for i in indices(part)) == list(range(11))


def test_an_error_in_a_sample_reaches_the_caller_and_the_threads_end():
    class Bad(Numbers):
        def sample(self, index, rng):
            if index == 5:
                raise ValueError("sample 5")
            return super().sample(index, rng)

    before = threading.active_count()
    with pytest.raises(ValueError, match="sample 5"):
        list(Batches(Bad(10), np.array, 2, shuffle=False, workers=2))
    epoch = iter(batches(workers=3))
    next(epoch)
    epoch.close()  # a run that stops in the middle of an epoch
    for thread in threading.enumerate():
        if thread.name.startswith("batches"):
            thread.join(5)
    assert threading.active_count() <= before
