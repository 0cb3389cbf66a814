"""Our steps end where SciPy's do."""

from __future__ import annotations

import numpy as np
from scipy.optimize import least_squares

from heightpose.geometry.least_squares import minimise


def test_a_curved_valley_is_followed_to_its_end():
    """Rosenbrock's, and an unknown that changes nothing."""

    def residuals(x):
        return np.array([10.0 * (x[1] - x[0] ** 2), 1.0 - x[0]])

    def slopes(x):
        return np.array([[-20.0 * x[0], 10.0, 0.0], [-1.0, 0.0, 0.0]])

    x, cost = minimise(residuals, slopes, np.array([-1.2, 1.0, 0.5]), np.ones(3))
    np.testing.assert_allclose(x, [1.0, 1.0, 0.5], atol=1e-6)
    assert cost < 1e-12


def test_strays_count_as_in_scipys_soft_l1():
    rng = np.random.default_rng(0)
    at = np.linspace(0.0, 3.0, 40)
    seen = 2.0 * np.exp(-0.8 * at) + rng.normal(0, 0.01, 40)
    seen[::9] += 0.7

    def errors(x):
        return x[0] * np.exp(x[1] * at) - seen

    def slopes(x):
        return np.stack([np.exp(x[1] * at), x[0] * at * np.exp(x[1] * at)], axis=1)

    x, cost = minimise(errors, slopes, np.array([1.0, 0.0]), np.ones(2), soft=0.05)
    expected = least_squares(errors, [1.0, 0.0], slopes, loss="soft_l1", f_scale=0.05, xtol=1e-12, ftol=1e-12)
    np.testing.assert_allclose(x, expected.x, rtol=1e-6)
    assert abs(cost - expected.cost) < 1e-9
    assert np.abs(x - [2.0, -0.8]).max() < 0.05


def test_a_way_that_is_no_number_is_not_gone():
    def residuals(x):
        return np.array([x[0] - 3.0 if x[0] < 2.5 else np.nan])

    x, cost = minimise(residuals, lambda x: np.ones((1, 1)), np.zeros(1), np.ones(1))
    assert 0.0 < x[0] < 2.5
    assert np.isfinite(cost)
