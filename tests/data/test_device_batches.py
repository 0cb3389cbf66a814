"""Crops made on the device show what the processor's crops show, where their labels say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from test_samples import LARGE_WH, found, marked, person, pictures

from heightpose.codec.heatmap import HeatmapCodec
from heightpose.config import AugmentConfig, LossConfig, TrainConfig
from heightpose.data.device_augment import (
    NOISE_OPERATIONS,
    PIXEL_OPERATIONS,
    augment_batch,
    draw_occluders,
    paste,
)
from heightpose.data.device_batches import DeviceBatches, gaussians, warp
from heightpose.data.samples import PoseSamples
from heightpose.errors import ConfigError
from heightpose.geometry.crop import crop_from_box
from heightpose.skeleton import INFANT
from heightpose.train.pose_task import PoseTask

CODEC = HeatmapCodec()
# No crop reaches beyond its cutting, where any grey could outshine the markers.
WITHOUT_THINGS = AugmentConfig(blanket=0, occluder=0, half_body=0, far_turn=0, scale=(0.85, 1.1))
GEOMETRY = replace(WITHOUT_THINGS, pixel=0, noise=0)


@pytest.fixture
def kpts():
    rng = np.random.default_rng(3)
    return rng.uniform(220, 340, (len(INFANT), 2))


def batches(image, kpts, how, size=8, **kwargs):
    samples = PoseSamples(pictures(image, person(kpts)), CODEC, how)
    labels = PoseTask(TrainConfig(loss=LossConfig())).points
    return DeviceBatches(samples, labels, size, shuffle=True, repeats=np.array([float(size)]), **kwargs)


def smooth_picture(size_wh=LARGE_WH):
    x, y = np.meshgrid(*(np.arange(n) for n in size_wh))
    waves = [np.sin(x / 17) + np.cos(y / 23), np.sin((x + y) / 31), np.cos((x - y) / 29)]
    return np.stack([127 + 50 * w for w in waves], axis=-1).astype(np.uint8)


def test_the_warp_is_the_processors():
    image = smooth_picture()
    rng = np.random.default_rng(0)
    crops = [
        crop_from_box(np.array([100.0, 150, 400, 500]), rng.uniform(-180, 180), (256, 192), scale=1.1, flip=bool(n % 2))
        for n in range(4)
    ]  # fmt: skip
    stack = torch.from_numpy(image).permute(2, 0, 1).float().expand(4, -1, -1, -1)
    made = warp(stack, np.stack([c.inverse for c in crops]), (256, 192), torch.tensor([0.0, 80.0, 0.0, 80.0]))
    for n, crop in enumerate(crops):
        expected = crop.warp(image, border=int(n % 2) * 80).astype(float)
        off = np.abs(made[n].permute(1, 2, 0).numpy() - expected)
        assert np.median(off) < 0.6
        assert np.percentile(off, 99) < 3


def test_a_batch_has_what_the_processors_has_and_the_same_picture(kpts):
    how = replace(GEOMETRY, enabled=False)
    (batch,) = list(batches(smooth_picture(), kpts, how, size=1))
    samples = PoseSamples(pictures(smooth_picture(), person(kpts)), CODEC, how)
    expected = PoseTask(TrainConfig()).collate([samples.sample(0, np.random.default_rng(0))])
    assert batch.keys() == expected.keys()
    for name in expected.keys() - {"image", "heatmaps"}:
        np.testing.assert_array_equal(np.asarray(batch[name]), np.asarray(expected[name]), err_msg=name)
    # Drawn in single precision here.
    torch.testing.assert_close(batch["heatmaps"], expected["heatmaps"], rtol=0, atol=1e-6)
    off = (batch["image"] - expected["image"].float()).abs()
    assert off.median() < 1
    assert off.quantile(0.99) < 4


def test_heatmaps_are_drawn_as_the_codec_draws_them():
    codec = HeatmapCodec((192, 256), (48, 64), 1.7)
    rng = np.random.default_rng(2)
    kpts_crop = rng.uniform(-60, 300, (5, 21, 2))  # some of them off the map, or beyond its reach
    labelled = rng.random((5, 21)) < 0.8
    expected, weights = codec.encode(kpts_crop, labelled)
    kpts_hm, drawn = codec.reachable(kpts_crop, labelled)
    assert 0 < drawn.sum() < labelled.sum()
    np.testing.assert_array_equal(drawn, weights)
    made = gaussians(
        torch.from_numpy(kpts_hm.astype(np.float32)), torch.from_numpy(drawn) > 0, codec.heatmap_wh, 1.7
    )
    np.testing.assert_allclose(made.numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("how", [GEOMETRY, WITHOUT_THINGS], ids=["geometry", "pixels too"])
@pytest.mark.parametrize("joint", ["crown", "left_heel", "right_wrist"])
def test_a_joint_is_where_its_label_says(kpts, joint, how):
    kpts[INFANT.index(joint)] = 281.3, 274.6  # well inside every crop
    image = marked(kpts, (joint, 0), (joint, 1), (joint, 2), radius=3, size_wh=LARGE_WH)
    away = []
    for seed in range(3):
        for batch in batches(image, kpts, how, seed=seed):
            for n in range(len(batch["image"])):
                mirrored = np.linalg.det(batch["matrices"][n][:2, :2]) < 0
                column = INFANT.flip_map[INFANT.index(joint)] if mirrored else INFANT.index(joint)
                label = batch["kpts_crop"][n, column]
                away.append(np.linalg.norm(found(batch["image"][n].permute(1, 2, 0).numpy()) - label))
    assert np.median(away) < 0.25
    assert np.percentile(away, 90) < 1.0


def test_a_batch_depends_on_seed_epoch_and_place_alone(kpts):
    image = smooth_picture()
    how = replace(AugmentConfig(), blanket=0)
    first = [b["image"] for _ in range(2) for b in batches(image, kpts, how, 3, seed=5)]
    loader = batches(image, kpts, how, 3, seed=5, workers=3)
    second = [b["image"] for b in loader]
    assert torch.equal(first[0], second[0])
    later = [b["image"] for b in loader]  # the next epoch
    assert not torch.equal(second[0], later[0])


def test_occluders_hide_the_joints_under_them_and_no_others(kpts):
    rng = np.random.default_rng(1)
    count = 40
    places = np.stack([rng.uniform(40, 215, (len(INFANT), 2)) for _ in range(count)])
    seen = np.full((count, len(INFANT)), 2)
    occluders = draw_occluders(places, seen, (256, 256), 0.7, rng)
    assert 15 < (occluders.high > occluders.low).all(axis=1).sum() < 38
    images = torch.rand(count, 3, 256, 256)
    changed = (paste(images, occluders) != images).any(dim=1).numpy()
    x, y = np.floor(places + 0.5).astype(int).transpose(2, 0, 1)
    under = changed[np.arange(count)[:, None], y, x]
    covered = occluders.covers(*torch.from_numpy(places).float().unbind(-1)).numpy()
    assert 20 < covered.sum() < covered.size / 3
    assert (under == covered).mean() > 0.99  # half a pixel at the edge
    bare = draw_occluders(places, seen, (256, 256), 0.0, rng)
    assert torch.equal(paste(images, bare), images)


@pytest.mark.parametrize(
    "operation", [*PIXEL_OPERATIONS, *NOISE_OPERATIONS], ids=lambda f: f.__name__.strip("_")
)
def test_an_operation_changes_crops_but_neither_much_nor_their_place(operation):
    image = torch.from_numpy(smooth_picture((256, 256))).permute(2, 0, 1)[None] / 255.0
    crops = image.expand(6, -1, -1, -1)
    made = operation(crops, np.random.default_rng(0), 1.0).clamp(0, 1)
    assert made.shape == crops.shape
    assert bool(torch.isfinite(made).all())
    assert float((made - crops).abs().mean()) > 1e-4
    assert float((made - crops).abs().mean()) < 0.25
    again = operation(crops, np.random.default_rng(0), 1.0).clamp(0, 1)
    assert torch.equal(made, again)


def test_strength_nothing_and_shares_of_nothing_change_nothing():
    crops = torch.rand(5, 3, 64, 64)
    rng = np.random.default_rng(0)
    assert torch.equal(augment_batch(crops, rng, AugmentConfig(randaugment_m=0)), crops)
    assert torch.equal(augment_batch(crops, rng, AugmentConfig(pixel=0, noise=0)), crops)


@pytest.mark.parametrize("name", ["blanket", "mosaic"])
def test_what_only_the_processor_can_vary_is_refused(kpts, name):
    how = replace(GEOMETRY, **{name: 0.1})
    with pytest.raises(ConfigError, match=f"augment.{name}"):
        batches(smooth_picture(), kpts, how)
