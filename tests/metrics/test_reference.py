"""Our PCKh beside the reference evaluation's own arithmetic (HRNet's and DARK's lib/dataset/mpii.py, evaluate())."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import trapezoid

from heightpose.metrics.curve import THRESHOLDS, pckh_curve
from heightpose.metrics.pckh import head_size_mpii, pckh, pckh_reference_01
from heightpose.skeleton import MPII


@pytest.fixture(scope="module")
def case():
    """60 people with errors that spread around every threshold, some joints not labelled."""
    rng = np.random.default_rng(3)
    truth = rng.uniform(100, 900, (60, len(MPII), 2))
    box = np.column_stack([rng.uniform(0, 50, (60, 2)), rng.uniform(80, 160, (60, 2))])
    size = head_size_mpii(box)
    angle, far = rng.uniform(0, 6.3, truth.shape[:2]), rng.uniform(0, 0.7, truth.shape[:2]) * size[:, None]
    pred = truth + far[..., None] * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    return pred, truth, rng.random(truth.shape[:2]) < 0.8, box


def reference(pred, truth, visible, box):
    """evaluate() as published: joints first, headboxes (2, 2, n), and its thresholds."""
    pos_pred, pos_gt = pred.transpose(1, 2, 0), truth.transpose(1, 2, 0)
    headboxes, jnt_visible = box.reshape(-1, 2, 2).transpose(1, 2, 0), visible.T.astype(float)
    uv_error = np.linalg.norm(pos_pred - pos_gt, axis=1)
    headsizes = np.linalg.norm(headboxes[1] - headboxes[0], axis=0) * 0.6
    scaled = np.divide(uv_error, np.multiply(headsizes, np.ones((len(uv_error), 1)))) * jnt_visible
    count = np.sum(jnt_visible, axis=1)
    rng = np.arange(0, 0.5 + 0.01, 0.01)
    pck_all = np.zeros((len(rng), len(uv_error)))
    for r, threshold in enumerate(rng):
        pck_all[r] = 100.0 * np.sum((scaled <= threshold) * jnt_visible, axis=1) / count
    pckh_05 = 100.0 * np.sum((scaled <= 0.5) * jnt_visible, axis=1) / count
    ratio = count / count.sum()
    return pckh_05, pck_all, float(np.sum(pck_all[11] * ratio)), float(np.sum(pckh_05 * ratio))


def test_per_joint_and_the_published_0_1_which_is_0_11(case):
    pred, truth, visible, box = case
    pckh_05, pck_all, mean_01, mean_05 = reference(pred, truth, visible, box)
    size = head_size_mpii(box)
    ours = pckh(pred, truth, visible, size, 0.5)
    assert ours.per_joint == pytest.approx(pckh_05)
    published = pckh_reference_01(pred, truth, visible, size)
    assert published.per_joint == pytest.approx(pck_all[11])
    # The reference weighs joints by how often they are labelled, ours is the plain mean.
    weights = ours.counts / ours.counts.sum()
    assert np.dot(published.per_joint, weights) == pytest.approx(mean_01)
    assert np.dot(ours.per_joint, weights) == pytest.approx(mean_05)
    assert pckh(pred, truth, visible, size, 0.1).mean() < published.mean()


def test_the_curve_is_the_reference_at_every_threshold(case):
    pred, truth, visible, box = case
    _, pck_all, _, _ = reference(pred, truth, visible, box)
    curve = pckh_curve(pred, truth, visible, head_size_mpii(box))
    assert len(THRESHOLDS) == len(pck_all) == 51
    assert np.array([h.per_joint for h in curve.hits]) == pytest.approx(pck_all)
    means = pck_all.mean(axis=1)
    assert curve.auc() == pytest.approx(trapezoid(means, THRESHOLDS) / 0.5)  # MPII's area_under_curve
    assert curve.auc_per_joint()[3] == pytest.approx(trapezoid(pck_all[:, 3], THRESHOLDS) / 0.5)


def test_the_area_of_known_curves():
    truth, counted, size = np.zeros((1, 1, 2)), np.ones((1, 1), dtype=bool), np.array([100.0])

    def auc(error_px):
        return pckh_curve(truth + [error_px, 0.0], truth, counted, size).auc()

    assert auc(0.0) == pytest.approx(100.0)
    assert auc(51.0) == 0.0
    # The curve is a step, its rise shared by two thresholds.
    assert auc(20.0) == pytest.approx(100 * (0.5 - 0.2 + 0.005) / 0.5)
    # straddling a threshold of the grid
    assert auc(9.5) == auc(10.0) > auc(10.5) == auc(11.0) > auc(11.5)
