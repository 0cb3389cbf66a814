"""The network that says whether something lies over a joint: a few convolutions over a patch of skin."""

from __future__ import annotations

from torch import Tensor, nn

from heightpose.runtime.cover import ANSWERS, PATCH

_WIDTHS = (24, 32, 64, 96)


class CoverNet(nn.Module):
    """``(N, 3, PATCH, PATCH)`` RGB 0..255 -> ``(N, 2)`` log odds that something lies over the joint in the middle, were
    it a crown and were it a heel."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width_in = 3
        for width in _WIDTHS:
            layers += [_conv(width_in, width, 2), _conv(width, width, 1)]
            width_in = width
        self.trunk = nn.Sequential(*layers)
        cells = (PATCH >> len(_WIDTHS)) ** 2
        self.head = nn.Sequential(nn.Dropout(0.3), nn.Linear(width_in * cells, len(ANSWERS)))

    def forward(self, patches: Tensor) -> Tensor:
        return self.head(self.trunk((patches - 127.5) / 64.0).flatten(1))


def _conv(width_in: int, width: int, stride: int) -> nn.Module:
    conv = nn.Conv2d(width_in, width, 3, stride, 1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(width), nn.ReLU(inplace=True))
