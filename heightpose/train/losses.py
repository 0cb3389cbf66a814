"""What training minimises. Symbols: N pictures, K joints, h x w cells."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def heatmap_loss(pred: Tensor, target: Tensor, weights: Tensor, sigma: float) -> Tensor:
    """Weighted squared error of heatmaps, in units of an empty answer.

    Per map the squared error is summed and divided by the energy of its Gaussian, ``pi * sigma^2``: 1 means
    "as good as predicting nothing", whatever the resolution, so learning rates and loss weights carry over
    between sizes.

    Args:
        pred, target: ``(N, K, h, w)``.
        weights: ``(N, K)``, 0 where a joint takes no part.
        sigma: of the target's Gaussian, in heatmap px.

    Returns:
        Scalar; 0 (with a gradient of 0) when no joint takes part.
    """
    error = (pred.float() - target).square().sum(dim=(2, 3)) / (math.pi * sigma**2)
    return (error * weights).sum() / weights.sum().clamp_min(1e-6)


def centre_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Penalty-reduced focal loss (Zhou et al., "Objects as Points", 2019, eq. 1, alpha 2, beta 4).

    Args:
        logits: ``(N, h, w)`` before the sigmoid.
        target: ``(N, h, w)``: 1 in centre cells, a Gaussian around them, 0 elsewhere.

    Returns:
        Scalar: the sum over cells divided by the number of centres (at least 1).
    """
    logits = logits.float()
    found = logits.sigmoid()
    is_centre = target >= 1.0
    # logsigmoid, not log(sigmoid): finite for any logit.
    missed = -F.logsigmoid(logits) * (1 - found).square()
    false_alarm = -F.logsigmoid(-logits) * found.square() * (1 - target) ** 4
    return torch.where(is_centre, missed, false_alarm).sum() / is_centre.sum().clamp_min(1)


def detection_loss(
    raw: Tensor, centre: Tensor, regression: Tensor, weight: Tensor, box: float, angle: float
) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss of the detector's raw map; :func:`heightpose.codec.detection.encode_targets` makes the targets.

    Args:
        raw: ``(N, 7, h, w)``, channel 0 logits, 1..4 before the softplus.
        centre: ``(N, h, w)``; regression: ``(N, 6, h, w)``; weight: ``(N, h, w)``.
        box, angle: weights of the side distances (smooth L1) and of sine and cosine (L1).

    Returns:
        The scalar total, and its parts by name.
    """
    raw = raw.float()
    total_weight = weight.sum().clamp_min(1e-6)
    sides = F.smooth_l1_loss(F.softplus(raw[:, 1:5]), regression[:, :4], beta=0.1, reduction="none").mean(
        dim=1
    )
    turn = (raw[:, 5:7] - regression[:, 4:6]).abs().mean(dim=1)
    parts = {
        "centre": centre_loss(raw[:, 0], centre),
        "box": (sides * weight).sum() / total_weight,
        "angle": (turn * weight).sum() / total_weight,
    }
    return parts["centre"] + box * parts["box"] + angle * parts["angle"], parts
