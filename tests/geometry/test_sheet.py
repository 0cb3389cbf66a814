"""The sheet file, and tag corners against where they really are."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from heightpose.errors import FileFormatError, InputError
from heightpose.geometry.camera import Camera
from heightpose.geometry.sheet import SheetLayout, TagView, detect_tags

from . import sheet_picture

SHEET = Path(__file__).parents[2] / "calibration" / "crib-sheet-70x132.yaml"
LAYOUT = SheetLayout.load(SHEET)


def _camera(width, focal, dist=(0, 0, 0, 0, 0)):
    size = (width, width * 3 // 4)
    K = [[focal, 0, size[0] / 2 + 3.3], [0, focal, size[1] / 2 - 5.1], [0, 0, 1]]
    return Camera("pinhole", size, np.array(K), np.array(dist))


@pytest.mark.parametrize(("tag_px", "rms_px"), [(18, 0.12), (22, 0.10), (36, 0.06)])
@pytest.mark.parametrize("spin", [90.0, 37.0])
def test_corners_are_unbiased(tag_px, rms_px, spin):
    """The mean over all corners shows a half-pixel shift, the radial one a tag seen too small or large."""
    height = 150.0
    camera = _camera(int(tag_px * 27), tag_px / 6.0 * height)
    R, t = sheet_picture.pose(height, spin_deg=spin, tilt_deg=4.0, offset_cm=(1.3, -2.1))
    picture = sheet_picture.photograph(sheet_picture.print_sheet(LAYOUT), LAYOUT, camera, R, t)
    view = detect_tags(picture, LAYOUT)
    assert len(view.ids) >= (18 if spin == 90.0 else 10)
    model = np.stack([LAYOUT.tags[tag] for tag in view.ids.tolist()]).reshape(-1, 2)
    truth = sheet_picture.project(camera, R, t, np.pad(model, ((0, 0), (0, 1)))).reshape(-1, 4, 2)
    error = view.corners_frame - truth
    outward = truth - truth.mean(axis=1, keepdims=True)
    outward /= np.linalg.norm(outward, axis=2, keepdims=True)
    assert np.abs(error.mean(axis=(0, 1))).max() < 0.03
    assert abs((error * outward).sum(axis=2).mean()) < 0.1
    assert np.sqrt((error**2).mean()) < rms_px


def test_the_upright_bitmap_gives_the_first_corner_top_left_then_clockwise():
    dictionary = cv2.aruco.getPredefinedDictionary(cv2.aruco.DICT_APRILTAG_36h11)
    picture = np.full((200, 220), 230, np.uint8)
    picture[60:140, 70:150] = cv2.aruco.generateImageMarker(dictionary, 5, 80)
    view = detect_tags(picture, LAYOUT)
    assert view.ids.tolist() == [5]
    want = [[69.5, 59.5], [149.5, 59.5], [149.5, 139.5], [69.5, 139.5]]
    np.testing.assert_allclose(view.corners_frame[0], want, atol=0.05)


def test_other_tags_doubles_and_mirrored_tags_are_left_out():
    dictionary = cv2.aruco.getPredefinedDictionary(cv2.aruco.DICT_APRILTAG_36h11)
    picture = np.full((200, 640), 230, np.uint8)
    for x, tag in ((40, 3), (160, 400), (280, 7), (400, 7)):
        picture[60:140, x : x + 80] = cv2.aruco.generateImageMarker(dictionary, tag, 80)
    assert detect_tags(picture, LAYOUT).ids.tolist() == [3]
    assert len(detect_tags(picture[:, ::-1].copy(), LAYOUT).ids) == 0


def test_an_empty_picture_has_no_tags():
    view = detect_tags(np.full((120, 160), 128, np.uint8), LAYOUT)
    assert view.ids.shape == (0,)
    assert view.corners_frame.shape == (0, 4, 2)


def test_layout_round_trip():
    again = SheetLayout.from_dict(LAYOUT.to_dict())
    assert again.to_dict() == LAYOUT.to_dict() == yaml.safe_load(SHEET.read_text()) | {"name": LAYOUT.name}
    assert len(LAYOUT.tags) == 20


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"units": "mm"}, "units"),
        ({"size_cm": [70]}, "size_cm"),
        ({"family": "DICT_NONSENSE"}, "family"),
        ({"tags": {}}, "tags"),
        ({"tags": {5000: [[0, 0], [1, 0], [1, -1], [0, -1]]}}, "tags"),
        ({"tags": {1: [[0, 0], [1, 0], [1, -1]]}}, "tags.1"),
        ({"tags": {1: [[0, 0], [1, 0], [1, 1], [0, 1]]}}, "tags.1"),  # counter-clockwise: mirrored
        ({"tags": {1: [[0, 0], [1, 0], [0, -1], [1, -1]]}}, "tags.1"),
        ({"tags": {1: [[32, 0], [38, 0], [38, -6], [32, -6]]}}, "tags.1"),  # off the sheet
        ({"tags": LAYOUT.to_dict()["tags"] | {30: [[-30, 26], [-24, 26], [-24, 20], [-30, 20]]}}, "tags.30"),
    ],
)
def test_a_bad_field_is_named(change, field):
    with pytest.raises(FileFormatError, match=f"my.yaml.*'{field}'"):
        SheetLayout.from_dict(LAYOUT.to_dict() | change, where="my.yaml")


def test_a_file_that_is_no_sheet_is_named(tmp_path):
    with pytest.raises(InputError, match=r"none\.yaml"):
        SheetLayout.load(tmp_path / "none.yaml")
    (tmp_path / "bad.yaml").write_text("tags: [1, 2")
    with pytest.raises(FileFormatError, match=r"bad\.yaml"):
        SheetLayout.load(tmp_path / "bad.yaml")


def test_a_view_holds_each_tag_once():
    with pytest.raises(ValueError, match="once"):
        TagView(np.array([1, 1]), np.zeros((2, 4, 2)))
