"""Labels and pixels after augmentation: markers are drawn where joints are, warped, and found again."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import drawn
import numpy as np
import pytest

from heightpose.codec.detection import encode_targets
from heightpose.codec.heatmap import HeatmapCodec
from heightpose.config import AugmentConfig
from heightpose.data.detector_samples import DetectorSamples
from heightpose.data.items import Item, Person, head_angle_deg
from heightpose.data.occlude import paste_occluder
from heightpose.data.samples import PoseSamples
from heightpose.geometry.crop import crop_from_box
from heightpose.skeleton import INFANT

K = len(INFANT)
SIZE_WH = (448, 336)
LARGE_WH = (560, 560)  # no crop reaches its edge
CODEC = HeatmapCodec()
GEOMETRY_ONLY = AugmentConfig(pixel=0, noise=0, occluder=0, blanket=0, half_body=0)
NO_OCCLUDER = replace(AugmentConfig(), occluder=0.0, blanket=0.0)


def person(kpts, visibility=None, out_of_frame=None):
    low, high = kpts.min(axis=0) - 4, kpts.max(axis=0) + 4
    seen = np.full(K, 2) if visibility is None else visibility
    outside = np.zeros(K, dtype=bool) if out_of_frame is None else out_of_frame
    return Person(kpts, seen, outside, np.concatenate([low, high]))


def pictures(image, *people):
    """What PoseSamples needs of Pictures, without files."""
    size_wh = (image.shape[1], image.shape[0])
    item = Item(0, SimpleNamespace(name="drawn"), None, size_wh, "train", people)

    class One:
        items = (item,)

        def __len__(self):
            return 1

        def picture(self, index):
            return image

    return One()


def marked(kpts, *channels_of_joints, radius=2.5, size_wh=SIZE_WH):
    """A dark frame; for each (joint, channel) a bright Gaussian marker in that colour channel."""
    width, height = size_wh
    image = np.full((height, width, 3), 20.0)
    for joint, channel in channels_of_joints:
        px, py = kpts[INFANT.index(joint)]
        x, y = np.exp(-((np.arange(width) - px) ** 2) / (2 * radius**2)), np.arange(height)
        image[..., channel] += 220 * np.outer(np.exp(-((y - py) ** 2) / (2 * radius**2)), x)
    return np.clip(image, 0, 255).astype(np.uint8)


def found(image, channel=None):
    """Sub-pixel place of the marker: the centroid of what stands out."""
    image = image.astype(np.float64)
    # A single colour stands out from any grey, the one beyond the frame included.
    grey = image.mean(axis=2) if channel is None else image[..., channel] - image.min(axis=2)
    grey = grey - np.median(grey)
    row, column = np.unravel_index(grey.argmax(), grey.shape)
    y, x = np.mgrid[max(0, row - 13) : row + 14, max(0, column - 13) : column + 14]
    mass = np.maximum(grey[y.clip(max=len(grey) - 1), x.clip(max=grey.shape[1] - 1)] - 0.4 * grey.max(), 0)
    return np.array([(x * mass).sum(), (y * mass).sum()]) / mass.sum()


@pytest.mark.parametrize("how", [GEOMETRY_ONLY, NO_OCCLUDER], ids=["geometry", "pixels too"])
@pytest.mark.parametrize("joint", INFANT.names)
def test_every_joint_is_where_its_label_says_after_augmentation(joint, how):
    rng = np.random.default_rng(1)
    mirrored = checked = 0
    for turn in range(10):
        kpts = drawn.infant_kpts((280, 280), 200, 36.0 * turn, rng)
        image = marked(kpts, (joint, 0), (joint, 1), (joint, 2), size_wh=LARGE_WH)
        samples = PoseSamples(pictures(image, person(kpts)), CODEC, how)
        sample = samples.sample(0, rng)
        # In a mirrored crop the left heel is labelled as a right one.
        name = joint
        if sample.transform.mirrored:
            mirrored += 1
            name = INFANT.names[INFANT.flip_map[INFANT.index(joint)]]
        label = sample.kpts_crop[INFANT.index(name)]
        if ((label > 8) & (label < 247)).all():
            assert np.linalg.norm(found(sample.image) - label) < 1.0
            checked += 1
    assert 0 < mirrored < 10
    assert checked >= 6


def test_a_mirrored_crop_swaps_left_and_right_and_nothing_else():
    kpts = drawn.infant_kpts((224, 168), 150, 25, np.random.default_rng(0))
    visibility = np.full(K, 2)
    visibility[INFANT.indices("left_knee", "right_wrist")] = 1, 0
    outside = np.zeros(K, dtype=bool)
    outside[INFANT.index("right_toe")] = True
    still = replace(GEOMETRY_ONLY, shift=0.0, scale=(1.0, 1.0), turn_deg=0.0, far_turn=0.0)
    plain, mirrored = (
        PoseSamples(
            pictures(marked(kpts), person(kpts, visibility, outside)), CODEC, replace(still, flip=flip)
        ).sample(0, np.random.default_rng(0))
        for flip in (0.0, 1.0)
    )
    for name in INFANT.names:
        side = {"left": "right", "right": "left"}.get(name.partition("_")[0])
        other = name if side is None else f"{side}_{name.partition('_')[2]}"
        a, b = INFANT.index(name), INFANT.index(other)
        expected = [255.0 - plain.kpts_crop[a, 0], plain.kpts_crop[a, 1]]
        np.testing.assert_allclose(mirrored.kpts_crop[b], expected, atol=1e-9)
        assert mirrored.visibility[b] == plain.visibility[a]
    assert mirrored.visibility[INFANT.indices("right_knee", "left_wrist", "left_toe")].tolist() == [1, 0, 0]
    # Pixels too, up to the interpolation's rounding.
    difference = mirrored.image[:, ::-1].astype(int) - plain.image
    assert np.abs(difference).max() <= 2


@pytest.mark.parametrize("joint", INFANT.names)
def test_every_joint_of_a_detector_sample_is_where_its_transform_says(joint):
    rng = np.random.default_rng(2)
    checked = 0
    for turn in range(6):
        kpts = drawn.infant_kpts((224, 168), 180, 60.0 * turn, rng)
        image = marked(kpts, (joint, 0), (joint, 1), (joint, 2), radius=4)
        samples = DetectorSamples(pictures(image, person(kpts)), replace(GEOMETRY_ONLY, negatives=0.0))
        sample = samples.sample(0, rng)
        place = sample.transform.to_crop(kpts[INFANT.index(joint)])
        if ((place > 8) & (place < 247)).all():
            assert np.linalg.norm(found(sample.image) - place) < 1.0
            checked += 1
    assert checked >= 3


def test_validation_shows_the_head_up_crop_of_the_true_box():
    kpts = drawn.infant_kpts((200, 150), 200, 130)
    samples = PoseSamples(pictures(marked(kpts), person(kpts)), CODEC, None)
    sample = samples.sample(0, np.random.default_rng(0))
    up = sample.kpts_crop[INFANT.index("crown")] - sample.kpts_crop[INFANT.index("pelvis")]
    assert up[1] < -50
    assert abs(up[0]) < 1e-6
    box = samples.pictures.items[0].people[0].bbox_xyxy
    side = 256 / sample.transform.scale
    assert side == pytest.approx(1.25 * max(box[2:] - box[:2]))
    again = samples.sample(0, np.random.default_rng(99))
    np.testing.assert_array_equal(sample.image, again.image)


def test_jitter_stays_within_its_limits_and_uses_them():
    how = replace(GEOMETRY_ONLY, shift=0.06, scale=(0.8, 1.3), turn_deg=25, far_turn=0.0, flip=0.0)
    kpts = drawn.infant_kpts((224, 168), 200, 40)
    samples = PoseSamples(pictures(marked(kpts), person(kpts)), CODEC, how)
    box = samples.pictures.items[0].people[0].bbox_xyxy
    side = max(box[2:] - box[:2])
    rng = np.random.default_rng(0)
    turns, zooms, shifts = [], [], []
    for _ in range(300):
        crop = samples.sample(0, rng).transform
        up = crop.to_crop(kpts[INFANT.index("crown")]) - crop.to_crop(kpts[INFANT.index("pelvis")])
        turns.append(np.rad2deg(np.arctan2(up[0], -up[1])))
        zooms.append(256 / crop.scale / (1.25 * side))
        shifts.append((crop.to_frame(np.array([127.5, 127.5])) - (box[:2] + box[2:]) / 2) / side)
    for values, limit in ((turns, 25), (np.ravel(shifts), 0.06)):
        assert np.abs(values).max() <= limit + 1e-6
        assert np.abs(values).max() > 0.9 * limit
        assert abs(np.mean(values)) < 0.15 * limit
    assert 0.8 <= min(zooms) < 0.85
    assert 1.22 < max(zooms) <= 1.3


def test_joints_out_of_the_frame_are_not_taught():
    kpts = drawn.infant_kpts((224, 168), 250, 0)
    outside = np.zeros(K, dtype=bool)
    outside[INFANT.index("left_toe")] = True
    samples = PoseSamples(pictures(marked(kpts), person(kpts, out_of_frame=outside)), CODEC, None)
    seen = samples.sample(0, np.random.default_rng(0)).visibility
    assert seen[INFANT.index("left_toe")] == 0
    assert (seen > 0).sum() == K - 1


def test_an_occluder_hides_exactly_the_joints_it_covers():
    how = replace(GEOMETRY_ONLY, occluder=1.0, flip=0.0)
    kpts = drawn.infant_kpts((224, 168), 250, 0)
    hidden_before = INFANT.index("right_knee")
    visibility = np.full(K, 2)
    visibility[hidden_before] = 1
    plain = marked(kpts)
    samples = PoseSamples(pictures(plain, person(kpts, visibility)), CODEC, how)
    bright = np.full_like(plain, 200)
    samples.pictures.picture = lambda index: plain
    rng = np.random.default_rng(0)
    for _ in range(40):
        # The same draw with and without pixels to paste tells which pixels changed.
        image = np.zeros((256, 256, 3), np.uint8)
        target = rng.uniform(0, 256, 2)
        out, covered = paste_occluder(image, bright, target, rng)
        np.testing.assert_array_equal(out[..., 0] > 0, covered)
        assert image.max() == 0
        seen = samples.sample(0, rng).visibility
        assert seen[hidden_before] == 1
        assert (seen > 0).all()
        assert (seen == 1).sum() >= 1


def test_detector_boxes_and_directions_agree_with_the_pixels():
    rng = np.random.default_rng(3)
    for turn in range(24):
        kpts = drawn.infant_kpts((224, 168), 200, 15.0 * turn)
        image = marked(kpts, ("crown", 0), ("pelvis", 2), radius=4)
        samples = DetectorSamples(pictures(image, person(kpts)), replace(GEOMETRY_ONLY, negatives=0.0))
        sample = samples.sample(0, rng)
        assert len(sample.boxes_xyxy_in) == 1
        joints = sample.transform.to_crop(kpts)
        box = sample.boxes_xyxy_in[0]
        # person() leaves 4 px around the joints on every side, whatever the turn.
        margin = 4 * sample.transform.scale * np.array([-1, -1, 1, 1])
        expected = np.concatenate([joints.min(axis=0), joints.max(axis=0)]) + margin
        np.testing.assert_allclose(box, np.clip(expected, -0.5, 255.5), atol=1e-6)
        crown, pelvis = joints[INFANT.index("crown")], joints[INFANT.index("pelvis")]
        if ((np.stack([crown, pelvis]) > 8) & (np.stack([crown, pelvis]) < 247)).all():
            up = found(sample.image, 0) - found(sample.image, 2)
            pixels = np.rad2deg(np.arctan2(up[0], -up[1]))
            assert abs((sample.angles_deg[0] - pixels + 180) % 360 - 180) < 2.0


@pytest.mark.parametrize("quarter", [0, 1, 2, 3])
@pytest.mark.parametrize("mirrored", [False, True])
def test_at_every_quarter_turn_the_box_is_the_labelled_one(quarter, mirrored):
    kpts = drawn.infant_kpts((224, 168), 150, 20)
    one = person(kpts)
    one = replace(one, bbox_xyxy=one.bbox_xyxy + np.array([-9, -2, 1, 5]))  # another margin on every side
    crop = crop_from_box(np.array([0, 0, 447, 335]), 90.0 * quarter, (256, 256), flip=mirrored)
    samples = DetectorSamples(pictures(marked(kpts), one), None)
    boxes, _, _ = samples.labels(samples.pictures.items[0], crop)
    corners = crop.to_crop(one.bbox_xyxy.reshape(2, 2))
    np.testing.assert_allclose(boxes[0], np.concatenate([corners.min(0), corners.max(0)]), atol=1e-6)


def test_pictures_of_infants_that_cannot_be_labelled_do_not_pass_for_empty_cots():
    kpts = drawn.infant_kpts((224, 168), 150, 20)
    nowhere = person(kpts, visibility=np.zeros(K, dtype=int))
    assert len(DetectorSamples(pictures(marked(kpts), nowhere), None)) == 0
    assert len(DetectorSamples(pictures(marked(kpts)), None)) == 1


def test_people_who_are_no_infants_teach_and_validate_nothing():
    kpts = drawn.infant_kpts((224, 168), 150, 20)
    adult = replace(person(kpts), is_infant=False)
    training = DetectorSamples(pictures(marked(kpts), adult), replace(GEOMETRY_ONLY, negatives=0.0))
    sample = training.sample(0, np.random.default_rng(0))
    assert sample.infant.tolist() == [False]
    assert len(sample.boxes_xyxy_in) == len(sample.angles_deg) == 1
    assert len(DetectorSamples(pictures(marked(kpts), adult), None)) == 0


def test_detector_validation_keeps_the_labelled_box():
    kpts = drawn.infant_kpts((224, 168), 200, 65)
    one = person(kpts)
    sample = DetectorSamples(pictures(marked(kpts), one), None).sample(0, np.random.default_rng(0))
    expected = sample.transform.to_crop(one.bbox_xyxy.reshape(2, 2)).ravel()
    np.testing.assert_allclose(sample.boxes_xyxy_in[0], expected, atol=1e-6)
    assert sample.angles_deg[0] == pytest.approx(65, abs=1e-6)
    assert head_angle_deg(sample.transform.to_crop(kpts), np.ones(K, bool)) == pytest.approx(65)


def test_negatives_show_nobody():
    kpts = drawn.infant_kpts((330, 168), 120, 0)  # the left half of the frame is free
    image = marked(kpts, *((n, c) for n in INFANT.names for c in range(3)))
    samples = DetectorSamples(pictures(image, person(kpts)), replace(GEOMETRY_ONLY, negatives=1.0))
    rng = np.random.default_rng(0)
    empty = 0
    for _ in range(40):
        sample = samples.sample(0, rng)
        if len(sample.boxes_xyxy_in) == 0:
            empty += 1
            inner = sample.image[8:-8, 8:-8]
            assert inner.max() < 120  # no marker, only the dark frame
            assert encode_targets(sample.boxes_xyxy_in, sample.angles_deg)["centre"].max() == 0
    assert empty > 20
