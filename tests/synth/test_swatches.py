"""Photographed cloth and floors."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from heightpose.errors import InputError
from heightpose.synth import textures
from heightpose.synth.swatches import cut, load_swatches

RED, BLUE = (40, 40, 200), (200, 60, 30)  # BGR


@pytest.fixture
def folder(tmp_path):
    page = np.full((200, 400, 3), 255, np.uint8)
    page[20:148, 16:144], page[20:148, 200:328] = RED, BLUE
    cv2.imwrite(str(tmp_path / "Fabric.png"), page)
    cv2.imwrite(str(tmp_path / "WoodFloor.png"), np.full((64, 90, 3), (30, 90, 140), np.uint8))
    return tmp_path


def test_a_catalogue_page_is_cut_and_a_plain_picture_is_not(folder):
    tiles = cut(cv2.imread(str(folder / "Fabric.png")))
    assert sorted(tuple(t.reshape(-1, 3).mean(0).round().astype(int)) for t in tiles) == [RED, BLUE]
    assert len(cut(cv2.imread(str(folder / "WoodFloor.png")))) == 1


def test_cloth_and_floors_are_drawn_from_the_photographs(folder):
    swatches = load_swatches(folder)
    assert (len(swatches.cloths), len(swatches.floors)) == (2, 1)
    assert set(swatches.files) == {"Fabric.png", "WoodFloor.png"}
    try:
        textures.use_swatches(swatches)
        hues = {int(textures.cloth(np.random.default_rng(k)).mean((0, 1)).argmax()) for k in range(20)}
        floor = textures.floor(np.random.default_rng(0))
    finally:
        textures.use_swatches(None)
    assert hues == {0, 2}  # red and blue, RGB
    assert floor.shape == (256, 256, 3)
    assert floor.mean((0, 1)).argmax() == 0
    assert textures.cloth(np.random.default_rng(3)).std() > 0  # procedural again


def test_the_name_says_what_a_photograph_is_good_for_and_an_unknown_name_serves_for_both(folder):
    green = np.full((64, 64, 3), (40, 180, 60), np.uint8)
    cv2.imwrite(str(folder / "Carpet.png"), green)
    cv2.imwrite(str(folder / "IMG_0012.png"), green)
    swatches = load_swatches(folder)
    assert (len(swatches.cloths), len(swatches.floors)) == (4, 3)


def test_swatches_are_seamless(folder):
    tile = load_swatches(folder).cloths[0]
    np.testing.assert_array_equal(tile[0], tile[-1])
    np.testing.assert_array_equal(tile[:, 0], tile[:, -1])


def test_folders_that_cannot_serve_are_named(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        load_swatches(tmp_path / "none")
    with pytest.raises(InputError, match="no pictures"):
        load_swatches(tmp_path)
    (tmp_path / "a.png").write_bytes(b"not a picture")
    with pytest.raises(InputError, match=r"a\.png"):
        load_swatches(tmp_path)
