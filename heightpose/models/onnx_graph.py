"""Weights files for the runtimes: a network and its description as one ONNX graph.

Large weights are stored in half precision and computed in single (:mod:`heightpose.models.onnx_storage`). ONNX holds
numbers only: no file can execute code.
"""

from __future__ import annotations

import copy
import json
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn

from heightpose.errors import ConfigError
from heightpose.models.checkpoint import require_finite
from heightpose.models.description import META_KEY
from heightpose.models.onnx_storage import store_half
from heightpose.runtime.atomic import atomic_path
from heightpose.runtime.modelfile import FINE_WH
from heightpose.words import one_line

OPSET = 17

#: Name of the ONNX graph's output of a detector; of a pose net it is what the net's ``output`` says. The input
#: is always "image".
DETECTIONS = "detections"


def export_onnx(
    model: nn.Module,
    path: str | Path,
    meta: dict[str, Any],
    *,
    half: bool = True,
    free_size: bool = False,
) -> None:
    """Write the network as ONNX, whole or not at all.

    One input "image" ``(batch, 3, H, W)`` RGB 0..255 float32 with a free batch size and H, W of
    ``meta["input_wh"]``; one output "heatmaps" or "detections" as the codecs read them, "coordinates" or "covered". The
    model is not changed.

    Args:
        half: store large weights in half precision.
        free_size: leave H and W free too, for networks that take any, as those with a finer look (``fine_wh``) do.

    Raises:
        FileFormatError: weights that are not finite. ConfigError: a network that ONNX has no words for.
    """
    import onnx

    path = Path(path)
    require_finite(model.state_dict(), path)
    graph = _Exported(copy.deepcopy(model)).cpu().float().eval().to(memory_format=torch.contiguous_format)
    width, height = meta["input_wh"]
    output = DETECTIONS if meta["kind"] == "detector" else meta.get("output", "heatmaps")
    image_axes, output_axes = {0: "batch"}, {0: "batch"}
    if free_size or meta.get(FINE_WH) is not None:
        image_axes |= {2: "height", 3: "width"}
        output_axes |= {2: "map_height", 3: "map_width"}
    with atomic_path(path) as tmp, warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the tracing exporter is deprecated, but needs no further package
        torch._C._jit_set_onnx_log_output_stream("stderr")  # where a refusal prints the whole graph
        try:
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
        except torch.onnx.errors.OnnxExporterError as error:
            raise ConfigError(
                "the network cannot be written as ONNX", where=path, got=one_line(error, 160),
                hint="Its .safetensors serve with --backend torch, or choose another pose.backbone",
            ) from error  # fmt: skip
        proto = onnx.load(str(tmp))
        if half:
            store_half(proto)
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
