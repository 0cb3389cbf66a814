"""Change between visits: its size, its uncertainty, and when it counts as shown."""

from __future__ import annotations

import numpy as np
import pytest

from heightpose.metrics.growth import DAYS_PER_MONTH, Visit, change, changes, contradictions


def visit(age, length, low, high, sex="female"):
    return Visit("v", sex, age, length, (low, high))


def test_a_change_adds_half_widths_in_quadrature():
    step = change(visit(4, 62.0, 61.4, 62.5), visit(6, 65.0, 64.2, 66.2))
    assert step.length_cm == pytest.approx(3.0)
    assert step.interval_cm == pytest.approx((3.0 - np.hypot(0.8, 0.5), 3.0 + np.hypot(1.2, 0.6)))
    assert step.shown


def test_overlapping_intervals_show_no_change_even_where_the_difference_excludes_zero():
    step = change(visit(4, 62.0, 61.0, 63.0), visit(5, 63.8, 62.8, 64.8))
    assert step.interval_cm[0] > 0
    assert not step.shown
    assert change(visit(4, 62.0, 61.5, 62.5), visit(5, 61.0, 60.6, 61.4)).shown  # shrinking is shown too


@pytest.mark.parametrize(
    ("low", "high", "shown", "shrunk"),
    [
        (62.5, 64.0, False, False),
        (62.6, 64.0, True, False),
        (59.0, 61.5, False, False),
        (59.0, 61.4, True, True),
    ],
)
def test_intervals_that_touch_overlap_and_only_a_shown_loss_is_one(low, high, shown, shrunk):
    step = change(visit(4, 62.0, 61.5, 62.5), visit(5, (low + high) / 2, low, high))
    assert (step.shown, step.shrunk) == (shown, shrunk)


def test_the_quadrature_covers_as_promised():
    """Two visits with normal errors: the change's 90 % interval holds the true change in 90 % of draws."""
    rng, z = np.random.default_rng(0), 1.6449
    first, second = 60 + 0.4 * rng.normal(size=4000), 63 + 0.7 * rng.normal(size=4000)
    held = 0
    for a, b in zip(first, second, strict=True):
        step = change(visit(4, a, a - z * 0.4, a + z * 0.4), visit(6, b, b - z * 0.7, b + z * 0.7))
        held += step.interval_cm[0] <= 3.0 <= step.interval_cm[1]
    assert held / 4000 == pytest.approx(0.9, abs=0.015)


def test_percentiles_of_the_interval_surround_the_length():
    at = visit(6, 65.7, 64.0, 67.0)
    assert at.percentile_range[0] < at.percentile < at.percentile_range[1]
    assert visit(6, 65.7, 64.0, 67.0, "male").percentile < at.percentile  # boys are longer
    assert changes([at])[0] is None
    assert changes([]) == []


@pytest.mark.parametrize("lengths", [(66.0, 60.0), (60.0, 66.0)])
@pytest.mark.parametrize(("days", "one_age"), [(0.0, True), (0.45, True), (1.0, False)])
def test_two_lengths_at_one_age_contradict_each_other_in_either_order(lengths, days, one_age):
    first, second = (
        visit(age, length, length - 1, length + 1)
        for age, length in zip((3.0, 3.0 + days / DAYS_PER_MONTH), lengths, strict=True)
    )
    step = change(first, second)
    assert (step.contradictory, step.shown) == (one_age, not one_age)
    assert step.shrunk == (not one_age and lengths[1] < lengths[0])
    assert contradictions([first, second]) == ([(first, second)] if one_age else [])


def test_lengths_at_one_age_that_agree_or_have_another_between_them():
    short, wide, tall = visit(3, 60, 59, 61), visit(3, 63, 60, 66), visit(3, 66, 65, 67)
    assert not change(short, wide).contradictory
    assert not change(short, wide).shown
    assert contradictions([short, wide, tall]) == [(short, tall)]
    assert contradictions([short, wide]) == []
