"""A cot with the printed sheet, joints on its mattress, two cameras over it and the tags as they see them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from heightpose.geometry.camera import Camera
from heightpose.geometry.sheet import SheetLayout, TagView

from . import sheet_picture

LAYOUT = SheetLayout.load(Path(__file__).parents[2] / "calibration" / "crib-sheet-70x132.yaml")
#: Half of its tags, from everywhere.
HALF = (1, 2, 4, 6, 9, 11, 12, 15, 17, 18)

PINHOLE = Camera(
    "pinhole",
    (1280, 720),
    np.array([[880.0, 0, 652.0], [0, 876.0, 351.0], [0, 0, 1]]),
    np.array([-0.24, 0.07, 0.0011, -0.0017, 0.0]),
)
FISHEYE = Camera(
    "fisheye",
    (1280, 720),
    np.array([[760.0, 0, 630.0], [0, 762.0, 366.0], [0, 0, 1]]),
    np.array([0.02, -0.01, 0.003, 0.0]),
)
#: On the mattress.
JOINTS_CM = np.array([[0.0, 30.0], [-12.0, 5.0], [9.0, -28.0], [25.0, 50.0], [-25.0, -55.0]])


def tag_views(camera, R, t, *, noise_px=0.1, frames=1, seed=0, hidden=()):
    """Tag corners from OpenCV's projection, for cases that need no picture."""
    rng = np.random.default_rng(seed)
    ids = np.array([tag for tag in LAYOUT.tags if tag not in hidden])
    model = np.stack([LAYOUT.tags[tag] for tag in ids.tolist()]).reshape(-1, 2)
    corners = sheet_picture.project(camera, R, t, np.pad(model, ((0, 0), (0, 1)))).reshape(-1, 4, 2)
    return [TagView(ids, corners + rng.normal(0, noise_px, corners.shape)) for _ in range(frames)]
