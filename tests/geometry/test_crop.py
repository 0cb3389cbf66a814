"""Crop transforms: exact way back, half-pixel conventions, and pictures that agree with coordinates."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from heightpose.geometry.crop import (
    CropTransform,
    crop_from_box,
    crop_from_hm,
    flip_matrix,
    hm_from_crop,
    letterbox_transform,
    resize_matrix,
)


def _blob(wh, at, sigma, level=255.0):
    """A float picture with a Gaussian spot at a sub-pixel position."""
    y, x = np.mgrid[0 : wh[1], 0 : wh[0]].astype(np.float32)
    return level * np.exp(-((x - at[0]) ** 2 + (y - at[1]) ** 2) / (2 * sigma**2))


def _centroid(image):
    y, x = np.mgrid[0 : image.shape[0], 0 : image.shape[1]]
    return np.array([(x * image).sum(), (y * image).sum()]) / image.sum()


@pytest.mark.parametrize("seed", range(20))
def test_random_crop_and_its_inverse_agree(seed):
    rng = np.random.default_rng(seed)
    low = rng.uniform(-50, 1800, 2)
    box = np.concatenate([low, low + rng.uniform(5, 1500, 2)])
    crop = crop_from_box(
        box, rng.uniform(-720, 720), (256, 192), scale=rng.uniform(0.5, 3), flip=bool(seed % 2)
    )
    kpts = rng.uniform(-500, 4000, (7, 21, 2))
    assert np.abs(crop.to_frame(crop.to_crop(kpts)) - kpts).max() < 1e-3
    assert np.abs(crop.to_crop(crop.to_frame(kpts)) - kpts).max() < 1e-3
    assert crop.mirrored == bool(seed % 2)


@pytest.mark.parametrize("angle", [0, 30, 90, -90, 180, 217.5])
def test_head_points_up_and_the_square_has_the_right_size(angle):
    box = np.array([100.0, 50.0, 300.0, 150.0])
    crop = crop_from_box(box, angle, (256, 256), scale=1.25)
    head = np.array([np.sin(np.deg2rad(angle)), -np.cos(np.deg2rad(angle))])
    centre = np.array([200.0, 100.0])
    np.testing.assert_allclose(crop.to_crop(centre), [127.5, 127.5], atol=1e-9)
    np.testing.assert_allclose(crop.to_crop(centre + 50 * head), [127.5, 127.5 - 50 * 256 / 250], atol=1e-9)
    assert crop.scale == pytest.approx(256 / 250)


def test_a_crop_that_is_not_square_keeps_the_aspect_and_holds_the_square():
    crop = crop_from_box([0, 0, 100, 40], 0, (192, 256), scale=1.0)
    linear = crop.matrix[:2, :2]
    np.testing.assert_allclose(linear, 1.92 * np.eye(2), atol=1e-12)


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize(
    ("box", "angle"),
    [
        ([90, 60, 210, 170], 37.0),
        ([20, 30, 620, 400], -120.0),
        ([0, 0, 1270, 900], 200.0),
        ([500, 300, 560, 345], 5.0),
    ],
)
def test_warp_puts_a_marker_where_to_crop_says(box, angle, flip):
    at = np.array([(box[0] + box[2]) / 2 + 7.3, (box[1] + box[3]) / 2 - 4.8])
    crop = crop_from_box(box, angle, (128, 128), flip=flip)
    # Wide enough to be sampled well in the crop whatever the scale.
    image = _blob((1280, 960), at, sigma=max(2.0, 1.5 / crop.scale))
    got = _centroid(crop.warp(image))
    assert np.abs(got - crop.to_crop(at)).max() < 0.05


def test_shrinking_keeps_the_mean_of_a_fine_texture():
    """Stripes one pixel wide must turn grey, not into a moire of the skipped pixels."""
    image = np.zeros((1200, 1200, 3), np.uint8)
    image[:, ::2] = 200
    out = crop_from_box([100, 100, 1100, 1100], 0, (100, 100), scale=1.0).warp(image).astype(float)
    assert out.mean() == pytest.approx(100, abs=2)
    assert out.std() < 3


def test_outside_the_frame_is_the_border_level():
    image = np.full((40, 40, 3), 90, np.uint8)
    for box in ([1000, 1000, 1040, 1040], [4000, -9000, 5000, -8000]):  # the second one shrinks, too
        out = crop_from_box(box, 10, (64, 64)).warp(image, border=7)
        assert out.shape == (64, 64, 3)
        assert (out == 7).all()


def test_flip_of_flip_is_identity_and_mirrors_the_picture():
    crop = crop_from_box([10, 20, 110, 90], 25.0, (65, 64))
    twice = crop.flipped().flipped()
    np.testing.assert_allclose(twice.matrix, crop.matrix, atol=1e-12)
    np.testing.assert_array_equal(flip_matrix((65, 64)) @ flip_matrix((65, 64)), np.eye(3))
    image = np.random.default_rng(0).integers(0, 255, (120, 130, 3), dtype=np.uint8)
    image = cv2.GaussianBlur(image, (0, 0), 3)
    difference = crop.flipped().warp(image).astype(int) - crop.warp(image)[:, ::-1]
    assert np.abs(difference).max() <= 3  # bilinear weights are quantised; a 1 px shift would differ far more


def test_resize_follows_the_half_pixel_convention():
    np.testing.assert_allclose(
        hm_from_crop([[0, 0], [255, 255]], (256, 256), (64, 64)), [[-0.375] * 2, [63.375] * 2]
    )
    np.testing.assert_allclose(crop_from_hm([[0.0, 63.0]], (256, 256), (64, 64)), [[1.5, 253.5]])
    kpts = np.random.default_rng(1).uniform(0, 255, (3, 21, 2))
    there = hm_from_crop(kpts, (256, 192), (64, 48))
    np.testing.assert_allclose(crop_from_hm(there, (256, 192), (64, 48)), kpts, atol=1e-9)
    # cv2.resize is the picture's side of the same convention.
    at = np.array([33.2, 41.7])
    small = cv2.resize(_blob((96, 96), at, 6), (48, 32), interpolation=cv2.INTER_AREA)
    want = resize_matrix((96, 96), (48, 32)) @ [*at, 1]
    assert np.abs(_centroid(small) - want[:2]).max() < 0.02


def test_letterbox_centres_the_frame():
    box = letterbox_transform((1920, 1080), (256, 256))
    np.testing.assert_allclose(box.to_crop([[-0.5, -0.5], [1919.5, 1079.5]]), [[-0.5, 55.5], [255.5, 199.5]])


def test_covariance_turns_with_the_crop():
    crop = crop_from_box([0, 0, 80, 80], 90.0, (100, 100), scale=1.0)
    np.testing.assert_allclose(
        crop.cov_to_frame(np.array([[4.0, 0.0, 1.0]])), [[0.64, 0.0, 2.56]], atol=1e-12
    )
    rng = np.random.default_rng(3)
    crop = crop_from_box([0, 0, 80, 80], 33.0, (100, 100))
    points = rng.normal(size=(4000, 2)) @ np.array([[2.0, 0.3], [0.0, 0.7]])
    inside, outside = np.cov(points.T), np.cov(crop.to_frame(points).T)
    got = crop.cov_to_frame(np.array([inside[0, 0], inside[0, 1], inside[1, 1]]))
    np.testing.assert_allclose(got, [outside[0, 0], outside[0, 1], outside[1, 1]], rtol=1e-9)


@pytest.mark.parametrize("box", [[0, 0, 0, 0], [0, 0, np.nan, 5], [10, 10, 5, 5]])
def test_a_box_without_an_area_is_refused(box):
    with pytest.raises(ValueError, match="expected"):
        crop_from_box(box, 0, (64, 64))


def test_a_matrix_without_a_way_back_is_refused():
    with pytest.raises(ValueError, match="invertible"):
        CropTransform(np.diag([1.0, 0.0, 1.0]), (64, 64))
