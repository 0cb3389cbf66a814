"""The elevation model learns: stick infants of many sizes, seen by random cameras, get shorter errors."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from straight import body

from heightpose.geometry.lift import LiftNet
from heightpose.skeleton import INFANT
from heightpose.train import lift
from heightpose.train.lift_data import draw_errors, lengths, stretch


def test_training_lowers_the_error_and_writes_what_inference_reads(bodies, tmp_path):
    first = lift.train([bodies], tmp_path / "a.npz", steps=2, seed=0, width=48, clip_width=16)
    after = lift.train([bodies], tmp_path / "b.npz", steps=200, seed=0, width=48, clip_width=16)
    assert after["exact back length error %"] < 0.6 * first["exact back length error %"]
    assert after["exact back length error %"] < 4.0
    net = LiftNet.load(tmp_path / "b.npz")
    assert len(net.frame) == 4
    again = lift.train([bodies], tmp_path / "c.npz", steps=2, seed=0, width=48, clip_width=16)
    assert again == first


def test_a_stretched_thigh_takes_the_lower_leg_with_it():
    joints = torch.from_numpy(body().astype(np.float32))[None, None]
    one = torch.ones(1)
    longer = stretch(joints, {"thigh": one * 1.1, "shank": one, "trunk": one, "head": one})
    ratio = (lengths(longer) / lengths(joints))[0, 0]
    np.testing.assert_allclose(ratio, [1, 1.1, 1, 1.1, 1], atol=1e-5)
    moved = (longer - joints)[0, 0, INFANT.index("left_heel")]
    knee = (longer - joints)[0, 0, INFANT.index("left_knee")]
    np.testing.assert_allclose(moved, knee, atol=1e-6)


def test_errors_scatter_by_a_part_of_what_they_say():
    torch.manual_seed(1)
    error, told = draw_errors(400, 4)
    ratio = (error / told[..., None]).abs().median()
    # A normal error's median is 0.67 of its standard deviation, and 0.2 to 1.0 of it shows.
    assert 0.3 < float(ratio) < 0.5
    # What the frames of a clip share does not average out.
    mean = error.mean(dim=1).pow(2).median().sqrt() / error[:, 0].pow(2).median().sqrt()
    assert float(mean) > 0.55
