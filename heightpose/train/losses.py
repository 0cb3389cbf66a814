"""What training minimises. Symbols: N pictures, K joints, h x w cells."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


class Tally:
    """Weighted sums of a loss's parts over an epoch, where they were made: reading them waits for the device.

    Args:
        names: of the parts, P of them.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self.sums: Tensor | None = None

    def add(self, values: Tensor, weights: Tensor) -> None:
        """Losses ``(..., P)`` and what each counts, of the same shape."""
        values, weights = (v.detach().double().reshape(-1, len(self.names)) for v in (values, weights))
        both = torch.stack([(values * weights).sum(dim=0), weights.sum(dim=0)])
        self.sums = both if self.sums is None else self.sums + both

    def means(self) -> dict[str, float | None]:
        """Mean of each part; None where nothing counted."""
        if self.sums is None:
            return dict.fromkeys(self.names)
        total, weight = self.sums.tolist()
        return {n: t / w if w > 0 else None for n, t, w in zip(self.names, total, weight, strict=True)}


def weighted_mean(values: Tensor, weights: Tensor) -> Tensor:
    """Scalar; 0 (with a gradient of 0) when nothing has weight."""
    return (values * weights).sum() / weights.sum().clamp_min(1e-6)


def heatmap_losses(pred: Tensor, target: Tensor, sigma: float) -> Tensor:
    """``(N, K)``: squared error of each heatmap, in units of an empty answer.

    Per map the squared error is summed and divided by the energy of its Gaussian, ``pi * sigma^2``: 1 means
    "as good as predicting nothing", whatever the resolution, so learning rates and loss weights carry over
    between sizes.

    Args:
        pred, target: ``(N, K, h, w)``.
        sigma: of the target's Gaussian, in heatmap px.
    """
    return (pred.float() - target).square().sum(dim=(2, 3)) / (math.pi * sigma**2)


def centre_loss(logits: Tensor, target: Tensor, known: Tensor | None = None) -> Tensor:
    """Penalty-reduced focal loss (Zhou et al., "Objects as Points", 2019, eq. 1, alpha 2, beta 4).

    Args:
        logits: ``(N, h, w)`` before the sigmoid.
        target: ``(N, h, w)``: 1 in centre cells, a Gaussian around them, 0 elsewhere.
        known: ``(N, h, w)``: 0 in cells that are left out; all count by default.

    Returns:
        Scalar: the sum over cells divided by the number of centres (at least 1).
    """
    logits = logits.float()
    found = logits.sigmoid()
    is_centre = target >= 1.0
    # logsigmoid, not log(sigmoid): finite for any logit.
    missed = -F.logsigmoid(logits) * (1 - found).square()
    false_alarm = -F.logsigmoid(-logits) * found.square() * (1 - target) ** 4
    cells = torch.where(is_centre, missed, false_alarm)
    return (cells if known is None else cells * known).sum() / is_centre.sum().clamp_min(1)


#: What the detector's loss is made of.
DETECTION_PARTS = ("presence", "box", "angle")


def detection_parts(
    raw: Tensor, centre: Tensor, regression: Tensor, weight: Tensor, known: Tensor | None = None
) -> dict[str, Tensor]:
    """Losses of the detector's raw map; :func:`heightpose.codec.detection.encode_targets` makes the targets.

    Args:
        raw: ``(N, 7, h, w)``, channel 0 logits, 1..4 before the softplus.
        centre: ``(N, h, w)``; regression: ``(N, 6, h, w)``; weight and known: ``(N, h, w)``.

    Returns:
        scalars by name: "presence" (focal), "box" (smooth L1 of the side distances), "angle" (L1 of sine and cosine).
    """
    raw = raw.float()
    total_weight = weight.sum().clamp_min(1e-6)
    sides = F.smooth_l1_loss(F.softplus(raw[:, 1:5]), regression[:, :4], beta=0.1, reduction="none").mean(
        dim=1
    )
    turn = (raw[:, 5:7] - regression[:, 4:6]).abs().mean(dim=1)
    return {
        "presence": centre_loss(raw[:, 0], centre, known),
        "box": (sides * weight).sum() / total_weight,
        "angle": (turn * weight).sum() / total_weight,
    }
