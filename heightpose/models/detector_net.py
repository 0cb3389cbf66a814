"""The detector: a trunk, a light feature pyramid and one map at 1/8.

The trunk is a small mobile network, or the pose net's HRNet, which can start from a pose net's weights: those have seen
bodies from close. What the channels mean is fixed in :mod:`heightpose.codec.detection`.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from heightpose.codec.detection import CHANNELS
from heightpose.errors import ConfigError
from heightpose.models.pose_net import Normalise
from heightpose.models.trunks import HRNET, HrnetTrunk, create

BACKBONES = ("mobilenetv3_small_100", "mobilenetv4_conv_small", "lcnet_075", "hrnet_w18_small")

#: What the pyramid is made of: feature maps at 1/8, 1/16 and 1/32.
_LEVELS = 3

#: Presence that an untrained detector answers everywhere. The focal loss needs it small: background is nearly
#: every cell, and starting at 0.5 lets it drown the few centres (Lin et al., ICCV 2017).
_PRIOR = 0.01


class _Separable(nn.Sequential):
    """3x3 depthwise and 1x1 convolution, each with BN, a ReLU at the end."""

    def __init__(self, channels: int) -> None:
        super().__init__(
            nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False),
            nn.BatchNorm2d(channels),
            nn.Conv2d(channels, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
        )


class DetectorNet(nn.Module):
    """Letterboxed picture to detection map.

    Args:
        backbone: one of :data:`BACKBONES`.
        width: channels of the pyramid.
        pretrained: start the trunk from timm's ImageNet weights (downloads them).

    Raises:
        ConfigError: an unknown backbone, a width that is not positive, or weights that cannot be downloaded.
    """

    def __init__(
        self, backbone: str = "mobilenetv3_small_100", width: int = 96, pretrained: bool = False
    ) -> None:
        super().__init__()
        if backbone not in BACKBONES:
            raise ConfigError(
                "unknown backbone", where="detector.backbone", expected=BACKBONES, got=repr(backbone)
            )
        if width < 1:
            raise ConfigError("no channels", where="detector.width", expected="at least 1", got=width)
        #: What it takes to build this network again; written into weights files.
        self.arch: dict[str, object] = {"backbone": backbone, "width": width}
        self.normalise = Normalise()
        trunk: Any
        if backbone.startswith(HRNET):
            trunk = HrnetTrunk(backbone, pretrained)
            channels = trunk.channels
            # Nothing here asks for the finest map: what only that is made of would wait for gradients in vain.
            trunk.stage4[-1].fuse_layers[0].requires_grad_(False)
        else:
            trunk = create(backbone, pretrained, features_only=True, out_indices=(2, 3, 4))
            channels = trunk.feature_info.channels()
        self.trunk = trunk
        self.lateral = nn.ModuleList(
            nn.Sequential(nn.Conv2d(c, width, 1, bias=False), nn.BatchNorm2d(width))
            for c in channels[-_LEVELS:]
        )
        self.smooth = nn.ModuleList(_Separable(width) for _ in self.lateral)
        self.tower = _Separable(width)
        self.out = nn.Conv2d(width, CHANNELS, 1)
        nn.init.normal_(self.out.weight, std=0.01)
        bias = torch.zeros(CHANNELS)
        bias[0] = -math.log((1 - _PRIOR) / _PRIOR)
        bias[1:5] = math.log(math.e - 1)  # softplus of it is 1: sides 64 px away
        self.out.bias = nn.Parameter(bias)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Raw map of a batch of pictures.

        Args:
            image: ``(N, 3, 256, 256)`` float, RGB 0..255.

        Returns:
            ``(N, 7, 32, 32)``: before :meth:`activate`, so channel 0 holds logits.
        """
        levels = self.trunk(self.normalise(image))[-_LEVELS:]
        x: torch.Tensor | None = None
        for feature, lateral, smooth in zip(
            reversed(levels), reversed(self.lateral), reversed(self.smooth), strict=True
        ):
            y = lateral(feature)
            if x is not None:
                y = y + F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
            x = smooth(F.relu(y))
        return self.out(self.tower(x))

    @staticmethod
    def activate(raw: torch.Tensor) -> torch.Tensor:
        """Raw map ``(N, 7, h, w)`` to the codec's contract: sigmoid presence, positive distances."""
        return torch.cat([raw[:, :1].sigmoid(), F.softplus(raw[:, 1:5]), raw[:, 5:]], dim=1)

    def forward_export(self, image: torch.Tensor) -> torch.Tensor:
        """Like :meth:`forward`, activated: what :func:`heightpose.codec.detection.decode` reads."""
        return self.activate(self.forward(image))
