"""Lite-HRNet: HRNet's branches built of shuffle blocks whose 1x1 convolutions became channel weights.

Yu et al., "Lite-HRNet: A Lightweight High-Resolution Network", CVPR 2021. Written anew from the paper, since no
maintained package has it; two things differ from the authors' code: its exchange units count the finest branch
twice, ours once, and its upsampling aligns corners, ours pixel centres as everywhere in this project.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

#: Exchange modules in the stages of two, three and four branches.
LITE_HRNETS = {"lite_hrnet_18": (2, 4, 2), "lite_hrnet_30": (3, 8, 3)}

_CHANNELS = (40, 80, 160, 320)
_STEM = 32
_BLOCKS = 2  # per module
_CROSS_RATIO, _SPATIAL_RATIO = 8, 4


def conv_bn(c_in: int, c_out: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution without bias and its normalisation."""
    conv = nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(c_out))


def separable(c_in: int, c_out: int, stride: int = 1, relu: bool = True) -> nn.Sequential:
    """Depthwise 3x3 and pointwise convolution, each normalised."""
    layers = [*conv_bn(c_in, c_in, 3, stride, c_in), *conv_bn(c_in, c_out, 1)]
    return nn.Sequential(*layers, *([nn.ReLU()] if relu else []))


def shuffle(x: Tensor) -> Tensor:
    """Channels of the two halves in turn, so that the next split mixes them."""
    _, c, h, w = x.shape
    return x.reshape(-1, 2, c // 2, h, w).transpose(1, 2).reshape(-1, c, h, w)


class Stem(nn.Module):
    """Input to 1/4: a strided convolution, then a strided shuffle block."""

    def __init__(self) -> None:
        super().__init__()
        half = _STEM // 2
        self.conv = nn.Sequential(*conv_bn(3, _STEM, 3, 2), nn.ReLU())
        self.left = separable(half, half, 2)
        self.right = nn.Sequential(*conv_bn(half, _STEM, 1), nn.ReLU(), separable(_STEM, half, 2))

    def forward(self, x: Tensor) -> Tensor:
        left, right = self.conv(x).chunk(2, dim=1)
        return shuffle(torch.cat([self.left(left), self.right(right)], dim=1))


class CrossWeights(nn.Module):
    """Weights of every channel and position, from all branches pooled to the smallest one's size (eq. 5)."""

    def __init__(self, channels: list[int]) -> None:
        super().__init__()
        self.channels = channels
        total = sum(channels)
        self.net = nn.Sequential(
            *conv_bn(total, total // _CROSS_RATIO, 1), nn.ReLU(),
            *conv_bn(total // _CROSS_RATIO, total, 1), nn.Sigmoid(),
        )  # fmt: skip

    def forward(self, branches: list[Tensor]) -> list[Tensor]:
        steps = [2**i for i in range(len(branches) - 1, -1, -1)]
        pooled = [F.avg_pool2d(b, s) if s > 1 else b for b, s in zip(branches, steps, strict=True)]
        weights = self.net(torch.cat(pooled, dim=1)).split(self.channels, dim=1)
        return [
            b * (F.interpolate(w, scale_factor=float(s), mode="nearest") if s > 1 else w)
            for b, w, s in zip(branches, weights, steps, strict=True)
        ]


class SpatialWeights(nn.Module):
    """Weights of every channel, from its mean over all positions (eq. 7)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        squeezed = channels // _SPATIAL_RATIO
        self.net = nn.Sequential(
            nn.Conv2d(channels, squeezed, 1), nn.ReLU(), nn.Conv2d(squeezed, channels, 1), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        return x * self.net(x.mean(dim=(2, 3), keepdim=True))


class Block(nn.Module):
    """Conditional channel weighting of half of each branch's channels; the other half passes by."""

    def __init__(self, channels: list[int]) -> None:
        super().__init__()
        half = [c // 2 for c in channels]
        self.cross = CrossWeights(half)
        self.depthwise = nn.ModuleList(conv_bn(c, c, 3, groups=c) for c in half)
        self.spatial = nn.ModuleList(SpatialWeights(c) for c in half)

    def forward(self, branches: list[Tensor]) -> list[Tensor]:
        halves = [b.chunk(2, dim=1) for b in branches]
        weighted = self.cross([h[1] for h in halves])
        return [
            shuffle(torch.cat([h[0], spatial(depthwise(w))], dim=1))
            for h, w, depthwise, spatial in zip(halves, weighted, self.depthwise, self.spatial, strict=True)
        ]


class Exchange(nn.Module):
    """Every branch becomes the sum of all of them, brought to its size and channels."""

    def __init__(self, channels: list[int]) -> None:
        super().__init__()
        count = len(channels)
        self.rows = nn.ModuleList(
            nn.ModuleList(self._path(channels, j, i) for j in range(count)) for i in range(count)
        )

    @staticmethod
    def _path(channels: list[int], source: int, target: int) -> nn.Module:
        if source == target:
            return nn.Identity()
        if source > target:
            up = nn.Upsample(scale_factor=float(2 ** (source - target)), mode="nearest")
            return nn.Sequential(*conv_bn(channels[source], channels[target], 1), up)
        steps = range(source + 1, target + 1)
        downs = (
            separable(channels[source], channels[target if k == target else source], 2, relu=k < target)
            for k in steps
        )
        return nn.Sequential(*downs)

    def forward(self, branches: list[Tensor]) -> list[Tensor]:
        out = []
        rows: Any = self.rows
        for row in rows:
            paths = [path(b) for path, b in zip(row, branches, strict=True)]
            out.append(F.relu(_sum(paths)))
        return out


def _sum(parts: list[Tensor]) -> Tensor:
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


class Stage(nn.Module):
    """A new, smaller branch, then so many modules of blocks and exchange."""

    def __init__(self, before: list[int], channels: list[int], modules: int) -> None:
        super().__init__()
        self.enter = nn.ModuleList(self._enter(before, c, i) for i, c in enumerate(channels))
        self.modules_ = nn.Sequential(
            *(
                nn.Sequential(*(Block(channels) for _ in range(_BLOCKS)), Exchange(channels))
                for _ in range(modules)
            )
        )

    @staticmethod
    def _enter(before: list[int], channels: int, branch: int) -> nn.Module:
        if branch == len(before):
            return separable(before[-1], channels, 2)
        return nn.Identity() if before[branch] == channels else separable(before[branch], channels)

    def forward(self, branches: list[Tensor]) -> list[Tensor]:
        branches = [enter(b) for enter, b in zip(self.enter, [*branches, branches[-1]], strict=True)]
        return self.modules_(branches)


class LiteHrnetTrunk(nn.Module):
    """Four branches at 1/4 to 1/32, each with what the coarser ones know added (the authors' iterative head).

    Args:
        backbone: one of :data:`LITE_HRNETS`.
        finest: return the finest branch alone.
    """

    multiple = 32

    def __init__(self, backbone: str, finest: bool = False) -> None:
        super().__init__()
        self.stem = Stem()
        stages, before = [], [_STEM]
        for count, modules in enumerate(LITE_HRNETS[backbone], start=2):
            channels = list(_CHANNELS[:count])
            stages.append(Stage(before, channels, modules))
            before = channels
        self.stages = nn.ModuleList(stages)
        # From the coarsest branch up: refine, and hand over in the next finer one's channels.
        self.collect = nn.ModuleList(separable(c, _CHANNELS[max(i - 1, 0)]) for i, c in enumerate(_CHANNELS))
        count = 1 if finest else len(_CHANNELS)
        self.channels = [_CHANNELS[max(i - 1, 0)] for i in range(count)]
        self.reductions = [4, 8, 16, 32][:count]

    def forward(self, image: Tensor) -> list[Tensor]:
        branches = [self.stem(image)]
        for stage in self.stages:
            branches = stage(branches)
        out: list[Tensor] = []
        for branch, collect in zip(reversed(branches), reversed(self.collect), strict=True):
            if out:
                up = F.interpolate(out[0], scale_factor=2.0, mode="bilinear", align_corners=False)
                branch = branch + up
            out.insert(0, collect(branch))
        return out[: len(self.channels)]
