"""Tiny inputs for the runtime's tests: videos written with PyAV, pictures, and networks of two layers."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from fractions import Fraction
from functools import cache
from pathlib import Path

import av
import numpy as np

from heightpose.skeleton import INFANT

#: ISO/IEC 14496-12 display matrices (16.16 fixed point): x' = a x + c y, y' = b x + d y. A phone held
#: upright writes the first: the stored picture's top left corner belongs at the top right.
ONE = 1 << 16
CLOCKWISE = {
    90: (0, ONE, 0, -ONE, 0, 0, 0, 0, 1 << 30),
    180: (-ONE, 0, 0, 0, -ONE, 0, 0, 0, 1 << 30),
    270: (0, -ONE, 0, ONE, 0, 0, 0, 0, 1 << 30),
}


def scene(
    size_wh: tuple[int, int] = (96, 64), blob_xy: tuple[float, float] = (30, 20), sigma: float = 5.0
) -> np.ndarray:
    """A dark picture ``(H, W, 3)`` with one soft white spot centred on ``blob_xy``."""
    across, down = (
        np.exp(-0.5 * ((np.arange(n) - at) / sigma) ** 2) for n, at in zip(size_wh, blob_xy, strict=True)
    )
    grey = 30 + 225 * np.outer(down, across)
    return np.repeat(np.rint(grey).astype(np.uint8)[..., None], 3, axis=2)


def write_video(
    path: Path,
    frames: Sequence[np.ndarray],
    *,
    times_s: Sequence[float] | None = None,
    fps: int | Fraction = 10,
    matrix: tuple[int, ...] | None = None,
    pixel_aspect: Fraction | None = None,
    pix_fmt: str = "yuv444p",
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    container: dict[str, str] | None = None,
) -> Path:
    """Encode frames, at given times if any. yuv444p keeps odd sizes and colours whole."""
    with av.open(str(path), "w", options=container or {}) as out:
        stream = out.add_stream(codec, rate=Fraction(fps), options=options or {"crf": "10", "g": "5"})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pix_fmt
        ticks = Fraction(1, 90000) if times_s is not None else Fraction(1) / Fraction(fps)
        stream.codec_context.time_base = ticks
        if pixel_aspect is not None:
            stream.codec_context.sample_aspect_ratio = pixel_aspect
        if matrix is not None:
            stream.set_display_matrix(matrix)
        for i, rgb in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
            frame.time_base = ticks
            frame.pts = i if times_s is None else round(times_s[i] * 90000)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def write_audio(path: Path) -> Path:
    """A second of silence."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream("aac", rate=16000, layout="mono")
        for i in range(16):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 16000, i * 1024
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def _save(
    path: Path,
    nodes: list,
    constants: dict[str, np.ndarray],
    output: tuple[str, list],
    meta: dict,
    sides: tuple[int | str, ...] = (256, 256),
) -> Path:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, *sides])],
        [helper.make_tensor_value_info(output[0], TensorProto.FLOAT, output[1])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    entry = model.metadata_props.add()
    entry.key, entry.value = "heightpose", json.dumps(meta)
    onnx.save(model, path)
    return path


def tiny_detector(path: Path, *, angle_deg: float = 0.0, reach: float = 0.5, bad: bool = False) -> Path:
    """Finds white: a cell's score is its brightness; every box reaches 64 * ``reach`` input px each way."""
    from onnx import helper

    scale = np.zeros((7, 3, 8, 8))
    scale[0] = 1.0 / (255.0 * 3 * 64)
    angle = np.deg2rad(angle_deg)
    bias = np.array([np.nan if bad else 0.0, *[reach] * 4, np.sin(angle), np.cos(angle)])
    node = helper.make_node("Conv", ["image", "w", "b"], ["detections"], strides=[8, 8], kernel_shape=[8, 8])
    meta = {"kind": "detector", "input_wh": [256, 256]}
    return _save(path, [node], {"w": scale, "b": bias}, ("detections", ["n", 7, 32, 32]), meta)


def tiny_pose(
    path: Path, joints: Sequence[str] = INFANT.names, fine_wh: tuple[int, int] | None = None
) -> Path:
    """Puts every joint on the white spot: each heatmap is the picture's brightness. With ``fine_wh`` it takes any
    size."""
    from onnx import helper

    scale = np.full((len(joints), 3, 4, 4), 1.0 / (255.0 * 3 * 16))
    node = helper.make_node("Conv", ["image", "w"], ["heatmaps"], strides=[4, 4], kernel_shape=[4, 4])
    meta = {
        "kind": "pose",
        "joints": list(joints),
        "input_wh": [256, 256],
        "heatmap_wh": [64, 64],
        "sigma": 2.0,
        "fine_wh": fine_wh,
    }
    if fine_wh is None:
        return _save(path, [node], {"w": scale}, ("heatmaps", ["n", len(joints), 64, 64]), meta)
    return _save(
        path, [node], {"w": scale}, ("heatmaps", ["n", len(joints), "h", "w"]), meta, ("height", "width")
    )


def clips(folder: Path, *counts: int) -> list[tuple[str, str]]:
    """Videos c0.mp4, c1.mp4, ... of that many frames; (path, result folder's name) of each."""
    pairs = []
    for i, count in enumerate(counts):
        (folder / f"c{i}.mp4").write_bytes(_clip(count))
        pairs.append((str(folder / f"c{i}.mp4"), f"c{i}"))
    return pairs


@cache
def _clip(count: int) -> bytes:
    """A video of so many frames; the long ones take a second to write, and many tests want one."""
    shown = [scene((160, 120), (60 + 2 * k, 50)) for k in range(20)]
    with tempfile.TemporaryDirectory() as folder:
        return write_video(Path(folder) / "c.mp4", [shown[k % 20] for k in range(count)]).read_bytes()


def zero_duration(path: Path) -> Path:
    """Make an MP4 say that it and each of its frames last no time at all, as some cameras' broken clocks do."""
    data = bytearray(path.read_bytes())
    # (box, start of the 32-bit duration after the box's name); ISO/IEC 14496-12, 8.2.2, 8.3.2, 8.4.2.
    for name, offset in ((b"mvhd", 20), (b"tkhd", 24), (b"mdhd", 20)):
        at = data.index(name) + offset
        data[at : at + 4] = bytes(4)
    at = data.index(b"stts") + 8  # 8.6.1.2: entry count, then (count, delta) pairs
    for entry in range(int.from_bytes(data[at : at + 4], "big")):
        data[at + 8 + 8 * entry : at + 12 + 8 * entry] = bytes(4)
    path.write_bytes(data)
    return path


def write_no_frames(path: Path) -> Path:
    """A video with a picture stream and not one picture in it."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        out.start_encoding()
    return path


def billion_laughs(levels: int = 12, merge: bool = False) -> str:
    """YAML of a few hundred bytes that unfolds into ``9 ** levels`` values, by aliases or by merge keys."""
    lines = ["a0: &a0 " + ("{k0: lol}" if merge else "[" + ", ".join(["lol"] * 9) + "]")]
    for i in range(1, levels):
        inside = ", ".join([f"*a{i - 1}"] * 9)
        lines.append(f"a{i}: &a{i} " + (f"{{<<: [{inside}]}}" if merge else f"[{inside}]"))
    return "\n".join(lines) + "\n"


def hostile_onnx(path: Path, kind: str) -> Path:
    """A pose net's description in front of a graph that asks for the machine's memory or somebody's file.

    Args:
        kind: "allocates" (a tensor of 400 TB), "loops" (for ever) or "elsewhere" (weights in another file).
    """
    import onnx
    from onnx import TensorProto, helper

    tiny_pose(path)
    model = onnx.load(path)
    graph = model.graph
    if kind == "allocates":
        shape = helper.make_tensor("shape", TensorProto.INT64, [4], [1, 10**5, 10**5, 10**4])
        graph.initializer.append(shape)
        graph.node.insert(0, helper.make_node("ConstantOfShape", ["shape"], ["huge"]))
        graph.node.append(helper.make_node("ReduceMax", ["huge"], ["most"], keepdims=0))
        graph.node.append(helper.make_node("Add", [graph.output[0].name, "most"], ["sum"]))
        graph.output[0].name = "sum"
    elif kind == "loops":
        body = helper.make_graph(
            [helper.make_node("Identity", ["on"], ["still_on"])],
            "body",
            [
                helper.make_tensor_value_info("i", TensorProto.INT64, []),
                helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            ],
            [helper.make_tensor_value_info("still_on", TensorProto.BOOL, [])],
        )
        graph.node.append(helper.make_node("Loop", ["", "yes"], [], body=body))
        graph.initializer.append(helper.make_tensor("yes", TensorProto.BOOL, [], [True]))
    else:
        weights = graph.initializer[0]
        weights.ClearField("raw_data")
        weights.data_location = TensorProto.EXTERNAL
        entry = weights.external_data.add()
        entry.key, entry.value = "location", "../../../../../../etc/passwd"
    path.write_bytes(model.SerializeToString())
    return path
