"""The pose network: a timm HRNet trunk and a small head that turns its branches into one heatmap per joint.

The trunk keeps the names of the published code (Sun et al., CVPR 2019), so a published pose checkpoint loads
through :mod:`heightpose.models.transfer`. Everything that only the ImageNet classifier uses is removed: every
parameter of a :class:`PoseNet` takes part in the heatmaps.
"""

from __future__ import annotations

from typing import Any

import timm
import torch
from torch import nn
from torch.nn import functional as F

from heightpose.errors import ConfigError

BACKBONES = ("hrnet_w18_small", "hrnet_w18_small_v2", "hrnet_w32", "hrnet_w48")
HEADS = ("single", "concat")

#: Input sizes must be multiples of this: the lowest-resolution branch runs at 1/32.
SIZE_MULTIPLE = 32

IMAGENET_MEAN = (123.675, 116.28, 103.53)  # RGB, 0..255
IMAGENET_STD = (58.395, 57.12, 57.375)


class Normalise(nn.Module):
    """ImageNet mean and std on RGB 0..255, inside the graph so that no caller can forget it."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        # Not persistent: constants of the architecture, not weights.
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1), persistent=False)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return (image - self.mean) / self.std


class SingleHead(nn.Module):
    """1x1 convolution on the highest-resolution branch, the head of the published pose HRNet."""

    def __init__(self, channels: list[int], joints: int) -> None:
        super().__init__()
        self.out = nn.Conv2d(channels[0], joints, 1)

    def forward(self, branches: list[torch.Tensor]) -> torch.Tensor:
        return self.out(branches[0])


class ConcatHead(nn.Module):
    """All branches upsampled to the highest resolution, concatenated, 1x1 conv + BN + ReLU, 1x1 conv.

    Computed in the cheaper order: a 1x1 convolution of a concatenation is the sum of one 1x1 convolution per
    part, and it commutes with bilinear upsampling (both are linear, and the interpolation's weights are the
    same for all channels). So each branch is projected at its own resolution and the upsampled results are
    added, which gives the same numbers and the same parameters for a fraction of the work.
    """

    def __init__(self, channels: list[int], joints: int) -> None:
        super().__init__()
        width = 4 * channels[0]
        convs = [nn.Conv2d(c, width, 1, bias=False) for c in channels]
        fan_in = sum(channels)  # of the one convolution that the projections stand for
        for conv in convs:
            nn.init.normal_(conv.weight, std=(2.0 / fan_in) ** 0.5)
        self.project = nn.ModuleList(convs)
        self.norm = nn.BatchNorm2d(width)
        self.out = nn.Conv2d(width, joints, 1)

    def forward(self, branches: list[torch.Tensor]) -> torch.Tensor:
        total = self.project[0](branches[0])
        for i, (conv, branch) in enumerate(zip(self.project, branches, strict=True)):
            if i:
                # align_corners=False is the half-pixel convention of the whole project.
                total = total + F.interpolate(
                    conv(branch), scale_factor=float(2**i), mode="bilinear", align_corners=False
                )
        return self.out(F.relu(self.norm(total)))


class PoseNet(nn.Module):
    """RGB crop to joint heatmaps.

    Args:
        backbone: one of :data:`BACKBONES`.
        joints: number of output channels K.
        head: "single" (published pose HRNet) or "concat" (uses all four branches).
        pretrained: start the trunk from timm's ImageNet weights (downloads them).

    Raises:
        ConfigError: an unknown backbone or head, or fewer than one joint.
    """

    def __init__(
        self,
        backbone: str = "hrnet_w18_small",
        joints: int = 21,
        head: str = "concat",
        pretrained: bool = False,
    ) -> None:
        super().__init__()
        if backbone not in BACKBONES:
            raise ConfigError(
                "unknown backbone", where="model.backbone", expected=BACKBONES, got=repr(backbone)
            )
        if head not in HEADS:
            raise ConfigError("unknown head", where="model.head", expected=HEADS, got=repr(head))
        if joints < 1:
            raise ConfigError("no joints to predict", where="model.joints", expected="at least 1", got=joints)
        #: What it takes to build this network again; written into weights files.
        self.arch: dict[str, object] = {"backbone": backbone, "joints": joints, "head": head}
        self.normalise = Normalise()
        trunk: Any = timm.create_model(backbone, pretrained=pretrained)
        channels = _strip_classifier(trunk)
        if head == "single":
            _keep_first_output(trunk)
        self.trunk = trunk
        self.head = SingleHead(channels, joints) if head == "single" else ConcatHead(channels, joints)
        out = self.head.out
        # The published initialisation: start from nearly empty heatmaps, the background they mostly are.
        nn.init.normal_(out.weight, std=0.001)
        out.bias = nn.Parameter(torch.zeros(joints))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Heatmaps of a batch of crops.

        Args:
            image: ``(N, 3, H, W)`` float, RGB 0..255; H and W multiples of 32.

        Returns:
            ``(N, K, H/4, W/4)`` heatmaps, peaks near 1 where a joint is.
        """
        return self.head(self.features(self.normalise(image)))

    def features(self, x: torch.Tensor) -> list[torch.Tensor]:
        """The trunk's branches for normalised input, highest resolution (1/4) first."""
        t: Any = self.trunk
        x = t.act1(t.bn1(t.conv1(x)))
        x = t.act2(t.bn2(t.conv2(x)))
        return t.stages(x)


def _strip_classifier(trunk: Any) -> list[int]:
    """Remove what only classification uses; returns the channels of the four branches."""
    channels = [int(c) for c in trunk.stage4[-1].get_num_in_chs()]
    for name in ("incre_modules", "downsamp_modules", "final_layer"):
        setattr(trunk, name, None)
    for name in ("global_pool", "head_drop", "classifier"):
        setattr(trunk, name, nn.Identity())
    return channels


def _keep_first_output(trunk: Any) -> None:
    """Drop the last exchange unit's three low-resolution outputs, which the single head never reads."""
    last = trunk.stage4[-1]
    last.fuse_layers = nn.ModuleList([last.fuse_layers[0]])
    last.multi_scale_output = False
