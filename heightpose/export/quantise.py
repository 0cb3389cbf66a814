"""INT8 by post-training quantisation with a calibration set (NNCF): the ranges of every layer are seen, not guessed."""

from __future__ import annotations

import logging
import os
from typing import Any

import numpy as np

from heightpose.errors import MissingExtraError


def quantise(model: Any, batch: np.ndarray) -> Any:
    """An INT8 copy of a model; its last convolution, read to a fraction of a pixel, stays in floating point.

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
    return nncf.quantize(
        model,
        nncf.Dataset(pictures),
        preset=nncf.QuantizationPreset.MIXED,
        target_device=nncf.TargetDevice.CPU,
        subset_size=len(pictures),
        fast_bias_correction=True,
        ignored_scope=nncf.IgnoredScope(names=[_last_convolution(model)]),
    )


def _last_convolution(model: Any) -> str:
    if hasattr(model, "graph"):
        return [node.name for node in model.graph.node if node.op_type == "Conv"][-1]
    kinds = ("Convolution", "GroupConvolution")
    nodes = [node for node in model.get_ordered_ops() if node.get_type_name() in kinds]
    return nodes[-1].get_friendly_name()
