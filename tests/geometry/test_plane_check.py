"""A stored plane beside the tags of a clip: what a moved camera does to a length, and when it is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from heightpose.errors import FileFormatError
from heightpose.geometry.camera import Camera
from heightpose.geometry.corners import plane_from_corners
from heightpose.geometry.plane import Plane, PlaneError
from heightpose.geometry.plane_check import check_lens, check_plane
from heightpose.geometry.plane_fit import plane_from_tags
from heightpose.geometry.plane_length import length_change
from heightpose.geometry.sheet import SheetLayout, TagView, shipped_sheet

from . import sheet_picture

LAYOUT = SheetLayout.load(shipped_sheet())
CAMERA = Camera(
    "pinhole", (1280, 720), np.array([[880.0, 0, 652.0], [0, 880.0, 351.0], [0, 0, 1]]), np.zeros(5)
)


def look(R, t, *, hidden=(), seed=0, noise_px=0.15, lift_cm=0.0):
    """One run of two frames with the tags as this camera sees them."""
    rng = np.random.default_rng(seed)
    ids = np.array([tag for tag in LAYOUT.tags if tag not in hidden])
    model = np.concatenate([LAYOUT.tags[tag] for tag in ids.tolist()])
    pts = np.pad(model, ((0, 0), (0, 1)), constant_values=lift_cm)
    corners = sheet_picture.project(CAMERA, R, t, pts).reshape(-1, 4, 2)
    return [(i, TagView(ids, corners + rng.normal(0, noise_px, corners.shape))) for i in range(2)]


STORED_POSE = sheet_picture.pose(150.0, spin_deg=90.0, tilt_deg=6.0)
STORED = plane_from_tags([view for _, view in look(*STORED_POSE)], CAMERA, LAYOUT)


@pytest.mark.parametrize("seed", range(8))
def test_the_same_camera_agrees_however_few_tags_are_seen(seed):
    hidden = np.random.default_rng(seed).choice(20, 14, replace=False).tolist()
    found = check_plane(STORED, 0.0, [look(*STORED_POSE, hidden=hidden, seed=seed)], CAMERA, LAYOUT)
    assert found.tags >= 5
    assert abs(found.length_change) < 0.006


@pytest.mark.parametrize(
    ("moved", "lift_cm", "word"),
    [
        (sheet_picture.pose(145.0, spin_deg=90.0, tilt_deg=6.0), 0.0, "long|short"),
        (sheet_picture.pose(155.0, spin_deg=90.0, tilt_deg=6.0), 0.0, "long|short"),
        (sheet_picture.pose(150.0, spin_deg=90.0, tilt_deg=18.0), 0.0, "long|short"),
        (STORED_POSE, 3.0, "does not lie on the mattress"),
    ],
    ids=["lowered", "raised", "tilted", "sheet on a blanket"],
)
def test_a_moved_camera_is_refused_in_words(moved, lift_cm, word):
    with pytest.raises(PlaneError, match=word) as caught:
        check_plane(STORED, 0.0, [look(*STORED_POSE), look(*moved, lift_cm=lift_cm)], CAMERA, LAYOUT)
    assert caught.value.code == "plane_outdated"
    assert "make a new plane" in caught.value.text


def test_the_change_said_is_that_of_a_length():
    lower = Plane(*sheet_picture.pose(145.0, spin_deg=90.0, tilt_deg=6.0))
    kpts = lower.to_frame(CAMERA, np.array([[-30.0, 0, 10], [30, 0, 10]]))
    seen = np.linalg.norm(np.subtract(*STORED.to_mattress(CAMERA, kpts, 10.0)))
    assert length_change(STORED, lower, CAMERA) == pytest.approx(seen / 60.0 - 1, abs=0.004)
    assert length_change(STORED, lower, CAMERA) > 0.03


def test_planes_of_cameras_lower_than_joints_lie_are_compared_on_the_mattress():
    low, high = (Plane(np.diag([1.0, -1.0, -1.0]), np.array([0.0, 0.0, cm])) for cm in (9.0, 18.0))
    assert length_change(high, low, CAMERA) == pytest.approx(1.0)
    assert length_change(low, high, CAMERA) == pytest.approx(-0.5)


def test_a_camera_shifted_along_the_cot_measures_as_before():
    moved = sheet_picture.pose(150.0, spin_deg=70.0, tilt_deg=6.0, offset_cm=(3.0, 8.0))
    aside = check_plane(STORED, 0.0, [look(*moved, hidden=range(6))], CAMERA, LAYOUT)
    assert abs(aside.length_change) < 0.01


def test_a_turned_camera_is_judged_where_the_infant_lies():
    """A pan hardly changes lengths in the middle of the picture, and stretches them on one side of it."""
    turn = cv2.Rodrigues(np.deg2rad([0.0, 1.5, 0.0]))[0]
    panned = Plane(turn @ STORED.R, turn @ STORED.t_cm)
    views = [look(panned.R, panned.t_cm)]
    changes = []
    for x_cm in (-20.0, 0.0, 20.0):
        place = panned.to_frame(CAMERA, np.array([[0.0, x_cm, 0.0]]))[0]
        ends = np.array([[0.0, x_cm - 32.5, 10.0], [0.0, x_cm + 32.5, 10.0]])
        over_stored = STORED.to_mattress(CAMERA, panned.to_frame(CAMERA, ends), 10.0)
        true = np.linalg.norm(over_stored[1] - over_stored[0]) / 65.0 - 1.0
        found = check_plane(STORED, 0.02, views, CAMERA, LAYOUT, place)
        assert abs(found.length_change) >= abs(true) - 0.001
        changes.append(found.length_change)
    assert max(changes) - min(changes) > 0.003


def test_a_blurred_sheet_does_not_hide_what_is_more_than_its_noise():
    """Its plane is unsure by less than the difference: the rest is the stored plane's, and widens."""
    further = Plane(STORED.R, STORED.t_cm * 1.02)
    ids, corners = look(*STORED_POSE)[0][1].ids, look(*STORED_POSE)[0][1].corners_frame
    noisy = corners + np.random.default_rng(0).normal(0, 1.0, (len(corners), 1, 2))
    found = check_plane(further, 0.01, [[(0, TagView(ids, noisy))]], CAMERA, LAYOUT)
    assert 0.01 < found.doubt < abs(found.length_change)


def test_a_small_change_is_doubt_unless_few_tags_say_so():
    near = look(*sheet_picture.pose(151.0, spin_deg=90.0, tilt_deg=6.0))
    found = check_plane(STORED, 0.0, [near], CAMERA, LAYOUT)
    assert 0.004 < found.doubt < 0.01
    assert found.record()["tags"] == 20
    few = check_plane(STORED, 0.0, [near, few_of(near)], CAMERA, LAYOUT)
    assert (few.doubt, few.coarse) == (found.doubt, False)
    few = check_plane(STORED, 0.0, [few_of(near)], CAMERA, LAYOUT)
    assert (few.tags, few.doubt, few.coarse) == (4, 0.0, True)
    two = check_plane(STORED, 0.0, [few_of(near, 2)], CAMERA, LAYOUT)
    assert two.record() == {"tags": 0, "length_change": None}
    assert two.coarse


def few_of(run, count=4):
    """The same looks with the tags in the corners only."""
    corners = np.array([0, 1, 14, 15])[:count]
    return [(i, TagView(view.ids[corners], view.corners_frame[corners])) for i, view in run]


@pytest.mark.parametrize(("height_cm", "word"), [(135.0, "long"), (165.0, "short")])
def test_a_camera_that_moved_far_is_refused_by_few_tags_too(height_cm, word):
    moved = look(*sheet_picture.pose(height_cm, spin_deg=90.0, tilt_deg=6.0))
    with pytest.raises(PlaneError, match=word) as caught:
        check_plane(STORED, 0.0, [few_of(moved)], CAMERA, LAYOUT)
    assert caught.value.code == "plane_outdated"
    moved = look(*sheet_picture.pose(156.0, spin_deg=90.0, tilt_deg=6.0))
    assert 0.02 < check_plane(STORED, 0.0, [few_of(moved)], CAMERA, LAYOUT).doubt < 0.04


def test_what_one_stretch_shows_clearly_is_not_lost_in_the_noise_of_another():
    clear = look(*sheet_picture.pose(150.6, spin_deg=90.0, tilt_deg=6.0))
    noisy = look(*sheet_picture.pose(151.0, spin_deg=90.0, tilt_deg=6.0), noise_px=1.0)
    alone, other = (check_plane(STORED, 0.0, [run], CAMERA, LAYOUT) for run in (clear, noisy))
    assert abs(other.length_change) > abs(alone.length_change) > alone.doubt > other.doubt == 0.0
    for runs in ([clear, noisy], [noisy, clear]):
        found = check_plane(STORED, 0.0, runs, CAMERA, LAYOUT)
        assert (found.length_change, found.doubt) == (other.length_change, alone.doubt)


def test_of_several_stretches_the_one_that_differs_most_counts():
    lower, little_higher = (
        [look(*sheet_picture.pose(height, spin_deg=90.0, tilt_deg=6.0))] for height in (151.0, 149.5)
    )
    for runs in (lower + little_higher, little_higher + lower):
        found = check_plane(STORED, 0.0, runs, CAMERA, LAYOUT)
        assert found.length_change == pytest.approx(-0.0071, abs=0.0005)
        assert found.doubt == pytest.approx(0.0071, abs=0.0005)


def test_marked_corners_may_be_as_wrong_as_they_are_said_to_be():
    outline = np.array([[-35.0, 66, 0], [35, 66, 0], [35, -66, 0], [-35, -66, 0]])
    marked = sheet_picture.project(CAMERA, *STORED_POSE, outline)
    said_larger = plane_from_corners(marked, (71.0, 133.9), CAMERA)  # 1.4 %
    found = check_plane(said_larger, 0.01, [look(*STORED_POSE)], CAMERA, LAYOUT)
    assert found.doubt == pytest.approx(0.0144, abs=0.004)
    with pytest.raises(PlaneError, match="mark the corners again"):
        check_plane(
            plane_from_corners(marked, (74.0, 139.5), CAMERA), 0.01, [look(*STORED_POSE)], CAMERA, LAYOUT
        )


def test_a_plane_file_keeps_its_sheet_and_that_it_was_marked_by_hand(tmp_path: Path):
    path = tmp_path / "plane.json"
    with_sheet = Plane(STORED.R, STORED.t_cm, 0.2, 20, "tags", 0.1, 0.004, LAYOUT)
    path.write_text(json.dumps(with_sheet.to_dict()))
    back = Plane.load(path)
    assert (back.source, back.height_sd_cm, back.length_sd) == ("file", 0.1, 0.004)
    assert back.sheet is not None
    np.testing.assert_allclose(back.sheet.tags[3], LAYOUT.tags[3])
    path.write_text(json.dumps(Plane(STORED.R, STORED.t_cm, 2.0, 0, "corners", 3.0).to_dict()))
    assert (Plane.load(path).source, Plane.load(path).height_sd_cm) == ("corners", 3.0)
    assert Plane.load(path).camera is None
    path.write_text(json.dumps(replace(with_sheet, camera=CAMERA).to_dict()))
    np.testing.assert_array_equal(Plane.load(path).camera.K, CAMERA.K)
    path.write_text(json.dumps({**with_sheet.to_dict(), "sheet": {"tags": 3}}))
    with pytest.raises(FileFormatError, match="sheet field"):
        Plane.load(path)


@pytest.mark.parametrize(("zoom", "words"), [(0.95, "longer"), (1.05, "shorter")])
def test_without_a_sheet_in_view_the_lens_is_compared_with_the_planes_own(zoom, words):
    """A focal length 5 % off makes lengths over a stored plane about as wrong, and nothing in the picture tells."""
    stored = replace(STORED, camera=CAMERA)
    with pytest.raises(PlaneError, match=words) as error:
        check_lens(stored, sheet_picture.zoomed(CAMERA, zoom), CAMERA.size_wh, 0)
    assert error.value.code == "plane_outdated"


def test_a_lens_that_is_nearly_the_planes_own_widens_and_the_same_one_says_nothing():
    stored = replace(STORED, camera=CAMERA)
    place = STORED.to_frame(CAMERA, np.array([[5.0, 20.0, 0.0]]))[0]
    near = check_lens(stored, sheet_picture.zoomed(CAMERA, 1.006), CAMERA.size_wh, 0, place)
    assert near.length_change == pytest.approx(-0.006, abs=0.0005)
    assert near.doubt == pytest.approx(0.006, abs=0.0005)
    half = CAMERA.for_frames((640, 360))
    small = check_lens(stored, half, (640, 360), 0, place / 2)
    turned = check_lens(stored, CAMERA.for_frames((720, 1280), 90), (720, 1280), 90)
    for same in (small, turned):
        assert same.length_change == pytest.approx(0.0, abs=1e-6)
        assert same.doubt == 0.0
    for unknown in (STORED, replace(stored, camera=replace(CAMERA, size_wh=(960, 720)))):
        assert (
            check_lens(unknown, sheet_picture.zoomed(CAMERA, 1.05), CAMERA.size_wh, 0).length_change is None
        )


@pytest.mark.parametrize("zoom", [0.6, 0.7, 0.8, 0.9, 1.1, 1.25, 1.5])
def test_a_stored_plane_through_another_cameras_file_is_refused(zoom):
    """The worse the file, the less the tags agree on a plane through it: that is no reason to believe it."""
    with pytest.raises(PlaneError) as error:
        check_plane(
            STORED, STORED.length_sd, [look(*STORED_POSE)], sheet_picture.zoomed(CAMERA, zoom), LAYOUT
        )
    assert error.value.code == "plane_outdated"
    assert "another camera's" in error.value.text


def test_tags_that_give_no_plane_of_their_own_still_tell_a_length_by_their_distances():
    """A crumpled sheet: each tag lies some pixels from where it should, all together as far apart as ever."""
    view = look(*STORED_POSE)[0][1]
    crumpled = view.corners_frame + np.random.default_rng(1).normal(0, 4.0, (len(view.ids), 1, 2))
    run = [(0, TagView(view.ids, crumpled))]
    as_before = check_plane(STORED, 0.01, [run], CAMERA, LAYOUT)
    assert (as_before.tags, as_before.doubt) == (20, 0.0)
    assert abs(as_before.length_change) < 0.003
    further = Plane(STORED.R, STORED.t_cm * 1.02)
    found = check_plane(further, 0.01, [run], CAMERA, LAYOUT)
    assert found.length_change == pytest.approx(0.02, abs=0.002)
    assert 0.97 < found.doubt / found.length_change < 0.999
    for off, words in ((1.02, "too long"), (0.98, "too short")):
        with pytest.raises(PlaneError, match=words) as error:
            check_plane(Plane(STORED.R, STORED.t_cm * off), 0.0, [run], CAMERA, LAYOUT)
        assert error.value.code == "plane_outdated"
    few = [
        (0, TagView(view.ids[:4], crumpled[:4] + [[[0.0, 0.0]], [[90.0, 0.0]], [[0.0, 90.0]], [[0.0, 0.0]]]))
    ]
    assert check_plane(further, 0.0, [few], CAMERA, LAYOUT).tags == 0


def test_a_second_sheet_in_view_is_no_check():
    views = [(i, replace(view, repeated=(3, 4))) for i, view in look(*STORED_POSE)]
    assert check_plane(STORED, STORED.length_sd, [views], CAMERA, LAYOUT).tags == 0
    with pytest.raises(PlaneError) as error:
        plane_from_tags([view for _, view in views], CAMERA, LAYOUT)
    assert error.value.code == "several_sheets"
