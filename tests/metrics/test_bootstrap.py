"""Draws of children give what copying the rows would give."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from heightpose.metrics.bootstrap import Draws, binomial_interval


def copied(draws, r):
    """Row numbers of one round, written out."""
    return np.repeat(np.arange(len(draws.child)), draws.times[r][draws.child])


def test_means_sums_and_quantiles_are_those_of_the_copied_rows():
    rng = np.random.default_rng(1)
    values, counted = rng.normal(size=30), rng.random(30) < 0.7
    draws = Draws.by_child([f"child-{i % 7}" for i in range(30)], rounds=50)
    means, sums = draws.means(values, counted), draws.sums(values)
    for q in (0.0, 0.05, 0.5, 0.95, 1.0):
        drawn = draws.quantiles(values, q)
        for r in range(50):
            rows = copied(draws, r)
            assert drawn[r] == pytest.approx(np.quantile(values[rows], q), abs=1e-12)
    for r in range(50):
        rows = copied(draws, r)
        assert sums[r] == pytest.approx(values[rows].sum())
        assert means[r] == pytest.approx(values[rows][counted[rows]].mean())


def test_a_child_is_taken_with_all_its_rows():
    draws = Draws.by_child(["a", "a", "a", "b"], rounds=200)
    assert set(map(tuple, draws.weights)) == {(2, 2, 2, 0), (1, 1, 1, 1), (0, 0, 0, 2)}


def test_one_child_has_no_interval():
    values = np.array([1.0, 2.0, 3.0])
    one, two = Draws.by_child(["a", "a", "a"]), Draws.by_child(["a", "a", "b"])
    assert one.interval(one.means(values)) is None
    low, high = two.interval(two.means(values))
    assert low == 1.5
    assert high == 3.0


def test_a_statistic_that_a_round_lacks_is_left_out():
    draws = Draws.by_child(["a", "b"], rounds=300)
    drawn = draws.means(np.array([5.0, 9.0]), np.array([True, False]))
    assert np.isnan(drawn).any()
    assert draws.interval(drawn) == (5.0, 5.0)
    assert draws.interval(np.full(300, np.nan)) is None


@pytest.mark.parametrize(("hits", "number"), [(0, 7), (3, 7), (7, 7), (41, 50)])
def test_the_binomial_interval_is_clopper_pearson(hits, number):
    expected = binomtest(hits, number).proportion_ci(0.9, method="exact")
    assert binomial_interval(hits, number) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_nothing_has_no_share():
    assert binomial_interval(0, 0) is None


def test_children_without_a_value_make_no_interval():
    draws, values = Draws.by_child(["a", "a", "b", "c"]), np.array([1.0, 3.0, 5.0, 7.0])
    for counted, children in (([1, 1, 0, 0], 1), ([1, 0, 1, 0], 2), ([0, 0, 0, 0], 0)):
        mask = np.array(counted, dtype=bool)
        interval = draws.interval(draws.means(values, mask), counted=mask)
        assert draws.contributing(mask) == children
        assert (interval is None) == (children < 2)
    assert draws.contributing() == draws.children == 3


def test_a_round_of_one_row_has_that_rows_quantile_and_one_of_none_has_no_quantile():
    draws = Draws(np.array([0, 1, 1]), np.array([[1, 0, 1], [0, 1, 0], [0, 0, 2]]))
    for q in (0.0, 0.5, 0.95):
        drawn = draws.quantiles(np.array([7.0, 3.0, 5.0]), q)
        assert drawn[:2] == pytest.approx([7.0, 3.0 + 2.0 * q])
        assert np.isnan(drawn[2])
    assert np.isnan(Draws(np.zeros(0, dtype=int), draws.times).quantiles(np.zeros(0), 0.5)).all()
