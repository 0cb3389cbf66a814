"""Tiny inputs for the runtime's tests: videos written with PyAV, pictures, and networks of two layers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from fractions import Fraction
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
    x, y = np.arange(size_wh[0]) - blob_xy[0], np.arange(size_wh[1])[:, None] - blob_xy[1]
    grey = 30 + 225 * np.exp(-0.5 * (x * x + y * y) / sigma**2)
    return np.repeat(np.rint(grey).astype(np.uint8)[..., None], 3, axis=2)


def write_video(
    path: Path,
    frames: Sequence[np.ndarray],
    *,
    times_s: Sequence[float] | None = None,
    fps: int | Fraction = 10,
    matrix: tuple[int, ...] | None = None,
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
    path: Path, nodes: list, constants: dict[str, np.ndarray], output: tuple[str, list], meta: dict
) -> Path:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, 256, 256])],
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


def tiny_pose(path: Path, joints: Sequence[str] = INFANT.names) -> Path:
    """Puts every joint on the white spot: each heatmap is the picture's brightness."""
    from onnx import helper

    scale = np.full((len(joints), 3, 4, 4), 1.0 / (255.0 * 3 * 16))
    node = helper.make_node("Conv", ["image", "w"], ["heatmaps"], strides=[4, 4], kernel_shape=[4, 4])
    meta = {
        "kind": "pose",
        "joints": list(joints),
        "input_wh": [256, 256],
        "heatmap_wh": [64, 64],
        "sigma": 2.0,
    }
    return _save(path, [node], {"w": scale}, ("heatmaps", ["n", len(joints), 64, 64]), meta)
