"""The elevation model's file, its twin in torch and what it is told."""

from __future__ import annotations

import numpy as np
import pytest
from straight import body

from heightpose.errors import FileFormatError
from heightpose.geometry.clip_lift import combine
from heightpose.geometry.lift import LIFT_FILE, LiftNet, default_lift, lift_frames, mattress_sd

from .child_clips import CAMERA, above


def test_a_file_that_is_no_lift_network_is_refused(tmp_path) -> None:
    path = tmp_path / "lift.npz"
    path.write_bytes(b"not a zip")
    with pytest.raises(FileFormatError, match="elevation model"):
        LiftNet.load(path)
    np.savez(path, frame_weight0=np.zeros((3, 4)), frame_bias0=np.zeros(4), length_weights=np.ones(3))
    with pytest.raises(FileFormatError, match="elevation model"):
        LiftNet.load(path)
    whole = dict(np.load(LIFT_FILE))
    for name in ("frame_weight0", "frame_bias1", "clip_weight0", "length_weights"):
        spoilt = whole[name].copy()
        spoilt.flat[-1] = np.nan
        np.savez(path, **whole | {name: spoilt})
        with pytest.raises(FileFormatError, match="elevation model"):
            LiftNet.load(path)
    np.savez(path, **whole | {"length_weights": np.ones(4)})
    with pytest.raises(FileFormatError, match="elevation model"):
        LiftNet.load(path)
    np.savez(path, **whole)
    assert LiftNet.load(path).length_weights.tolist() == default_lift().length_weights.tolist()


@pytest.mark.parametrize("calibrated", [True, False])
def test_torch_twins_agree_with_numpy(tmp_path, calibrated) -> None:
    """A network trained in torch and read back in numpy says the same of a clip, from pixels to bones."""
    torch = pytest.importorskip("torch")
    from heightpose.train.lift import LiftModel
    from heightpose.train.lift_data import Told, draw_cameras, project

    torch.manual_seed(0)
    model = LiftModel(16, 8).double()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.15)
    np.savez(tmp_path / "lift.npz", **model.arrays(), length_weights=np.array([1.0, 1.1, 1.2]))
    net = LiftNet.load(tmp_path / "lift.npz")
    rng = np.random.default_rng(0)
    joints = body()[None] + rng.normal(0, 1, (5, 21, 3))
    joints[..., 2] = np.maximum(joints[..., 2], 0.5)
    plane = above(170.0, aside=(20.0, -15.0), turn_deg=30.0)
    centre = torch.from_numpy(plane.camera_centre_cm)[None]
    assert draw_cameras(3).shape == (3, 3)
    flat = project(torch.from_numpy(joints)[None], centre)
    cov = np.tile([0.8, 0.1, 0.5], (5, 21, 1))
    kpts = plane.to_frame(CAMERA, joints.reshape(-1, 3)).reshape(5, 21, 2)
    sd = torch.from_numpy(mattress_sd(kpts, cov, CAMERA, plane))[None]
    right, seen = rng.uniform(0.001, 0.999, (2, 5, 21))
    odds = [torch.logit(torch.from_numpy(p))[None] for p in (right, seen)]
    with torch.no_grad():
        answers = model(flat, centre, Told(sd, *odds) if calibrated else Told.usual(flat, sd))
    frames = lift_frames(kpts, CAMERA, plane, net, cov, *((right, seen) if calibrated else ()))
    np.testing.assert_allclose(np.log(frames.lengths_cm), answers.log_lengths[0].numpy(), atol=1e-4)
    np.testing.assert_allclose(np.log(frames.relative_sd), answers.log_sd[0].numpy(), atol=1e-4)
    np.testing.assert_allclose(frames.on_back, torch.sigmoid(answers.back)[0].numpy(), atol=1e-4)
    bones = combine(frames, net)
    np.testing.assert_allclose(np.log(bones.lengths_cm), answers.bones[0].numpy(), atol=1e-4)
    np.testing.assert_allclose(np.log(bones.relative_sd), answers.bones_log_sd[0].numpy(), atol=1e-4)
    assert np.log(bones.length_relative_sd) == pytest.approx(float(answers.total_log_sd[0]), abs=1e-4)
    np.testing.assert_allclose(bones.shares.sum(axis=0), 1.0)


def test_a_joints_covariance_reaches_the_mattress() -> None:
    """Straight down from 160 cm with f = 800 px a pixel is 0.2 cm, in every direction."""
    plane = above(160.0)
    kpts = np.full((1, 2, 2), [500.0, 250.0])
    sd = mattress_sd(kpts, np.array([[[4.0, 0.0, 4.0], [8.0, 0.0, 0.0]]]), CAMERA, plane)
    np.testing.assert_allclose(sd, [[0.4, 0.4]], rtol=1e-6)
