"""The plane from four marked corners of the mattress, and every reason not to."""

from __future__ import annotations

import numpy as np
import pytest

from heightpose.geometry.camera import Camera
from heightpose.geometry.corners import plane_from_corners
from heightpose.geometry.plane import PlaneError

from . import sheet_picture
from .cot import PINHOLE


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [1, 2, 3, 0], [3, 2, 1, 0], [2, 3, 0, 1]])
def test_mattress_corners_in_any_order(order):
    R, t = sheet_picture.pose(150.0, spin_deg=87.0, tilt_deg=9.0, offset_cm=(4, 2))
    model = np.array([[-35, 66, 0], [35, 66, 0], [35, -66, 0], [-35, -66, 0.0]])
    slips_px = np.array([[0.5, -0.3], [-0.4, 0.2], [0.1, 0.5], [0.3, -0.6]])
    clicks = sheet_picture.project(PINHOLE, R, t, model) + slips_px
    plane = plane_from_corners(clicks[order], (70.0, 132.0), PINHOLE)
    assert plane.height_cm == pytest.approx(150.0, rel=0.01)
    ends = plane.to_mattress(
        PINHOLE, sheet_picture.project(PINHOLE, R, t, np.array([[0, 33, 0], [0, -33, 0.0]]))
    )
    assert np.linalg.norm(ends[1] - ends[0]) == pytest.approx(66.0, abs=0.4)
    assert abs(ends[1] - ends[0])[1] == pytest.approx(66.0, abs=0.5)  # y runs along the cot
    if order[0] == 0:
        np.testing.assert_allclose(plane.R, R, atol=0.02)


def test_corners_marked_some_pixels_off_in_the_picture_are_believed():
    """They leave 0.5 % of the mattress's extent, more than worked out ones may."""
    R, t = sheet_picture.pose(150.0, spin_deg=87.0, tilt_deg=9.0)
    model = np.array([[-24.5, 46.2, 0], [24.5, 46.2, 0], [24.5, -46.2, 0], [-24.5, -46.2, 0.0]])
    clicks = sheet_picture.project(PINHOLE, R, t, model)
    clicks += np.array([[7.0, 7], [-7, -7], [7, 7], [-7, -7]])
    assert ((clicks > 0) & (clicks < (1280, 720))).all()
    plane = plane_from_corners(clicks, (49.0, 92.4), PINHOLE)
    assert plane.rms_px / np.linalg.norm(np.ptp(clicks, axis=0)) > 0.004
    assert plane.height_cm == pytest.approx(150.0, rel=0.04)
    aside = clicks + (0.0, -90.0)  # the same, reaching beyond the picture
    assert (aside < 0).any()
    with pytest.raises(PlaneError):
        plane_from_corners(aside, (49.0, 92.4), PINHOLE)


@pytest.mark.parametrize(("half_x", "half_y"), [(124, 66), (166, 88), (264, 140), (332, 176)])
def test_corners_marked_on_whole_pixels_around_the_middle_have_their_plane(half_x, half_y):
    """A camera straight above: the points fit a pose exactly, or but for their rounding."""
    camera = Camera(
        "pinhole", (1280, 720), np.array([[880.0, 0, 640], [0, 880, 360], [0, 0, 1]]), np.zeros(5)
    )
    marked = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * (half_x, half_y) + (640.0, 360.0)
    plane = plane_from_corners(marked, (70.0, 132.0), camera)
    assert plane.height_cm == pytest.approx(880.0 * 35 / half_y, rel=0.005)
    np.testing.assert_allclose(plane.camera_centre_cm[:2], 0.0, atol=0.01)


def test_corners_of_another_shape_are_refused():
    R, t = sheet_picture.pose(150.0, spin_deg=90)
    clicks = sheet_picture.project(
        PINHOLE, R, t, np.array([[-35, 66, 0], [35, 66, 0], [35, -66, 0], [-35, -66, 0.0]])
    )
    for size in ((132.0, 132.0), (50.0, 132.0)):
        with pytest.raises(PlaneError):
            plane_from_corners(clicks, size, PINHOLE)


def corners_seen_askew():
    R, t = sheet_picture.pose(150.0, spin_deg=87.0, tilt_deg=15.0)
    model = np.array([[-35, 66, 0], [35, 66, 0], [35, -66, 0], [-35, -66, 0.0]])
    return sheet_picture.project(PINHOLE, R, t, model)


def test_corners_that_enclose_nothing_are_refused_as_such():
    clicks = corners_seen_askew()
    one, line = np.repeat(clicks[:1], 4, axis=0), clicks[0] + np.outer([0, 1, 2, 3], [90.0, 10.0])
    twice, dart = clicks[[0, 1, 1, 3]], clicks.copy()
    dart[2] = clicks[[0, 1, 3]].mean(axis=0)
    for bad in (one, line, twice, dart, clicks * 1e300):
        with pytest.raises(PlaneError) as caught:
            plane_from_corners(bad, (70.0, 132.0), PINHOLE)
        assert caught.value.code == "corners_inconsistent"


@pytest.mark.parametrize("across_cm", [1e-300, 1e-30])
def test_a_mattress_of_no_width_is_refused(across_cm):
    with pytest.raises(PlaneError):
        plane_from_corners(corners_seen_askew(), (across_cm, 1.0), PINHOLE)


def test_corners_marked_on_a_larger_copy_of_the_picture_are_refused():
    clicks = corners_seen_askew()
    assert (clicks < 0).any()  # worked out from elsewhere: they fit
    assert plane_from_corners(clicks, (70.0, 132.0), PINHOLE).height_cm == pytest.approx(150.0, abs=0.01)
    with pytest.raises(PlaneError) as caught:
        plane_from_corners(clicks * 1.5, (70.0, 132.0), PINHOLE)
    assert caught.value.code == "corners_inconsistent"


def test_corners_of_a_mattress_a_size_larger_are_refused():
    with pytest.raises(PlaneError) as caught:
        plane_from_corners(corners_seen_askew(), (60.0, 120.0), PINHOLE)
    assert caught.value.code == "corners_inconsistent"
