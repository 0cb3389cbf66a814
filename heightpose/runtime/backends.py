"""Runtimes behind one small interface: a batch of pictures in, an array out.

Each backend says which device and which precision it really runs with: asked of the runtime after
compilation, not repeated from the request.
"""

from __future__ import annotations

import functools
import importlib.util
import math
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from heightpose.cores import usable_cores
from heightpose.errors import ConfigError, FileFormatError, MissingExtraError
from heightpose.runtime import selftest
from heightpose.runtime.modelfile import WEIGHTS_DIR, ModelFile, is_file, read_model_file
from heightpose.words import one_line

NAMES = ("openvino", "onnxruntime", "torch")

#: Values in one tensor for one picture; HRNet-W48 at 384x384 has 9 million in its largest.
_MOST_VALUES = 1 << 28

#: Pictures that OpenVINO takes at once; a power of two.
_LARGEST_PART = 16

#: The file forms a backend reads, the one to look for first.
_READS = {"openvino": (".onnx", ".xml"), "onnxruntime": (".onnx",), "torch": (".safetensors", ".onnx")}


@dataclass(frozen=True)
class Active:
    """What is really running: backend name, device, precision ("f32", "bf16", ...) and number of threads."""

    name: str
    device: str
    precision: str
    threads: int

    def __str__(self) -> str:
        return f"{self.name} on {self.device}, {self.precision}, {self.threads} threads"


class Backend(ABC):
    """A loaded network. Several threads may run it at once.

    Attributes:
        active: the device and precision in use.
    """

    active: Active
    _path: Path

    def run(self, batch: np.ndarray) -> np.ndarray:
        """Run the network.

        Args:
            batch: ``(N, 3, H, W)`` float32 RGB, 0..255.

        Returns:
            The network's output, ``(N, ...)`` float32.

        Raises:
            FileFormatError: the model does not take this input, or gives values that are not finite.
        """
        try:
            raw = self._run(np.ascontiguousarray(batch, dtype=np.float32))
        except MemoryError:
            raise
        except Exception as error:  # the runtimes' exceptions share no base class
            raise FileFormatError(
                f"{self.active.name} cannot run this model",
                where=self._path,
                got=one_line(error, 200),
                hint="Export it again",
            ) from error
        out = np.asarray(raw, dtype=np.float32)
        # One sum is enough to notice: NaN and infinity survive it.
        if len(out) and not np.isfinite(out.sum(dtype=np.float64)):
            raise FileFormatError(
                "the network gives values that are not numbers",
                where=self._path,
                hint="Use an intact model file",
            )
        return out

    @abstractmethod
    def _run(self, batch: np.ndarray) -> Any: ...


def resolve(name: str, path: Path) -> tuple[str, Path]:
    """The backend to use and the file it reads.

    ``auto`` takes the first backend that is installed and can read the file. A backend that is named takes the file
    of the same name beside it where that has the form it reads first, or the only one: torch has less to do, and more
    networks, with the ``.safetensors``.

    Raises:
        ConfigError: an unknown name, or no file that the backend can read.
        FileFormatError: a file that cannot be looked at.
        MissingExtraError: the backend named is not installed.
    """
    if name not in (*NAMES, "auto"):
        raise ConfigError("unknown backend", expected=", ".join(("auto", *NAMES)), got=name)
    if name != "auto" and importlib.util.find_spec(name) is None:
        raise MissingExtraError(name, "all", f"--backend {name}")
    for candidate in NAMES if name == "auto" else (name,):
        forms = _READS[candidate]
        file = path if path.suffix.lower() in forms else path.with_suffix(forms[0])
        if name == "torch" and is_file(beside := path.with_suffix(forms[0])):
            file = beside
        if importlib.util.find_spec(candidate) is None or not is_file(file):
            continue
        # auto must not leave the file that was named for its neighbour.
        if name != "auto" or file == path:
            return candidate, file
    if name == "auto":
        raise ConfigError(
            f"no installed backend reads this {path.suffix} file", where=path,
            hint="Give an .onnx file, or install heightpose[train] for .safetensors",
        )  # fmt: skip
    wanted = " or ".join(_READS[name])
    raise ConfigError(
        f"{name} needs a {wanted} file", where=path, hint=f"Leave --backend out, or give a {wanted} file"
    )


def load_backend(
    path: Path, name: str = "auto", *, precision: str = "auto", threads: int | None = None
) -> tuple[Backend, ModelFile]:
    """Load a network.

    Args:
        path: an .onnx or .safetensors file, or OpenVINO's .xml with its .bin beside it.
        name: "auto", "openvino", "onnxruntime" or "torch".
        precision: "auto" (bf16 where the processor has it, else f32), "f32" or "bf16"; OpenVINO only, the
            others run in f32.
        threads: processor threads; None for one per core this process may use.

    Raises:
        ConfigError, MissingExtraError: see :func:`resolve`.
        FileFormatError: the file is not a model, the runtime refuses it, or computes a shipped one wrongly
            (:mod:`heightpose.runtime.selftest`).
    """
    if precision not in ("auto", "f32", "bf16"):
        raise ConfigError("unknown precision", expected="auto, f32 or bf16", got=precision)
    name, file = resolve(name, path)
    model_file = read_model_file(file)
    backend = create_backend(name, file, precision, threads if threads is not None else usable_cores())
    recorded = selftest.recorded_for(file)
    if recorded is not None:
        selftest.check(
            backend.run(selftest.picture(model_file.input_wh)), recorded, file, backend.active.name
        )
    return backend, model_file


def create_backend(name: str, file: Path, precision: str, threads: int) -> Backend:
    """The network of a file in a runtime, as :func:`resolve` gives both, not tested. Raises FileFormatError."""
    try:
        if name == "openvino":
            return OpenVinoBackend(file, precision, threads)
        if name == "onnxruntime":
            return OnnxRuntimeBackend(file, threads)
        return TorchBackend(file, threads)
    except (RuntimeError, ValueError) as error:  # what the runtimes raise for a graph they cannot load
        text = one_line(error)
        raise FileFormatError(
            f"{name} cannot load this model", where=file, got=text[:200], hint="Export it again"
        ) from error


_CORE_LOCK = threading.Lock()


def openvino_core() -> Any:
    """The one ``openvino.Core`` of this process, kept to its end.

    Each core's processor plugin takes the place of the signal stack and puts back, when it goes, the one it found.
    Two that go in the order they came leave a stack that was freed, and the next Ctrl-C ends in a segmentation fault.
    Networks may be loaded by several threads at once.
    """
    with _CORE_LOCK:
        return _only_core()


@functools.cache
def _only_core() -> Any:
    import openvino as ov

    # The bindings make their table of number types when first asked for one, and let another thread run meanwhile: two
    # that ask at once, as two networks loaded side by side do, wait for each other for ever. So one asks here.
    ov.Type.f32.to_dtype()
    _ = ov.Tensor(np.zeros(1, np.float32)).data
    return ov.Core()


class OpenVinoBackend(Backend):
    """OpenVINO on the processor, tuned for the latency of one clip.

    One stream of all threads: with several, which the hint alone may choose on a machine of several sockets, OpenVINO
    2026.4 unpacks weights in bytes wrongly (`accurate` then gives 1e31), and once two threads ask the cores are as
    busy without.
    """

    def __init__(self, path: Path, precision: str, threads: int) -> None:
        import openvino as ov

        self._path = path
        core = openvino_core()
        model = _sane_model(core, path)
        capable = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        # Asking for bf16 on a processor without it is accepted and then emulated slowly or ignored.
        hint = "bf16" if capable and precision != "f32" else "f32"
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
            "INFERENCE_PRECISION_HINT": hint,
            "INFERENCE_NUM_THREADS": threads,
            # Every process would pin its threads to the same first cores: with --jobs 2 two would share one.
            "ENABLE_CPU_PINNING": False,
        }
        self._model = core.compile_model(model, "CPU", settings)
        self._own = threading.local()  # a request holds its caller's tensors: each thread has one
        kind = self._model.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        self.active = Active(
            "openvino " + ov.__version__.split("-")[0],
            ",".join(self._model.get_property("EXECUTION_DEVICES")),
            f"int8 with {kind}" if _is_quantised(model) else kind,
            int(self._model.get_property("INFERENCE_NUM_THREADS")),
        )

    def _run(self, batch: np.ndarray) -> Any:
        request = getattr(self._own, "request", None)
        if request is None:
            request = self._own.request = self._model.create_infer_request()
        answers = []
        for part in _in_powers_of_two(batch):
            request.infer([part], share_inputs=True)
            answers.append(request.get_output_tensor(0).data.copy())
        return answers[0] if len(answers) == 1 else np.concatenate(answers)


def _in_powers_of_two(batch: np.ndarray) -> Iterator[np.ndarray]:
    """The batch in parts of 16, 8, 4, 2, 1: OpenVINO keeps what it prepared for every batch size it ever met."""
    start = 0
    while start < len(batch):
        size = min(_LARGEST_PART, 1 << (len(batch) - start).bit_length() - 1)
        yield batch[start : start + size]
        start += size


def _sane_model(core: Any, path: Path) -> Any:
    """OpenVINO's model, after working out every tensor's size for one picture without computing any.

    Raises:
        FileFormatError: more than one input, or a tensor that no picture needs: a few bytes can ask for terabytes.
    """
    model = core.read_model(path)
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise FileFormatError(
            "not a network of ours", where=path, expected="one input, one output",
            got=f"{len(model.inputs)} and {len(model.outputs)}",
        )  # fmt: skip
    if path.parent == WEIGHTS_DIR:  # came with the package, and working it out takes a tenth of a second
        return model
    free = model.inputs[0].partial_shape
    if free.rank.is_static and len(free) == 4:
        model.reshape([1, *(256 if side.is_dynamic else side.get_length() for side in list(free)[1:])])
    for node in model.get_ordered_ops():
        for shape in (output.partial_shape for output in node.outputs()):
            values = math.prod(shape.get_max_shape()) if shape.rank.is_static and shape.is_static else 0
            if values > _MOST_VALUES:
                raise FileFormatError(
                    "the network asks for too much memory", where=path, expected=f"at most {_MOST_VALUES} values",
                    got=f"{values} values in one tensor ({node.get_type_name()})",
                )  # fmt: skip
    model.reshape(free)
    return model


def _is_quantised(model: Any) -> bool:
    return any(node.get_type_name() == "FakeQuantize" for node in model.get_ops())


class OnnxRuntimeBackend(Backend):
    """ONNX Runtime on the processor, f32 or INT8 as the file says."""

    def __init__(self, path: Path, threads: int) -> None:
        import onnxruntime as ort

        self._path = path
        # Asked before a runtime that would compute such a tensor when it loads.
        model = _sane_model(openvino_core(), path)
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        try:
            self._session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its exceptions share no importable base class
            raise RuntimeError(str(error)) from error
        self._input = self._session.get_inputs()[0].name
        device = self._session.get_providers()[0].removesuffix("ExecutionProvider")
        kind = "int8 with f32" if _is_quantised(model) else "f32"
        self.active = Active(f"onnxruntime {ort.__version__}", device, kind, threads)

    def _run(self, batch: np.ndarray) -> Any:
        return self._session.run(None, {self._input: batch})[0]


class TorchBackend(Backend):
    """PyTorch in f32, on CUDA when there is one."""

    def __init__(self, path: Path, threads: int) -> None:
        import torch

        self._torch, self._path = torch, path
        torch.set_num_threads(threads)
        try:
            from heightpose.models.checkpoint import load_weights

            model: Any = load_weights(path)[0]
        except ModuleNotFoundError as error:
            raise MissingExtraError(str(error.name), "train", "--backend torch") from error
        torch.backends.cudnn.allow_tf32 = False  # of 24 bits of a weight it would keep 11
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        model = model.float().eval().to(self._device, memory_format=torch.channels_last)
        self._forward = getattr(model, "forward_export", model)
        label = torch.cuda.get_device_name() if self._device == "cuda" else "CPU"
        self.active = Active(f"torch {torch.__version__}", label, "f32", threads)

    def _run(self, batch: np.ndarray) -> Any:
        torch = self._torch
        with torch.inference_mode():
            image = torch.from_numpy(batch).to(self._device, memory_format=torch.channels_last)
            return self._forward(image).float().cpu().numpy()
