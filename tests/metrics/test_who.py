"""The WHO table: published values, what lies between two months, and what lies outside."""

from __future__ import annotations

import pytest

from heightpose.errors import ConfigError
from heightpose.metrics.who import (
    flagged,
    length_for_z,
    median_and_spread,
    percentile,
    percentile_text,
    rounded_percentile,
    z_score,
)


@pytest.mark.parametrize(
    ("sex", "age", "median", "minus_2", "plus_2"),
    [  # WHO Child Growth Standards 2006, length-for-age, simplified field tables: to a millimetre
        ("male", 0, 49.9, 46.1, 53.7),
        ("male", 6, 67.6, 63.3, 71.9),
        ("male", 12, 75.7, 71.0, 80.5),
        ("male", 24, 87.8, 81.7, 93.9),
        ("female", 0, 49.1, 45.4, 52.9),
        ("female", 6, 65.7, 61.2, 70.3),
        ("female", 12, 74.0, 68.9, 79.2),
        ("female", 24, 86.4, 80.0, 92.9),
    ],
)
def test_published_lengths(sex, age, median, minus_2, plus_2):
    for z, published in ((0, median), (-2, minus_2), (2, plus_2)):
        assert length_for_z(sex, age, z) == pytest.approx(published, abs=0.0501)


def test_between_two_months_it_is_linear():
    for part in (0.25, 0.5, 0.9):
        at = median_and_spread("female", 3 + part)
        low, high = median_and_spread("female", 3), median_and_spread("female", 4)
        assert at == pytest.approx([a + part * (b - a) for a, b in zip(low, high, strict=True)])
    assert median_and_spread("male", 0.5)[0] == pytest.approx((49.8842 + 54.7244) / 2)


def test_z_and_length_are_inverse_and_percentiles_known():
    for z in (-3.0, -0.4, 0.0, 1.7):
        assert z_score("male", 7.3, length_for_z("male", 7.3, z)) == pytest.approx(z)
    assert percentile(0.0) == pytest.approx(50.0)
    assert percentile(-1.6449) == pytest.approx(5.0, abs=0.001)
    assert percentile(1.8808) == pytest.approx(97.0, abs=0.001)


@pytest.mark.parametrize("age", [-0.01, 24.01, 240.0, float("nan")])
def test_an_age_outside_the_table_is_an_error_not_the_nearest_value(age):
    with pytest.raises(ConfigError, match="0 to 24 months"):
        median_and_spread("male", age)


def test_an_unknown_sex_is_an_error():
    with pytest.raises(ConfigError, match="female or male"):
        z_score("Male", 3, 60.0)


@pytest.mark.parametrize(
    ("z", "stored", "shown"),
    [
        (0.0, 50.0, "50"),
        (-0.1234, 45.1, "45"),
        (-2.5, 0.62, "0.6"),
        (2.5, 99.38, "99.4"),
        (-3.4, 0.034, "<0.1"),
        (3.4, 99.966, ">99.9"),
        (-8.0, 6.2e-14, "<0.1"),
        (-60.0, None, "<0.1"),
        (60.0, None, ">99.9"),
    ],
)
def test_no_percentile_is_0_or_100(z, stored, shown):
    rounded = rounded_percentile(percentile(z))
    assert 0 < rounded < 100
    if stored is not None:
        assert rounded == stored
    assert percentile_text(percentile(z)) == shown


@pytest.mark.parametrize(
    ("z", "expected"), [(6.004, False), (6.006, True), (-6.004, False), (-6.006, True), (0, False)]
)
def test_the_flags_of_who_anthro_are_about_the_z_score_as_it_is_reported(z: float, expected: bool) -> None:
    assert flagged(z) is expected
