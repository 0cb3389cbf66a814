"""INT8 by post-training quantisation with a calibration set (NNCF): the ranges of every layer are seen, not guessed."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from typing import Any

import numpy as np

from heightpose.errors import MissingExtraError

#: Layers that multiply by weights, as ONNX and as OpenVINO call them.
_WEIGHTED = frozenset(
    {"Conv", "ConvTranspose", "Gemm", "MatMul", "Convolution", "GroupConvolution", "ConvolutionBackpropData"}
)


def quantise(model: Any, batch: np.ndarray) -> Any:
    """An INT8 copy of a model. Its first layer, whose errors all others see, and its last, which is read to a fraction
    of a pixel, stay in floating point.

    Args:
        model: OpenVINO's model or an ONNX ``ModelProto``, in single precision, one input.
        batch: ``(N, 3, H, W)`` float32 calibration pictures.

    Raises:
        MissingExtraError: NNCF is not installed.
    """
    # NNCF reports its use to its makers unless this is set; nothing leaves this machine.
    os.environ["NNCF_CI"] = "1"
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # misses a CUDA that nobody needs
    try:
        import nncf
    except ImportError as error:
        raise MissingExtraError("nncf", "export", "heightpose export --int8") from error
    nncf.set_log_level(logging.WARNING)
    is_onnx = hasattr(model, "graph")
    pictures = [{model.graph.input[0].name: one[None]} if is_onnx else one[None] for one in batch]
    with contextlib.redirect_stdout(sys.stderr):  # its progress bars; standard output is for what was found
        return nncf.quantize(
            model,
            nncf.Dataset(pictures),
            preset=nncf.QuantizationPreset.MIXED,
            target_device=nncf.TargetDevice.CPU,
            subset_size=len(pictures),
            fast_bias_correction=True,
            ignored_scope=nncf.IgnoredScope(names=sorted({*_first_layers(model), *_last_layers(model)})),
        )


def _last_layers(model: Any) -> list[str]:
    """Names of the layers with weights that make the output: one, or of an ensemble one of each net."""
    onto = _inputs(model)
    found, seen, waiting = [], set(), ["output"]
    while waiting:
        name = waiting.pop()
        if name in seen or not name:
            continue
        seen.add(name)
        kind, inputs = onto[name]
        if kind in _WEIGHTED:
            found.append(name)
        else:
            waiting.extend(inputs)
    return found


def _first_layers(model: Any) -> list[str]:
    """Names of the layers with weights that see the picture before any other has: one, or of an ensemble one of each
    net."""
    found: list[str] = []
    raw: set[str] = set()  # what only layers without weights made of the picture
    for name, (kind, inputs) in _inputs(model).items():
        if kind == "Parameter":
            raw.add(name)
        elif not raw.isdisjoint(inputs):
            if kind in _WEIGHTED:
                found.append(name)
            else:
                raw.add(name)
    return found


def _inputs(model: Any) -> dict[str, tuple[str, list[str]]]:
    """(kind, names of the nodes it reads) of every node, in order."""
    return _onnx_inputs(model) if hasattr(model, "graph") else _openvino_inputs(model)


def _onnx_inputs(model: Any) -> dict[str, tuple[str, list[str]]]:
    """The picture as "image" of the kind Parameter, the graph's result as "output"."""
    makers = {output: node.name for node in model.graph.node for output in node.output}
    makers[model.graph.input[0].name] = "image"
    onto = {node.name: (node.op_type, [makers.get(i, "") for i in node.input]) for node in model.graph.node}
    result = {"output": ("Result", [makers.get(model.graph.output[0].name, "")])}
    return {"image": ("Parameter", [])} | onto | result


def _openvino_inputs(model: Any) -> dict[str, tuple[str, list[str]]]:
    onto = {
        node.get_friendly_name(): (
            node.get_type_name(),
            [i.get_source_output().get_node().get_friendly_name() for i in node.inputs()],
        )
        for node in model.get_ordered_ops()
    }
    return onto | {"output": ("Result", [model.outputs[0].get_node().get_friendly_name()])}
