"""The pose network: a trunk that turns a crop into feature maps, and a head that turns these into heatmaps.

``pose.backbone`` alone chooses a network; ``pose.head`` only where a backbone has several:

=================================  ==============================  =====================================
backbone                           heads, the default first        network
=================================  ==============================  =====================================
``hrnet_*``                        concat, single, regression      HRNet; ``single`` is the published one
``lite_hrnet_18``, ``_30``         single, concat                  Lite-HRNet
``hourglass_1``, ``_2``, ...       stacked                         stacked hourglass
any other network of timm          deconv, upsample, regression    SimpleBaseline, ViTPose, ...
=================================  ==============================  =====================================

The trunk of HRNet keeps the names of the published code (Sun et al., CVPR 2019), so a published pose checkpoint
loads through :mod:`heightpose.models.transfer`. Everything that only a classifier uses is removed: every
parameter of a :class:`PoseNet` takes part in its answer.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from heightpose.errors import ConfigError
from heightpose.models.expectation import softmax_maps
from heightpose.models.heads import ConcatHead, DeconvHead, RegressionHead, SingleHead, UpsampleHead
from heightpose.models.hourglass import HOURGLASSES, HourglassHead, HourglassTrunk
from heightpose.models.lite_hrnet import LITE_HRNETS, LiteHrnetTrunk
from heightpose.models.trunks import HRNET, HRNETS_DEEPER, HrnetTrunk, Pretrained, TimmTrunk, require_known
from heightpose.runtime.modelfile import fine_heatmap

IMAGENET_MEAN = (123.675, 116.28, 103.53)  # RGB, 0..255
IMAGENET_STD = (58.395, 57.12, 57.375)

#: Doublings that a deconv head may have.
_MOST_DOUBLINGS = 5


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


def heads_of(backbone: str) -> tuple[str, ...]:
    """The heads a backbone can have, its default first. Whether timm has the backbone is not asked here."""
    if backbone.startswith(HRNET):
        return ("concat", "single", "regression")
    if backbone in LITE_HRNETS:
        return ("single", "concat")
    return ("stacked",) if backbone in HOURGLASSES else ("deconv", "upsample", "regression")


def require_name(backbone: str) -> None:
    """Raises ConfigError where no network has this name, without building one."""
    if backbone not in (*LITE_HRNETS, *HOURGLASSES, *HRNETS_DEEPER):
        require_known(backbone)


def resolve_head(backbone: str, head: str) -> str:
    """``auto`` to the backbone's default.

    Raises:
        ConfigError: the backbone cannot have this head.
    """
    possible = heads_of(backbone)
    if head == "auto":
        return possible[0]
    if head not in possible:
        raise ConfigError(
            f"{backbone} cannot have this head", where="pose.head", expected=", ".join(("auto", *possible)),
            got=repr(head), hint="Leave pose.head out, or write auto, for the backbone's own",
        )  # fmt: skip
    return head


class PoseNet(nn.Module):
    """RGB crop to joint heatmaps (with the head ``regression``: to joint coordinates).

    Args:
        backbone: the module's docstring lists them.
        joints: number of joints K.
        head: "auto", or one the backbone can have.
        pretrained: start the trunk from ImageNet weights: True downloads timm's, a path reads them from a file, or
            (path, state dict) where that was read already.
        input_wh: (width, height) of the crop, px.
        heatmap_wh: (width, height) of the heatmaps, px; None for a quarter of the input.

    Attributes:
        arch: what it takes, beside the sizes, to build this network again; written into weights files.
        output: "heatmaps" or "coordinates".
        input_wh, heatmap_wh: as given.

    Raises:
        ConfigError: an unknown backbone or head, fewer than one joint, or sizes that the network cannot have.
        FileFormatError: the file in ``pretrained`` is not what it must be.
    """

    def __init__(
        self,
        backbone: str = "hrnet_w18_small",
        joints: int = 21,
        head: str = "auto",
        pretrained: Pretrained | str | Path = False,
        input_wh: tuple[int, int] = (256, 256),
        heatmap_wh: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        head = resolve_head(backbone, head)
        if joints < 1:
            raise ConfigError("no joints to predict", where="pose.joints", expected="at least 1", got=joints)
        self.arch: dict[str, object] = {"backbone": backbone, "joints": joints, "head": head}
        #: Set where the maps are logits of a spatial softmax: what its shares are multiplied by in files.
        self.softmax_scale: float | None = None
        self.output = "coordinates" if head == "regression" else "heatmaps"
        width, height = (int(n) for n in input_wh)
        self.input_wh = (width, height)
        default = (width // 4, height // 4)
        self.heatmap_wh = default if heatmap_wh is None else (int(heatmap_wh[0]), int(heatmap_wh[1]))
        self.normalise = Normalise()
        self.trunk = _trunk(backbone, head, pretrained, self.input_wh)
        self._check_input()
        if isinstance(self.trunk, TimmTrunk):
            self.trunk.require_maps(self.input_wh)
        self.head = self._head(head, joints)
        out = self.head.out
        # The published initialisation: start from nearly empty heatmaps, the background they mostly are.
        nn.init.normal_(out.weight, std=0.001)
        nn.init.zeros_(out.bias)

    def forward(self, image: Tensor) -> Tensor | list[Tensor]:
        """Heatmaps of a batch of crops.

        Args:
            image: ``(N, 3, H, W)`` float, RGB 0..255; for convolutional networks any H and W that are multiples
                of the trunk's.

        Returns:
            ``(N, K, h, w)`` heatmaps, peaks near 1 where a joint is; with ``output`` "coordinates" ``(N, K, 2)``
            crop px. A stacked hourglass in training mode: one such answer per stack, the best informed last.
        """
        return self.head(self.features(self.normalise(image)))

    def forward_export(self, image: Tensor) -> Tensor:
        """Like :meth:`forward` for inference, in the unit of heatmaps whatever the net was trained with."""
        answer = self.forward(image)
        assert isinstance(answer, Tensor)
        return answer if self.softmax_scale is None else softmax_maps(answer, self.softmax_scale)

    def features(self, x: Tensor) -> list[Tensor]:
        """The trunk's feature maps for normalised input, finest first."""
        return self.trunk(x)

    def gives(self, input_wh: tuple[int, int], heatmap_wh: tuple[int, int]) -> bool:
        """Whether an input of this size becomes heatmaps of that: the network's own, or others in its ratio."""
        return all(
            a * h == b * i
            for a, i, b, h in zip(self.input_wh, input_wh, self.heatmap_wh, heatmap_wh, strict=True)
        )

    def require_fine(self, fine_wh: tuple[int, int]) -> None:
        """Raises ConfigError unless an input of this size becomes heatmaps in the net's ratio."""
        width, height = fine_wh
        training, found = self.training, None
        try:
            with torch.no_grad():
                found = tuple(self.eval().forward_export(torch.zeros(1, 3, height, width)).shape[:1:-1])
        except (AssertionError, RuntimeError, ValueError):  # what networks of a fixed size raise
            pass
        finally:
            self.train(training)
        if found != fine_heatmap(fine_wh, self.input_wh, self.heatmap_wh):
            raise ConfigError(
                "the network takes no input of this size", where="pose.fine_wh", got=list(fine_wh),
                expected=f"multiples of {self.trunk.multiple} with a convolutional network, or null",
            )  # fmt: skip

    def _check_input(self) -> None:
        multiple = self.trunk.multiple
        if any(n % multiple or n < multiple for n in self.input_wh):
            raise ConfigError(
                "impossible input size", where="pose.input_wh", got=list(self.input_wh),
                expected=f"multiples of {multiple} with {self.arch['backbone']}",
            )  # fmt: skip

    def _head(self, head: str, joints: int) -> Any:
        channels, reduction = self.trunk.channels, self.trunk.reductions
        if head == "regression":
            return RegressionHead(channels, joints, self.input_wh)
        if head == "stacked":
            self._require_heatmap([self._grid(reduction[0])])
            return HourglassHead(channels[0], joints, HOURGLASSES[str(self.arch["backbone"])][0])
        if head in ("single", "concat"):
            self._require_between(self._grid(32))
            own = self.heatmap_wh == self._grid(reduction[0])
            size = None if own else (self.heatmap_wh[1], self.heatmap_wh[0])
            return (SingleHead if head == "single" else ConcatHead)(channels, joints, size)
        grid = self._grid(reduction[-1])
        if head == "upsample":
            self._require_between(grid)
            return UpsampleHead(channels, joints, self.heatmap_wh)
        sizes = [(grid[0] << n, grid[1] << n) for n in range(_MOST_DOUBLINGS + 1)]
        return DeconvHead(channels, joints, self._require_heatmap(sizes))

    def _grid(self, reduction: int) -> tuple[int, int]:
        return self.input_wh[0] // reduction, self.input_wh[1] // reduction

    def _require_between(self, least: tuple[int, int]) -> None:
        if any(not g <= h <= n for g, h, n in zip(least, self.heatmap_wh, self.input_wh, strict=True)):
            raise self._impossible(f"{list(least)} to {list(self.input_wh)}")

    def _require_heatmap(self, possible: list[tuple[int, int]]) -> int:
        """Index of the heatmap's size among those possible."""
        if self.heatmap_wh not in possible:
            raise self._impossible(" or ".join(str(list(wh)) for wh in possible if wh[0] <= self.input_wh[0]))
        return possible.index(self.heatmap_wh)

    def _impossible(self, expected: str) -> ConfigError:
        backbone, head = self.arch["backbone"], self.arch["head"]
        return ConfigError(
            f"{backbone} with the head {head} cannot give heatmaps of this size from an input of "
            f"{list(self.input_wh)}",
            where="pose.heatmap_wh", expected=expected, got=list(self.heatmap_wh),
        )  # fmt: skip


def _trunk(backbone: str, head: str, pretrained: Pretrained | str | Path, input_wh: tuple[int, int]) -> Any:
    if backbone in LITE_HRNETS or backbone in HOURGLASSES:
        if pretrained is not False:
            raise ConfigError(
                "there are no ImageNet weights of this backbone", where="pose.pretrained",
                expected="false", got=pretrained,
            )  # fmt: skip
        return (
            HourglassTrunk(backbone)
            if backbone in HOURGLASSES
            else LiteHrnetTrunk(backbone, finest=head == "single")
        )
    source: Pretrained
    if isinstance(pretrained, (bool, tuple)):
        source = pretrained
    else:
        from heightpose.models.checkpoint import read_state

        source = (Path(pretrained), read_state(pretrained)[0])
    if backbone.startswith(HRNET):
        return HrnetTrunk(backbone, source, {"single": 0, "regression": -1}.get(head))
    return TimmTrunk(backbone, source, input_wh)
