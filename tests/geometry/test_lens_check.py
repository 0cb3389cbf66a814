"""A camera file of another camera: what the sheet says of its focal length."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from heightpose.geometry.camera import Camera
from heightpose.geometry.plane import Plane, PlaneError
from heightpose.geometry.plane_fit import plane_from_tags
from heightpose.geometry.plane_length import length_changes
from heightpose.geometry.sheet import SheetLayout, TagView, shipped_sheet

from . import sheet_picture

LAYOUT = SheetLayout.load(shipped_sheet())
RIGHT = Camera(
    "pinhole",
    (960, 540),
    np.array([[560.0, 0, 481.0], [0, 560.0, 263.0], [0, 0, 1]]),
    np.array([-0.08, 0.0, 0.0, 0.0, 0.0]),
)


def _seen(tilt_deg: float, seed: int = 0) -> tuple[Plane, TagView]:
    """A camera 140 cm up, tilted along the cot, and the tags that it sees, 0.15 px of noise."""
    aside = 140.0 * np.tan(np.deg2rad(tilt_deg))
    across = np.array([1.0, 0.0, 0.0])
    plane = Plane.looking_at(np.array([0.3 * aside, aside, 140.0]), np.zeros(3), across)
    ids = np.array(sorted(LAYOUT.tags))
    model = np.stack([LAYOUT.tags[tag] for tag in ids.tolist()]).reshape(-1, 2)
    corners = plane.to_frame(RIGHT, np.pad(model, ((0, 0), (0, 1)))).reshape(-1, 4, 2)
    noise = np.random.default_rng(seed).normal(0, 0.15, corners.shape)
    return plane, TagView(ids, corners + noise)


@pytest.mark.parametrize("tilt_deg", [0.0, 10.0, 25.0])
@pytest.mark.parametrize("seed", range(3))
def test_the_right_file_is_not_doubted(tilt_deg: float, seed: int) -> None:
    _, view = _seen(tilt_deg, seed)
    plane = plane_from_tags([view], RIGHT, LAYOUT)
    assert plane.focal_off == 0.0
    assert plane.length_sd < 0.0006  # what corner noise and the tags' size do


@pytest.mark.parametrize("times", [0.9, 1.1])
@pytest.mark.parametrize("tilt_deg", [15.0, 25.0])
def test_a_wrong_focal_length_under_a_tilt_is_noticed_and_allowed_for(times: float, tilt_deg: float) -> None:
    true, view = _seen(tilt_deg)
    camera = sheet_picture.zoomed(RIGHT, times)
    plane = plane_from_tags([view], camera, LAYOUT)
    error = np.abs(length_changes(plane, true, RIGHT, camera)).max()
    assert error > 0.008
    assert plane.length_sd > 0.8 * error
    assert plane.focal_off == pytest.approx(1 / times - 1, abs=0.03)


def test_squarely_seen_the_focal_length_stays_unjudged() -> None:
    _, view = _seen(0.0)
    assert plane_from_tags([view], sheet_picture.zoomed(RIGHT, 1.03), LAYOUT).focal_off == 0.0


@pytest.mark.parametrize(("times", "k1"), [(0.45, 0.0), (2.3, -0.3), (1.6, 0.1), (0.6, -0.25)])
@pytest.mark.parametrize("tilt_deg", [15.0, 25.0])
def test_another_cameras_file_is_refused_or_allowed_for(times: float, k1: float, tilt_deg: float) -> None:
    """Such a lens puts the outer tags elsewhere; those that agree with each other do not object."""
    true, view = _seen(tilt_deg)
    camera = replace(sheet_picture.zoomed(RIGHT, times), dist=np.array([k1, 0.0, 0.0, 0.0, 0.0]))
    code, missed = None, 0.0
    try:
        plane = plane_from_tags([view], camera, LAYOUT)
    except PlaneError as refused:
        code = refused.code
    else:
        missed = np.abs(length_changes(plane, true, RIGHT, camera)).max() - 1.645 * plane.length_sd
    assert code in (None, "camera_contradicted", "sheet_inconsistent", "plane_imprecise")
    assert missed < 0.005


@pytest.mark.parametrize("seed", range(4))
def test_tags_pushed_aside_do_not_speak_against_the_right_file(seed: int) -> None:
    _, view = _seen(15.0, seed)
    rng = np.random.default_rng(seed)
    corners = view.corners_frame.copy()
    corners[rng.choice(len(corners), 5, replace=False)] += rng.uniform(5, 15, (5, 1, 2))
    plane = plane_from_tags([TagView(view.ids, corners)], RIGHT, LAYOUT)
    assert plane.tags == len(LAYOUT.tags) - 5
    assert plane.focal_off == 0.0
