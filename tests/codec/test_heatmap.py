"""The heatmap codec: exact where the maths says so, sane where the map is not what was encoded."""

import numpy as np
import pytest

from heightpose.codec.heatmap import HeatmapCodec, flip_back, merge_flip
from heightpose.geometry.crop import crop_from_hm
from heightpose.skeleton import INFANT

CODEC = HeatmapCodec()


def round_trip_hm(codec: HeatmapCodec, kpts_hm: np.ndarray) -> np.ndarray:
    """Encode and decode ``(M, 2)`` heatmap positions; the error in heatmap px, ``(M,)``."""
    kpts_crop = crop_from_hm(kpts_hm, codec.input_wh, codec.heatmap_wh)[None]
    heatmaps, weights = codec.encode(kpts_crop, np.ones(kpts_crop.shape[:2], bool))
    assert weights.all()
    found, scores = codec.decode(heatmaps)
    assert (scores > 0.5).all()
    stride = np.array(codec.input_wh) / codec.heatmap_wh
    return np.hypot(*((found - kpts_crop) / stride)[0].T)


@pytest.mark.parametrize(
    ("input_wh", "heatmap_wh", "sigma"),
    [
        ((256, 256), (64, 64), 2.0),
        ((256, 256), (64, 64), 1.0),
        ((256, 256), (64, 64), 3.0),
        ((192, 192), (48, 48), 1.5),
        ((192, 256), (48, 64), 2.0),
    ],
)
def test_round_trip_is_exact_everywhere(input_wh, heatmap_wh, sigma):
    codec = HeatmapCodec(input_wh, heatmap_wh, sigma)
    rng = np.random.default_rng(0)
    w, h = heatmap_wh
    anywhere = rng.uniform([-0.5, -0.5], [w - 0.5, h - 0.5], (600, 2))
    # Each border and corner, and a comb of sub-pixel phases that walks in from it.
    comb = np.linspace(-0.5, 12.0, 80)
    middle = np.full_like(comb, 20.3)
    edges = [
        np.stack(pair, -1)
        for pair in [
            (comb, middle), (w - 1 - comb, middle), (middle, comb), (middle, h - 1 - comb),
            (comb, comb), (w - 1 - comb, h - 1 - comb),
        ]
    ]  # fmt: skip
    assert round_trip_hm(codec, anywhere).max() <= 0.05
    assert round_trip_hm(codec, np.concatenate(edges)).max() <= 0.05


def test_joint_just_outside_the_picture_is_still_found():
    assert round_trip_hm(CODEC, np.array([[-1.2, 30.4], [64.3, 11.1], [22.2, 64.0]])).max() <= 0.05


def test_a_joint_far_outside_is_put_no_further_out_than_maps_can_tell():
    """Beyond half a pixel and the Gaussian's width the flank in view is nearly as steep everywhere."""
    at_hm = np.array([[-4.5, 30.0], [30.0, 67.5], [-4.5, 67.5]])
    kpts_crop = crop_from_hm(at_hm, CODEC.input_wh, CODEC.heatmap_wh)[None]
    found, _ = CODEC.decode(CODEC.encode(kpts_crop, np.ones((1, 3), bool))[0])
    limit = crop_from_hm(np.array([[-2.5, 65.5]]), CODEC.input_wh, CODEC.heatmap_wh)[0]
    np.testing.assert_allclose(found[0, [0, 2], 0], limit[0])
    np.testing.assert_allclose(found[0, 1:, 1], limit[1])
    np.testing.assert_allclose([found[0, 0, 1], found[0, 1, 0]], kpts_crop[0, [0, 1], [1, 0]], atol=0.2)


def test_encoding_is_unbiased_and_symmetric():
    """The map's centroid is the joint, not the nearest pixel; rounding would miss by up to 0.5 px."""
    kpts_crop = np.array([[[131.3, 118.9]]])
    heatmaps, _ = CODEC.encode(kpts_crop, np.ones((1, 1), bool))
    y, x = np.mgrid[:64, :64]
    mass = heatmaps[0, 0].astype(float)
    centroid = np.array([(mass * x).sum(), (mass * y).sum()]) / mass.sum()
    np.testing.assert_allclose(centroid, (kpts_crop[0, 0] + 0.5) / 4 - 0.5, atol=1e-4)


def test_weights_say_what_is_supervised():
    kpts_crop = np.array([[[10.0, 20.0], [np.nan, np.nan], [-5.0, 30.0], [-40.0, 30.0]]])
    heatmaps, weights = CODEC.encode(kpts_crop, np.array([[True, False, True, True]]))
    np.testing.assert_array_equal(weights, [[1, 0, 1, 0]])
    assert np.isfinite(heatmaps).all()
    assert not heatmaps[0, 1].any()
    assert not heatmaps[0, 3].any()


def test_labelled_nan_is_refused():
    with pytest.raises(ValueError, match="kpts_crop of labelled joints"):
        CODEC.encode(np.full((1, 1, 2), np.nan), np.ones((1, 1), bool))


def test_nan_heatmaps_are_refused_and_shapes_checked():
    with pytest.raises(ValueError, match="finite"):
        CODEC.decode(np.full((1, 1, 64, 64), np.nan, np.float32))
    with pytest.raises(ValueError, match="expected shape"):
        CODEC.decode(np.zeros((1, 1, 48, 64), np.float32))


@pytest.mark.parametrize("kind", ["zero", "negative", "constant", "ridge", "saddle", "spike", "ramp"])
def test_maps_without_a_proper_peak_give_finite_answers_inside(kind):
    y, x = np.mgrid[:64, :64].astype(np.float32)
    heatmap = {
        "zero": np.zeros((64, 64)),
        "negative": np.full((64, 64), -0.3),
        "constant": np.full((64, 64), 0.4),
        "ridge": np.exp(-(((y - 30.2) / 2) ** 2) / 2),
        "saddle": 0.5 + ((x - 32) ** 2 - (y - 32) ** 2) / 4096,
        "spike": (x == 20) * (y == 20) * 1.0,
        "ramp": x / 63,
    }[kind]
    kpts, scores = CODEC.decode(heatmap[None, None].astype(np.float32))
    assert np.isfinite(kpts).all()
    assert (kpts > -0.5 - 4 * 3).all()
    assert (kpts < 255.5 + 4 * 3).all()
    assert 0.0 <= scores[0, 0] <= 1.0
    if kind in ("zero", "negative"):
        assert scores[0, 0] == 0.0
    if kind == "ridge":
        assert kpts[0, 0, 1] == pytest.approx(30.2 * 4 + 1.5, abs=0.4)
    if kind == "spike":
        np.testing.assert_allclose(kpts[0, 0], 20 * 4 + 1.5, atol=0.2)
    assert np.isfinite(CODEC.covariance(heatmap[None, None])).all()


def test_decoding_survives_noise():
    """Sub-pixel still means something on a noisy map: 2 % noise keeps the RMS error under 0.06 heatmap px."""
    rng = np.random.default_rng(1)
    kpts_crop = rng.uniform(3, 252, (8, 21, 2))
    heatmaps, _ = CODEC.encode(kpts_crop, np.ones((8, 21), bool))
    found, _ = CODEC.decode(heatmaps * 0.8 + 0.02 * rng.normal(size=heatmaps.shape))
    assert np.sqrt(np.mean(np.sum((found - kpts_crop) ** 2, -1))) / 4 < 0.06


def test_memory_layout_does_not_matter():
    """Channels-last output, as torch returns it, decodes to the same joints."""
    heatmaps, _ = CODEC.encode(np.array([[[100.2, 90.1], [3.0, 250.0]]]), np.ones((1, 2), bool))
    last = np.ascontiguousarray(heatmaps.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(CODEC.decode(last)[0], CODEC.decode(heatmaps)[0])
    np.testing.assert_array_equal(CODEC.covariance(last), CODEC.covariance(heatmaps))


def test_one_hot_pixel_does_not_win():
    heatmaps, _ = CODEC.encode(np.array([[[100.0, 100.0]]]), np.ones((1, 1), bool))
    heatmaps[0, 0, 50, 50] = 1.2
    found, _ = CODEC.decode(heatmaps)
    np.testing.assert_allclose(found[0, 0], [100.0, 100.0], atol=0.2)


def test_covariance_is_sigma_squared_on_perfect_maps_and_grows_with_a_second_peak():
    kpts_crop = np.array([[[128.3, 77.0], [1.0, 200.0], [0.0, 0.0]]])
    heatmaps, _ = CODEC.encode(kpts_crop, np.ones((1, 3), bool))
    cov = CODEC.covariance(heatmaps)[0]
    want = (2.0 * 4) ** 2
    np.testing.assert_allclose(cov[0], [want, 0.0, want], atol=0.05 * want)
    np.testing.assert_allclose(cov[1:, [0, 2]], want, rtol=0.25)  # truncated by the border
    second, _ = CODEC.encode(kpts_crop + np.array([60.0, 0.0]), np.ones((1, 3), bool))
    both = CODEC.covariance(np.maximum(heatmaps, 0.8 * second))[0]
    assert both[0, 0] > 5 * both[0, 2]
    assert both[0, 0] > 5 * want


def test_covariance_knows_its_direction():
    y, x = np.mgrid[:64, :64]
    u, v = (x - 30 + y - 30) / np.sqrt(2), (x - 30 - y + 30) / np.sqrt(2)
    xx, xy, yy = CODEC.covariance(np.exp(-(u**2) / 32 - v**2 / 8)[None, None])[0, 0] / 16
    np.testing.assert_allclose([xx, xy, yy], [10.0, 6.0, 10.0], rtol=0.06)  # variances 16 and 4, turned by 45


def test_flip_back_twice_is_identity():
    maps = np.random.default_rng(0).normal(size=(2, 21, 16, 12)).astype(np.float32)
    np.testing.assert_array_equal(flip_back(flip_back(maps, INFANT.flip_map), INFANT.flip_map), maps)


def test_flip_merge_of_a_mirrored_perfect_heatmap_has_no_bias():
    """A perfect net on the mirrored crop sees mirrored, relabelled joints; merging must not move anything."""
    rng = np.random.default_rng(2)
    kpts_crop = rng.uniform(0, 255, (4, 21, 2))
    labelled = np.ones((4, 21), bool)
    heatmaps, _ = CODEC.encode(kpts_crop, labelled)
    mirrored = kpts_crop[:, INFANT.flip_map].copy()
    mirrored[..., 0] = 255 - mirrored[..., 0]
    heatmaps_of_mirrored, _ = CODEC.encode(mirrored, labelled)
    merged = merge_flip(heatmaps, heatmaps_of_mirrored, INFANT.flip_map)
    np.testing.assert_allclose(merged, heatmaps, atol=1e-6)
    error = CODEC.decode(merged)[0] - kpts_crop
    assert np.abs(error).max() <= 0.05 * 4
    assert np.abs(error.mean(axis=(0, 1))).max() < 0.01


def test_a_batch_of_nobody_is_read_too():
    codec = HeatmapCodec()
    maps, _ = codec.encode(np.zeros((0, 21, 2)), np.zeros((0, 21), bool))
    kpts_crop, scores = codec.decode(maps)
    assert (kpts_crop.shape, scores.shape) == ((0, 21, 2), (0, 21))
