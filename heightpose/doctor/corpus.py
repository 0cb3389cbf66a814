"""What the fuzzer damages: one small clip in every container and picture format, and good settings files for it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from heightpose.errors import InputError
from heightpose.geometry.sheet import shipped_sheet
from heightpose.runtime.video import open_clip

SIZE_WH = (192, 144)
_FRAMES = 6

#: name -> (codec, pixel format, encoder options)
_VIDEOS: dict[str, tuple[str, str, dict[str, str]]] = {
    "video.mp4": ("libx264", "yuv420p", {"g": "3"}),
    "video.mov": ("libx264", "yuv420p10le", {"g": "3"}),
    "video.mkv": ("libx264", "yuv444p", {"g": "3"}),
    "video.ts": ("libx264", "yuv420p", {"g": "3"}),
    "video.avi": ("mpeg4", "yuv420p", {}),
    "video.webm": ("libvpx", "yuv420p", {}),
    "video.h264": ("libx264", "gray", {"g": "3"}),
    "video.mjpeg": ("mjpeg", "yuvj420p", {}),
}
_PICTURES = ("picture.png", "picture.jpg", "picture.bmp", "picture.tif", "picture.webp")


@dataclass(frozen=True)
class Corpus:
    """Good files by name: ``inputs`` are bytes, ``settings`` are JSON or YAML texts."""

    inputs: dict[str, bytes]
    settings: dict[str, str]


def make_corpus(folder: Path, clip: Path | None) -> Corpus:
    """Write the first frames of a clip, or a drawn scene, in every format.

    Args:
        folder: an empty folder to write in.
        clip: a video or picture; None for a drawn scene.

    Raises:
        InputError: the clip cannot be read.
    """
    frames = _drawn() if clip is None else _first_frames(clip)
    inputs = {}
    for name, (codec, pix_fmt, options) in _VIDEOS.items():
        _write(folder / name, frames, codec, pix_fmt, options)
        inputs[name] = (folder / name).read_bytes()
    for name in _PICTURES:
        cv2.imwrite(str(folder / name), frames[0][..., ::-1])
        inputs[name] = (folder / name).read_bytes()
    return Corpus(inputs, _settings())


def _first_frames(clip: Path) -> list[np.ndarray]:
    with open_clip(clip) as opened:
        frames = [
            cv2.resize(frame.rgb, SIZE_WH, interpolation=cv2.INTER_AREA)
            for frame, _ in zip(opened.frames(), range(_FRAMES), strict=False)
        ]
    if not frames:
        raise InputError("the clip holds no picture", where=clip)
    return frames


def _drawn() -> list[np.ndarray]:
    """A bright body that moves over a grey sheet."""
    rng = np.random.default_rng(0)
    frames = []
    for i in range(_FRAMES):
        rgb = rng.normal(110, 8, (*SIZE_WH[::-1], 3)).clip(0, 255).astype(np.uint8)
        cv2.ellipse(rgb, (90 + 2 * i, 80), (22, 45), 10.0, 0, 360, (225, 190, 170), -1, cv2.LINE_AA)
        cv2.circle(rgb, (98 + 2 * i, 28), 15, (230, 200, 180), -1, cv2.LINE_AA)
        frames.append(rgb)
    return frames


def _write(path: Path, frames: list[np.ndarray], codec: str, pix_fmt: str, options: dict[str, str]) -> None:
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream(codec, rate=Fraction(10), options=options)
        stream.width, stream.height = SIZE_WH
        stream.pix_fmt = pix_fmt
        for i, rgb in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
            frame.pts, frame.time_base = i, Fraction(1, 10)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


def _settings() -> dict[str, str]:
    width, height = SIZE_WH
    K = [[230.0, 0.0, (width - 1) / 2], [0.0, 230.0, (height - 1) / 2], [0.0, 0.0, 1.0]]
    whole = {"width": width, "height": height, "K": K}
    return {
        "camera.json": json.dumps({"model": "pinhole", "dist": [-0.1, 0.01, 0.0, 0.0, 0.0], **whole}),
        "fisheye.json": json.dumps({"model": "fisheye", "dist": [0.01, 0.0, 0.0, 0.0], **whole}),
        "plane.json": json.dumps({"R": [[1, 0, 0], [0, -1, 0], [0, 0, -1]], "t_cm": [0.0, 0.0, 150.0]}),
        "sheet.yaml": shipped_sheet().read_text(encoding="utf-8"),
    }
