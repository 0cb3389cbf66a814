"""The maps of a net that was trained through a spatial softmax, in the unit of any other net's heatmaps."""

from __future__ import annotations

import math

import torch


def softmax_scale(sigma: float) -> float:
    """What makes a distribution of the encoding's Gaussian a heatmap with a peak of 1: ``2 pi sigma^2``."""
    return 2 * math.pi * sigma**2


def softmax_maps(logits: torch.Tensor, scale: float) -> torch.Tensor:
    """``(N, K, h, w)`` before the softmax to heatmaps: positive, and their sum is ``scale``."""
    return logits.float().flatten(2).softmax(dim=-1).view(logits.shape) * scale
