"""The camera's height by tape beside the one that its plane speaks for."""

from __future__ import annotations

import pytest

from heightpose.geometry.body import Z90
from heightpose.geometry.height_check import HeightCheck


def test_a_difference_within_a_tapes_error_leaves_no_doubt():
    assert HeightCheck(150.0, 0.0, 151.9).doubt == 0.0
    assert HeightCheck(150.0, 4.0, 154.0).doubt == 0.0  # the plane itself is that unsure


@pytest.mark.parametrize("sign", [-1, 1])
def test_from_two_standard_deviations_on_the_interval_reaches_the_other_height(sign):
    assert Z90 * HeightCheck(150.0, 0.0, 150.0 + 6.0 * sign).doubt == pytest.approx(0.04)
    assert Z90 * HeightCheck(150.0, 0.0, 150.0 + 3.0 * sign).doubt == pytest.approx(0.01)  # half-way there


@pytest.mark.parametrize(("off_cm", "contradicted"), [(-8.1, True), (-7.9, False), (7.9, False), (8.1, True)])
def test_four_standard_deviations_contradict(off_cm, contradicted):
    assert HeightCheck(150.0, 0.5, 150.0 + off_cm).contradicted is contradicted
