"""What a weights file says of its network: JSON, under the key ``heightpose``, in every form of file.

::

    {"schema": 1, "kind": "pose", "arch": {"backbone": .., "joints": 21, "head": ..}, "joints": [names],
     "input_wh": [256, 256], "heatmap_wh": [64, 64], "sigma": 2.0, ["fine_wh": [320, 320],] ["output": "coordinates",]
     ...}
    {"schema": 1, "kind": "detector", "arch": {"backbone": .., "width": ..}, "input_wh": [256, 256], ...}
    {"schema": 1, "kind": "cover", "output": "covered", "input_wh": [64, 64], ...}

A network is described here and built again from its description, which may be a stranger's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from heightpose.codec.detection import INPUT_WH
from heightpose.codec.heatmap import EXPECTATION, HeatmapCodec
from heightpose.errors import ConfigError, FileFormatError
from heightpose.models.detector_net import DetectorNet
from heightpose.models.expectation import softmax_scale
from heightpose.models.pose_net import PoseNet
from heightpose.runtime.cover import PATCH

SCHEMA = 1
META_KEY = "heightpose"

#: Constructor arguments a description may name, with their type, and the largest value of a number: a
#: hostile file must not make us allocate the machine's memory before its weights turn out not to fit.
_ARCH: dict[str, dict[str, type]] = {
    "pose": {"backbone": str, "joints": int, "head": str},
    "detector": {"backbone": str, "width": int},
}
_LARGEST = 1024


def pose_meta(model: PoseNet, joints: Sequence[str], codec: HeatmapCodec, **extra: Any) -> dict[str, Any]:
    """The description of a pose network; ``extra`` may add plain JSON values (licence, data, scores).

    Raises:
        ConfigError: as many names as channels are needed, and a codec of the network's sizes.
    """
    if len(joints) != model.arch["joints"]:
        raise ConfigError("joint names do not fit the model", expected=model.arch["joints"], got=len(joints))
    if model.output == "heatmaps" and not model.gives(codec.input_wh, codec.heatmap_wh):
        raise ConfigError(
            "the codec's sizes are not the model's", expected=f"{model.input_wh} to {model.heatmap_wh}",
            got=f"{codec.input_wh} to {codec.heatmap_wh}",
        )  # fmt: skip
    if model.output != "heatmaps":
        extra["output"] = model.output
    return {
        **extra,
        "schema": SCHEMA,
        "kind": "pose",
        "arch": dict(model.arch),
        "joints": list(joints),
        "input_wh": list(codec.input_wh),
        "heatmap_wh": list(codec.heatmap_wh),
        "sigma": codec.sigma,
        "decoder": codec.decoder,
    }


def detector_meta(model: DetectorNet, **extra: Any) -> dict[str, Any]:
    """The description of a detector; ``extra`` may add plain JSON values."""
    return {
        **extra,
        "schema": SCHEMA,
        "kind": "detector",
        "arch": dict(model.arch),
        "input_wh": list(INPUT_WH),
    }


def cover_meta(**extra: Any) -> dict[str, Any]:
    """The description of the network of :mod:`heightpose.runtime.cover`; ``extra`` may add plain JSON values."""
    return {**extra, "schema": SCHEMA, "kind": "cover", "output": "covered", "input_wh": [PATCH, PATCH]}


def build(path: Path, meta: dict[str, Any], state: Mapping[str, torch.Tensor]) -> PoseNet | DetectorNet:
    """The network that a file describes, its weights not yet filled in.

    Args:
        path: the file, for messages; meta: its description; state: its weights, which bound the network's size.

    Raises:
        FileFormatError: another schema, an architecture that is not one of ours, or a network larger than its weights.
    """
    kind, arch = meta["kind"], meta.get("arch")
    if meta.get("schema") != SCHEMA:
        raise FileFormatError(
            "written by another version", where=path, expected=f"schema {SCHEMA}", got=meta.get("schema")
        )
    known, foreign = _ARCH[kind], "the described architecture is not one of ours"
    if (
        not isinstance(arch, dict)
        or set(arch) != set(known)
        or any(type(arch[name]) is not want for name, want in known.items())
        or any(type(value) is int and not 1 <= value <= _LARGEST for value in arch.values())
    ):
        raise FileFormatError(foreign, where=path, expected=", ".join(known), got=arch)
    if kind == "pose" and len(meta["joints"]) != arch["joints"]:
        raise FileFormatError(
            "joint names do not fit the network", where=path, expected=arch["joints"], got=len(meta["joints"])
        )
    try:
        if kind == "detector":
            return DetectorNet(**arch)
        _require_size(path, arch, meta, state)
        net = PoseNet(**arch, **_sizes(meta))
        net.softmax_scale = softmax_scale(meta["sigma"]) if meta.get("decoder") == EXPECTATION else None
        return net
    except ConfigError as error:
        raise FileFormatError(foreign, where=path, got=error) from error


def _sizes(meta: dict[str, Any]) -> dict[str, Any]:
    """Sizes as the file gives them; those written before networks had other strides may leave the map's out."""
    width, height = meta.get("input_wh", (256, 256))
    return {
        "input_wh": (width, height),
        "heatmap_wh": tuple(meta.get("heatmap_wh", (width // 4, height // 4))),
    }


def _require_size(
    path: Path, arch: dict[str, Any], meta: dict[str, Any], state: Mapping[str, torch.Tensor]
) -> None:
    """timm has networks of billions of weights: allocate none that the file does not hold.

    Raises:
        ConfigError: see :class:`PoseNet`.
        FileFormatError: the described network is larger than the file's.
    """
    try:
        with torch.device("meta"):
            needed = sum(p.numel() for p in PoseNet(**arch, **_sizes(meta)).parameters())
    except (RuntimeError, NotImplementedError):  # a few of timm's compute with numbers while they are built
        return
    held = sum(v.numel() for v in state.values())
    if needed > held:
        raise FileFormatError(
            "the weights do not fit the network the file describes", where=path, expected=f"{needed} weights",
            got=held, hint="Use the file as it was written",
        )  # fmt: skip
