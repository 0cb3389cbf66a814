"""Two cameras over a cot, and joints on its mattress."""

from __future__ import annotations

import numpy as np

from heightpose.geometry.camera import Camera

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
