"""A network written as ONNX, OpenVINO IR or TorchScript, each with its description inside."""

from __future__ import annotations

import copy
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from heightpose.errors import ConfigError
from heightpose.export.quantise import quantise
from heightpose.export.source import Source
from heightpose.models.description import META_KEY
from heightpose.runtime.backends import openvino_core

SUFFIXES = {"onnx": ".onnx", "openvino": ".xml", "torchscript": ".pt"}


def write(
    source: Source,
    meta: dict[str, Any],
    to: str,
    precision: str,
    path: Path,
    free_size: bool,
    calibration: np.ndarray,
) -> None:
    """Write a network to ``path`` (OpenVINO: and its weights to the .bin beside).

    Args:
        to: a key of :data:`SUFFIXES`.
        precision: "f32", "fp16" or "int8".
        free_size: leave the picture's height and width free.
        calibration: ``(N, 3, H, W)`` float32 pictures; for "int8" only.

    Raises:
        ConfigError: INT8 as TorchScript, or TorchScript of ONNX alone. MissingExtraError: INT8 without NNCF.
    """
    if to == "torchscript":
        _torchscript(source.network("TorchScript"), meta, precision, path)
        return
    import onnx

    graph = path.with_name("graph.onnx")
    source.write_graph(graph, meta, half=precision == "fp16", free_size=free_size)
    if to == "onnx" and precision == "int8":
        proto = quantise(onnx.load(str(graph)), calibration)
        onnx.helper.set_model_props(proto, {META_KEY: json.dumps(meta, allow_nan=False)})
        graph.write_bytes(proto.SerializeToString())
    if to == "onnx":
        graph.replace(path)
        return
    import openvino as ov

    converted = openvino_core().read_model(graph)
    if precision == "int8":
        converted = quantise(converted, calibration)
    converted.set_rt_info(json.dumps(meta, allow_nan=False), META_KEY)
    ov.save_model(converted, path, compress_to_fp16=False)
    graph.unlink()


class _Inference(nn.Module):
    """What is traced: the network's answer as the codecs read it, computed in half precision if asked."""

    def __init__(self, model: Any, half: bool) -> None:
        super().__init__()
        self.model, self.half_inside = model, half

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        image = image.half() if self.half_inside else image
        return self.model.forward_export(image).float()


def _torchscript(model: Any, meta: dict[str, Any], precision: str, path: Path) -> None:
    if precision == "int8":
        raise ConfigError("INT8 is not written as TorchScript", hint="Take --to openvino or --to onnx")
    half = precision == "fp16"
    inner = copy.deepcopy(model).eval()
    graph = _Inference(inner.half() if half else inner, half).eval()
    width, height = meta["input_wh"]
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # branches on the size are what makes some networks of a fixed size
        traced = torch.jit.trace(graph, torch.zeros(2, 3, height, width), check_trace=False)
    torch.jit.save(traced, str(path), _extra_files={META_KEY: json.dumps(meta, allow_nan=False)})
