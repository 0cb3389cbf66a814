"""Structured pruning by L1 importance (Li et al., ICLR 2017): the weakest filters inside residual blocks go.

Only channels between a block's own convolutions are cut: nothing outside the block sees them, so no other layer
changes and the cut is real, not a mask of zeros that every runtime multiplies all the same.
"""

from __future__ import annotations

import torch
from torch import nn

from heightpose.errors import ConfigError

#: Runtimes work on channels in groups of eight: a width that is no multiple is padded, and the cut wasted.
_MULTIPLE = 8
_FEWEST = 8
#: Layers around a block's inner channels: what makes them, normalises them, and alone reads them.
_INNER = (("conv1", "bn1", "conv2"), ("conv2", "bn2", "conv3"))


def prune_blocks(model: nn.Module, share: float) -> tuple[int, int]:
    """Cut the given share of the inner channels of every residual block, weakest first; changes ``model``.

    A filter's importance is the L1 norm of its weights, folded with the normalisation that follows.

    Args:
        model: holds blocks of timm's form: conv1, bn1, conv2, bn2 and perhaps conv3.
        share: 0 to 0.9 of each block's inner channels; rounded so that a multiple of eight, at least 8, stays.

    Returns:
        Parameters before and after.

    Raises:
        ConfigError: the network has no block that can be pruned, or the share is too small to cut a channel.
    """
    before = _size(model)
    found = False
    for block in list(model.modules()):
        for names in _INNER:
            first, norm, second = (getattr(block, name, None) for name in names)
            if (
                isinstance(first, nn.Conv2d)
                and isinstance(norm, nn.BatchNorm2d)
                and isinstance(second, nn.Conv2d)
                and first.groups == second.groups == 1
                and first.out_channels == norm.num_features == second.in_channels
            ):
                _cut(first, norm, second, share)
                found = True
    if not found:
        raise ConfigError("this network has no residual blocks", where="--prune", hint="Leave --prune out")
    after = _size(model)
    if after == before:
        raise ConfigError(
            "no channel would be cut", where="--prune", expected=f"a share that makes {_MULTIPLE} channels of a block",
            got=share, hint="Give a larger share",
        )  # fmt: skip
    return before, after


def _cut(first: nn.Conv2d, norm: nn.BatchNorm2d, second: nn.Conv2d, share: float) -> None:
    width = first.out_channels
    kept = max(_FEWEST, -(-round(width * (1.0 - share)) // _MULTIPLE) * _MULTIPLE)
    if kept >= width:
        return
    with torch.no_grad():
        assert norm.running_var is not None
        assert norm.running_mean is not None
        scale = norm.weight.abs() / torch.sqrt(norm.running_var + norm.eps)
        importance = first.weight.abs().sum(dim=(1, 2, 3)) * scale
        keep = importance.topk(kept).indices.sort().values
        first.weight = nn.Parameter(first.weight[keep])
        if first.bias is not None:
            first.bias = nn.Parameter(first.bias[keep])
        norm.weight, norm.bias = nn.Parameter(norm.weight[keep]), nn.Parameter(norm.bias[keep])
        norm.running_mean, norm.running_var = norm.running_mean[keep], norm.running_var[keep]
        second.weight = nn.Parameter(second.weight[:, keep])
    first.out_channels = norm.num_features = second.in_channels = kept


def _size(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())
