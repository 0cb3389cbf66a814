"""The plane: between pixels and centimetres, and its file."""

from __future__ import annotations

import json

import numpy as np
import pytest

from heightpose.errors import ConfigError, FileFormatError
from heightpose.geometry.plane import Plane, plane_from_height

from . import sheet_picture
from .cot import JOINTS_CM, PINHOLE


def test_to_frame_and_to_mattress_are_inverse():
    R, t = sheet_picture.pose(140.0, spin_deg=33.0, tilt_deg=10.0)
    plane = Plane(R, t)
    pts = np.column_stack([JOINTS_CM, [0.0, 4.0, 7.0, 2.0, 11.0]])
    kpts = plane.to_frame(PINHOLE, pts)
    np.testing.assert_allclose(kpts, sheet_picture.project(PINHOLE, R, t, pts), atol=1e-6)
    np.testing.assert_allclose(plane.to_mattress(PINHOLE, kpts, pts[:, 2]), pts, atol=1e-6)
    with pytest.raises(ValueError, match="z_cm"):
        plane.to_mattress(PINHOLE, kpts, 150.0)
    # Parallax as the design states it: 4 cm up under a camera at 150 cm stretches 65 cm by 1.8 cm.
    above = plane_from_height(150.0)
    ends = above.to_frame(PINHOLE, np.array([[0, -32.5, 4.0], [0, 32.5, 4.0]]))
    low = above.to_mattress(PINHOLE, ends)
    assert np.linalg.norm(low[1] - low[0]) == pytest.approx(65 + 1.78, abs=0.01)


def test_plane_file_round_trip_and_errors(tmp_path):
    R, t = sheet_picture.pose(150.0, spin_deg=20, tilt_deg=5)
    path = tmp_path / "plane.json"
    path.write_text(json.dumps({"R": np.round(R, 5).tolist(), "t_cm": t.tolist()}))
    plane = Plane.load(path)
    np.testing.assert_allclose(plane.R, R, atol=2e-5)
    assert plane.height_cm == pytest.approx(150.0, abs=0.01)
    path.write_text(json.dumps(plane.to_dict()))
    np.testing.assert_allclose(Plane.load(path).R, plane.R, atol=1e-12)
    bad = {
        "'R'": {"R": (2 * R).tolist(), "t_cm": t.tolist()},
        "'t_cm'": {"R": R.tolist()},
        "below": {"R": R.tolist(), "t_cm": (-t).tolist()},
    }
    for words, content in bad.items():
        path.write_text(json.dumps(content))
        with pytest.raises(FileFormatError, match=words):
            Plane.load(path)


def test_a_camera_height_looks_straight_down():
    plane = plane_from_height(140.0)
    assert plane.height_cm == 140.0
    np.testing.assert_allclose(plane.camera_centre_cm, [0, 0, 140.0])
    for height in (0.0, -3.0, float("nan"), 1e6):
        with pytest.raises(ConfigError):
            plane_from_height(height)


def test_a_camera_sees_what_it_looks_at_in_the_middle_and_up_above_it():
    target, up = np.array([4.0, -7.0, 0.0]), np.array([0.6, 0.8, 0.0])
    plane = Plane.looking_at(np.array([60.0, -20.0, 150.0]), target, up)
    middle, above = plane.to_frame(PINHOLE, np.stack([target, target + 0.5 * up]))
    np.testing.assert_allclose(middle, PINHOLE.K[:2, 2], atol=1e-9)
    assert above[1] < middle[1] - 1
    assert plane.height_cm == pytest.approx(150.0)
