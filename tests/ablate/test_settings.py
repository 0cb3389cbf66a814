"""Settings that exist to be compared: decoders, mosaics, weights of joints, how new joints begin."""

from __future__ import annotations

import drawn
import numpy as np
import pytest
import torch

from heightpose.codec.decoders import decode
from heightpose.codec.detection import INPUT_WH
from heightpose.codec.heatmap import HeatmapCodec
from heightpose.config import AugmentConfig, LossConfig, TrainConfig
from heightpose.data.coco import Dataset
from heightpose.data.detector_samples import DetectorSamples
from heightpose.data.mosaic import crop_mosaic, frame_tiles
from heightpose.data.pictures import Pictures
from heightpose.data.samples import PoseSamples
from heightpose.models.checkpoint import save_weights
from heightpose.models.description import pose_meta
from heightpose.models.pose_net import PoseNet
from heightpose.models.transfer import start_from
from heightpose.skeleton import EDGE_JOINTS, INFANT, MPII
from heightpose.train.pose_task import PoseTask, joint_weights

CODEC = HeatmapCodec((128, 128), (32, 32), 2.0)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "set"
    drawn.nursery(path, train=5, val=0, empty=0)
    return Pictures(Dataset.load(path).items)


def test_dark_is_exact_where_a_shift_errs_by_a_quarter_and_the_peak_by_half_a_pixel():
    rng = np.random.default_rng(0)
    kpts = rng.uniform(40, 88, (1, 200, 2))
    maps, _ = CODEC.encode(kpts, np.ones((1, 200), bool))
    worst = {how: np.abs(decode(CODEC, maps, how)[0] - kpts).max() / 4 for how in ("dark", "shift", "argmax")}
    assert worst["dark"] < 0.02  # heatmap px
    assert 0.2 < worst["shift"] <= 0.26
    assert 0.4 < worst["argmax"] <= 0.51


def test_the_shift_goes_towards_the_joint_and_stays_put_at_the_rim():
    maps, _ = CODEC.encode(np.array([[[61.0, 64.5], [-1.5, 60.0]]]), np.ones((1, 2), bool))
    at, scores = decode(CODEC, maps, "argmax")
    shifted, same = decode(CODEC, maps, "shift")
    np.testing.assert_allclose(shifted - at, [[[-1.0, -1.0], [0.0, shifted[0, 1, 1] - at[0, 1, 1]]]])
    np.testing.assert_array_equal(scores, same)
    with pytest.raises(ValueError, match="decoder"):
        decode(CODEC, maps, "best")


def test_a_crops_mosaic_keeps_its_centre_and_hides_what_the_other_tiles_cover():
    crop, rng = np.full((96, 64, 3), 200, np.uint8), np.random.default_rng(3)
    others = [np.full((50, 80, 3), level, np.uint8) for level in (10, 20, 30)]
    for _ in range(20):
        out, covered = crop_mosaic(crop, others, rng)
        assert not covered[48, 32]
        assert (out[~covered] == 200).all()
        assert (out[covered] < 31).all()
        assert sorted(np.unique(out[covered])) == [10, 20, 30]
        assert 0.25 < (~covered).mean() < 0.9


def test_joints_under_a_mosaics_other_tiles_are_hidden_not_lost(pictures):
    how = AugmentConfig(mosaic=1.0, occluder=0, blanket=0, pixel=0, noise=0, half_body=0)
    samples, plain = PoseSamples(pictures, CODEC, how), PoseSamples(pictures, CODEC, None)
    hidden = 0
    for index in range(len(samples)):
        sample = samples.sample(index, np.random.default_rng(index))
        seen = plain.sample(index, np.random.default_rng(0)).visibility
        assert sample.operations[-1] == "mosaic"
        assert set(sample.visibility) <= {1, 2}
        assert (sample.visibility > 0).sum() == (seen > 0).sum()
        hidden += int((sample.visibility == 1).sum())
    assert hidden > 0


def test_a_detectors_mosaic_labels_all_four_frames(pictures):
    samples = DetectorSamples(pictures, AugmentConfig(mosaic=1.0, pixel=0, noise=0))
    sample = samples.sample(1, np.random.default_rng(0))
    assert sample.operations == ("mosaic",)
    assert len(sample.boxes_xyxy_in) == len(sample.angles_deg) == 4
    middles = (sample.boxes_xyxy_in[:, :2] + sample.boxes_xyxy_in[:, 2:]) / 2
    assert len({(x > INPUT_WH[0] / 2, y > INPUT_WH[1] / 2) for x, y in middles.tolist()}) == 4
    # A bright infant on a dark cot is where the label says.
    for x0, y0, x1, y1 in sample.boxes_xyxy_in.astype(int):
        inside, whole = sample.image[y0:y1, x0:x1], sample.image
        assert inside.mean() > 1.5 * whole.mean()


def test_tiles_fill_the_input_and_each_frame_lies_in_its_own():
    sizes = [(160, 120), (90, 90), (50, 200), (640, 360)]
    tiles = frame_tiles(sizes, (256, 256), np.random.default_rng(5))
    assert sum((x1 - x0) * (y1 - y0) for _, (x0, y0, x1, y1) in tiles) == 256 * 256
    for (width, height), (transform, (x0, y0, x1, y1)) in zip(sizes, tiles, strict=True):
        corners = transform.to_crop(np.array([[-0.5, -0.5], [width - 0.5, height - 0.5]]))
        assert (corners[0] >= np.array([x0, y0]) - 0.51).all()
        assert (corners[1] <= np.array([x1, y1]) - 0.49).all()


def test_weights_of_joints_are_the_skeletons_to_a_power_and_the_edges_apart():
    own = np.array(INFANT.loss_weights)
    np.testing.assert_allclose(joint_weights(LossConfig()), own)
    np.testing.assert_array_equal(joint_weights(LossConfig(joint_weights=0.0)), 1.0)
    np.testing.assert_allclose(joint_weights(LossConfig(joint_weights=2.0)), own**2, rtol=1e-6)
    edges = INFANT.indices(*EDGE_JOINTS)
    heavy = joint_weights(LossConfig(edge_weight=3.0))
    np.testing.assert_allclose(heavy[edges], 3 * own[edges])
    np.testing.assert_allclose(np.delete(heavy, edges), np.delete(own, edges))


def test_new_joints_begin_as_their_nearest_or_at_random_and_all_else_is_taken_over(tmp_path):
    old = PoseNet("hrnet_w18_small", len(MPII))
    torch.nn.init.normal_(old.head.out.weight)  # type: ignore[union-attr]
    save_weights(tmp_path / "old.safetensors", old.state_dict(), pose_meta(old, MPII.names, CODEC))
    rows = {}
    for how in ("nearest", "random"):
        config = TrainConfig(start_from=str(tmp_path / "old.safetensors"), init_new_joints=how)
        net = PoseTask(config).net()
        rows[how] = net.head.out.weight.detach()[:, :, 0, 0]  # type: ignore[union-attr,operator]
        torch.testing.assert_close(
            rows[how][:16], old.head.out.weight.detach()[:, :, 0, 0], rtol=1e-3, atol=1e-3
        )  # type: ignore[union-attr]
    for joint, nearest in EDGE_JOINTS.items():
        at, of = INFANT.index(joint), INFANT.index(nearest)
        torch.testing.assert_close(rows["nearest"][at], rows["nearest"][of])
        assert rows["random"][at].abs().max() < 0.02  # the published start: almost nothing
        assert rows["random"][at].abs().max() > 0
    report = start_from(PoseNet("hrnet_w18_small"), old.state_dict(), MPII.names, copy_nearest=False)
    assert "crown" not in report.joints
    assert report.joints["right_ankle"] == "right_ankle"
