"""The losses: their units, what they ignore, and that their minimum is the truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from heightpose.codec.detection import encode_targets
from heightpose.codec.heatmap import HeatmapCodec
from heightpose.train.losses import Tally, centre_loss, detection_parts, heatmap_losses, weighted_mean


def heatmap_loss(pred, target, weights, sigma):
    return weighted_mean(heatmap_losses(pred, target, sigma), weights)


@pytest.mark.parametrize("codec", [HeatmapCodec(), HeatmapCodec((128, 128), (32, 32), 1.5)])
def test_an_empty_answer_costs_one_whatever_the_resolution(codec):
    middle = np.full((2, 3, 2), codec.input_wh[0] / 2.0)
    target = torch.from_numpy(codec.encode(middle, np.ones((2, 3), bool))[0])
    weights = torch.ones(2, 3)
    assert heatmap_loss(torch.zeros_like(target), target, weights, codec.sigma).item() == pytest.approx(
        1, abs=0.01
    )
    assert heatmap_loss(target, target, weights, codec.sigma).item() == 0


def test_joints_without_weight_do_not_count_and_none_at_all_is_zero():
    pred = torch.rand(2, 3, 8, 8, requires_grad=True)
    target, weights = torch.rand(2, 3, 8, 8), torch.tensor([[1.0, 0.0, 0.5], [0.0, 0.0, 0.0]])
    heatmap_loss(pred, target, weights, 2.0).backward()
    used = pred.grad.abs().sum(dim=(2, 3)) > 0
    assert used.tolist() == [[True, False, True], [False, False, False]]
    nothing = heatmap_loss(pred, target, torch.zeros(2, 3), 2.0)
    assert nothing.item() == 0
    # A weight of a half counts half.
    one = heatmap_loss(pred[:1, :1], target[:1, :1], torch.ones(1, 1), 2.0)
    other = heatmap_loss(pred[:1, 2:], target[:1, 2:], torch.ones(1, 1), 2.0)
    both = heatmap_loss(pred, target, weights, 2.0)
    assert both.item() == pytest.approx((one.item() + 0.5 * other.item()) / 1.5, rel=1e-5)


def test_focal_loss_by_hand_and_finite_for_any_logit():
    target = torch.tensor([[[1.0, 0.5], [0.0, 0.0]]])
    logits = torch.tensor([[[0.0, 0.0], [math.log(3), -100.0]]])
    expected = 0.25 * math.log(2) * (1 + 0.5**4) + 0.75**2 * -math.log(0.25)
    assert centre_loss(logits, target).item() == pytest.approx(expected, rel=1e-5)
    extreme = torch.tensor([[[-1e4, 1e4], [1e4, -1e4]]], requires_grad=True)
    loss = centre_loss(extreme, target)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(extreme.grad).all()


def test_cells_of_unknown_presence_are_left_out():
    target = torch.tensor([[[1.0, 0.5], [0.0, 0.0]]])
    logits = torch.tensor([[[0.0, 0.0], [math.log(3), -100.0]]], requires_grad=True)
    loss = centre_loss(logits, target, torch.tensor([[[1.0, 1.0], [0.0, 1.0]]]))
    assert loss.item() == pytest.approx(0.25 * math.log(2) * (1 + 0.5**4), rel=1e-5)
    loss.backward()
    assert logits.grad[0, 1, 0] == 0
    assert (logits.grad[0, 0] != 0).all()


def raw_of(targets):
    """The raw map a perfect detector would give."""
    centre, regression = (torch.from_numpy(targets[k])[None] for k in ("centre", "regression"))
    sides = regression[:, :4].clamp_min(1e-3)
    logits = torch.where(centre >= 1, 20.0, -20.0)[:, None]
    return torch.cat([logits, sides.expm1().log(), regression[:, 4:]], dim=1)


def test_the_perfect_detection_map_has_next_to_no_loss_and_each_error_its_own_part():
    targets = encode_targets(np.array([[40.0, 50, 180, 230]]), np.array([30.0]))
    given = {k: torch.from_numpy(v)[None] for k, v in targets.items()}

    def parts(raw):
        return detection_parts(raw, given["centre"], given["regression"], given["weight"])

    perfect = raw_of(targets)
    assert sum(parts(perfect).values()).item() < 1e-3
    for channels, name in ((slice(0, 1), "presence"), (slice(1, 5), "box"), (slice(5, 7), "angle")):
        wrong = perfect.clone()
        wrong[:, channels] += 1.0 if name != "presence" else -25.0
        found = parts(wrong)
        assert found[name].item() > 0.3
        assert sum(found.values()).item() == pytest.approx(found[name].item(), abs=1e-3)


def test_an_empty_cot_teaches_only_that_nobody_is_there():
    targets = encode_targets(np.zeros((0, 4)), np.zeros(0))
    raw = torch.zeros(1, 7, 32, 32, requires_grad=True)
    parts = detection_parts(
        raw, *(torch.from_numpy(targets[k])[None] for k in ("centre", "regression", "weight"))
    )
    sum(parts.values()).backward()
    assert (raw.grad[:, 0] > 0).all()
    assert raw.grad[:, 1:].abs().max() == 0


def test_a_tally_gives_each_part_its_weighted_mean_over_all_that_was_added():
    tally = Tally(("crown", "heel", "toe"))
    assert tally.means() == {"crown": None, "heel": None, "toe": None}
    tally.add(
        torch.tensor([[1.0, 4.0, 9.0], [3.0, 4.0, 9.0]]), torch.tensor([[1.0, 0.5, 0.0], [3.0, 0.0, 0.0]])
    )
    tally.add(torch.tensor([[2.0, 1.0, 9.0]]), torch.tensor([[0.0, 1.0, 0.0]]))
    assert tally.means() == {"crown": pytest.approx(2.5), "heel": pytest.approx(2.0), "toe": None}
