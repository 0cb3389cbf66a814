"""Answers to the labelled infants of a picture, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from heightpose.metrics.detection import FOUND_IOU, answers

BOX = np.array([10.0, 20.0, 110.0, 220.0])


def narrowed(share: float) -> np.ndarray:
    """A box inside the infant's own that overlaps it by ``share``."""
    return BOX + [0.0, 0.0, -100.0 * (1.0 - share), 0.0]


@pytest.mark.parametrize(("overlap", "found"), [(0.49, False), (0.5, True), (0.51, True)])
def test_half_an_overlap_is_found_and_only_then_has_a_direction(overlap: float, found: bool) -> None:
    (answer,) = answers([(narrowed(overlap), 30.0)], [BOX], [10.0])
    assert FOUND_IOU == 0.5
    assert answer.overlap == pytest.approx(overlap)
    assert answer.found == found
    assert answer.turn_deg == (pytest.approx(20.0) if found else None)


@pytest.mark.parametrize(
    ("said", "labelled", "turn"),
    [(30.0, -20.0, 50.0), (-20.0, 30.0, 50.0), (170.0, -170.0, 20.0), (0.0, 180.0, 180.0)],
)
def test_directions_differ_by_the_shorter_way_round(said: float, labelled: float, turn: float) -> None:
    (answer,) = answers([(BOX, said)], [BOX], [labelled])
    assert answer.turn_deg == pytest.approx(turn)


def test_each_infant_has_the_box_that_fits_it_best() -> None:
    other = BOX + 300.0
    found = [(narrowed(0.6), 90.0), (other, 45.0), (narrowed(0.8), 5.0)]
    first, second, unknown = answers(found, [BOX, other, BOX], [0.0, 0.0, None])
    assert (first.overlap, first.turn_deg) == (pytest.approx(0.8), 5.0)
    assert (second.overlap, second.turn_deg) == (1.0, 45.0)
    assert unknown.found
    assert unknown.turn_deg is None
    (missed,) = answers([], [BOX], [0.0])
    assert (missed.overlap, missed.found, missed.turn_deg) == (0.0, False, None)
