"""Batches: the same whatever the number of threads, every sample once per epoch, errors not swallowed."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from heightpose.data.batches import Batches
from heightpose.errors import ConfigError


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


def test_an_epoch_too_small_for_all_processes_is_refused():
    batches(count=3, size=2, shard=lambda: (0, 3)).require_enough()
    with pytest.raises(ConfigError, match="3 for 4"):
        batches(count=3, size=2, shard=lambda: (0, 4)).require_enough()


def test_a_batch_is_varied_by_other_numbers_than_the_order_is_drawn_by():
    order = np.random.default_rng([5, 0])
    first = next(iter(batches(seed=5, epoch_of=lambda: 0)))
    assert first[0][1] != pytest.approx(order.random())


@pytest.mark.parametrize(
    ("count", "size", "world"), [(33, 16, 2), (2, 1, 3), (3, 1, 2), (2, 16, 4), (34, 16, 2)]
)
def test_processes_validate_every_sample_once_in_equally_many_batches(count, size, world):
    parts = [
        list(batches(count=count, size=size, shuffle=False, shard=lambda r=r: (r, world)))
        for r in range(world)
    ]
    assert len({len(part) for part in parts}) == 1
    seen = [batch for part in parts for batch in part if batch is not None]
    assert all(seen)  # None, never an empty batch that cannot be collated
    assert sorted(indices(seen)) == list(range(count))


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


def test_repeats_say_how_often_an_epoch_draws_a_sample():
    repeats = np.array([0.25] * 12 + [1.0] * 5 + [2.5] * 4 + [0.0] * 3)
    loader = batches(count=24, size=1, repeats=repeats)
    epochs = [np.bincount(indices(loader), minlength=24) for _ in range(80)]
    for times in epochs:
        assert times[:12].sum() == 3
        assert times[:12].max() == 1
        assert (times[12:17] == 1).all()
        assert times[17:21].sum() == 10
        assert set(times[17:21]) == {2, 3}
        assert not times[21:].any()
    mean = np.mean(epochs, axis=0)
    assert ((mean[:12] > 0.1) & (mean[:12] < 0.4)).all()  # 0.25, give or take three standard errors
    assert len(loader) == 3 + 5 + 10


def test_repeats_depend_on_seed_and_epoch_alone():
    repeats = np.array([0.5] * 8 + [2.0] * 3)
    first, again, other = (batches(count=11, repeats=repeats, seed=s) for s in (4, 4, 5))
    runs = [[indices(loader) for _ in range(3)] for loader in (first, again, other)]
    assert runs[0] == runs[1] != runs[2]
    assert sorted(set(runs[0][0])) != sorted(set(runs[0][1]))  # another half
    assert indices(batches(count=11, repeats=repeats, epoch_of=lambda: 2)) == runs[0][2]


def test_samples_drawn_once_come_in_the_order_they_had_before_there_were_repeats():
    order = np.arange(10)
    np.random.default_rng([4, 0]).shuffle(order)
    assert indices(batches(size=1)) == indices(batches(size=1, repeats=np.ones(10))) == order.tolist()


def test_processes_share_an_epoch_with_repeats():
    repeats = np.array([0.5] * 8 + [2.0] * 3)
    parts = [indices(batches(count=11, size=1, repeats=repeats, shard=lambda r=r: (r, 2))) for r in (0, 1)]
    whole = indices(batches(count=11, size=1, repeats=repeats))
    assert sorted(parts[0] + parts[1]) == sorted(whole)
    assert len(whole) == 10
