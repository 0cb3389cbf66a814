"""What a video says of itself in its streams and frames: how long it is, and how its pictures are meant to be shown."""

from __future__ import annotations

import math
import re
from typing import Any

_TAGGED_TIME = re.compile(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)")


def frames_shown(stream: Any) -> int:
    """How many frames a stream says it has, 0 where it does not; of a trimmed one (edit list) those that are left."""
    stated = int(stream.frames or 0)
    if not stream.duration or not stream.time_base or not stream.average_rate:
        return stated
    return min(stated, math.ceil(stream.duration * stream.time_base * stream.average_rate))


def tagged_end_s(stream: Any) -> float:
    """When a stream of Matroska or WebM ends by its tag, which counts no frames; 0 without one."""
    tag = _TAGGED_TIME.fullmatch(stream.metadata.get("DURATION", ""))
    if tag is None:
        return 0.0
    hours, minutes, seconds = tag.groups()
    return 3600 * int(hours) + 60 * int(minutes) + float(seconds)


def is_mirrored(frame: Any) -> bool:
    """Whether a frame's display matrix mirrors it."""
    try:
        side_data = list(frame.side_data)
    except ValueError:  # of a kind that this PyAV has no name for, as FFmpeg 8 gives for a JPEG's EXIF
        return False
    for data in side_data:
        if data.type.name == "DISPLAYMATRIX":
            a, b, _, c, d = memoryview(bytes(data)[:20]).cast("i")
            return bool(a * d - b * c < 0)
    return False
