"""Tags checked where they were: as exact as a search, and never a tag that is not there."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from heightpose.geometry.camera import Camera
from heightpose.geometry.plane_fit import plane_from_tags
from heightpose.geometry.sheet import detect_tags, find_missing
from heightpose.geometry.tag_follow import TagFollower, code_cells, readable

from . import sheet_picture
from .cot import LAYOUT

#: A wide lens that bends the sheet's edges by several pixels, in a picture small enough to be searched enlarged.
CAMERA = Camera(
    "pinhole",
    (960, 540),
    np.array([[640.0, 0, 484.0], [0, 638.0, 262.0], [0, 0, 1]]),
    np.array([-0.22, 0.05, 0.0005, -0.0007, 0.0]),
)
POSE = sheet_picture.pose(150.0, spin_deg=90.0, tilt_deg=9.0, offset_cm=(1.5, -2.5))


def photograph(pose, hidden=()):
    sheet = sheet_picture.print_sheet(LAYOUT, hidden)
    return sheet_picture.photograph(sheet, LAYOUT, CAMERA, *pose, noise=0.0)


@pytest.fixture(scope="module")
def still():
    return photograph(POSE)


def noisy(picture, seed, sigma=3.0):
    noise = np.random.default_rng(seed).normal(0, sigma, picture.shape)
    return np.clip(picture + noise, 0, 255).round().astype(np.uint8)


def truth_of(ids, pose=POSE):
    model = np.stack([LAYOUT.tags[tag] for tag in ids.tolist()]).reshape(-1, 2)
    return sheet_picture.project(CAMERA, *pose, np.pad(model, ((0, 0), (0, 1)))).reshape(-1, 4, 2)


def covered(picture, tag, grey):
    """A hand on a tag and a little around it."""
    quad = truth_of(np.array([tag]))[0]
    (x0, y0), (x1, y1) = np.floor(quad.min(axis=0) - 3).astype(int), np.ceil(quad.max(axis=0) + 3).astype(int)
    out = picture.copy()
    out[y0:y1, x0:x1] = grey
    return out


def rms_px(view, pose=POSE):
    return float(np.sqrt(((view.corners_frame - truth_of(view.ids, pose)) ** 2).mean()))


def test_checked_tags_are_as_exact_as_searched_ones(still):
    follower = TagFollower(LAYOUT)
    pictures = [noisy(still, seed) for seed in range(4)]
    followed = [follower.look(picture) for picture in pictures]
    searched = [detect_tags(picture, LAYOUT) for picture in pictures]
    assert (follower.searches, follower.looks) == (1, 4)
    assert all(len(f.ids) >= len(s.ids) for f, s in zip(followed, searched, strict=True))
    assert max(map(rms_px, followed)) < 0.1
    assert max(map(rms_px, followed)) < 1.1 * max(map(rms_px, searched)) + 0.01
    centre = -POSE[0].T @ POSE[1]
    errors = [
        np.linalg.norm(plane_from_tags(views, CAMERA, LAYOUT).camera_centre_cm - centre)
        for views in (followed, searched)
    ]
    assert errors[0] < max(1.1 * errors[1], 0.2)


def test_a_covered_tag_is_left_out_and_taken_again(still):
    follower = TagFollower(LAYOUT)
    assert 7 in follower.look(noisy(still, 0)).ids
    for grey in (30, 128, 225):
        assert 7 not in follower.look(noisy(covered(still, 7, grey), 1)).ids
    again = follower.look(noisy(still, 2))
    assert 7 in again.ids
    assert rms_px(again) < 0.1
    assert follower.searches == 1


def test_a_tag_that_was_covered_at_first_is_found_without_a_search(still):
    follower = TagFollower(LAYOUT)
    at_first = covered(covered(still, 3, 90), 12, 200)
    assert not {3, 12} & set(follower.look(noisy(at_first, 0)).ids.tolist())
    later = follower.look(noisy(still, 1))
    assert {3, 12} <= set(later.ids.tolist())
    assert rms_px(later) < 0.1
    assert follower.searches == 1


def test_a_moved_camera_is_searched_anew_and_corners_are_where_the_tags_are(still):
    follower = TagFollower(LAYOUT)
    follower.look(noisy(still, 0))
    nudged = sheet_picture.pose(150.0, spin_deg=90.3, tilt_deg=9.0, offset_cm=(1.9, -2.5))  # about 2 px
    knocked = sheet_picture.pose(146.0, spin_deg=97.0, tilt_deg=14.0, offset_cm=(6.0, 3.0))
    for searches, pose in ((2, nudged), (3, knocked)):
        view = follower.look(noisy(photograph(pose), searches))
        assert follower.searches == searches
        assert len(view.ids) >= 15
        assert rms_px(view, pose) < 0.1


def test_known_tags_that_a_search_misses_in_noise_are_read_where_they_were(still):
    small = cv2.resize(still, (480, 270), interpolation=cv2.INTER_AREA)
    for seed in range(3):
        follower = TagFollower(LAYOUT)
        assert len(follower.look(noisy(small, 9, 1.0)).ids) >= 18
        dark = noisy(small, seed, 30.0)
        dark[:, :250] = 128  # a blanket over more than half of the sheet: the frame is searched
        view, searched = follower.look(dark), detect_tags(dark, LAYOUT)
        assert follower.searches == 2
        assert set(searched.ids.tolist()) < set(view.ids.tolist())
        assert len(view.ids) >= 7
        assert np.abs(view.corners_frame - ((truth_of(view.ids) + 0.5) / 2 - 0.5)).max() < 1.0
        # of a camera that moved they are not taken for where they were
        shifted = np.roll(dark, 5, axis=0)
        assert set(follower.look(shifted).ids.tolist()) <= set(detect_tags(shifted, LAYOUT).ids.tolist())


def test_an_arm_over_the_whole_sheet_is_no_tags_and_no_end(still):
    follower = TagFollower(LAYOUT)
    assert len(follower.look(np.full_like(still, 128)).ids) == 0
    assert len(follower.look(noisy(still, 0)).ids) >= 18
    assert len(follower.look(np.full_like(still, 128)).ids) == 0
    assert len(follower.look(noisy(still, 1)).ids) >= 18
    assert len(follower.look(still[:400, :700].copy()).ids) < 20  # another size is another camera
    assert follower.searches == 5


def test_only_the_right_code_reads(still):
    view = detect_tags(still, LAYOUT)
    assert readable(still, view, LAYOUT).all()
    wrong = type(view)(np.roll(view.ids, 1), view.corners_frame)
    assert not readable(still, wrong, LAYOUT).any()
    turned = type(view)(view.ids, np.roll(view.corners_frame, 1, axis=1))
    assert not readable(still, turned, LAYOUT).any()
    assert readable(np.full_like(still, 200), view, LAYOUT).sum() == 0


def test_cells_are_those_of_the_printed_bitmap():
    dictionary = cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, LAYOUT.family))
    for tag in (0, 5, 19):
        cells = code_cells(LAYOUT.family, tag)
        printed = cv2.aruco.generateImageMarker(dictionary, tag, len(cells)) > 0
        np.testing.assert_array_equal(cells, printed)


def test_missing_tags_are_looked_for_where_the_others_say(still):
    view = detect_tags(still, LAYOUT)
    quads = dict(zip(view.ids.tolist(), view.corners_frame, strict=True))
    known = {tag: quad for tag, quad in quads.items() if tag not in (0, 5, 13)}
    found = find_missing(still, LAYOUT, known)
    assert {0, 5, 13} <= set(found)
    for tag in (0, 5, 13):
        assert np.linalg.norm(found[tag] - quads[tag], axis=1).max() < 1.5
    assert find_missing(still, LAYOUT, dict(list(known.items())[:3])) == {}
    gone = covered(still, 5, 128)
    assert 5 not in find_missing(gone, LAYOUT, known)
