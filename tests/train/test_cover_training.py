"""The network that tells what is covered: what it learns from, and that it learns."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

import cv2
import torch
from straight import body

from heightpose.data.items import Item, Person
from heightpose.errors import ConfigError, FileFormatError
from heightpose.geometry.crop import crop_from_box
from heightpose.models.cover_net import CoverNet
from heightpose.runtime.backends import load_backend
from heightpose.runtime.cover import JOINTS, PATCH
from heightpose.skeleton import INFANT
from heightpose.train import cover, cover_data
from heightpose.train.cover_data import COVERED, FREE, UNKNOWN, Patches
from heightpose.types import Pose

KPTS = 4.0 * body()[:, :2] * [1.0, -1.0] + 192.0
CROWN, LEFT_HEEL, RIGHT_HEEL = JOINTS


def test_what_lies_under_the_mask_is_covered_and_its_edge_is_in_doubt():
    head = float(np.linalg.norm(KPTS[CROWN] - KPTS[INFANT.index("upper_neck")]))
    y = round(KPTS[CROWN][1])
    mask = np.zeros((384, 384), bool)
    mask[: y + 8] = True
    labels = cover_data._labels(KPTS, np.array([True, True, False]), mask, head)
    assert labels.tolist() == [COVERED, FREE, UNKNOWN]  # the other heel is hidden by something else
    mask[:] = False
    mask[:y] = True
    assert cover_data._labels(KPTS, np.ones(3, bool), mask, head)[0] == UNKNOWN
    beyond = KPTS - [0, 400.0]
    assert cover_data._labels(beyond, np.ones(3, bool), mask, head).tolist() == [UNKNOWN] * 3


def test_things_are_laid_over_ends_and_nothing_else_changes_but_beside_them():
    rng = np.random.default_rng(0)
    picture = rng.integers(60, 200, (384, 384, 3)).astype(np.uint8)
    over = {"crown": 0, "heel": 0}
    for _ in range(60):
        laid, mask = cover_data.lay_over(picture, KPTS, rng)
        assert laid.shape == picture.shape
        assert laid.dtype == np.uint8
        if not mask.any():
            continue
        changed = (laid != picture).any(axis=2)
        assert changed[mask].mean() > 0.7
        over["crown"] += mask[tuple(np.rint(KPTS[CROWN]).astype(int)[::-1])]
        over["heel"] += mask[tuple(np.rint(KPTS[LEFT_HEEL]).astype(int)[::-1])]
    assert over["crown"] >= 10
    assert over["heel"] >= 5


class Knowing:
    """A pose net that says the same of every picture."""

    def __init__(self, kpts):
        self.kpts = kpts

    def estimate(self, pictures, detections):
        return [Pose(self.kpts, np.full(len(INFANT), 0.9), one) for one in detections]


def test_patches_are_drawn_where_the_pose_net_looks_and_kept_whole(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.full((384, 384, 3), 90, np.uint8))
    everywhere = np.concatenate([KPTS.min(axis=0) - 5, KPTS.max(axis=0) + 5])
    person = Person(KPTS, np.full(len(INFANT), 2), np.zeros(len(INFANT), bool), everywhere)
    item = Item(1, tmp_path / "a.png", None, (384, 384), "train", (person,))
    model = Knowing(crop_from_box(everywhere, 0.0, (384, 384), scale=1.6).to_crop(KPTS))
    with pytest.raises(ConfigError, match="no infant"):
        cover_data.draw_patches([], model, model, each=1)
    drawn = cover_data.draw_patches([item], model, model, each=6)
    assert drawn.images.shape == (6, 3, PATCH, PATCH, 3)
    assert {COVERED, FREE} <= set(drawn.labels[:, 0])
    flat = drawn.images[drawn.labels[:, 0] == FREE, 0]
    assert (flat == 90).mean() > 0.5
    drawn.save(tmp_path / "drawn.npz")
    again = Patches.load(tmp_path / "drawn.npz")
    assert np.array_equal(again.images, drawn.images)
    assert np.array_equal(again.labels, drawn.labels)
    np.savez(tmp_path / "other.npz", images=drawn.images)
    with pytest.raises(FileFormatError, match="patches"):
        Patches.load(tmp_path / "other.npz")


def heads(count, rng):
    """Skin-coloured domes on bedding; half of them cut off straight above the joint, with their labels."""
    y, x = np.mgrid[:PATCH, :PATCH]
    images = np.empty((count, 3, PATCH, PATCH, 3), np.uint8)
    labels = np.full((count, 3), UNKNOWN, np.int8)
    for i in range(count):
        bedding, skin = rng.uniform(30, 110, 3), rng.uniform(150, 230, 3)
        covered = i % 2 == 0
        dome = np.hypot(x - 31.5, y - 48.0) < (24.0 if covered else 17.0)
        head = dome & (y > 31.5) if covered else dome
        images[i] = np.where(head[..., None], skin, bedding)
        labels[i, 0] = COVERED if covered else FREE
    return Patches(images, labels)


def test_the_network_learns_to_tell_a_head_that_is_cut_off_and_says_so_in_every_runtime(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(cover, "_BATCH", 32)
    rng = np.random.default_rng(0)
    learnt, other = cover.Examples([heads(256, rng)]), cover.Examples([heads(64, rng)])
    assert len(learnt) == 256  # heels without a label are left out
    net, figures = cover.train(learnt, {"other": other}, tmp_path / "cover.onnx", epochs=8)
    assert figures["other crown hit"] >= 0.9
    assert figures["other crown false"] <= 0.1
    assert not any("heel" in name for name in figures)
    assert [path.name for path in tmp_path.iterdir()] == ["cover.onnx"]
    images = other.images[:8].float()
    with torch.no_grad():
        expected = net(images).numpy()
    for name in ("openvino", "onnxruntime"):
        backend, file = load_backend(tmp_path / "cover.onnx", name, precision="f32")
        assert file.kind == "cover"
        assert np.abs(backend.run(images.numpy()) - expected).max() < 0.05  # weights in half precision


def test_variations_keep_the_middle_in_the_middle():
    images = torch.zeros(64, 3, PATCH, PATCH, dtype=torch.uint8)
    images[:, :, 28:36, 28:36] = 200
    varied = cover.varied(images, torch.Generator().manual_seed(0))
    assert varied.shape == images.shape
    assert 0 <= float(varied.min()) <= float(varied.max()) <= 255
    weight = varied.mean(1) ** 2
    y = (weight * torch.arange(PATCH)[:, None]).sum((1, 2)) / weight.sum((1, 2))
    assert float((y - 31.5).abs().median()) < 4
    assert CoverNet()(varied).shape == (64, 2)
