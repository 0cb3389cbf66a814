"""Weights of a network read back from its ONNX file, to train it further or to change its form.

An exported graph has its normalisations folded into the convolutions before them: a layer's weights are ``gamma / std``
times those it was trained with, and its bias is what the normalisation would have added. Read back, each such pair
answers the same with statistics that are no data's: ``optim.norm: kept`` trains on from them, ``batch`` could not.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from heightpose.errors import FileFormatError
from heightpose.models.description import build
from heightpose.models.detector_net import DetectorNet
from heightpose.models.onnx_storage import MEMBER, restore
from heightpose.models.pose_net import PoseNet
from heightpose.runtime.modelfile import read_model_file
from heightpose.words import one_line

#: Names that the exporter gives what the graph was made of (:func:`heightpose.models.onnx_graph.export_onnx`).
_MODEL = "model."
#: A channel whose weights are shorter says nothing, and stays as it is.
_LEAST_LENGTH = 1e-6
_TIMM_WRAPPER = ("trunk.model.", "trunk.model.model.")


def read_onnx(path: str | Path) -> tuple[PoseNet | DetectorNet, dict[str, Any]]:
    """The network in an ``.onnx`` of ours (float32, evaluation mode, on the processor) and its description.

    Weights in half precision or bytes are restored first. The file may be of
    :mod:`heightpose.models.ensemble` where that has a single member (how ``accurate`` is stored).

    Raises:
        FileFormatError: no such file of ours, a net of several members, one in INT8, or one whose graph does not tell
            the weights of each layer.
    """
    import onnx

    path = Path(path)
    meta = _single(path, read_model_file(path).meta)
    if cut := _pruned(meta):
        raise FileFormatError(
            "its layers are narrower than those of the network that it describes", where=path,
            got=f"{cut:.0%} of its blocks' channels cut", hint="Use the weights that it was exported from",
        )  # fmt: skip
    try:
        proto = onnx.load(str(path))
        restore(proto)
        graph = {
            tensor.name: torch.from_numpy(np.array(onnx.numpy_helper.to_array(tensor)))
            for tensor in proto.graph.initializer
        }
    except Exception as error:  # a stranger's bytes can raise anything
        raise FileFormatError(
            "damaged, or no graph of ours", where=path, got=one_line(error, 200), hint="Copy it again"
        ) from error
    for node in proto.graph.node:  # of equal vectors the graph holds one
        if node.op_type == "Identity" and node.input[0] in graph:
            graph[node.output[0]] = graph[node.input[0]]
    first = MEMBER.format(0)
    prefix = first if any(name.startswith(first) for name in graph) else ""
    values = {name.removeprefix(prefix): value for name, value in graph.items()}
    # What was folded is not there: a net has more numbers, yet not twice as many.
    net = build(path, meta, values | {f"{name} again": value for name, value in values.items()}).eval()
    state = {name.removeprefix(_MODEL): value for name, value in values.items() if name.startswith(_MODEL)}
    convs = {
        _module_name(node.name.removeprefix(prefix)): [name.removeprefix(prefix) for name in node.input[1:]]
        for node in proto.graph.node
        if node.op_type == "Conv"
    }
    for conv, norm in _followed_by_norm(net, meta).items():
        weight, bias = (values.get(name) for name in (*convs.get(conv, ()), "", "")[:2])
        if f"{norm}.running_var" not in state and weight is not None and bias is not None:
            state |= _unfolded(net, conv, norm, weight, bias)
    _fill(path, net, state)
    return net, meta


def _single(path: Path, meta: dict[str, Any]) -> dict[str, Any]:
    """The description of the one network in the file."""
    members = meta.get("ensemble")
    if members is None:
        return meta
    if len(members) != 1:
        raise FileFormatError(
            "several networks in one file have no common weights", where=path, got=f"{len(members)} members",
            expected="the .safetensors or .onnx of one of them",
        )  # fmt: skip
    of_file = {key: value for key, value in meta.items() if key != "ensemble"}
    return of_file | {key: value for key, value in members[0].items() if key not in ("share", "sha256")}


def _pruned(meta: dict[str, Any]) -> float:
    """The share of channels that ``heightpose export --prune`` cut."""
    export = meta.get("export")
    share = export.get("pruned") if isinstance(export, dict) else None
    return share if isinstance(share, float) else 0.0


def _module_name(node: str) -> str:
    """``/trunk/stage4/stage4.2/fuse_layers.0.3/Conv`` to ``trunk.stage4.2.fuse_layers.0.3``.

    A step that names a child of a list or a sequence repeats its parent's own name, and timm's networks lie in a
    wrapper that asks their layers one by one.
    """
    steps: list[str] = []
    for step in node.strip("/").split("/")[:-1]:
        if steps and step.startswith(f"{steps[-1]}."):
            steps.pop()
        steps.append(step)
    return ".".join(steps).replace(*_TIMM_WRAPPER)


def _followed_by_norm(net: PoseNet | DetectorNet, meta: dict[str, Any]) -> dict[str, str]:
    """Each convolution whose output a batch normalisation takes, and that one, as a pass of the net shows."""
    made_by: dict[int, str] = {}
    kept: list[torch.Tensor] = []  # an id is one tensor's only while that lives
    pairs: dict[str, str] = {}

    def after_conv(name: str) -> Any:
        def note(_: nn.Module, __: Any, output: torch.Tensor) -> None:
            made_by[id(output)] = name
            kept.append(output)

        return note

    def before_norm(name: str) -> Any:
        def note(_: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            if (conv := made_by.get(id(inputs[0]))) is not None:
                pairs[conv] = name

        return note

    hooks = []
    for name, part in net.named_modules():
        if isinstance(part, nn.Conv2d):
            hooks.append(part.register_forward_hook(after_conv(name)))
        elif isinstance(part, nn.BatchNorm2d):
            hooks.append(part.register_forward_pre_hook(before_norm(name)))
    width, height = meta["input_wh"]
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            net(torch.zeros(1, 3, height, width))
    finally:
        for hook in hooks:
            hook.remove()
    return pairs


def _unfolded(
    net: nn.Module, conv: str, norm: str, weight: torch.Tensor, bias: torch.Tensor
) -> dict[str, torch.Tensor]:
    """A convolution and its normalisation that together answer what the folded one does.

    Every output channel's weights get the length that Kaiming's initialisation gives them, so that a rate means the
    same to all; the variance is what takes that back.
    """
    layer, after = net.get_submodule(conv), net.get_submodule(norm)
    assert isinstance(layer, nn.Conv2d)
    assert isinstance(after, nn.BatchNorm2d)
    if weight.shape != layer.weight.shape or bias.shape != after.bias.shape:
        return {}
    length = weight.flatten(1).norm(dim=1)
    usual = (2.0 * weight.shape[0] / weight[0].numel()) ** 0.5
    scale = torch.where(length > _LEAST_LENGTH, usual / length, 1.0)
    variance = scale.square()
    state = {
        f"{conv}.weight": weight * scale.view(-1, 1, 1, 1),
        f"{norm}.running_mean": torch.zeros_like(bias),
        f"{norm}.running_var": variance,
        f"{norm}.weight": (1.0 + after.eps / variance).sqrt(),
        f"{norm}.bias": bias,
    }
    if layer.bias is not None:
        state[f"{conv}.bias"] = torch.zeros_like(bias)
    return state


def _fill(path: Path, net: PoseNet | DetectorNet, state: dict[str, torch.Tensor]) -> None:
    """Load ``state`` into ``net``, which keeps what is no weight and must get everything else."""
    own = net.state_dict()
    counters = {name: value for name, value in own.items() if not value.is_floating_point()}
    try:
        net.load_state_dict(counters | {name: value for name, value in state.items() if name in own})
    except RuntimeError as error:
        raise _untold(path, error) from error


def _untold(path: Path, error: Exception) -> FileFormatError:
    return FileFormatError(
        "this graph does not tell which weights are which layer's", where=path, got=one_line(error, 200),
        hint="Use the .safetensors of the same training",
    )  # fmt: skip
