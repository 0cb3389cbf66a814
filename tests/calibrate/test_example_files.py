"""What lies under calibration/: cameras and the sheet load, and the lens models hold over the whole picture."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from heightpose.geometry.camera import Camera
from heightpose.geometry.sheet import SheetLayout, shipped_sheet

FOLDER = Path(__file__).parents[2] / "calibration"
CAMERAS = sorted((FOLDER / "cameras").glob("*.json"))


def test_there_are_pinhole_and_fisheye_examples():
    assert {Camera.load(path).model for path in CAMERAS} == {"pinhole", "fisheye"}


@pytest.mark.parametrize("path", CAMERAS, ids=lambda p: p.stem)
def test_an_example_camera_loads_says_so_and_maps_one_to_one(path):
    camera = Camera.load(path)
    assert json.loads(path.read_text())["note"].startswith("Example values, not measured")
    assert f"{camera.size_wh[0]}x{camera.size_wh[1]}" in path.stem
    width, height = camera.size_wh
    x, y = np.meshgrid(np.linspace(0, width - 1, 25), np.linspace(0, height - 1, 17))
    kpts = np.stack([x.ravel(), y.ravel()], axis=1)
    slopes = camera.undistort(kpts)
    seen = np.linalg.norm(slopes, axis=1) < 50  # a fisheye's corners lie outside its circle
    assert seen.mean() > 0.9
    back = camera.project(np.concatenate([slopes, np.ones((len(slopes), 1))], axis=1))
    assert np.abs(back - kpts)[seen].max() < 1e-3
    # Outwards in the picture is outwards in the world: the polynomial does not fold back.
    for corner in ((0, 0), (width - 1, 0), (width - 1, height - 1), (0, height - 1)):
        line = camera.K[:2, 2] + np.linspace(0, 1, 100)[:, None] * (np.array(corner) - camera.K[:2, 2])
        angles = np.arctan(np.linalg.norm(camera.undistort(line), axis=1))
        assert (np.diff(angles[angles < np.deg2rad(88.9)]) > 0).all()


def test_the_sheet_for_editing_is_the_one_in_the_package():
    assert (
        SheetLayout.load(FOLDER / "crib-sheet-70x132.yaml").to_dict()
        == SheetLayout.load(shipped_sheet()).to_dict()
    )
