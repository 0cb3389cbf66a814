"""Stacked hourglass (Newell et al., "Stacked Hourglass Networks for Human Pose Estimation", ECCV 2016).

Each stack looks at the picture again at all scales, knowing what the stack before it found; in training every
stack answers for itself (intermediate supervision).
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

#: Stacks and channels.
HOURGLASSES = {
    "hourglass_1": (1, 256),
    "hourglass_2": (2, 256),
    "hourglass_4": (4, 256),
    "hourglass_8": (8, 256),
    "hourglass_2_slim": (2, 96),
}

_DEPTH = 4


class Residual(nn.Module):
    """Pre-activation bottleneck."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        half = c_out // 2
        self.body = nn.Sequential(
            nn.BatchNorm2d(c_in), nn.ReLU(), nn.Conv2d(c_in, half, 1, bias=False),
            nn.BatchNorm2d(half), nn.ReLU(), nn.Conv2d(half, half, 3, padding=1, bias=False),
            nn.BatchNorm2d(half), nn.ReLU(), nn.Conv2d(half, c_out, 1),
        )  # fmt: skip
        self.skip = nn.Identity() if c_in == c_out else nn.Conv2d(c_in, c_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.skip(x) + self.body(x)


class Hourglass(nn.Module):
    """Halved ``depth`` times and back, with a side path at every resolution."""

    def __init__(self, channels: int, depth: int = _DEPTH) -> None:
        super().__init__()
        self.side, self.down, self.up = (Residual(channels, channels) for _ in range(3))
        self.inner = Hourglass(channels, depth - 1) if depth > 1 else Residual(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        low = self.up(self.inner(self.down(F.max_pool2d(x, 2))))
        return self.side(x) + F.interpolate(low, scale_factor=2.0, mode="nearest")


class HourglassTrunk(nn.Module):
    """The stem: picture to a quarter of its size. The stacks are in the head, as they need the joints."""

    #: A quarter of the input is halved four times.
    multiple = 4 * 2**_DEPTH

    def __init__(self, backbone: str) -> None:
        super().__init__()
        _, channels = HOURGLASSES[backbone]
        self.conv = nn.Sequential(nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU())
        self.fine = Residual(64, 128)
        self.coarse = nn.Sequential(Residual(128, 128), Residual(128, channels))
        self.channels, self.reductions = [channels], [4]

    def forward(self, image: Tensor) -> list[Tensor]:
        return [self.coarse(F.max_pool2d(self.fine(self.conv(image)), 2))]


class HourglassHead(nn.Module):
    """The stacks. ``out`` is the last one's answer, ``early`` those before it, which ``back`` hands on.

    Args:
        channels: of the stem.
        joints: K.
        stacks: S.
    """

    def __init__(self, channels: int, joints: int, stacks: int) -> None:
        super().__init__()
        self.stacks = nn.ModuleList(
            nn.Sequential(
                Hourglass(channels), Residual(channels, channels),
                nn.Conv2d(channels, channels, 1, bias=False), nn.BatchNorm2d(channels), nn.ReLU(),
            )
            for _ in range(stacks)
        )  # fmt: skip
        between = range(stacks - 1)
        self.early = nn.ModuleList(nn.Conv2d(channels, joints, 1) for _ in between)
        self.mix = nn.ModuleList(nn.Conv2d(channels, channels, 1) for _ in between)
        self.back = nn.ModuleList(nn.Conv2d(joints, channels, 1) for _ in between)
        self.out = nn.Conv2d(channels, joints, 1)

    def forward(self, features: list[Tensor]) -> Tensor | list[Tensor]:
        """``(N, K, h, w)``; in training the S answers of all stacks, the best informed last."""
        x, answers = features[0], []
        for stack, early, mix, back in zip(self.stacks, self.early, self.mix, self.back, strict=False):
            found = stack(x)
            answers.append(early(found))
            x = x + mix(found) + back(answers[-1])
        answers.append(self.out(self.stacks[-1](x)))
        return answers if self.training and len(answers) > 1 else answers[-1]
