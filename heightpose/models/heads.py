"""Heads: a trunk's feature maps to one heatmap per joint, or (the known-bad baseline) to coordinates.

The last layer of every head is called ``out``: :mod:`heightpose.models.transfer` rearranges its channels when the
joints change.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def resize(x: Tensor, size: tuple[int, int] | None, factor: int = 1) -> Tensor:
    """Bilinear in the half-pixel convention of the whole project, to (height, width) or by a whole factor."""
    if size is not None:
        return F.interpolate(x, size=size, mode="bilinear", align_corners=False)
    if factor == 1:
        return x
    return F.interpolate(x, scale_factor=float(factor), mode="bilinear", align_corners=False)


class SingleHead(nn.Module):
    """1x1 convolution on the finest branch, the head of the published pose HRNet.

    Args:
        size: (height, width) of the heatmaps; None for the branch's own, whatever the input's size.
    """

    def __init__(self, channels: list[int], joints: int, size: tuple[int, int] | None = None) -> None:
        super().__init__()
        self.size = size
        self.out = nn.Conv2d(channels[0], joints, 1)

    def forward(self, branches: list[Tensor]) -> Tensor:
        return resize(self.out(branches[0]), self.size)


class ConcatHead(nn.Module):
    """All branches upsampled to the highest resolution, concatenated, 1x1 conv + BN + ReLU, 1x1 conv.

    Computed in the cheaper order: a 1x1 convolution of a concatenation is the sum of one 1x1 convolution per
    part, and it commutes with bilinear upsampling (both are linear, and the interpolation's weights are the
    same for all channels). So each branch is projected at its own resolution and the upsampled results are
    added, which gives the same numbers and the same parameters for a fraction of the work.

    Args:
        size: (height, width) of the heatmaps, to which every branch is then brought; None for the finest branch's
            own, whatever the input's size. The weights are the same for all sizes.
    """

    def __init__(self, channels: list[int], joints: int, size: tuple[int, int] | None = None) -> None:
        super().__init__()
        self.size = size
        width = 4 * channels[0]
        convs = [nn.Conv2d(c, width, 1, bias=False) for c in channels]
        fan_in = sum(channels)  # of the one convolution that the projections stand for
        for conv in convs:
            nn.init.normal_(conv.weight, std=(2.0 / fan_in) ** 0.5)
        self.project = nn.ModuleList(convs)
        self.norm = nn.BatchNorm2d(width)
        self.out = nn.Conv2d(width, joints, 1)

    def forward(self, branches: list[Tensor]) -> Tensor:
        total = resize(self.project[0](branches[0]), self.size)
        for i, (conv, branch) in enumerate(zip(self.project, branches, strict=True)):
            if i:
                total = total + resize(conv(branch), self.size, 2**i)
        return self.out(F.relu(self.norm(total)))


class DeconvHead(nn.Module):
    """Transposed convolutions of 256 channels, each doubling the size, then 1x1.

    With three of them on a ResNet this is SimpleBaseline (Xiao et al., ECCV 2018), with two on a ViT the
    classic decoder of ViTPose (Xu et al., NeurIPS 2022).
    """

    WIDTH = 256

    def __init__(self, channels: list[int], joints: int, doublings: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        c = channels[-1]
        for _ in range(doublings):
            # kernel 4, stride 2, padding 1: an output pixel's centre is where the half-pixel convention puts it
            up = nn.ConvTranspose2d(c, self.WIDTH, 4, 2, 1, bias=False)
            nn.init.normal_(up.weight, std=0.001)
            layers += [up, nn.BatchNorm2d(self.WIDTH), nn.ReLU()]
            c = self.WIDTH
        self.up = nn.Sequential(*layers)
        self.out = nn.Conv2d(c, joints, 1)

    def forward(self, features: list[Tensor]) -> Tensor:
        return self.out(self.up(features[-1]))


class UpsampleHead(nn.Module):
    """Bilinear upsampling to the heatmap's size, ReLU, 3x3 convolution: the simple decoder of ViTPose.

    Args:
        heatmap_wh: (width, height) px.
    """

    def __init__(self, channels: list[int], joints: int, heatmap_wh: tuple[int, int]) -> None:
        super().__init__()
        self.size = heatmap_wh[::-1]
        self.out = nn.Conv2d(channels[-1], joints, 3, padding=1)

    def forward(self, features: list[Tensor]) -> Tensor:
        x = F.interpolate(features[-1], size=self.size, mode="bilinear", align_corners=False)
        return self.out(F.relu(x))


class RegressionHead(nn.Module):
    """Mean over all positions, then one linear layer to the coordinates (Toshev and Szegedy, "DeepPose", 2014).

    A baseline known to be worse than heatmaps: averaging throws away where things are. Its limit: no scores, no
    covariance, no flip averaging of maps, so the runtime does not take it.

    Args:
        input_wh: (width, height) px of the crop that the coordinates are in.
    """

    size: Tensor

    def __init__(self, channels: list[int], joints: int, input_wh: tuple[int, int]) -> None:
        super().__init__()
        self.joints = joints
        self.out = nn.Linear(channels[-1], 2 * joints)  # x and y of a joint next to each other
        self.register_buffer("size", torch.tensor(input_wh, dtype=torch.float32), persistent=False)

    def forward(self, features: list[Tensor]) -> Tensor:
        """``(N, K, 2)`` crop px: 0 of the linear layer is the crop's middle, 1 a whole crop away."""
        # In bf16 the sum below would fall on a grid of half a pixel and more.
        share = self.out(features[-1].mean(dim=(2, 3))).float().reshape(-1, self.joints, 2)
        return (share + 0.5) * self.size - 0.5
