"""Pearson's r against numpy and scipy, and its interval where there is enough to reckon from."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from heightpose.metrics.correlation import pearson


def test_r_and_interval_are_those_of_scipy():
    rng = np.random.default_rng(0)
    x = rng.normal(size=12)
    y = 0.6 * x + rng.normal(size=12)
    found, expected = pearson(x, y), stats.pearsonr(x, y)
    assert found.r == pytest.approx(expected.statistic)
    assert found.interval == pytest.approx(tuple(expected.confidence_interval(0.9)))


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    rng, inside = np.random.default_rng(1), 0
    for _ in range(400):
        x = rng.normal(size=8)
        low, high = pearson(x, -0.7 * x + np.sqrt(1 - 0.49) * rng.normal(size=8)).interval
        inside += low <= -0.7 <= high
    assert 0.85 < inside / 400 < 0.95


def test_too_few_or_nothing_varies():
    assert pearson([1.0], [2.0]).r is None
    assert (pearson([], []).n, pearson([], []).r) == (0, None)
    assert pearson([1.0, 1.0, 1.0, 1.0], [1.0, 2.0, 3.0, 4.0]).r is None
    three = pearson([1.0, 2.0, 3.0], [1.0, 3.0, 2.0])
    assert (three.n, three.interval) == (3, None)
    assert three.r == pytest.approx(0.5)
    with pytest.raises(ValueError, match="one length"):
        pearson([1.0], [1.0, 2.0])
