"""The plane: from pictures of a sheet to centimetres, and every reason not to."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from heightpose.errors import EXIT_REJECTED, ConfigError, FileFormatError
from heightpose.geometry.camera import Camera
from heightpose.geometry.corners import plane_from_corners
from heightpose.geometry.plane import (
    Plane,
    PlaneError,
    plane_from_height,
    plane_from_tags,
)
from heightpose.geometry.plane_length import length_change
from heightpose.geometry.sheet import SheetLayout, TagView, detect_tags

from . import sheet_picture

LAYOUT = SheetLayout.load(Path(__file__).parents[2] / "calibration" / "crib-sheet-70x132.yaml")
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
JOINTS_CM = np.array([[0.0, 30.0], [-12.0, 5.0], [9.0, -28.0], [25.0, 50.0], [-25.0, -55.0]])
HALF = (1, 2, 4, 6, 9, 11, 12, 15, 17, 18)


def _views(camera, R, t, *, noise_px=0.1, frames=1, seed=0, hidden=()):
    """Tag corners from OpenCV's projection, for cases that need no picture."""
    rng = np.random.default_rng(seed)
    ids = np.array([tag for tag in LAYOUT.tags if tag not in hidden])
    model = np.stack([LAYOUT.tags[tag] for tag in ids.tolist()]).reshape(-1, 2)
    corners = sheet_picture.project(camera, R, t, np.pad(model, ((0, 0), (0, 1)))).reshape(-1, 4, 2)
    return [TagView(ids, corners + rng.normal(0, noise_px, corners.shape)) for _ in range(frames)]


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
    views = _views(PINHOLE, R, t, noise_px=0.2, frames=5, seed=seed, hidden=hidden)
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
        (view,) = _views(small, R, t, noise_px=0.2, seed=seed)
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
    view = _views(PINHOLE, R, t)[0]
    assert _code([TagView(view.ids[:2], view.corners_frame[:2])]) == "too_few_tags"


@pytest.mark.parametrize("count", [1, 2])
def test_of_one_or_two_tags_the_length_is_as_unsure_as_their_size(count):
    """Light makes all tags look larger alike; of a sheet with more of them their distances tell the scale."""
    rng, given, off = np.random.default_rng(0), 0, []
    for seed in range(20):
        R, t = sheet_picture.pose(
            rng.uniform(110, 150), spin_deg=rng.uniform(0, 360), tilt_deg=rng.uniform(12, 30)
        )
        (view,) = _views(PINHOLE, R, t, noise_px=0.1, seed=seed)
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
    (view,) = _views(PINHOLE, R, t, noise_px=0.05)
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
    assert _code(_views(PINHOLE, R, t), layout=other) == "sheet_inconsistent"
    mirrored = {i: (c * [-1, 1])[[1, 0, 3, 2]] for i, c in LAYOUT.tags.items()}
    other = SheetLayout("mirrored", LAYOUT.size_cm, LAYOUT.family, mirrored)
    assert _code(_views(PINHOLE, R, t), layout=other) == "sheet_inconsistent"


def test_a_mirrored_view_is_a_camera_from_below():
    R, t = sheet_picture.pose(150.0, spin_deg=90)
    views = _views(PINHOLE, R, t)
    mirrored = [TagView(v.ids, v.corners_frame * [-1, 1] + [1304.0, 0]) for v in views]
    assert _code(mirrored) in ("camera_below_mattress", "sheet_inconsistent")


def test_a_moving_camera_is_noticed():
    R, t = sheet_picture.pose(150.0, spin_deg=90)
    views = _views(PINHOLE, R, t, frames=10)
    walk = [TagView(v.ids, v.corners_frame + np.array([12.0 * i, 0])) for i, v in enumerate(views)]
    assert _code(walk) == "camera_moved"


@pytest.mark.parametrize(
    ("height", "focal"), [(14.0, 80.0), (17.0, 100.0), (980.0, 5800.0), (1030.0, 6000.0)]
)
def test_a_camera_at_an_unlikely_height_is_refused(height, focal):
    camera = Camera(
        "pinhole", (1280, 720), np.array([[focal, 0, 640], [0, focal, 360], [0, 0, 1]]), np.zeros(5)
    )
    views = _views(camera, *sheet_picture.pose(height, spin_deg=90), noise_px=0.0)
    if 15.0 <= height <= 1000.0:
        assert plane_from_tags(views, camera, LAYOUT).height_cm == pytest.approx(height, rel=1e-4)
    else:
        assert _code(views, camera) == "camera_height_implausible"


def test_a_view_from_the_side_is_refused():
    R, t = sheet_picture.pose(40.0, tilt_deg=-72.0, offset_cm=(0.0, -140.0))
    assert _code(_views(PINHOLE, R, t)) == "camera_too_flat"


def test_a_far_and_noisy_sheet_is_refused():
    camera = PINHOLE.for_frames((320, 180), 0)
    R, t = sheet_picture.pose(300.0, spin_deg=90)
    view = _views(camera, R, t, noise_px=0.4)[0]
    assert _code([TagView(view.ids[:3], view.corners_frame[:3])], camera) in (
        "plane_imprecise",
        "plane_ambiguous",
    )


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


@pytest.mark.parametrize("tilt", [0.0, 6.0])
@pytest.mark.parametrize("spin", [0.0, 90.0])
def test_tags_that_fit_exactly_have_their_plane(spin, tilt):
    for hidden in ((), range(10)):
        R, t = sheet_picture.pose(150.0, spin_deg=spin, tilt_deg=tilt)
        plane = plane_from_tags(_views(PINHOLE, R, t, noise_px=0.0, hidden=hidden), PINHOLE, LAYOUT)
        np.testing.assert_allclose(plane.camera_centre_cm, -R.T @ t, atol=0.001)


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
