"""Videos that we write: H.264 in MP4, its frames as far apart as their own times."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from heightpose.runtime.atomic import atomic_path

#: Ticks per second of the overlay's clock: every common rate and millisecond times are near-exact in it.
_TICKS = 90_000
#: MP4 has no words for gaps of seven hours, and nobody waits for one.
_LONGEST_GAP_S = 3600.0

#: x264 whose bytes do not depend on the processor or its cores: its assembler is not bit-exact (SSE2 against SSSE3, and
#: it divides approximately), rate control works in floating point, and each thread more moves decisions. The quality
#: is about that of crf 23.
_SAME_BYTES = {"preset": "veryfast", "qp": "21", "threads": "1", "x264-params": "asm=0"}


class VideoWriter:
    """H.264 in MP4, its frames as far apart as their own times. Made by :func:`open_video_writer`."""

    def __init__(
        self,
        path: Path,
        size_wh: tuple[int, int],
        fps: Fraction | None,
        *,
        pixel_aspect: float = 1.0,
        reproducible: bool = False,
    ) -> None:
        self._container = av.open(str(path), "w", format="mp4")
        self._reproducible = reproducible
        stream: Any = self._container.add_stream(
            "libx264",
            rate=fps if fps is not None else Fraction(25),
            options=_SAME_BYTES if reproducible else {"preset": "veryfast", "crf": "23"},
        )
        # yuv420p, which every player reads, halves both sides: an odd size is padded by one pixel.
        self._padded = (size_wh[0] + size_wh[0] % 2, size_wh[1] + size_wh[1] % 2)
        stream.width, stream.height = self._padded
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, _TICKS)
        if pixel_aspect != 1.0:
            stream.codec_context.sample_aspect_ratio = Fraction(pixel_aspect).limit_denominator(1000)
        self._stream = stream
        self._zero_s: float | None = None
        self._last = -1

    def write(self, rgb: np.ndarray, t_s: float) -> None:
        """Append a frame ``(H, W, 3)`` uint8 of the time ``t_s``; the video begins with the first one's.

        With the time of a clip's part that begins after two hours, players would show nothing for as long; nor are
        gaps within it longer than :data:`_LONGEST_GAP_S`.
        """
        self._zero_s = t_s if self._zero_s is None else self._zero_s
        gap_s = t_s - self._zero_s - self._last / _TICKS
        if self._last >= 0 and gap_s > _LONGEST_GAP_S:
            self._zero_s += gap_s - _LONGEST_GAP_S
        pad_x, pad_y = self._padded[0] - rgb.shape[1], self._padded[1] - rgb.shape[0]
        if pad_x or pad_y:
            rgb = cv2.copyMakeBorder(rgb, 0, pad_y, 0, pad_x, cv2.BORDER_REPLICATE)
        rgb = np.ascontiguousarray(rgb)
        if self._reproducible:  # OpenCV converts in integers; FFmpeg's conversion depends on the processor
            yuv: Any = cv2.cvtColor(rgb, cv2.COLOR_RGB2YUV_I420)
            frame = av.VideoFrame.from_ndarray(yuv, format="yuv420p")
        else:
            frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
        self._last = frame.pts = max(round((t_s - self._zero_s) * _TICKS), self._last + 1)
        frame.time_base = Fraction(1, _TICKS)
        self._container.mux(self._stream.encode(frame))

    def finish(self) -> None:
        self._container.mux(self._stream.encode(None))

    def close(self) -> None:
        self._container.close()


@contextmanager
def open_video_writer(
    path: Path,
    size_wh: tuple[int, int],
    fps: Fraction | None,
    *,
    pixel_aspect: float = 1.0,
    reproducible: bool = False,
) -> Iterator[VideoWriter]:
    """Write a video that takes its final name only when the block ends without an exception.

    Args:
        size_wh: (width, height) of the frames; odd sizes are padded.
        fps: the source's average rate, for players that ask; times come with each frame.
        pixel_aspect: width over height of a pixel.
        reproducible: the same frames give the same bytes on every processor, several times slower.
    """
    with atomic_path(path) as tmp:
        writer = VideoWriter(tmp, size_wh, fps, pixel_aspect=pixel_aspect, reproducible=reproducible)
        try:
            yield writer
            writer.finish()
        finally:
            writer.close()
