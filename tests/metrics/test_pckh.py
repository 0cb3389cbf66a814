"""PCKh at its threshold, its means, and the traps around both."""

from __future__ import annotations

import numpy as np
import pytest

from heightpose.metrics.pckh import head_sizes, pck_torso, pckh, pckh_reference_01, summary
from heightpose.skeleton import INFANT

K = len(INFANT)
HEAD = 30.0


def people(n=1):
    truth = np.random.default_rng(0).uniform(0, 200, (n, K, 2))
    truth[:, INFANT.index("crown")] = truth[:, INFANT.index("upper_neck")] + [0.0, -HEAD]
    return truth


def off(truth, share, angle=0.7):
    return truth + share * HEAD * np.array([np.cos(angle), np.sin(angle)])


@pytest.mark.parametrize(
    ("share", "at_01", "at_reference"),
    [(0.095, 100, 100), (0.1, 100, 100), (0.105, 0, 100), (0.11, 0, 100), (0.115, 0, 0)],
)
def test_true_threshold_and_the_reference_variant(share, at_01, at_reference):
    truth = people()
    counted, size = np.ones((1, K), dtype=bool), np.array([HEAD])
    pred = off(truth, share)
    assert pckh(pred, truth, counted, size, 0.1).mean() == at_01
    assert pckh_reference_01(pred, truth, counted, size).mean() == at_reference


def test_the_threshold_itself_counts_whatever_the_rounding():
    truth = np.zeros((200, K, 2))
    size = np.linspace(3, 90, 200)
    pred = truth.copy()
    pred[..., 0] = (size * 0.1)[:, None]
    assert pckh(pred, truth, np.ones((200, K), dtype=bool), size, 0.1).mean() == 100.0


def test_mean_is_over_joints_not_over_labels():
    truth, counted = people(4), np.zeros((4, K), dtype=bool)
    counted[:, 0], counted[0, 1] = True, True
    pred = truth.copy()
    pred[0, 1] += HEAD  # the only one of its joint
    hits = pckh(pred, truth, counted, np.full(4, HEAD), 0.1)
    assert hits.per_joint[:3] == [100.0, 0.0, None]
    assert hits.counts[:3].tolist() == [4, 1, 0]
    assert hits.mean() == 50.0
    assert hits.mean(np.array([0])) == 100.0
    assert hits.mean(np.array([2])) is None


def test_a_missed_person_counts_all_joints_wrong():
    truth, pred = people(2), people(2)
    pred[1] = np.nan
    hits = pckh(pred, truth, np.ones((2, K), dtype=bool), np.full(2, HEAD), 0.1)
    assert hits.mean() == 50.0


def test_head_size_needs_both_joints():
    truth, labelled = people(2), np.ones((2, K), dtype=bool)
    labelled[1, INFANT.index("crown")] = False
    size, known = head_sizes(truth, labelled)
    assert known.tolist() == [True, False]
    assert size[0] == pytest.approx(HEAD)


def test_summary_keeps_seen_hidden_and_height_joints_apart():
    truth = people(3)
    visibility = np.full((3, K), 2)
    wrist, knee = INFANT.index("left_wrist"), INFANT.index("left_knee")
    visibility[:, knee] = 1
    pred = truth.copy()
    pred[:, wrist] += HEAD  # no height joint
    pred[0, knee] += HEAD  # hidden
    scores = summary(pred, truth, visibility, 0.1)
    assert scores["mean"] == pytest.approx(100 * (K - 2) / (K - 1))
    assert scores["mean_sms"] == 100.0
    assert scores["hidden_mean"] == pytest.approx(100 * 2 / 3)
    assert scores["hidden_mean_sms"] == pytest.approx(100 * 2 / 3)
    assert scores["per_joint"]["left_wrist"] == 0.0
    assert scores["counts"]["left_knee"] == 0


def test_the_interval_resamples_children_not_frames():
    truth = people(40)
    pred = truth.copy()
    pred[20:] += HEAD  # one of the two children is wrong throughout
    seen = np.full((40, K), 2)
    two = summary(pred, truth, seen, 0.1, children=["a"] * 20 + ["b"] * 20)
    assert two["mean_interval"] == two["mean_sms_interval"] == (0.0, 100.0)
    assert set(two["per_joint_interval"].values()) == {(0.0, 100.0)}
    low, high = summary(pred, truth, seen, 0.1, children=list(range(40)))["mean_interval"]
    assert 30 < low < 50 < high < 70
    with pytest.raises(ValueError, match="children"):
        summary(pred, truth, seen, 0.1, children=["a"])


def test_torso_pck_judges_only_people_with_a_torso():
    truth, labelled = people(2), np.ones((2, K), dtype=bool)
    labelled[1, INFANT.index("right_hip")] = False
    torso = np.linalg.norm(truth[0, INFANT.index("left_shoulder")] - truth[0, INFANT.index("right_hip")])
    assert pck_torso(truth + np.array([0.199 * torso, 0]), truth, labelled).mean() == 100.0
    assert pck_torso(truth + np.array([0.201 * torso, 0]), truth, labelled).mean() == 0.0
    assert pck_torso(truth, truth, labelled).counts.max() == 1


def test_shapes_and_sizes_are_checked():
    truth = people()
    with pytest.raises(ValueError, match="pred"):
        pckh(truth[:, :5], truth, np.ones((1, K), dtype=bool), np.array([HEAD]), 0.1)
    with pytest.raises(ValueError, match="head_size"):
        pckh(truth, truth, np.ones((1, K), dtype=bool), np.array([0.0]), 0.1)
    with pytest.raises(ValueError, match="a:"):
        pckh(truth, truth, np.ones((1, K), dtype=bool), np.array([HEAD]), 0.0)


def test_a_joint_that_one_child_has_makes_no_interval():
    truth = people(3)
    visibility = np.full((3, len(INFANT)), 2)
    visibility[1:, 0] = 1  # hidden but in the first
    found = summary(truth, truth, visibility, 0.1, children=["a", "b", "b"])
    assert found["per_joint_interval"][INFANT.names[0]] is None
    assert found["per_joint_interval"][INFANT.names[1]] is not None
    assert found["mean_interval"] is not None
    assert found["hidden_mean_interval"] is None  # only b has a hidden joint
    visibility[1:] = 0
    alone = summary(truth, truth, visibility, 0.1, children=["a", "b", "b"])
    assert alone["mean_interval"] is alone["mean_sms_interval"] is None
