"""Camera: both lens models against OpenCV, round trips, and sizes and turns against the picture."""

from __future__ import annotations

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest

from heightpose.errors import FileFormatError, InputError
from heightpose.geometry.camera import Camera

PINHOLE = {
    "model": "pinhole",
    "width": 1920,
    "height": 1080,
    "K": [[1400.0, 0, 940.0], [0, 1390.0, 552.0], [0, 0, 1]],
    "dist": [-0.28, 0.11, 0.0012, -0.0021, -0.02],
}
FISHEYE = {
    "model": "fisheye",
    "width": 1280,
    "height": 960,
    "K": [[560.0, 0, 650.0], [0, 563.0, 470.0], [0, 0, 1]],
    "dist": [0.03, -0.01, 0.004, -0.001],
}
BOTH = pytest.mark.parametrize("data", [PINHOLE, FISHEYE], ids=["pinhole", "fisheye"])


def _points(rng, n=300):
    return np.stack([rng.uniform(-60, 60, n), rng.uniform(-35, 35, n), rng.uniform(90, 180, n)], axis=1)


@BOTH
def test_project_agrees_with_opencv(data):
    camera, pts = Camera.from_dict(data), _points(np.random.default_rng(0))
    if data["model"] == "pinhole":
        want = cv2.projectPoints(pts, np.zeros(3), np.zeros(3), camera.K, camera.dist)[0]
    else:
        want = cv2.fisheye.projectPoints(pts[:, None], np.zeros(3), np.zeros(3), camera.K, camera.dist)[0]
    np.testing.assert_allclose(camera.project(pts), want.reshape(-1, 2), atol=1e-6)


@BOTH
@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_undistort_is_the_inverse_of_project_all_over_the_frame(data, rotation):
    camera = Camera.from_dict(data)
    size = camera.size_wh if rotation in (0, 180) else camera.size_wh[::-1]
    camera = camera.for_frames((size[0] // 2, size[1] // 2), rotation)
    u, v = np.meshgrid(
        np.linspace(-0.5, camera.size_wh[0] - 0.5, 25), np.linspace(-0.5, camera.size_wh[1] - 0.5, 21)
    )
    kpts = np.stack([u.ravel(), v.ravel()], axis=1)
    slopes = camera.undistort(kpts)
    pts = np.concatenate([slopes, np.ones((len(slopes), 1))], axis=1) * 137.0
    np.testing.assert_allclose(camera.project(pts), kpts, atol=1e-5)


@BOTH
@pytest.mark.parametrize("turned", [0, 90, 180, 270])
def test_derivatives_are_those_of_small_steps(data, turned):
    camera = Camera.from_dict(data)
    pts = np.random.default_rng(0).normal(size=(40, 3)) * (10, 10, 3) + (0, 0, 30)
    pts[0] = 0, 0, 30  # straight ahead

    def seen(lens=None, step=(0, 0, 0)):
        fx, fy, cx, cy, *dist = lens0 if lens is None else lens
        K = [[fx, 0, cx], [0, fy, cy], [0, 0, 1]]
        return Camera(camera.model, camera.size_wh, K, dist, turned).project(pts + step)

    lens0 = np.concatenate([camera.K[[0, 1, 0, 1], [0, 1, 2, 2]], camera.dist])
    by_point, by_lens = replace(camera, turned_deg=turned).jacobians(pts)
    for i, step in enumerate(1e-5 * np.eye(3)):
        np.testing.assert_allclose(
            by_point[:, :, i], (seen(step=step) - seen(step=-step)) / 2e-5, rtol=1e-6, atol=1e-6
        )
    for i, step in enumerate(1e-6 * np.eye(len(lens0))):
        np.testing.assert_allclose(
            by_lens[:, :, i], (seen(lens0 + step) - seen(lens0 - step)) / 2e-6, rtol=1e-6, atol=1e-5
        )


@BOTH
def test_the_centre_pixel_has_a_slope_of_zero(data):
    camera = Camera.from_dict(data)
    np.testing.assert_allclose(camera.undistort(camera.K[None, :2, 2]), [[0, 0]], atol=1e-12)
    np.testing.assert_allclose(camera.project(np.array([[0.0, 0.0, 5.0]])), camera.K[None, :2, 2])


@BOTH
def test_a_turned_camera_agrees_with_the_turned_picture(data):
    """Draw a point, turn the picture with OpenCV, and look where the point went."""
    camera, pts = Camera.from_dict(data), _points(np.random.default_rng(1), 4)
    width, height = camera.size_wh
    codes = {90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}
    for rotation, code in codes.items():
        for point, kpt in zip(pts, camera.project(pts), strict=True):
            picture = np.zeros((height, width), np.uint8)
            u, v = np.rint(kpt).astype(int)
            picture[v, u] = 255
            turned = cv2.rotate(picture, code)
            y, x = np.argwhere(turned)[0]
            got = camera.for_frames(turned.shape[::-1], rotation).project(point[None])[0]
            np.testing.assert_allclose(got, np.add([x, y], _turn_vector(kpt - [u, v], rotation)), atol=1e-9)


def _turn_vector(vector, rotation):
    angle = np.deg2rad(rotation)
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) @ vector


@BOTH
def test_a_resized_camera_agrees_with_the_resized_picture(data):
    camera, pts = Camera.from_dict(data), _points(np.random.default_rng(2))
    width, height = camera.size_wh
    for size in [(width // 2, height // 2), (2 * width, 2 * height)]:
        scale = size[0] / width
        got = camera.for_frames(size, 0).project(pts)
        np.testing.assert_allclose(got, (camera.project(pts) + 0.5) * scale - 0.5, atol=1e-9)


def test_a_resize_rounded_to_whole_pixels_is_the_same_shape():
    camera = Camera.from_dict(PINHOLE).for_frames((854, 480), 0)
    assert camera.K[0, 0] == pytest.approx(1400 * 854 / 1920)
    assert camera.K[1, 1] == pytest.approx(1390 * 480 / 1080)


@pytest.mark.parametrize(
    ("size", "rotation"),
    [
        ((1080, 1920), 0),
        ((1920, 1080), 90),
        ((1920, 1088), 0),
        ((1280, 960), 0),
        ((1921, 1080), 0),
        ((640, 480), 180),
    ],
)
def test_any_other_size_is_an_error(size, rotation):
    with pytest.raises(FileFormatError, match="1920x1080"):
        Camera.from_dict(PINHOLE).for_frames(size, rotation)


@pytest.mark.parametrize(
    "text",
    [
        "%YAML:1.0\ncamera_matrix: 1\n",
        '{"camera_matrix": {"rows": 3}}',
        '{"width": 9, "K": [1, 0, 2], "D": []}',
    ],
)
def test_a_file_of_another_tool_is_told_how_it_becomes_one(text, tmp_path):
    (tmp_path / "other").write_text(text)
    with pytest.raises(FileFormatError, match=r"another tool.s numbers go into .*model"):
        Camera.load(tmp_path / "other")


@BOTH
def test_file_round_trip(data, tmp_path):
    path = tmp_path / "camera.json"
    path.write_text(json.dumps(Camera.from_dict(data).to_dict()))
    assert Camera.load(path).to_dict() == data


@BOTH
def test_to_dict_of_a_turned_camera_is_the_stored_one(data):
    width, height = data["width"], data["height"]
    assert Camera.from_dict(data).for_frames((height, width), 90).to_dict() == data


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"model": "ortho"}, "model"),
        ({"width": 0}, "width"),
        ({"height": "tall"}, "height"),
        ({"K": [[1, 0], [0, 1]]}, "K"),
        ({"K": [[1400, 0, 4000], [0, 1400, 540], [0, 0, 1]]}, "K"),
        ({"K": [[1400, 30, 900], [0, 1400, 540], [0, 0, 1]]}, "K"),
        ({"K": [[-1400, 0, 900], [0, 1400, 540], [0, 0, 1]]}, "K"),
        ({"K": [[float("nan"), 0, 900], [0, 1400, 540], [0, 0, 1]]}, "K"),
        ({"dist": [0, 0, 0, 0]}, "dist"),
        ({"dist": [0, 0, 0, 0, None]}, "dist"),
    ],
)
def test_a_bad_field_is_named(change, field):
    with pytest.raises(FileFormatError, match=f"cot.json.*'{field}'"):
        Camera.from_dict(PINHOLE | change, where="cot.json")


def test_a_missing_field_and_a_missing_file_are_named(tmp_path):
    with pytest.raises(FileFormatError, match="'dist'"):
        Camera.from_dict({k: v for k, v in PINHOLE.items() if k != "dist"})
    with pytest.raises(InputError, match=r"nowhere\.json"):
        Camera.load(tmp_path / "nowhere.json")
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(FileFormatError, match=r"bad\.json"):
        Camera.load(tmp_path / "bad.json")


@pytest.mark.parametrize(
    "folded",
    [PINHOLE | {"dist": [-5.0, 0, 0, 0, 0]}, FISHEYE | {"dist": [-1.0, 0, 0, 0]}],
    ids=["pinhole", "fisheye"],
)
def test_a_lens_that_folds_within_the_picture_is_refused(folded):
    camera = Camera.from_dict(folded)
    with pytest.raises(FileFormatError, match="folds the picture"):
        camera.for_frames(camera.size_wh)


def test_a_size_that_is_not_the_lenss_is_asked_about():
    """width and height doubled by hand, K left as it was."""
    doubled = PINHOLE | {"width": 2 * PINHOLE["width"], "height": 2 * PINHOLE["height"]}
    assert not Camera.from_dict(PINHOLE).is_off_centre
    assert Camera.from_dict(doubled).is_off_centre
    folded = Camera.from_dict(doubled | {"dist": [-0.5, 0, 0, 0, 0]})
    with pytest.raises(FileFormatError, match=r"folds the picture.*Are width and height"):
        folded.for_frames(folded.size_wh)


def test_a_file_with_a_byte_order_mark(tmp_path):
    (tmp_path / "c.json").write_text(json.dumps(PINHOLE), encoding="utf-8-sig")
    assert Camera.load(tmp_path / "c.json").size_wh == (1920, 1080)
