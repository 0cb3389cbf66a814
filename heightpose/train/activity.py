"""Which inner channels of a network are dead."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from heightpose.train.observed import DeadLayer, Look

#: A channel that varies by less than this share of its layer's is dead.
_DEAD = 1e-6
#: Of fewer values nothing is said: in two inputs a unit may be off by chance.
_VALUES = 512


class Activity:
    """The range of every inner channel over the inputs that pass while hooks are set on activations."""

    def __init__(self, net: nn.Module) -> None:
        self._range: dict[str, tuple[Tensor, Tensor]] = {}
        self._values: dict[str, int] = {}
        self._hooks = []
        self._calls: dict[str, int] = {}
        self._hooks.append(net.register_forward_pre_hook(lambda *_: self._calls.clear()))
        for name, module in net.named_modules():
            if type(module).__module__ == nn.ReLU.__module__ and not list(module.children()):
                self._hooks.append(module.register_forward_hook(self._watch(name)))

    def _watch(self, name: str) -> Any:
        def see(_module: nn.Module, _inputs: Any, output: Any) -> None:
            # One module may serve at several places of a net.
            call = self._calls[name] = self._calls.get(name, 0) + 1
            key = name if call == 1 else f"{name} (use {call})"
            if not isinstance(output, Tensor) or output.ndim not in (3, 4):
                return
            others = (0, 2, 3) if output.ndim == 4 else (0, 1)
            output = output.detach()
            low, high = output.amin(dim=others), output.amax(dim=others)
            if key in self._range:
                before = self._range[key]
                low, high = torch.minimum(low, before[0]), torch.maximum(high, before[1])
            self._range[key] = (low, high)
            self._values[key] = self._values.get(key, 0) + output.numel() // len(low)

        return see

    def close(self) -> None:
        """Let go of the network."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = []

    def into(self, look: Look) -> Look:
        """The look with the channels that are dead."""
        dead, channels = [], 0
        for name, (low, high) in self._range.items():
            if self._values[name] < _VALUES:
                continue
            channels += len(low)
            varies = high.float() - low.float()
            number = int((varies <= _DEAD * varies.max().clamp_min(1e-12)).sum())
            if number:
                dead.append(DeadLayer(name, number, len(low)))
        return replace(look, channels=channels, dead=tuple(dead))
