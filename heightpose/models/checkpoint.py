"""Weights files for torch: safetensors, with the network's description (:mod:`heightpose.models.description`) inside.

Large weights are stored in half precision and computed in single. Nothing here can execute code from a file:
safetensors holds numbers only, and older torch files are read with ``weights_only=True``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from heightpose.errors import FileFormatError
from heightpose.models.description import META_KEY, build
from heightpose.models.detector_net import DetectorNet
from heightpose.models.onnx_weights import read_onnx
from heightpose.models.pose_net import PoseNet
from heightpose.runtime.atomic import atomic_path
from heightpose.runtime.modelfile import read_model_file
from heightpose.words import one_line

_TORCH = (".pt", ".pth", ".ckpt", ".tar", ".bin")

#: Where training checkpoints of various projects keep the weights, the first there is.
_NESTED = ("state_dict", "best_state_dict", "model")

#: Where checkpoints of our own trainings keep what is neither weights nor the optimizer's.
_RUN_STATE = "heightpose"


class _Number:
    """Stands in for numpy's numbers beside the weights (the published code keeps its best score so): read over, not
    built."""

    def __init__(self, *_: Any) -> None: ...

    def __setstate__(self, state: Any) -> None: ...


#: What pickles call those numbers, by numpy's releases, and their type.
_NUMPY_NUMBERS = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar", "numpy.dtype")


def save_weights(path: str | Path, state_dict: Mapping[str, torch.Tensor], meta: dict[str, Any]) -> None:
    """Write a safetensors file, whole or not at all.

    Convolution and matrix weights are stored in half precision; vectors (biases, normalisation statistics,
    whose variances may leave its range) and counters as they are.

    Raises:
        FileFormatError: weights that are not finite.
    """
    from safetensors.torch import save

    path = Path(path)
    require_finite(state_dict, path)
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
        FileFormatError: not a file of ours, damaged, of another schema, weights that do not fit
            the description or are not finite.
    """
    path = Path(path)
    if path.suffix.lower() == ".onnx":
        net, description = read_onnx(path)
        require_finite(net.state_dict(), path)
        return net, description
    state, meta = read_state(path)
    if meta is None:
        raise FileFormatError(
            "not a weights file", where=path, expected="a .safetensors or an .onnx of this project"
        )
    model = build(path, meta, state)
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise FileFormatError(
            "the weights do not fit the network the file describes",
            where=path,
            got=one_line(error, 300),
            hint="Use the file as it was written",
        ) from error
    return model.eval(), meta


def read_state(path: str | Path) -> tuple[dict[str, torch.Tensor], dict[str, Any] | None]:
    """A state dict, in float32, from a safetensors file, a torch checkpoint (.pt, .pth, .ckpt, .tar, .bin) or an .onnx
    of ours (:mod:`heightpose.models.onnx_weights`).

    Meant for starting from a checkpoint of any origin; :func:`load_weights` is for our own. Of a training
    checkpoint the entry ``state_dict``, ``best_state_dict`` or ``model`` is taken.

    Returns:
        The state dict, and our description if the file has one.

    Raises:
        FileFormatError: an unknown form, a damaged file, one that holds more than tensors or none, a checkpoint of a
            training of ours, or values that are not finite.
    """
    path = Path(path)
    if not path.is_file():
        raise FileFormatError("no such weights file", where=path, hint="Check the path")
    meta = None
    if path.suffix.lower() == ".safetensors":
        state, meta = _read_safetensors(path)
    elif path.suffix.lower() in _TORCH:
        state = _read_torch(path)
    elif path.suffix.lower() == ".onnx":
        net, meta = read_onnx(path)
        state = net.state_dict()
    else:
        raise FileFormatError(
            "not a weights file", where=path, expected=f".safetensors, .onnx, {', '.join(_TORCH)}"
        )
    if not state:
        raise FileFormatError(
            "the file holds no weights", where=path, expected="names and tensors", got="none"
        )
    require_finite(state, path)
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
        with torch.serialization.safe_globals([(_Number, name) for name in _NUMPY_NUMBERS]):
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # unpickling a stranger's bytes can raise anything
        raise FileFormatError(
            "cannot be read as plain weights",
            where=path,
            got=f"{type(error).__name__}",
            hint="Files that need code to be run are refused; save the state dict alone and try again",
        ) from error
    if isinstance(state, dict) and isinstance(state.get(_RUN_STATE), dict):
        raise FileFormatError(
            "the checkpoint of a run of heightpose, which its training goes on from", where=path,
            expected="weights",
            hint="Give the run's best.safetensors, or go on with the run with --resume",
        )  # fmt: skip
    if isinstance(state, dict):
        state = next((state[name] for name in _NESTED if isinstance(state.get(name), dict)), state)
    if not isinstance(state, dict) or not all(
        isinstance(k, str) and isinstance(v, torch.Tensor) for k, v in state.items()
    ):
        raise FileFormatError("not a state dict", where=path, expected="names and tensors")
    return dict(state)


def require_finite(state: Mapping[str, torch.Tensor], where: Path) -> None:
    """Refuse weights that are not numbers.

    Raises:
        FileFormatError: NaN or infinity; ``where`` names the file.
    """
    bad = [k for k, v in state.items() if v.is_floating_point() and not torch.isfinite(v).all()]
    if bad:
        raise FileFormatError(
            "weights that are not numbers (NaN or infinity)",
            where=where,
            got=f"{len(bad)} of {len(state)} tensors, first {bad[0]}",
            hint="The training diverged or the file is damaged; use an earlier checkpoint",
        )
