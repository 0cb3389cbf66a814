"""Weights of several losses that are learned with the network, in place of fixed ones.

The parts of a loss are named scalars; here they are the detector's presence, box and angle.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

#: Presence is a classification, the others regressions: their likelihoods differ by a factor of 2.
_CLASSIFICATION = ("presence",)


class Uncertainty(nn.Module):
    """Weights from each task's learned noise (Kendall, Gal and Cipolla, CVPR 2018, eq. 10).

    With ``s = log(sigma^2)`` a regression's loss ``L`` becomes ``exp(-s) L / 2 + s / 2``, a classification's
    ``exp(-s) L + s / 2``; every ``s`` begins at 0. The total may be negative.
    """

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__()
        self.names = tuple(names)
        self.log_variance = nn.Parameter(torch.zeros(len(self.names)))
        factor = torch.tensor([1.0 if name in _CLASSIFICATION else 0.5 for name in self.names])
        self.register_buffer("factor", factor, persistent=False)
        self.factor: Tensor

    def weights(self) -> dict[str, float]:
        """What each part is multiplied by now."""
        now = self.factor * torch.exp(-self.log_variance.detach())
        return dict(zip(self.names, now.tolist(), strict=True))

    def forward(self, parts: dict[str, Tensor], shared: Tensor) -> Tensor:
        """The total; ``shared`` is not looked at."""
        losses = torch.stack([parts[name] for name in self.names])
        return (self.factor * torch.exp(-self.log_variance) * losses + 0.5 * self.log_variance).sum()


class GradNorm(nn.Module):
    """Weights that let all tasks learn at one rate (Chen et al., ICML 2018).

    The gradient of each weighted loss at the last layer that the tasks share should have the norm
    ``mean norm * (relative inverse training rate)^alpha``: tasks whose loss has fallen less than the others' get
    more. The weights go one step along the gradient of the absolute differences (eq. 2) with the targets held
    fixed, and then are scaled so that they sum to the number of tasks. The gradient is that by the weights'
    logarithms, divided by the mean norm: a step then has no unit, and losses a hundred times apart neither make it
    swing nor stand still.

    Args:
        alpha: how strongly the training rates are pulled together; the paper's 1.5 for tasks that differ a lot.
        rate: of the weights' steps.
    """

    def __init__(self, names: Sequence[str], alpha: float = 1.5, rate: float = 0.025) -> None:
        super().__init__()
        self.names, self.alpha, self.rate = tuple(names), alpha, rate
        self.register_buffer("weight", torch.ones(len(self.names)))
        # Losses of the first step; 0: there was none yet. In the checkpoint, as a resumed run must know them.
        self.register_buffer("initial", torch.zeros(len(self.names)))
        self.weight: Tensor
        self.initial: Tensor

    def weights(self) -> dict[str, float]:
        """What each part is multiplied by now."""
        return dict(zip(self.names, self.weight.tolist(), strict=True))

    def forward(self, parts: dict[str, Tensor], shared: Tensor) -> Tensor:
        """The total with the weights as they are; then they move.

        Args:
            parts: scalars by name.
            shared: weights of the last layer that all parts depend on.
        """
        losses = torch.stack([parts[name] for name in self.names])
        total = (self.weight.clone() * losses).sum()
        norms = torch.stack([_gradient_norm(parts[name], shared) for name in self.names])
        self._move(_mean_over_processes(losses.detach()), _mean_over_processes(norms))
        return total

    @torch.no_grad()
    def _move(self, losses: Tensor, norms: Tensor) -> None:
        if not (torch.isfinite(losses).all() and torch.isfinite(norms).all()):
            return
        self.initial.copy_(torch.where(self.initial > 0, self.initial, losses))
        rate = losses / self.initial.clamp_min(1e-12)
        rate = rate / rate.mean().clamp_min(1e-12)
        weighted = self.weight * norms
        wanted = weighted.mean() * rate**self.alpha
        slope = weighted / weighted.mean().clamp_min(1e-12) * torch.sign(weighted - wanted)
        self.weight.mul_(torch.exp(-self.rate * slope)).clamp_(min=1e-3)
        self.weight.mul_(len(self.names) / self.weight.sum())


def make_balance(kind: str, names: Sequence[str], alpha: float) -> Uncertainty | GradNorm | None:
    """What ``loss.balance`` names; None for fixed weights."""
    if kind == "uncertainty":
        return Uncertainty(names)
    return GradNorm(names, alpha) if kind == "gradnorm" else None


def _gradient_norm(loss: Tensor, shared: Tensor) -> Tensor:
    (gradient,) = torch.autograd.grad(loss, shared, retain_graph=True)
    return gradient.float().norm()


def _mean_over_processes(values: Tensor) -> Tensor:
    """The same in every process, or their weights would part."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.all_reduce(values)
        values = values / torch.distributed.get_world_size()
    return values
