"""Boxes and head directions against labelled infants."""

from __future__ import annotations

import numpy as np
import pytest

from heightpose.metrics.detection import answers


def box(x, width=10.0):
    return np.array([x, 0.0, x + width, 10.0])


def test_one_box_over_two_infants_has_found_one_of_them():
    both = [(box(0, 20), 5.0)]
    assert [a.found for a in answers(both, [box(0), box(10)], [0.0, 0.0])] == [True, False]
    own = [(box(10), 175.0), (box(0), 0.0)]
    found = answers(own, [box(0), box(10)], [10.0, -175.0])
    assert [a.overlap for a in found] == [1.0, 1.0]
    assert [a.turn_deg for a in found] == pytest.approx([10.0, 10.0])


def test_a_box_goes_where_all_together_fit_best():
    """The better box of the first infant is the only one of the second."""
    found = answers([(box(4), 0.0), (box(-3), 0.0)], [box(0), box(8)], [None, None])
    assert all(a.overlap > 0.4 for a in found)
    assert [a.turn_deg for a in found] == [None, None]


def test_nobody_found_and_nobody_there():
    assert answers([], [box(0)], [3.0])[0].overlap == 0.0
    assert answers([(box(0), 0.0)], [], []) == []
    away = answers([(box(50), 0.0)], [box(0)], [0.0])[0]
    assert (away.overlap, away.turn_deg, away.found) == (0.0, None, False)
