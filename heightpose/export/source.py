"""What is exported: a network with its PyTorch weights, or a graph that does not tell the weights of its layers."""

from __future__ import annotations

import copy
import json
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import numpy as np
import torch

from heightpose.errors import ConfigError, FileFormatError
from heightpose.export.prune import prune_blocks
from heightpose.models.checkpoint import load_weights
from heightpose.models.description import META_KEY
from heightpose.models.onnx_graph import export_onnx
from heightpose.models.onnx_storage import restore, store_half
from heightpose.runtime.backends import load_backend
from heightpose.runtime.modelfile import ModelFile, is_file, read_model_file


class Source(ABC):
    """A network to be exported.

    Attributes:
        file: its file and what that says of it.
    """

    file: ModelFile

    @abstractmethod
    def run(self, batch: np.ndarray) -> np.ndarray:
        """Its answer in single precision; ``batch`` ``(N, 3, H, W)`` float32 RGB 0..255."""

    @abstractmethod
    def takes(self, wh: tuple[int, int]) -> bool:
        """Whether it works at another input size too, and its output grows with it."""

    @abstractmethod
    def network(self, wanted_for: str) -> Any:
        """The PyTorch network. Raises ConfigError where there is none."""

    @abstractmethod
    def pruned(self, share: float) -> tuple[Source, tuple[int, int]]:
        """A copy without that share of its blocks' channels, and its parameters before and after."""

    @abstractmethod
    def write_graph(self, path: Path, meta: dict[str, Any], *, half: bool, free_size: bool) -> None:
        """Write it as ONNX with ``meta`` inside; ``half``: large weights in half precision."""


class NetworkSource(Source):
    """A ``.safetensors`` file, or an ``.onnx`` whose graph tells the weights of each layer, as ``accurate``'s does."""

    def __init__(self, file: ModelFile) -> None:
        self.file = file
        self.model = load_weights(file.path)[0]

    def run(self, batch: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return self.model.forward_export(torch.from_numpy(np.ascontiguousarray(batch))).float().numpy()

    def takes(self, wh: tuple[int, int]) -> bool:
        shapes = []
        for width, height in (self.file.input_wh, wh):
            try:
                shapes.append(self.run(np.zeros((1, 3, height, width), np.float32)).shape[2:])
            except (AssertionError, RuntimeError, ValueError):  # what networks of a fixed size raise
                return False
        before, after = shapes
        grown = [
            round(side * new / old)
            for side, new, old in zip(before, wh[::-1], self.file.input_wh[::-1], strict=False)
        ]
        return len(before) == 2 and list(after) == grown

    def network(self, wanted_for: str) -> Any:
        return self.model

    def pruned(self, share: float) -> tuple[Source, tuple[int, int]]:
        other = copy.copy(self)
        other.model = copy.deepcopy(self.model)
        return other, prune_blocks(other.model, share)

    def write_graph(self, path: Path, meta: dict[str, Any], *, half: bool, free_size: bool) -> None:
        export_onnx(self.model, path, meta, half=half, free_size=free_size)


class GraphSource(Source):
    """Another ``.onnx`` file, of several networks say: a graph of one input size, whatever form its weights are in."""

    def __init__(self, file: ModelFile) -> None:
        import onnx

        self.file = file
        self._backend = load_backend(file.path, "onnxruntime")[0]
        self._proto = onnx.load(str(file.path))
        if any(node.op_type == "QuantizeLinear" for node in self._proto.graph.node):
            raise FileFormatError(
                "these weights are in INT8 already",
                where=file.path,
                hint="Export from the file they were made of",
            )
        restore(self._proto)

    def run(self, batch: np.ndarray) -> np.ndarray:
        return self._backend.run(batch)

    def takes(self, wh: tuple[int, int]) -> bool:
        return False

    def network(self, wanted_for: str) -> Any:
        raise ConfigError(
            f"{wanted_for} needs the network in PyTorch", where=self.file.path, expected="a .safetensors file",
            got="a graph that does not tell the weights of its layers",
            hint="Take --to onnx or --to openvino, or the training run's .safetensors",
        )  # fmt: skip

    def pruned(self, share: float) -> tuple[Source, tuple[int, int]]:
        return self.network("--prune")

    def write_graph(self, path: Path, meta: dict[str, Any], *, half: bool, free_size: bool) -> None:
        import onnx

        proto = copy.deepcopy(self._proto)
        if half:
            store_half(proto)
        onnx.helper.set_model_props(proto, {META_KEY: json.dumps(meta, allow_nan=False)})
        path.write_bytes(proto.SerializeToString())


def with_network(path: Path) -> Path:
    """The ``.safetensors`` beside an ``.onnx`` that says the same of itself, as training writes both; else ``path``.

    A file exported under another file's stem, pruned say, is not what lies beside it.
    """
    twin = path.with_suffix(".safetensors")
    if path.suffix != ".onnx" or not is_file(twin):
        return path
    return twin if read_model_file(twin).meta == read_model_file(path).meta else path


def open_source(file: ModelFile) -> Source:
    """The network of a file.

    Raises:
        FileFormatError: neither ``.safetensors`` nor ``.onnx``, no pose net or detector, or as loading them raises.
    """
    if file.kind not in ("pose", "detector"):
        raise FileFormatError(
            "this is another kind of model", where=file.path, expected="pose or detector", got=file.kind
        )
    suffix = file.path.suffix.lower()
    if suffix not in (".safetensors", ".onnx"):
        raise FileFormatError(
            "not a weights file", where=file.path, expected="a .safetensors or an .onnx file"
        )
    try:
        return NetworkSource(file)
    except FileFormatError:
        if suffix != ".onnx":
            raise
        return GraphSource(file)
