"""Trunks: normalised pictures to feature maps, finest first. HRNet and every network of timm.

What the heads and :class:`~heightpose.models.pose_net.PoseNet` rely on: a trunk is a module with ``channels`` and
``reductions``, one number per feature map it returns (a reduction of 4: a quarter of the input's width and
height), and ``multiple``, which the input's sides must be multiples of.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
import torch
from timm.models import get_pretrained_cfg
from timm.models._features import FeatureGetterNet
from timm.models.hiera import Hiera
from timm.models.hieradet_sam2 import HieraDet
from timm.models.hrnet import HighResolutionModule
from torch import Tensor, nn

from heightpose.errors import ConfigError, FileFormatError
from heightpose.words import one_line

HRNET = "hrnet_"

#: An ImageNet start: none, timm's own (downloaded), or (file it came from, its state dict).
Pretrained = bool | tuple[Path, Mapping[str, Tensor]]

#: What an HRNet needs for its branches; the rest of timm's model serves the ImageNet classifier alone.
_HRNET_PARTS = (
    "conv1", "bn1", "act1", "conv2", "bn2", "act2", "layer1",
    "transition1", "stage2", "transition2", "stage3", "transition3", "stage4",
)  # fmt: skip

#: How a normalisation's averages are named.
_STATISTICS = ("running_mean", "running_var")

#: Deeper forms of timm's HRNets: the network they are one of, and how many more modules its stages have.
HRNETS_DEEPER = {"hrnet_w18_small_deep": ("hrnet_w18_small", {"stage3": 2, "stage4": 1})}


class HrnetTrunk(nn.Module):
    """HRNet's branches under the published names (Sun et al., "Deep High-Resolution Representation Learning for
    Human Pose Estimation", CVPR 2019), so that a published pose checkpoint loads through
    :mod:`heightpose.models.transfer`.

    Args:
        backbone: timm's name, ``hrnet_*``, or one of :data:`HRNETS_DEEPER`.
        only: index of the one branch to return; None for all four. What only the others need is left out, so
            every parameter takes part in the answer.
    """

    multiple = 32

    def __init__(self, backbone: str, pretrained: Pretrained = False, only: int | None = None) -> None:
        super().__init__()
        base, more = HRNETS_DEEPER.get(backbone, (backbone, {}))
        model = create(base, pretrained, num_classes=0)
        for stage, count in more.items():
            modules = getattr(model, stage)
            modules.extend([_passing_through(modules[-1]) for _ in range(count)])
        for name in _HRNET_PARTS:
            self.add_module(name, getattr(model, name))
        last: Any = self.stage4[-1]  # type: ignore[index]
        channels = [int(c) for c in last.get_num_in_chs()]
        reductions = [4, 8, 16, 32]
        self.only = only
        if only is not None:
            last.fuse_layers = nn.ModuleList([last.fuse_layers[only]])
            channels, reductions = [channels[only]], [reductions[only]]
        self.channels, self.reductions = channels, reductions

    def forward(self, image: Tensor) -> list[Tensor]:
        t: Any = self
        x = t.act1(t.bn1(t.conv1(image)))
        x = t.layer1(t.act2(t.bn2(t.conv2(x))))
        branches = t.stage2([transition(x) for transition in t.transition1])
        branches = t.stage3(_entered(t.transition2, branches))
        return t.stage4(_entered(t.transition3, branches))


def _passing_through(like: Any) -> HighResolutionModule:
    """One more module of a stage that at first hands its branches on unchanged.

    The last normalisation of all that is added to a branch starts at zero (Goyal et al., "Accurate, Large Minibatch
    SGD", 2017, section 5.1). So a net that starts from the weights of a shallower one, which lack this module, starts
    as good as that (Chen et al., "Net2Net", ICLR 2016).
    """
    blocks = [branch[0] for branch in like.branches]
    module = HighResolutionModule(
        len(blocks), type(blocks[0]), tuple(len(branch) for branch in like.branches), list(like.get_num_in_chs()),
        tuple(block.conv1.out_channels for block in blocks), like.fuse_method,
    )  # fmt: skip
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
    added = [part for parts in (*module.branches, *module.fuse_layers) for part in parts]
    for part in added:
        norms = [inner for inner in part.modules() if isinstance(inner, nn.BatchNorm2d)]
        for norm in norms[-1:]:  # a branch's way to itself has none
            nn.init.zeros_(norm.weight)
    return module


def _entered(transitions: Any, branches: list[Tensor]) -> list[Tensor]:
    """The branches as the next stage takes them; its new one starts from the lowest resolution so far."""
    return [t(branches[min(i, len(branches) - 1)]) for i, t in enumerate(transitions)]


class TimmTrunk(nn.Module):
    """The last feature map of any timm network that can give one: ResNet, ResNeSt, MobileNet, ViT, Swin, ...

    Transformers end with their own normalisation; their tokens come back as a map, prefix tokens dropped.

    Args:
        backbone: timm's name.
        input_wh: (width, height) px; fixes the position embeddings of networks that have them.

    Raises:
        ConfigError: a name timm does not have, or a network that gives no feature maps or not at this size.
    """

    def __init__(
        self, backbone: str, pretrained: Pretrained = False, input_wh: tuple[int, int] = (256, 256)
    ) -> None:
        super().__init__()
        cfg = get_pretrained_cfg(backbone)
        options: dict[str, Any] = {
            "features_only": True,
            "out_indices": (-1,),
            "feature_cls": _normalised,
        }
        if cfg is not None and cfg.fixed_input_size:
            options["img_size"] = (input_wh[1], input_wh[0])
        model = create(backbone, pretrained, **options)
        self.model = model
        self.channels = [int(c) for c in model.feature_info.channels()]
        self.reductions = [int(r) for r in model.feature_info.reduction()]
        self.multiple = self.reductions[-1]

    def require_maps(self, input_wh: tuple[int, int]) -> None:
        """Raises ConfigError where the network does not give, or not at this size, the maps that timm says it does.

        One on the device "meta", whose weights are to be counted, is not asked: that takes longer than a real answer.
        """
        if next(self.parameters()).is_meta:
            return
        width, height = input_wh
        due = [(c, height // r, width // r) for c, r in zip(self.channels, self.reductions, strict=True)]
        training = self.training
        try:
            with torch.no_grad(), torch.random.fork_rng(devices=[]):
                maps = self.eval()(torch.zeros(1, 3, height, width))
        except Exception as error:  # whatever a network that was made for another size runs into
            raise ConfigError(
                "the network cannot be run at this size", where="pose.backbone",
                got=f"{type(error).__name__}: {one_line(error, 200)}",
                hint="Choose another backbone, or the pose.input_wh it was made for",
            ) from error  # fmt: skip
        finally:
            self.train(training)
        found = [tuple(one.shape[1:]) for one in maps]
        if found != due:
            raise ConfigError(
                f"the network's maps are not its input by {self.reductions[-1]}", where="pose.backbone",
                got=f"{found[-1][2]} x {found[-1][1]} of {width} x {height}", expected=f"{due[-1][2]} x {due[-1][1]}",
                hint="Choose another backbone",
            )  # fmt: skip

    def forward(self, image: Tensor) -> list[Tensor]:
        return self.model(image)


def _normalised(model: nn.Module, out_indices: Any, **_: Any) -> nn.Module:
    """timm's feature extractor with the network's last normalisation kept, where it has one of its own to keep; maps
    are ``(N, C, h, w)``."""
    return FeatureGetterNet(model, out_indices, norm=not isinstance(model, (Hiera, HieraDet)))


def known(backbone: str) -> bool:
    """Whether timm has a network of this name. Addresses (``hf-hub:...``) and folders are not names."""
    return timm.is_model(backbone) and ":" not in backbone and "." not in backbone


def require_known(backbone: str) -> None:
    """Raises ConfigError where timm has no network of this name."""
    if not known(backbone):
        raise ConfigError(
            "unknown backbone", where="pose.backbone", got=repr(backbone),
            expected="hrnet_*, lite_hrnet_*, hourglass_* or another network of timm, without a tag",
            hint="Names: docs/networks.md, and timm.list_models()",
        )  # fmt: skip


def create(backbone: str, pretrained: Pretrained, **options: Any) -> Any:
    """A timm network, from random, downloaded or given weights.

    Raises:
        ConfigError: the network cannot be built so, or its weights cannot be downloaded.
        FileFormatError: the given weights do not fit all of it.
    """
    require_known(backbone)
    if not isinstance(pretrained, bool):
        return _from_state(backbone, *pretrained, **options)
    try:
        return timm.create_model(backbone, pretrained=pretrained, **options)
    except OSError as error:  # the hub's errors are such, too
        raise ConfigError(
            f"the ImageNet weights of {backbone} cannot be downloaded", where="pretrained", got=one_line(error, 200),
            hint="Once downloaded they are kept. Without a connection leave pretrained out, or give pose.pretrained "
            "their file",
        ) from error  # fmt: skip
    except (AttributeError, TypeError, ValueError, RuntimeError, AssertionError) as error:
        raise ConfigError(
            "timm cannot build this network as a trunk", where="pose.backbone", got=f"{backbone}: {error}",
            hint="Its input size may be fixed, or it gives no feature maps; choose another",
        ) from error  # fmt: skip


def _from_state(backbone: str, file: Path, state: Mapping[str, Tensor], **options: Any) -> Any:
    """As :func:`create`, filled with timm's own reading of a state dict (names of other releases, position
    embeddings of another size, the classifier left out)."""
    state = {name.removeprefix("module."): value for name, value in state.items()}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        fresh = create(backbone, False, **options)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        try:
            model = timm.create_model(
                backbone, pretrained=True, pretrained_cfg_overlay={"state_dict": state}, **options
            )
        except (RuntimeError, KeyError, AttributeError, ValueError) as error:
            raise _misfit(backbone, file, error) from error
    # Same seed, so a weight that did not move was not in the file. timm itself is silent about that.
    before = fresh.state_dict()
    missing = [k for k, v in model.state_dict().items() if v.ndim >= 2 and torch.equal(v, before[k])]
    if missing:
        raise _misfit(backbone, file, f"{len(missing)} layers missing, first {missing[0]}")
    # Statistics may rightly be those of a fresh net, so they are counted.
    needed, there = (sum(name.endswith(_STATISTICS) for name in names) for names in (before, state))
    if there < needed:
        raise _misfit(
            backbone, file, f"{there} of {needed} normalisation statistics (running_mean, running_var)"
        )
    for module in model.modules():  # else every copy of the network would carry the file along
        for name in ("pretrained_cfg", "default_cfg"):
            if isinstance(getattr(module, name, None), dict):
                setattr(module, name, {})
    return model


def _misfit(backbone: str, file: Path, error: object) -> FileFormatError:
    return FileFormatError(
        f"the weights are not those of {backbone}", where=file, got=error,
        hint="pose.pretrained takes timm's ImageNet weights of pose.backbone; a pose checkpoint goes to start_from",
    )  # fmt: skip
