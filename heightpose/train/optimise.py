"""How weights move: the optimizer, the learning rate over a run, and which parts of a network stand still."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from heightpose.config import OptimConfig
from heightpose.errors import ConfigError

#: Parts of a pose net's trunk up to stage 3 and to stage 4, in order: what the policies of these names stop.
_BEFORE_STAGE3 = ("conv1", "bn1", "conv2", "bn2", "layer1", "transition1", "stage2", "transition2")
_BEFORE_STAGE4 = (*_BEFORE_STAGE3, "stage3", "transition3")


def learning_rate(optim: OptimConfig, step: int, progress: float) -> float:
    """Linear warm-up over steps, then down to ``final_lr * lr`` over ``progress`` 0..1.

    ``cosine``: half a cosine. ``step``: times ``step_factor`` at each of ``milestones``, never below the end.
    """
    warm = min(1.0, (step + 1) / max(optim.warmup_steps, 1))
    if optim.schedule == "step":
        passed = sum(progress >= milestone for milestone in optim.milestones)
        return optim.lr * warm * max(optim.final_lr, optim.step_factor**passed)
    cosine = 0.5 * (1.0 + math.cos(math.pi * min(max(progress, 0.0), 1.0)))
    return optim.lr * warm * (optim.final_lr + (1.0 - optim.final_lr) * cosine)


def check_schedule(optim: OptimConfig) -> None:
    """ConfigError for milestones that are not shares of the run in ascending order."""
    points = (0.0, *optim.milestones, 1.0)
    if optim.schedule == "step" and any(a >= b for a, b in itertools.pairwise(points)):
        raise ConfigError(
            "milestones out of order", where="optim.milestones", got=list(optim.milestones),
            expected="shares of the run between 0 and 1, ascending",
        )  # fmt: skip


def make_optimizer(
    optim: OptimConfig, parameters: Iterable[nn.Parameter], own: Iterable[nn.Parameter], *, fused: bool
) -> torch.optim.Optimizer:
    """AdamW, Adam or SGD over what is not frozen.

    Args:
        parameters: the network's; those of fewer than two dimensions (biases, normalisation) do not decay.
        own: the loss's, which do not decay either.
    """
    moving = [p for p in parameters if p.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in moving if p.ndim >= 2]},
        {"params": [p for p in moving if p.ndim < 2], "weight_decay": 0.0},
        {"params": list(own), "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    common: dict[str, Any] = {"lr": optim.lr, "weight_decay": optim.weight_decay, "fused": fused}
    if optim.optimizer == "sgd":
        return torch.optim.SGD(groups, momentum=optim.momentum, nesterov=optim.momentum > 0, **common)
    kind = torch.optim.Adam if optim.optimizer == "adam" else torch.optim.AdamW
    return kind(groups, **common)


def frozen_parts(net: nn.Module, policy: str) -> list[nn.Module]:
    """The modules of a network that a policy stops, weights and normalisation statistics alike.

    ``none``; ``all_but_head``: the whole trunk; ``all_but_stages_3_4``: the trunk up to stage 2, half of W18-small's
    work; ``all_but_stage4``: the trunk up to its last stage, so that stage 4 and the head learn;
    ``all_but_stage4_last_module``: of stage 4 only its last exchange module learns (HRNet-W32 has three, W18-small
    one); ``all_but_stage4_exchange``: of stage 4 only the layers that exchange between the resolutions of that
    module do.

    Raises:
        ConfigError: the network has no such parts.
    """
    if policy == "none":
        return []
    trunk = getattr(net, "trunk", None)
    if trunk is None or (policy != "all_but_head" and not hasattr(trunk, "stage4")):
        raise ConfigError(
            "the network has no part to leave out of freezing", where="optim.freeze", got=policy,
            expected="none or all_but_head" if trunk is not None else "none",
            hint="The policies about stages are for HRNet trunks",
        )  # fmt: skip
    if policy == "all_but_head":
        return [trunk]
    names = _BEFORE_STAGE3 if policy == "all_but_stages_3_4" else _BEFORE_STAGE4
    parts = [getattr(trunk, name) for name in names if isinstance(getattr(trunk, name, None), nn.Module)]
    *earlier, last = trunk.stage4
    if policy in ("all_but_stage4_last_module", "all_but_stage4_exchange"):
        parts += earlier
    if policy == "all_but_stage4_exchange":
        parts.append(last.branches)
    return parts


def freeze(parts: Iterable[nn.Module]) -> None:
    """Stop modules: no gradients, and normalisation as at inference, with statistics that stay."""
    for part in parts:
        part.requires_grad_(False).eval()


def with_statistics(net: nn.Module) -> list[nn.Module]:
    """The batch normalisations whose averages are not those of a new one: they came with weights."""
    return [
        part
        for part in net.modules()
        if isinstance(part, nn.modules.batchnorm._BatchNorm)
        and part.running_mean is not None
        and part.running_var is not None
        and not (bool((part.running_mean == 0).all()) and bool((part.running_var == 1).all()))
    ]


def keep_statistics(norms: Iterable[nn.Module]) -> None:
    """Let batch normalisations use the averages they have instead of each batch's own, which stay as they are.

    A batch of 16 tells other statistics than the hundreds that a GPU trains with, and its noise costs more than such a
    training gains (FrozenBatchNorm of detectors' fine-tuning; Wu & Johnson, "Rethinking 'Batch' in BatchNorm", 2021).
    """
    for norm in norms:
        norm.eval()
