"""Losses of coordinates, read from maps by a spatial softmax and its expectation, and of that softmax itself.

The expectation is differentiable (Sun et al., "Integral Human Pose Regression", ECCV 2018), so a loss of the
coordinate reaches every pixel. Nothing in it says what the map looks like around its mean; ``loss.shape`` adds a
little of the distribution's own loss, as DSNT does (Nibali et al., 2018), which also pulls where the others are flat.

Symbols: N pictures, K joints, h x w pixels of the heatmap. Coordinates are heatmap px, errors in units of the
target's sigma: the same at every resolution.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

#: Wing loss (Feng et al., CVPR 2018): logarithmic below this error, linear above; its ``w`` of 10 px of a 256 px
#: crop and ``epsilon`` of 2 px, in sigmas of the default Gaussian (2 heatmap px, 8 px of the crop).
_WING, _WING_EPSILON = 1.25, 0.25
#: Error up to which smooth L1 is quadratic, sigmas.
_SMOOTH = 0.25


def expectation(logits: Tensor) -> Tensor:
    """``(N, K, h, w)`` before the softmax to mean positions ``(N, K, 2)`` xy."""
    n, k, h, w = logits.shape
    share = logits.float().flatten(2).softmax(dim=-1).view(n, k, h, w)
    x = (share.sum(dim=2) * torch.arange(w, device=logits.device)).sum(dim=-1)
    y = (share.sum(dim=3) * torch.arange(h, device=logits.device)).sum(dim=-1)
    return torch.stack([x, y], dim=-1)


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Cross entropy of the spatial softmax with the target made a distribution, less the target's own entropy.

    Args:
        logits: ``(N, K, h, w)``; target: the same shape, not negative.

    Returns:
        ``(N, K)``: 0 for a perfect answer (it is the Kullback-Leibler divergence); 0 where the target is empty.
    """
    wanted = target.flatten(2)
    wanted = wanted / wanted.sum(dim=-1, keepdim=True).clamp_min(1e-12)
    # xlogy, not log: the target is exactly 0 away from its joint.
    return (torch.xlogy(wanted, wanted) - wanted * F.log_softmax(logits.float().flatten(2), dim=-1)).sum(-1)


def coordinate_losses(kind: str, error: Tensor) -> Tensor:
    """``(N, K)`` losses of errors ``(N, K, 2)`` in sigmas.

    ``l1``, ``smooth_l1`` and ``wing`` act on x and y by themselves and are averaged, ``euclidean`` is the distance.
    """
    if kind == "euclidean":
        # The root of 0 has no gradient.
        return (error.square().sum(dim=-1) + 1e-12).sqrt()
    size = error.abs()
    if kind == "l1":
        each = size
    elif kind == "smooth_l1":
        each = torch.where(size < _SMOOTH, size.square() / (2 * _SMOOTH), size - _SMOOTH / 2)
    elif kind == "wing":
        gap = _WING - _WING * math.log1p(_WING / _WING_EPSILON)
        each = torch.where(size < _WING, _WING * torch.log1p(size / _WING_EPSILON), size - gap)
    else:
        raise ValueError(f"kind: expected euclidean, l1, smooth_l1 or wing, got {kind!r}")
    return each.mean(dim=-1)


def oks_losses(kpts_hm: Tensor, truth_hm: Tensor, area: Tensor, sigmas: Tensor) -> Tensor:
    """One minus each joint's part of the object keypoint similarity: ``1 - exp(-d^2 / (2 area k^2))``, k = 2 sigma.

    The mean over a person's joints is one minus its OKS (:mod:`heightpose.metrics.oks`).

    Args:
        kpts_hm, truth_hm: ``(N, K, 2)``.
        area: ``(N,)`` heatmap px^2, of the person's box.
        sigmas: ``(K,)``.

    Returns:
        ``(N, K)`` in [0, 1].
    """
    square = (kpts_hm - truth_hm).square().sum(dim=-1)
    # expm1: next to the truth one minus the exponential would be rounding noise.
    return -torch.expm1(-square / (2 * area[:, None].clamp_min(1.0) * (2 * sigmas).square()))
