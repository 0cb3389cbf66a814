"""A net's own errors, for other infants: collected with what it says of them, and given to limbs that lie alike."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from straight import body

from heightpose.errors import ConfigError
from heightpose.skeleton import INFANT
from heightpose.train import lift
from heightpose.train.lift_errors import NetErrors, collect

LEFT_LEG = list(INFANT.indices("left_knee", "left_ankle", "left_heel", "left_toe"))
RIGHT_LEG = list(INFANT.indices("right_knee", "right_ankle", "right_heel", "right_toe"))


def flat(bent: bool) -> np.ndarray:
    """Joints on the mattress, legs straight, or the left one turned aside by a right angle at the hip."""
    joints = body()[:, :2].copy()
    if bent:
        hip = joints[INFANT.index("left_hip")]
        joints[LEFT_LEG] = hip + (joints[LEFT_LEG] - hip) @ np.array([[0.0, -1.0], [1.0, 0.0]])
    return joints


@pytest.fixture
def errors(tmp_path):
    """Forty stills: knees of straight legs are 1 cm off towards the head, those of bent ones 3 cm to the right."""
    truth, off, sd = [], [], []
    for k in range(40):
        bent = k % 2 == 1
        error = np.zeros((len(INFANT), 2))
        error[list(INFANT.indices("left_knee", "right_knee"))] = (0.0, 1.0)
        said = np.full(len(INFANT), 0.3)
        if bent:
            error[INFANT.index("left_knee")], said[LEFT_LEG] = (3.0, 0.0), 0.9
        truth.append(flat(bent))
        off.append(error)
        sd.append(said)
    right = np.full((40, len(INFANT)), 0.6)
    path = tmp_path / "errors.npz"
    np.savez(path, truth=np.float32(truth), seen_at=np.float32(np.array(truth) + off), sd=np.float32(sd),
             right=np.float32(right), seen=np.float32(right))  # fmt: skip
    return path


@pytest.mark.parametrize("bent", [False, True])
def test_a_limb_gets_the_error_of_limbs_that_lie_alike_in_its_own_frame_and_size(errors, bent):
    torch.manual_seed(0)
    net = NetErrors([errors])
    assert len(net) == 80  # mirrored too
    turn = torch.tensor([[0.0, -1.0], [1.0, 0.0]])
    seen = torch.from_numpy(flat(bent)).float() @ turn.T * 1.2  # lying across the cot, a fifth larger
    error, told = net.draw(seen.expand(64, 3, -1, -1))
    assert error.shape == (64, 3, len(INFANT), 2)
    # Errors and what is said of them grow together with the clip's level, which is 0.15 to 1.4.
    knee = error[:, :, INFANT.index("left_knee")] @ turn / 1.2
    expected = torch.tensor((3.0, 0.0) if bent else (0.0, 1.0))
    along, across = knee @ expected / expected.norm(), knee.flip(-1) @ expected
    assert float(across.abs().max()) < 1e-4
    level = along / expected.norm()
    assert 0.14 < float(level.min()) < 0.4
    assert 0.9 < float(level.max()) < 1.41
    said = told.sd_cm[:, :, LEFT_LEG].mean(-1) / 1.2 / (0.9 if bent else 0.3)
    np.testing.assert_allclose((said / level).median(), 1.0, atol=0.1)
    # The same joint is likelier right where its error is smaller.
    odds = told.right[:, :, INFANT.index("left_knee")]
    assert odds[level < 0.4].mean() > 2.0 > odds[level > 1.0].mean()


def test_mirrored_stills_have_mirrored_errors(errors):
    net = NetErrors([errors])
    left, right = INFANT.index("left_knee"), INFANT.index("right_knee")
    np.testing.assert_allclose(net.error[40:, right, 0], -net.error[:40, left, 0], atol=1e-6)
    np.testing.assert_allclose(net.error[40:, right, 1], net.error[:40, left, 1], atol=1e-6)
    np.testing.assert_allclose(net.error[40:, left, 1], net.error[:40, right, 1], atol=1e-6)
    np.testing.assert_allclose(net.local[40:, RIGHT_LEG, 0], -net.local[:40, LEFT_LEG, 0], atol=1e-6)


def test_the_elevation_model_trains_with_them(errors, tmp_path):
    """Its answers are then judged with a net's own errors too."""
    rng = np.random.default_rng(0)
    scale = rng.uniform(0.8, 1.2, 24).astype(np.float32)
    rest = body().astype(np.float32)[None] * scale[:, None, None]
    path = tmp_path / "bodies.npz"
    np.savez(path, joints_cm=np.maximum(np.repeat(rest[:, None], 2, 1), 0.5), rest_cm=rest,
             posture=np.arange(24, dtype=np.int8) % 2, length_cm=68.3 * scale, child=np.arange(24))  # fmt: skip
    figures = lift.train([path], tmp_path / "l.npz", steps=3, seed=0, width=16, clip_width=8, errors=[errors])
    assert {"exact back length error %", "own back within 1.645 sd", "own other length error %"} <= set(
        figures
    )


def test_weights_without_a_calibration_are_refused(tmp_path):
    net = SimpleNamespace(calibration=None, file=SimpleNamespace(path=tmp_path / "raw.onnx"))
    with pytest.raises(ConfigError, match="calibration"):
        collect(tmp_path, None, net, first=0, split="train")
