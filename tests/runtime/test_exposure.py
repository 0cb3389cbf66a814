"""Dark pictures are brightened, others are left as they are."""

from __future__ import annotations

import numpy as np
import pytest

from heightpose.runtime.exposure import brightened

RNG = np.random.default_rng(0)
PICTURE = RNG.integers(0, 220, (64, 96, 3)).astype(np.uint8)


def test_an_ordinary_picture_is_the_same_object():
    assert brightened(PICTURE) is PICTURE


@pytest.mark.parametrize("share", [0.5, 0.25])
def test_a_dark_picture_gets_its_brightness_back(share):
    dark = (PICTURE * share).astype(np.uint8)
    seen = brightened(dark)
    assert np.percentile(seen.max(axis=2), 99) == pytest.approx(190, abs=6)
    factor = seen.astype(float).sum() / dark.astype(float).sum()
    assert np.abs(seen - factor * dark.astype(float))[dark < 60].max() < 2.0  # one gain for all channels
    assert dark.max() < 128  # what was given stays as it was


def test_a_lamp_in_the_dark_is_not_burnt_out_and_a_hot_pixel_does_not_count():
    dark = np.full((256, 256, 3), 40, np.uint8)
    dark[10, 10] = 255
    seen = brightened(dark)
    assert (seen[20, 20] == 190).all()
    assert (seen[10, 10] == 255).all()
    dark[40:44, 40:44] = 150
    assert (brightened(dark)[20, 20] == round(40 * 255 / 150)).all()
    dark[40:44, 40:44] = 255
    assert brightened(dark) is dark


def test_no_more_than_eightfold_and_stacked_pictures_are_as_one():
    night = np.full((3, 32, 32, 3), 2, np.uint8)
    assert (brightened(night) == 16).all()
    night[2] = 60
    seen = brightened(night)
    assert (seen[0] == round(2 * 190 / 60)).all()
    assert (seen[2] == 190).all()
    assert (brightened(np.zeros((8, 8, 3), np.uint8)) == 0).all()
