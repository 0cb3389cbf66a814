"""The plane from pictures of a sheet, and every reason not to."""

from __future__ import annotations

import numpy as np
import pytest

from heightpose.errors import EXIT_REJECTED
from heightpose.geometry.camera import Camera
from heightpose.geometry.plane import Plane, PlaneError
from heightpose.geometry.plane_fit import plane_from_tags
from heightpose.geometry.plane_length import length_change
from heightpose.geometry.sheet import SheetLayout, TagView, detect_tags

from . import sheet_picture
from .cot import FISHEYE, HALF, JOINTS_CM, LAYOUT, PINHOLE, tag_views


def _worst_joint_cm(plane, camera, R, t, z_cm=0.0):
    truth = np.column_stack([JOINTS_CM, np.full(len(JOINTS_CM), z_cm)])
    got = plane.to_mattress(camera, sheet_picture.project(camera, R, t, truth), z_cm)
    return float(np.linalg.norm(got - truth, axis=1).max())


@pytest.mark.parametrize("camera", [PINHOLE, FISHEYE], ids=["pinhole", "fisheye"])
@pytest.mark.parametrize(
    ("spin", "tilt", "offset"),
    [(90.0, 0.0, (2.0, -3.0)), (-84.0, 14.0, (-10.0, 12.0))],
    ids=["above", "tilted"],
)
def test_a_picture_with_half_of_the_tags_hidden_and_one_displaced(camera, spin, tilt, offset):
    height = 152.0
    R, t = sheet_picture.pose(height, spin_deg=spin, tilt_deg=tilt, offset_cm=offset)
    sheet = sheet_picture.print_sheet(LAYOUT, hidden=HALF, shifted={13: (1.2, -0.8)})
    picture = sheet_picture.photograph(sheet, LAYOUT, camera, R, t)
    view = detect_tags(picture, LAYOUT)
    assert not set(view.ids.tolist()) & set(HALF)
    assert 13 in view.ids
    plane = plane_from_tags([view], camera, LAYOUT)
    assert plane.height_cm == pytest.approx(height, rel=0.005)
    assert _worst_joint_cm(plane, camera, R, t) < 0.2
    assert _worst_joint_cm(plane, camera, R, t, z_cm=8.0) < 0.2
    assert plane.tags == len(view.ids) - 1
    assert plane.source == "tags"
    assert plane.rms_px < 0.5


def test_small_tags_of_a_small_frame():
    camera = PINHOLE.for_frames((640, 360), 0)
    R, t = sheet_picture.pose(150.0, spin_deg=90.0, tilt_deg=5.0, offset_cm=(0, -6.0))
    picture = sheet_picture.photograph(sheet_picture.print_sheet(LAYOUT, hidden=HALF), LAYOUT, camera, R, t)
    plane = plane_from_tags([detect_tags(picture, LAYOUT)], camera, LAYOUT)
    assert plane.height_cm == pytest.approx(150.0, rel=0.005)
    assert _worst_joint_cm(plane, camera, R, t) < 0.2


@pytest.fixture(scope="module")
def tilted_view():
    """R, t and the picture of a whole sheet."""
    R, t = sheet_picture.pose(150.0, spin_deg=90.0, tilt_deg=8.0)
    return R, t, sheet_picture.photograph(sheet_picture.print_sheet(LAYOUT), LAYOUT, PINHOLE, R, t)


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_a_turned_video_has_the_same_plane(rotation, tilted_view):
    """The plane belongs to the camera, so a plane file serves however the video is stored."""
    R, t, picture = tilted_view
    turned = np.ascontiguousarray(np.rot90(picture, -rotation // 90))
    camera = PINHOLE.for_frames(turned.shape[::-1], rotation)
    plane = plane_from_tags([detect_tags(turned, LAYOUT)], camera, LAYOUT)
    np.testing.assert_allclose(plane.camera_centre_cm, -R.T @ t, atol=0.5)
    np.testing.assert_allclose(plane.R, R, atol=0.003)


@pytest.mark.parametrize("seed", range(6))
def test_any_pose_and_any_hidden_half(seed):
    rng = np.random.default_rng(seed)
    height = rng.uniform(110, 190)
    offset = rng.uniform(-15, 15, 2)
    R, t = sheet_picture.pose(
        height, spin_deg=rng.uniform(0, 360), tilt_deg=rng.uniform(-20, 20), offset_cm=offset
    )
    hidden = rng.choice(20, 10, replace=False).tolist()
    views = tag_views(PINHOLE, R, t, noise_px=0.2, frames=5, seed=seed, hidden=hidden)
    for view in views:
        view.corners_frame[4] += rng.uniform(6, 20, 2)  # one tag pushed aside
    plane = plane_from_tags(views, PINHOLE, LAYOUT)
    assert plane.tags == 9
    assert plane.height_cm == pytest.approx(height, rel=0.003)
    assert abs(plane.height_cm - height) < 4 * plane.height_sd_cm
    assert _worst_joint_cm(plane, PINHOLE, R, t) < 0.15


def test_few_tags_beside_each_other_say_how_badly_they_tell_a_length():
    errors, said, refused = [], [], 0
    small = PINHOLE.for_frames((640, 360), 0)
    for seed in range(40):
        rng = np.random.default_rng(seed)
        R, t = sheet_picture.pose(
            rng.uniform(120, 190), spin_deg=rng.uniform(0, 360), tilt_deg=rng.uniform(-20, 20)
        )
        (view,) = tag_views(small, R, t, noise_px=0.2, seed=seed)
        middles = np.stack([LAYOUT.tags[tag].mean(axis=0) for tag in view.ids.tolist()])
        near = np.argsort(np.linalg.norm(middles - middles[seed % 20], axis=1))[:3]
        try:
            plane = plane_from_tags([TagView(view.ids[near], view.corners_frame[near])], small, LAYOUT)
        except PlaneError as error:
            refused += error.code in ("plane_imprecise", "plane_ambiguous")
            continue
        errors.append(abs(length_change(plane, Plane(R, t), small)))
        said.append(plane.length_sd)
    assert len(errors) + refused == 40
    assert len(errors) > 10
    assert max(said) <= 0.03
    assert max(errors) > 0.005
    assert np.mean(np.array(errors) <= 1.645 * np.array(said)) >= 0.9
    assert np.sqrt(np.mean(np.square(said))) < 3 * np.sqrt(np.mean(np.square(errors)))


def _code(views, camera=PINHOLE, layout=LAYOUT):
    with pytest.raises(PlaneError) as caught:
        plane_from_tags(views, camera, layout)
    assert caught.value.exit_code == EXIT_REJECTED
    assert caught.value.reason.text
    return caught.value.code


def test_no_tags_and_too_few_tags():
    R, t = sheet_picture.pose(150.0, spin_deg=90)
    assert _code([]) == "sheet_not_found"
    assert _code([TagView(np.zeros(0, int), np.zeros((0, 4, 2)))] * 3) == "sheet_not_found"
    view = tag_views(PINHOLE, R, t)[0]
    assert _code([TagView(view.ids[:2], view.corners_frame[:2])]) == "too_few_tags"


@pytest.mark.parametrize("count", [1, 2])
def test_of_one_or_two_tags_the_length_is_as_unsure_as_their_size(count):
    """Light makes all tags look larger alike; of a sheet with more of them their distances tell the scale."""
    rng, given, off = np.random.default_rng(0), 0, []
    for seed in range(20):
        R, t = sheet_picture.pose(
            rng.uniform(110, 150), spin_deg=rng.uniform(0, 360), tilt_deg=rng.uniform(12, 30)
        )
        (view,) = tag_views(PINHOLE, R, t, noise_px=0.1, seed=seed)
        chosen = [seed % 20, (seed + 1) % 20][:count]
        corners = view.corners_frame[chosen]
        out = corners - corners.mean(axis=1, keepdims=True)
        corners = corners + 0.4 * np.sqrt(2) * out / np.linalg.norm(out, axis=2, keepdims=True)
        layout = SheetLayout(
            LAYOUT.name,
            LAYOUT.size_cm,
            LAYOUT.family,
            {int(tag): LAYOUT.tags[int(tag)] for tag in view.ids[chosen]},
        )
        try:
            plane = plane_from_tags([TagView(view.ids[chosen], corners)], PINHOLE, layout)
        except PlaneError:
            continue
        given += 1
        off.append(abs(length_change(plane, Plane(R, t), PINHOLE)) > 1.645 * plane.length_sd + 0.005)
    assert given >= 5
    assert np.mean(off) <= 0.1


@pytest.mark.parametrize("spin", [90.0, 4.0])
def test_tags_that_all_look_a_little_small_still_agree(spin):
    """An over-exposed sheet: white runs into black. No two tags alone foretell where the others are."""
    R, t = sheet_picture.pose(170.0, spin_deg=spin, tilt_deg=9.0)
    (view,) = tag_views(PINHOLE, R, t, noise_px=0.05)
    middle = view.corners_frame.mean(axis=1, keepdims=True)
    shrunk = TagView(view.ids, middle + (view.corners_frame - middle) * 0.96)
    plane = plane_from_tags([shrunk], PINHOLE, LAYOUT)
    assert plane.tags == len(LAYOUT.tags)
    assert plane.height_cm == pytest.approx(170.0, rel=0.005)


def test_another_sheet_is_noticed():
    R, t = sheet_picture.pose(150.0, spin_deg=90)
    shuffled = np.random.default_rng(0).permutation(20)
    other = SheetLayout(
        "other", LAYOUT.size_cm, LAYOUT.family, {i: LAYOUT.tags[int(k)] for i, k in enumerate(shuffled)}
    )
    assert _code(tag_views(PINHOLE, R, t), layout=other) == "sheet_inconsistent"
    mirrored = {i: (c * [-1, 1])[[1, 0, 3, 2]] for i, c in LAYOUT.tags.items()}
    other = SheetLayout("mirrored", LAYOUT.size_cm, LAYOUT.family, mirrored)
    assert _code(tag_views(PINHOLE, R, t), layout=other) == "sheet_inconsistent"


def test_a_mirrored_view_is_a_camera_from_below():
    R, t = sheet_picture.pose(150.0, spin_deg=90)
    views = tag_views(PINHOLE, R, t)
    mirrored = [TagView(v.ids, v.corners_frame * [-1, 1] + [1304.0, 0]) for v in views]
    assert _code(mirrored) in ("camera_below_mattress", "sheet_inconsistent")


def test_a_moving_camera_is_noticed():
    R, t = sheet_picture.pose(150.0, spin_deg=90)
    views = tag_views(PINHOLE, R, t, frames=10)
    walk = [TagView(v.ids, v.corners_frame + np.array([12.0 * i, 0])) for i, v in enumerate(views)]
    assert _code(walk) == "camera_moved"


@pytest.mark.parametrize(
    ("height", "focal"), [(14.0, 80.0), (17.0, 100.0), (980.0, 5800.0), (1030.0, 6000.0)]
)
def test_a_camera_at_an_unlikely_height_is_refused(height, focal):
    camera = Camera(
        "pinhole", (1280, 720), np.array([[focal, 0, 640], [0, focal, 360], [0, 0, 1]]), np.zeros(5)
    )
    views = tag_views(camera, *sheet_picture.pose(height, spin_deg=90), noise_px=0.0)
    if 15.0 <= height <= 1000.0:
        assert plane_from_tags(views, camera, LAYOUT).height_cm == pytest.approx(height, rel=1e-4)
    else:
        assert _code(views, camera) == "camera_height_implausible"


def test_a_view_from_the_side_is_refused():
    R, t = sheet_picture.pose(40.0, tilt_deg=-72.0, offset_cm=(0.0, -140.0))
    assert _code(tag_views(PINHOLE, R, t)) == "camera_too_flat"


def test_a_far_and_noisy_sheet_is_refused():
    camera = PINHOLE.for_frames((320, 180), 0)
    R, t = sheet_picture.pose(300.0, spin_deg=90)
    view = tag_views(camera, R, t, noise_px=0.4)[0]
    assert _code([TagView(view.ids[:3], view.corners_frame[:3])], camera) in (
        "plane_imprecise",
        "plane_ambiguous",
    )


@pytest.mark.parametrize("tilt", [0.0, 6.0])
@pytest.mark.parametrize("spin", [0.0, 90.0])
def test_tags_that_fit_exactly_have_their_plane(spin, tilt):
    for hidden in ((), range(10)):
        R, t = sheet_picture.pose(150.0, spin_deg=spin, tilt_deg=tilt)
        plane = plane_from_tags(tag_views(PINHOLE, R, t, noise_px=0.0, hidden=hidden), PINHOLE, LAYOUT)
        np.testing.assert_allclose(plane.camera_centre_cm, -R.T @ t, atol=0.001)
