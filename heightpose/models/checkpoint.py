"""Weights files: safetensors for torch, ONNX for the runtimes; one JSON description inside each.

Both store large weights in half precision and compute in single: the ONNX graph begins with one Cast per
large weight, which OpenVINO and ONNX Runtime fold away when they load it. Nothing here can execute code
from a file: safetensors and ONNX hold numbers only, and older torch files are read with
``weights_only=True``.

The description, under the key ``heightpose``::

    {"schema": 1, "kind": "pose", "arch": {"backbone": .., "joints": 21, "head": ..}, "joints": [names],
     "input_wh": [256, 256], "heatmap_wh": [64, 64], "sigma": 2.0, ["output": "coordinates",] ...}
    {"schema": 1, "kind": "detector", "arch": {"backbone": .., "width": ..}, "input_wh": [256, 256], ...}
"""

from __future__ import annotations

import copy
import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from heightpose.codec.detection import INPUT_WH
from heightpose.codec.heatmap import EXPECTATION, HeatmapCodec
from heightpose.errors import ConfigError, FileFormatError
from heightpose.models.detector_net import DetectorNet
from heightpose.models.expectation import softmax_scale
from heightpose.models.pose_net import PoseNet
from heightpose.runtime.atomic import atomic_path
from heightpose.runtime.modelfile import read_model_file

SCHEMA = 1
META_KEY = "heightpose"
OPSET = 17
_TORCH = (".pt", ".pth", ".ckpt", ".tar", ".bin")

#: Where training checkpoints of various projects keep the weights, the first there is.
_NESTED = ("state_dict", "best_state_dict", "model")

#: Name of the ONNX graph's output of a detector; of a pose net it is what the net's ``output`` says. The input
#: is always "image".
DETECTIONS = "detections"

#: Constructor arguments a description may name, with their type, and the largest value of a number: a
#: hostile file must not make us allocate the machine's memory before its weights turn out not to fit.
_ARCH: dict[str, dict[str, type]] = {
    "pose": {"backbone": str, "joints": int, "head": str},
    "detector": {"backbone": str, "width": int},
}
_LARGEST = 1024

#: Initialisers with fewer values stay in single precision: they cost nothing, and biases want the digits.
_HALF_FROM = 1024


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


def save_weights(path: str | Path, state_dict: Mapping[str, torch.Tensor], meta: dict[str, Any]) -> None:
    """Write a safetensors file, whole or not at all.

    Convolution and matrix weights are stored in half precision; vectors (biases, normalisation statistics,
    whose variances may leave its range) and counters as they are.

    Raises:
        FileFormatError: weights that are not finite.
    """
    from safetensors.torch import save

    path = Path(path)
    _require_finite(state_dict, path)
    tensors = {}
    for name, value in state_dict.items():
        value = value.detach().cpu().contiguous()
        half = value.half() if value.is_floating_point() and value.ndim >= 2 else value
        # Beyond half precision's range: keep the digits rather than store infinity.
        kept = half if torch.isfinite(half).all() else value
        tensors[name] = kept.clone(memory_format=torch.contiguous_format)
    with atomic_path(path) as tmp:
        # Not save_file: it leaves a file that only its owner can read, whatever the umask says.
        tmp.write_bytes(save(tensors, {META_KEY: json.dumps(meta, allow_nan=False), "format": "pt"}))


def load_weights(path: str | Path) -> tuple[PoseNet | DetectorNet, dict[str, Any]]:
    """Build the network a weights file describes and fill it.

    Returns:
        The network (float32, evaluation mode, on the processor) and its description.

    Raises:
        FileFormatError: not a safetensors file of ours, damaged, of another schema, weights that do not fit
            the description or are not finite.
    """
    path = Path(path)
    state, meta = read_state(path)
    if path.suffix.lower() != ".safetensors" or meta is None:
        raise FileFormatError("not a weights file", where=path, expected="a .safetensors of this project")
    model = _build(path, meta, state)
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise FileFormatError(
            "the weights do not fit the network the file describes",
            where=path,
            got=" ".join(str(error).split())[:300],
            hint="Use the file as it was written",
        ) from error
    return model.eval(), meta


def read_state(path: str | Path) -> tuple[dict[str, torch.Tensor], dict[str, Any] | None]:
    """A state dict, in float32, from a safetensors file or a torch checkpoint (.pt, .pth, .ckpt, .tar, .bin).

    Meant for starting from a checkpoint of any origin; :func:`load_weights` is for our own. Of a training
    checkpoint the entry ``state_dict``, ``best_state_dict`` or ``model`` is taken.

    Returns:
        The state dict, and our description if the file has one.

    Raises:
        FileFormatError: an unknown form, a damaged file, one that holds more than tensors, or values that are
            not finite.
    """
    path = Path(path)
    if not path.is_file():
        raise FileFormatError("no such weights file", where=path, hint="Check the path")
    meta = None
    if path.suffix.lower() == ".safetensors":
        state, meta = _read_safetensors(path)
    elif path.suffix.lower() in _TORCH:
        state = _read_torch(path)
    else:
        raise FileFormatError("not a weights file", where=path, expected=f".safetensors, {', '.join(_TORCH)}")
    _require_finite(state, path)
    return {k: v.float() if v.is_floating_point() else v for k, v in state.items()}, meta


def _read_safetensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any] | None]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt") as file:
            described = META_KEY in (file.metadata() or {})
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except (SafetensorError, OSError, ValueError, UnicodeDecodeError) as error:
        raise FileFormatError(
            "damaged, or not safetensors", where=path, got=str(error)[:200], hint="Copy it again"
        ) from error
    return state, read_model_file(path).meta if described else None


def _read_torch(path: Path) -> dict[str, torch.Tensor]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # unpickling a stranger's bytes can raise anything
        raise FileFormatError(
            "cannot be read as plain weights",
            where=path,
            got=f"{type(error).__name__}",
            hint="Files that need code to be run are refused; save the state dict alone and try again",
        ) from error
    if isinstance(state, dict):
        state = next((state[name] for name in _NESTED if isinstance(state.get(name), dict)), state)
    if not isinstance(state, dict) or not all(
        isinstance(k, str) and isinstance(v, torch.Tensor) for k, v in state.items()
    ):
        raise FileFormatError("not a state dict", where=path, expected="names and tensors")
    return dict(state)


def _build(path: Path, meta: dict[str, Any], state: Mapping[str, torch.Tensor]) -> PoseNet | DetectorNet:
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


def _require_finite(state: Mapping[str, torch.Tensor], where: Path) -> None:
    bad = [k for k, v in state.items() if v.is_floating_point() and not torch.isfinite(v).all()]
    if bad:
        raise FileFormatError(
            "weights that are not numbers (NaN or infinity)",
            where=where,
            got=f"{len(bad)} of {len(state)} tensors, first {bad[0]}",
            hint="The training diverged or the file is damaged; use an earlier checkpoint",
        )


def export_onnx(
    model: PoseNet | DetectorNet,
    path: str | Path,
    meta: dict[str, Any],
    *,
    half: bool = True,
    free_size: bool = False,
) -> None:
    """Write the network as ONNX, whole or not at all.

    One input "image" ``(batch, 3, H, W)`` RGB 0..255 float32 with a free batch size and H, W of
    ``meta["input_wh"]``; one output "heatmaps" or "detections" as the codecs read them, or "coordinates". The
    model is not changed.

    Args:
        half: store large weights in half precision.
        free_size: leave H and W free too, for networks that take any.

    Raises:
        FileFormatError: weights that are not finite.
    """
    import onnx

    path = Path(path)
    _require_finite(model.state_dict(), path)
    graph = _Exported(copy.deepcopy(model)).cpu().float().eval().to(memory_format=torch.contiguous_format)
    width, height = meta["input_wh"]
    output = DETECTIONS if meta["kind"] == "detector" else meta.get("output", "heatmaps")
    image_axes, output_axes = {0: "batch"}, {0: "batch"}
    if free_size:
        image_axes |= {2: "height", 3: "width"}
        output_axes |= {2: "map_height", 3: "map_width"}
    with atomic_path(path) as tmp, warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the tracing exporter is deprecated, but needs no further package
        torch.onnx.export(
            graph,
            (torch.zeros(2, 3, height, width),),
            str(tmp),
            input_names=["image"],
            output_names=[output],
            dynamic_axes={"image": image_axes, output: output_axes},
            opset_version=OPSET,
            dynamo=False,
        )
        proto = onnx.load(str(tmp))
        if half:
            _store_half(proto)
        onnx.helper.set_model_props(proto, {META_KEY: json.dumps(meta, allow_nan=False)})
        onnx.checker.check_model(proto, full_check=True)
        tmp.write_bytes(proto.SerializeToString())


class _Exported(nn.Module):
    """The graph that is exported: the activated map of a detector, the heatmaps of a pose network."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return getattr(self.model, "forward_export", self.model)(image)


def _store_half(proto: Any) -> None:
    """Store large float32 initialisers as float16, each followed by a Cast back; edits ``proto``."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for tensor in proto.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT:
            continue
        value = numpy_helper.to_array(tensor)
        if value.size < _HALF_FROM or np.abs(value).max() > np.finfo(np.float16).max:
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(value.astype(np.float16), f"{name}.half"))
        casts.append(
            helper.make_node("Cast", [f"{name}.half"], [name], name=f"{name}.cast", to=TensorProto.FLOAT)
        )
    nodes = list(proto.graph.node)
    del proto.graph.node[:]
    proto.graph.node.extend(casts + nodes)
