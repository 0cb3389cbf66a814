"""Learned weights of several losses: what they are at once, and where they go."""

from __future__ import annotations

import math

import pytest
import torch

from heightpose.train.balance import GradNorm, Uncertainty, make_balance

NAMES = ("presence", "box", "angle")


def test_uncertainty_is_kendalls_equation():
    balance = Uncertainty(NAMES)
    parts = {"presence": torch.tensor(0.5), "box": torch.tensor(2.0), "angle": torch.tensor(1.0)}
    assert balance(parts, torch.zeros(1)).item() == pytest.approx(0.5 + 1.0 + 0.5)
    with torch.no_grad():
        balance.log_variance.copy_(torch.tensor([0.0, math.log(4.0), 0.0]))
    assert balance(parts, torch.zeros(1)).item() == pytest.approx(0.5 + 2.0 / 8 + 0.5 * math.log(4) + 0.5)
    assert balance.weights()["box"] == pytest.approx(1 / 8)


def test_uncertainty_ends_where_each_variance_is_its_loss():
    """At the optimum exp(s) is the loss of a regression, and twice that of a classification."""
    balance = Uncertainty(NAMES)
    parts = {"presence": torch.tensor(0.3), "box": torch.tensor(2.0), "angle": torch.tensor(0.05)}
    optimizer = torch.optim.Adam(balance.parameters(), lr=0.05)
    for _ in range(400):
        optimizer.zero_grad()
        balance(parts, torch.zeros(1)).backward()
        optimizer.step()
    assert balance.log_variance.exp().tolist() == pytest.approx([0.6, 2.0, 0.05], rel=0.02)


def linear_tasks(scales):
    """Three regressions through one shared layer, each in a unit of its own."""
    torch.manual_seed(0)
    shared = torch.nn.Parameter(torch.randn(4, 4))
    inputs, wanted = torch.randn(64, 4), torch.randn(3, 64)

    def losses():
        hidden = inputs @ shared
        return {
            name: scale * (hidden[:, i] - wanted[i]).square().mean()
            for i, (name, scale) in enumerate(zip(NAMES, scales, strict=True))
        }

    return shared, losses


def test_gradnorm_evens_out_gradients_of_losses_in_different_units():
    shared, losses = linear_tasks((1.0, 10.0, 0.1))
    balance = GradNorm(NAMES, alpha=0.0)
    for _ in range(400):
        balance(losses(), shared)
    weights = balance.weights()
    norms = [
        weights[n] * torch.autograd.grad(loss, shared, retain_graph=True)[0].norm().item()
        for n, loss in losses().items()
    ]
    assert max(norms) / min(norms) < 1.3
    assert sum(weights.values()) == pytest.approx(3.0)


def test_gradnorm_gives_more_to_what_has_learned_less():
    shared, losses = linear_tasks((1.0, 1.0, 1.0))
    plain, pulled = GradNorm(NAMES, alpha=0.0), GradNorm(NAMES, alpha=1.5)
    for balance in (plain, pulled):
        balance(losses(), shared)
        balance.initial[0] *= 20  # as if presence had fallen to a twentieth, the others not at all
        for _ in range(300):
            balance(losses(), shared)
    assert pulled.weights()["presence"] < 0.5 * plain.weights()["presence"]


def test_gradnorm_leaves_the_gradients_of_the_network_to_the_total():
    shared, losses = linear_tasks((1.0, 2.0, 3.0))
    parts = losses()
    total = GradNorm(NAMES)(parts, shared)
    total.backward()
    expected = torch.autograd.grad(sum(losses().values()), shared)[0]
    torch.testing.assert_close(shared.grad, expected)


def test_a_step_that_is_not_finite_moves_no_weight():
    shared, losses = linear_tasks((1.0, 2.0, 3.0))
    balance = GradNorm(NAMES)
    parts = losses()
    parts["box"] = parts["box"] * float("nan")
    balance(parts, shared)
    assert balance.weights() == dict.fromkeys(NAMES, 1.0)


def test_gradnorm_goes_on_from_its_state():
    shared, losses = linear_tasks((1.0, 10.0, 0.1))
    whole, part = GradNorm(NAMES), GradNorm(NAMES)
    for _ in range(5):
        whole(losses(), shared)
        part(losses(), shared)
    resumed = GradNorm(NAMES)
    resumed.load_state_dict(part.state_dict())
    whole(losses(), shared)
    resumed(losses(), shared)
    assert resumed.weights() == whole.weights()


def test_fixed_weights_need_nothing():
    assert make_balance("fixed", NAMES, 1.5) is None
