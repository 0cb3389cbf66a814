"""How frames are joined: weights, robustness and what each contributed, worked out independently."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from heightpose.geometry.clip_lift import combine
from heightpose.geometry.lift import EMBEDDING, LiftedFrames, LiftNet, default_lift

LENGTHS_CM = np.array([35.0, 16.0, 13.0, 16.0, 13.0])


def frames(log_change: np.ndarray, sd: np.ndarray, embedding: np.ndarray | None = None) -> LiftedFrames:
    """Bones that are longer by ``(T, 5)`` log and known to ``(T, 5)``."""
    count = len(log_change)
    rows = np.zeros((count, EMBEDDING)) if embedding is None else embedding
    return LiftedFrames(np.zeros((count, 21, 3)), LENGTHS_CM * np.exp(log_change), sd, np.ones(count), rows)


def reading(clip_input: int) -> LiftNet:
    """A network whose log standard deviation of the whole length is one of its inputs, and which corrects nothing."""
    weight = np.zeros((default_lift().clip[0][0].shape[0], 7))
    weight[clip_input, 6] = 1.0
    return LiftNet((), ((weight, np.zeros(7)),), np.ones(3))


def huber(values: np.ndarray, sd: np.ndarray) -> float:
    """The place of least cost: squares up to 1.5 standard deviations, beyond them straight lines."""

    def cost(at: float) -> float:
        pull = np.abs(values - at) / sd
        return float(np.where(pull <= 1.5, pull**2 / 2, 1.5 * pull - 1.5**2 / 2).sum())

    return float(minimize_scalar(cost, bounds=(-1, 1), method="bounded", options={"xatol": 1e-9}).x)


def test_the_mean_is_hubers_and_shares_say_what_each_frame_gave() -> None:
    rng = np.random.default_rng(0)
    change, sd = rng.normal(0, 0.03, (9, 5)), rng.uniform(0.01, 0.05, (9, 5))
    change[4] += 0.15  # a frame far off the others
    bones = combine(frames(change, sd), reading(0))
    for bone, columns in enumerate(((0,), (1, 3), (2, 4))):
        values, sds = change[:, columns], sd[:, columns]
        mean = huber(values.ravel(), sds.ravel())
        assert np.log(bones.lengths_cm[bone] / LENGTHS_CM[columns[0]]) == pytest.approx(mean, abs=1e-3)
        weight = np.minimum(1.0, 1.5 * sds / np.abs(values - mean)) / sds**2
        share = weight / weight.sum()
        np.testing.assert_allclose(bones.shares[:, bone], share.sum(axis=1), atol=5e-3)
        spread = np.sqrt((share * (values - mean) ** 2).sum())
        assert bones.spread[bone] == pytest.approx(spread, rel=0.02)


def test_the_network_is_told_what_it_was_trained_with() -> None:
    rng = np.random.default_rng(1)
    change, sd = rng.normal(0, 0.02, (3, 5)), rng.uniform(0.01, 0.05, (3, 5))
    rows = rng.normal(0, 0.3, (3, EMBEDDING))
    three = frames(change, sd, rows)
    bones = combine(three, reading(0))
    upper, thigh, shank = np.log(bones.lengths_cm)
    share = bones.shares.mean(axis=1)
    told = {
        0: thigh - upper, 1: shank - upper, **{2 + k: bones.spread[k] for k in range(3)},
        5: np.log(sd[:, 0].min()), 6: np.log(sd[:, [1, 3]].min()), 7: np.log(sd[:, [2, 4]].min()),
        8: np.log(3), 9: share @ rows[:, 0], 9 + EMBEDDING - 1: share @ rows[:, -1],
    }  # fmt: skip
    for clip_input, value in told.items():
        said = combine(three, reading(clip_input)).length_relative_sd
        assert np.log(said) == pytest.approx(np.clip(value, -6.0, 1.0), abs=1e-9)


def test_more_frames_than_eight_are_told_as_eight_and_no_answer_is_boundless() -> None:
    net = reading(8)
    weight = net.clip[0][0]
    weight[8] = [9.0, -9.0, 0.04, -9.0, 9.0, 0.0, 0.4]
    for count, told in ((2, 2), (8, 8), (9, 8), (30, 8)):
        bones = combine(frames(np.zeros((count, 5)), np.full((count, 5), 0.02)), net)
        assert bones.length_relative_sd == pytest.approx(told**0.4)
        np.testing.assert_allclose(
            np.log(bones.lengths_cm / LENGTHS_CM[:3]), [0.4, -0.4, 0.04 * np.log(told)]
        )
        np.testing.assert_allclose(np.log(bones.relative_sd), [-6.0, 1.0, 0.0], atol=1e-9)
