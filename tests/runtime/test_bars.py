"""Black bars around the picture are not part of what it shows."""

from __future__ import annotations

import numpy as np
import pytest

from heightpose.runtime.bars import Bars

LIT = np.full((60, 80, 3), 90, np.uint8)


def shown(*frames: np.ndarray) -> tuple[float, float, float, float] | None:
    bars = Bars()
    for rgb in frames:
        bars.look(rgb)
    return bars.shown_xyxy


def padded(left: int = 0, top: int = 0, right: int = 0, bottom: int = 0, black: int = 3) -> np.ndarray:
    rgb = LIT.copy()
    rgb[:, :left] = rgb[:, 80 - right :] = rgb[:top] = rgb[60 - bottom :] = black
    return rgb


@pytest.mark.parametrize(
    ("sides", "edges"),
    [
        ({}, (-0.5, -0.5, 79.5, 59.5)),
        ({"left": 10, "right": 12}, (9.5, -0.5, 67.5, 59.5)),
        ({"top": 7}, (-0.5, 6.5, 79.5, 59.5)),
        ({"left": 1, "bottom": 5}, (0.5, -0.5, 79.5, 54.5)),
    ],
)
def test_what_lies_between_the_bars(sides: dict[str, int], edges: tuple[float, ...]) -> None:
    assert shown(padded(**sides)) == edges
    assert shown(padded(**sides), padded(**sides)) == edges


def test_a_dark_edge_that_shows_something_once_or_in_one_place_is_no_bar() -> None:
    assert shown(padded(left=10), LIT, padded(left=10)) == (-0.5, -0.5, 79.5, 59.5)
    assert shown(padded(left=10, black=9)) == (-0.5, -0.5, 79.5, 59.5)
    blue = padded(left=10)
    blue[30, 4, 2] = 200
    assert shown(blue) == (3.5, -0.5, 79.5, 59.5)


def test_darkness_has_no_bars() -> None:
    assert shown() is None
    assert shown(np.zeros_like(LIT)) is None
    assert shown(np.zeros_like(LIT), padded(top=7)) == (-0.5, 6.5, 79.5, 59.5)
