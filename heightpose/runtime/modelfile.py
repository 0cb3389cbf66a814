"""What a weights file says about itself, read without loading any runtime.

All forms carry the same JSON under the key ``heightpose``: an ONNX file among its ``metadata_props``, a
safetensors file in its header, OpenVINO's .xml in its ``rt_info``. Only the few bytes of metadata are parsed; a
hostile file can at most be refused. The names of a graph's operations are read too: one that loops, branches or
fetches other files is none of ours, whatever a runtime would do with it.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from heightpose.codec.confidence import calibration_path, weights_hash
from heightpose.errors import ConfigError, FileFormatError, HeightposeError

WEIGHTS_DIR = Path(__file__).resolve().parent.parent / "weights"
SHIPPED = ("fast", "accurate")
#: Shipped networks beside the pose nets, each a file of its own name.
_BESIDE = ("detector", "cover")

#: A header larger than this is not one of ours.
_MAX_METADATA = 1 << 20

_KEY = "heightpose"
#: What names the input size of a finer look in a pose net's metadata.
FINE_WH = "fine_wh"

#: Larger inputs and maps have no use here, and a batch of them fills the memory.
_LARGEST_SIDE = 1024

#: What the nets of this project and of timm need. Not here: Loop, If, Scan and sequences, which let a file of a few
#: bytes run for ever. What makes tensors of any size is judged by the size, in :mod:`heightpose.runtime.backends`.
_OPERATIONS = frozenset(
    (  # noqa: SIM905 - as a list it would be seventy lines
        "Abs Add And ArgMax AveragePool BatchNormalization Cast Ceil Clip Concat Constant ConstantOfShape Conv "
        "ConvTranspose Cos CumSum DepthToSpace DequantizeLinear Div Dropout Einsum Elu Equal Erf Exp Expand Flatten "
        "Floor Gather Gelu Gemm GlobalAveragePool GlobalMaxPool Greater HardSigmoid HardSwish Identity "
        "InstanceNormalization LayerNormalization LeakyRelu Less Log MatMul Max MaxPool Mean Min Mish Mod Mul Neg Not "
        "Or PRelu Pad Pow QuantizeLinear Reciprocal ReduceL2 ReduceMax ReduceMean ReduceSum Relu Reshape Resize Round "
        "Shape Sigmoid Sin Slice Softmax Softplus SpaceToDepth Split Sqrt Squeeze Sub Sum Tanh Transpose Unsqueeze "
        "Upsample Where"
    ).split()
)


@dataclass(frozen=True)
class ModelFile:
    """A weights file and what it says it holds.

    Attributes:
        kind: "pose", "detector" or "cover" (:mod:`heightpose.runtime.cover`).
        joints: names of the joints, in the order of the output's channels; of a pose file only.
        input_wh: (width, height) of the input in px.
        heatmap_wh, sigma: (width, height) of the heatmaps and their Gaussian in heatmap px; pose files only.
        fine_wh: (width, height) of the input of a finer look (:attr:`heightpose.runtime.networks.PoseModel.fine`), None
            where the net has one size alone; pose files only.
        meta: the whole JSON object.
        sha256: of the weights as they were read; empty for a network without a file.
    """

    path: Path
    kind: str
    joints: tuple[str, ...]
    input_wh: tuple[int, int]
    heatmap_wh: tuple[int, int]
    sigma: float
    meta: dict[str, Any]
    sha256: str = ""
    fine_wh: tuple[int, int] | None = None

    def at_fine(self) -> ModelFile | None:
        """The same file as a network of its finer size, which has no finer one; None where it has none."""
        if self.fine_wh is None:
            return None
        heatmap_wh = fine_heatmap(self.fine_wh, self.input_wh, self.heatmap_wh)
        return replace(self, input_wh=self.fine_wh, heatmap_wh=heatmap_wh, fine_wh=None)


def shipped_path(name: str) -> Path:
    """Where a shipped model lies. ``name`` is "fast", "accurate", "detector" or "cover"."""
    stem = name if name in _BESIDE else f"pose-{name}"
    return WEIGHTS_DIR / f"{stem}.onnx"


def find_model(name_or_path: str) -> Path:
    """The file behind ``--model``: a shipped name or a path.

    Raises:
        ConfigError: a shipped model that this installation lacks, or a path that does not exist.
        FileFormatError: a path that cannot be looked at.
    """
    if name_or_path in (*SHIPPED, *_BESIDE):
        path = shipped_path(name_or_path)
        if not is_file(path):
            there = [n for n in SHIPPED if is_file(shipped_path(n))]
            use = (
                f"Use --model {there[0]}" if there and name_or_path not in _BESIDE else "Reinstall heightpose"
            )
            raise ConfigError(f"the model '{name_or_path}' is not part of this installation", hint=use)
        return path
    path = Path(name_or_path)
    if not is_file(path):
        raise ConfigError(
            "no such model",
            where=name_or_path or "--model",
            expected=f"{', '.join((*SHIPPED, 'detector'))} or a path to an .onnx, .safetensors or .xml file",
            hint="Check the spelling",
        )
    return _with_companions(path)


def _with_companions(path: Path) -> Path:
    """What a link leads to, where its .bin or its calibration lies there and not beside the link."""
    target = path.resolve()
    if target.name == path.name and target.parent == path.parent.resolve():
        return path
    here, there = (
        any(is_file(file) for file in (one.with_suffix(".bin"), calibration_path(one)))
        for one in (path, target)
    )
    return target if there and not here else path


def is_file(path: Path) -> bool:
    """Whether a regular file lies there. FileFormatError where that cannot be told."""
    try:
        return path.is_file()
    except OSError as error:
        raise _unreadable(path, error) from error


def read_model_file(path: Path) -> ModelFile:
    """Read and check a weights file's metadata.

    Raises:
        FileFormatError: not an ONNX, safetensors or OpenVINO file, or one without our metadata; an OpenVINO file
            without its weights beside it.
    """
    readers = {".onnx": _onnx_metadata, ".safetensors": _safetensors_metadata, ".xml": _openvino_metadata}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise FileFormatError("not a model file", where=path, expected="an .onnx, .safetensors or .xml file")
    try:
        with path.open("rb") as file:
            text = reader(file, path.stat().st_size)
    except OSError as error:
        raise _unreadable(path, error) from error
    except (ValueError, struct.error, UnicodeDecodeError, RecursionError) as error:
        raise _damaged(path, error) from error
    if text is None:
        raise FileFormatError(
            "the file does not say what it holds",
            where=path,
            expected="metadata under the key 'heightpose'",
            hint="Export the model with: heightpose export",
        )
    # A pipe in its place would be waited for without end.
    if reader is _openvino_metadata and not is_file(path.with_suffix(".bin")):
        raise FileFormatError(
            "the weights beside it are missing or no file",
            where=path,
            expected=path.with_suffix(".bin").name,
            hint="Copy both files",
        )
    try:
        meta = json.loads(text)
        checked = _checked(path, meta)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        raise FileFormatError(
            "the model's metadata is not what it must be",
            where=path,
            got=f"{type(error).__name__}: {error}",
            hint="Export the model with: heightpose export",
        ) from error
    try:
        return replace(checked, sha256=weights_hash(path))
    except OSError as error:
        raise _unreadable(path, error) from error


def _checked(path: Path, meta: dict[str, Any]) -> ModelFile:
    kind = meta["kind"]
    if kind not in ("pose", *_BESIDE):
        raise ValueError(f"kind is 'pose', 'detector' or 'cover', got {kind!r}")
    input_wh = _size(meta.get("input_wh", [256, 256]))
    if kind != "pose":
        return ModelFile(path, kind, (), input_wh, input_wh, 0.0, meta)
    joints = tuple(str(name) for name in meta["joints"])
    heatmap_wh = _size(meta.get("heatmap_wh", [input_wh[0] // 4, input_wh[1] // 4]))
    sigma = float(meta.get("sigma", 2.0))
    if not joints or not 0.0 < sigma < 100.0:
        raise ValueError(f"joints {joints}, sigma {sigma}")
    fine_wh = fine_size(meta[FINE_WH], input_wh, heatmap_wh) if meta.get(FINE_WH) is not None else None
    return ModelFile(path, kind, joints, input_wh, heatmap_wh, sigma, meta, fine_wh=fine_wh)


def fine_size(value: Any, input_wh: tuple[int, int], heatmap_wh: tuple[int, int]) -> tuple[int, int]:
    """The input size of a finer look: larger, of the same shape, with heatmaps of whole pixels; else ValueError."""
    fine = _size(value)
    sides = list(zip(fine, input_wh, heatmap_wh, strict=True))
    if fine[0] * input_wh[1] != fine[1] * input_wh[0] or any(f <= i or m * f % i for f, i, m in sides):
        raise ValueError(f"{fine} is no finer size for an input of {input_wh} and heatmaps of {heatmap_wh}")
    return fine


def require_fine_size(
    value: Any, input_wh: tuple[int, int], heatmap_wh: tuple[int, int], where: str
) -> tuple[int, int]:
    """:func:`fine_size` of what a setting or option ``where`` says. ConfigError for a size that is no finer one."""
    try:
        return fine_size(value, input_wh, heatmap_wh)
    except ValueError as error:
        raise ConfigError(
            "not a finer size", where=where, got=error, expected="a larger one in the same shape"
        ) from error


def fine_heatmap(
    fine_wh: tuple[int, int], input_wh: tuple[int, int], heatmap_wh: tuple[int, int]
) -> tuple[int, int]:
    """The size of the heatmaps of a finer look: in the ratio of the net's own."""
    w, h = (m * f // i for m, f, i in zip(heatmap_wh, fine_wh, input_wh, strict=True))
    return w, h


def _size(value: Any) -> tuple[int, int]:
    width, height = (int(v) for v in value)
    if not (8 <= width <= _LARGEST_SIDE and 8 <= height <= _LARGEST_SIDE):
        raise ValueError(f"a size of {width}x{height}")
    return width, height


def _unreadable(path: Path, error: OSError) -> HeightposeError:
    return FileFormatError(f"cannot be read: {error.strerror}", where=path)


def _damaged(path: Path, error: Exception) -> HeightposeError:
    return FileFormatError(
        "the model file is damaged or not one of ours", where=path, got=str(error), hint="Copy it again"
    )


def _safetensors_metadata(file: BinaryIO, size: int) -> str | None:
    (length,) = struct.unpack("<Q", file.read(8))
    if length > min(size, 100 * _MAX_METADATA):
        raise ValueError(f"a header of {length} bytes in a file of {size}")
    header = json.loads(file.read(length))
    about = header.get("__metadata__") if isinstance(header, dict) else None
    value = about.get(_KEY) if isinstance(about, dict) else None
    return value if isinstance(value, str) else None


#: OpenVINO's layers that run bodies of their own, read files or keep state.
_FOREIGN_LAYERS = frozenset({"Loop", "TensorIterator", "If", "ReadValue", "Assign"})
_LARGEST_XML = 32 << 20


def _openvino_metadata(file: BinaryIO, size: int) -> str | None:
    """``rt_info`` of OpenVINO's IR; the weights lie in the .bin beside it."""
    from xml.etree import ElementTree

    if size > _LARGEST_XML:
        raise ValueError(f"a graph of {size} bytes")
    text = _utf8(file.read())
    if "<!DOCTYPE" in text or "<!ENTITY" in text:  # OpenVINO writes none; entities can unfold without end
        raise ValueError("entities, which none of our models has")
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise ValueError(str(error)) from error
    for layer in root.iter("layer"):
        if layer.get("type") in _FOREIGN_LAYERS:
            raise ValueError(f"the operation '{layer.get('type')}', which none of our models has")
    found = root.find(f"rt_info/{_KEY}")
    return None if found is None else found.get("value")


#: The encoding that an XML file names.
_NAMED = re.compile(rb"(?:\xef\xbb\xbf)?\s*<\?xml[^>]*?\sencoding\s*=\s*[\"']([^\"']*)")


def _utf8(data: bytes) -> str:
    """The text of an XML file; in another encoding, which readers find out by themselves, it could hide anything."""
    named = _NAMED.match(data)
    if b"\0" in data or (named is not None and named[1].lower() not in (b"utf-8", b"us-ascii", b"ascii")):
        raise ValueError("text in another encoding than UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError("text in another encoding than UTF-8") from error


def _onnx_metadata(file: BinaryIO, size: int) -> str | None:
    """``ModelProto.metadata_props`` (field 14) of an ONNX file, its graph (field 7) looked over on the way."""
    found = None
    for field, start, length in _fields(file, size):
        if field == 7:
            file.seek(start)
            _look_over(file, start + length)
            file.seek(start + length)
        elif field == 25:
            raise ValueError("functions of its own, which none of our models has")
        if field == 14 and length <= _MAX_METADATA:
            file.seek(start)
            entry = _entry(file.read(length))
            if entry.get(1) == _KEY.encode():
                found = entry.get(2, b"").decode("utf-8")
            file.seek(start + length)
    return found


def _look_over(file: BinaryIO, end: int) -> None:
    """Refuse a graph with operations of another kind (NodeProto, field 1), with weights elsewhere (field 5) or with
    sparse ones (field 15)."""
    for field, start, length in _fields(file, end):
        if field == 1:
            file.seek(start)
            operation, attributes = "", []
            for part, at, count in _fields(file, start + length):
                if part == 4:  # op_type
                    file.seek(at)
                    operation = file.read(min(count, 80)).decode("utf-8")
                    file.seek(at + count)
                elif part == 5:
                    attributes.append((at, at + count))
            if operation not in _OPERATIONS:
                raise ValueError(f"the operation '{operation}', which none of our models has")
            for at, stop in attributes:
                file.seek(at)
                _look_over_attribute(file, stop)
        elif field == 5:
            file.seek(start)
            _look_over_tensor(file, start + length)
        elif field == 15:
            raise ValueError("sparse weights, which none of our models has")
        file.seek(start + length)


def _look_over_attribute(file: BinaryIO, end: int) -> None:
    """Refuse an AttributeProto with tensors elsewhere (fields 5 and 10), graphs (6, 11) or sparse tensors (22, 23)."""
    for field, start, length in _fields(file, end):
        if field in (5, 10):
            file.seek(start)
            _look_over_tensor(file, start + length)
        elif field in (6, 11, 22, 23):
            raise ValueError("a graph or sparse weights in an operation, which none of our models has")


def _look_over_tensor(file: BinaryIO, end: int) -> None:
    """Refuse a TensorProto with ``external_data`` (field 13)."""
    if any(field == 13 for field, _, _ in _fields(file, end)):
        raise ValueError("weights in another file, which none of our models has")


def _fields(file: BinaryIO, size: int) -> Iterator[tuple[int, int, int]]:
    """(field number, start, length) of the length-delimited fields of a protobuf message, in file order."""
    while file.tell() < size:
        key = _varint(file)
        field, wire = key >> 3, key & 7
        if field == 0 or key >> 32:  # other readers cut a longer key to 32 bits, and see another field
            raise ValueError(f"not an ONNX file (field {field})")
        if wire == 0:
            _varint(file)
        elif wire in (1, 5):
            file.seek(8 if wire == 1 else 4, 1)
        elif wire == 2:
            length, start = _varint(file), file.tell()
            if start + length > size:
                raise ValueError(f"a field of {length} bytes at {start} in a file of {size}")
            yield field, start, length
            file.seek(start + length)
        else:
            raise ValueError(f"not an ONNX file (wire type {wire})")


def _entry(data: bytes) -> dict[int, bytes]:
    import io

    file = io.BytesIO(data)
    return {field: data[start : start + length] for field, start, length in _fields(file, len(data))}


def _varint(file: BinaryIO) -> int:
    value = 0
    for shift in range(0, 70, 7):
        byte = file.read(1)
        if not byte:
            raise ValueError("the file ends in the middle of a field")
        value |= (byte[0] & 0x7F) << shift
        if not byte[0] & 0x80:
            return value
    raise ValueError("not an ONNX file")
