"""Losses of coordinates by hand: their minimum is the truth, their units do not depend on the resolution."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from heightpose.codec.heatmap import EXPECTATION, HeatmapCodec
from heightpose.metrics import oks
from heightpose.models.expectation import softmax_maps, softmax_scale
from heightpose.train.coordinates import coordinate_losses, cross_entropy, expectation, oks_losses

CODEC = HeatmapCodec((128, 96), (32, 24), 1.5, EXPECTATION)


def logits_of(kpts_hm, sigma=1.5, wh=(32, 24)):
    """Logits whose softmax is a Gaussian."""
    x, y = torch.arange(wh[0]), torch.arange(wh[1])[:, None]
    kpts = torch.as_tensor(kpts_hm, dtype=torch.float32)[..., None, None, :]
    return -((x - kpts[..., 0]) ** 2 + (y - kpts[..., 1]) ** 2) / (2 * sigma**2)


def test_training_and_runtime_read_the_same_place_from_the_same_maps():
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 24, 32) * 3
    maps = softmax_maps(logits, softmax_scale(CODEC.sigma)).numpy()
    kpts_crop, scores = CODEC.decode(maps)
    expected = (expectation(logits).numpy() + 0.5) * 4 - 0.5  # an integer coordinate is a pixel's centre
    np.testing.assert_allclose(kpts_crop, expected, atol=1e-3)
    assert ((scores >= 0) & (scores <= 1)).all()


def test_a_gaussian_is_found_to_a_fraction_of_a_pixel_and_has_a_peak_of_one():
    places = torch.tensor([[[12.3, 9.8], [15.0, 12.0], [20.49, 7.51]]])
    logits = logits_of(places)
    assert (expectation(logits) - places).abs().max() < 0.01
    maps = softmax_maps(logits, softmax_scale(1.5))
    assert maps[0, 1].max().item() == pytest.approx(1.0, abs=0.01)
    kpts_crop, scores = CODEC.decode(maps.numpy())
    dark, _ = HeatmapCodec(CODEC.input_wh, CODEC.heatmap_wh, CODEC.sigma).decode(maps.numpy())
    np.testing.assert_allclose(kpts_crop, dark, atol=0.05)  # whoever reads them as heatmaps reads the same
    assert scores[0, 1] == pytest.approx(1.0, abs=0.01)


def test_an_empty_map_is_the_middle_with_score_nothing():
    kpts_crop, scores = CODEC.decode(np.zeros((1, 1, 24, 32)))
    assert scores.tolist() == [[0.0]]
    np.testing.assert_allclose(kpts_crop[0, 0], [63.5, 47.5])


def test_cross_entropy_is_nothing_at_the_target_and_the_divergence_elsewhere():
    places = torch.tensor([[[12.3, 9.8], [1.0, 12.0]]])
    target, _ = HeatmapCodec((128, 96), (32, 24), 1.5).encode(places.numpy() * 4 + 1.5, np.ones((1, 2), bool))
    target = torch.from_numpy(target)
    assert cross_entropy(logits_of(places), target).abs().max() < 1e-3
    uniform = cross_entropy(torch.zeros(1, 2, 24, 32), target)
    gaussian_entropy = math.log(2 * math.pi * math.e * 1.5**2)
    assert uniform[0, 0].item() == pytest.approx(math.log(24 * 32) - gaussian_entropy, abs=0.01)
    assert cross_entropy(torch.randn(1, 2, 24, 32), torch.zeros(1, 2, 24, 32)).tolist() == [[0.0, 0.0]]


def test_coordinate_losses_by_hand():
    error = torch.tensor([[[3.0, -4.0], [0.1, 0.0], [0.0, 0.0]]])
    assert coordinate_losses("l1", error)[0].tolist() == pytest.approx([3.5, 0.05, 0.0])
    assert coordinate_losses("euclidean", error)[0].tolist() == pytest.approx([5.0, 0.1, 0.0], abs=1e-5)
    # smooth L1 with beta 0.25, divided by beta as its slope outside is 1
    assert coordinate_losses("smooth_l1", error)[0].tolist() == pytest.approx(
        [(3 + 4) / 2 - 0.125, 0.01 / 0.5 / 2, 0]
    )
    wing = coordinate_losses("wing", error)[0]
    constant = 1.25 - 1.25 * math.log(1 + 1.25 / 0.25)
    assert wing.tolist() == pytest.approx([3.5 - constant, 1.25 * math.log(1.4) / 2, 0.0])


@pytest.mark.parametrize("kind", ["l1", "euclidean", "smooth_l1", "wing"])
def test_coordinate_losses_are_continuous_and_finite_where_they_bend(kind):
    # 0.25 and 1.25 are where smooth L1 and Wing change their form
    places = torch.tensor([0.0, 0.25 - 1e-5, 0.25 + 1e-5, 1.25 - 1e-5, 1.25 + 1e-5, 1e4])
    error = torch.stack([places, torch.zeros_like(places)], dim=-1)[None].requires_grad_()
    loss = coordinate_losses(kind, error)[0]
    loss.sum().backward()
    assert torch.isfinite(loss).all()
    assert torch.isfinite(error.grad).all()
    assert abs(loss[2] - loss[1]) < 1e-3
    assert abs(loss[4] - loss[3]) < 1e-3
    assert (loss.diff() >= 0).all()


def test_an_unknown_coordinate_loss_is_refused():
    with pytest.raises(ValueError, match="kind"):
        coordinate_losses("l3", torch.zeros(1, 1, 2))


def test_the_oks_loss_is_one_minus_the_metric():
    rng = np.random.default_rng(0)
    truth = rng.uniform(0, 30, (4, 21, 2))
    pred = truth + rng.normal(0, 2, truth.shape)
    area, sigmas = rng.uniform(100, 600, 4), rng.uniform(0.02, 0.1, 21)
    losses = oks_losses(*(torch.from_numpy(v) for v in (pred, truth, area, sigmas)))
    expected = oks.oks(pred, truth, np.ones((4, 21), bool), area, sigmas)
    np.testing.assert_allclose(1 - losses.mean(dim=1).numpy(), expected, atol=1e-6)
    assert oks_losses(*(torch.from_numpy(v) for v in (truth, truth, area, sigmas))).max() == 0
