"""Times for streams that have none: when their pictures arrived.

FFmpeg counts 25 pictures a second where a format has no times, such as a camera's JPEGs over HTTP or bare H.264.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from fractions import Fraction
from typing import Any

import av

from heightpose.runtime.stages import ahead

#: Unit of :func:`stamp`'s times.
_TICK_S = Fraction(1, 1_000_000)
#: Packets that may wait to be decoded: some seconds, or a few dozen megabytes of JPEGs.
_WAITING = 256
_NO_TIMES = av.format.Flags.no_timestamps.value


def is_endless_without_times(container: Any) -> bool:
    """Whether an open address sends pictures without times, and is no file: a file's arrival tells of the network."""
    return bool(container.format.flags & _NO_TIMES) and container.size <= 0


def is_camera_over_http(container: Any) -> bool:
    """Whether an open address sends JPEGs as the parts of an answer without end, which only a camera does."""
    return container.format.name == "mpjpeg" and container.size <= 0


def with_arrival(packets: Iterator[Any], patience_s: float) -> Generator[tuple[Any, float], None, None]:
    """Packets, each with the time of its arrival in seconds of the monotonic clock.

    A thread takes them as they come: while models load, or where the networks are slower than the camera, they would
    wait in the connection's buffers and seem to come all at once. Close the generator before what is read.

    Args:
        patience_s: the longest that ``packets`` may take for one.
    """
    return ahead(_timed(packets), _WAITING, name="arrivals", patience_s=patience_s)


def _timed(packets: Iterator[Any]) -> Iterator[tuple[Any, float]]:
    arrived_s = time.monotonic()
    for packet in packets:
        if packet.size:  # the last one is empty and asks for what the decoder still holds: that came earlier
            arrived_s = time.monotonic()
        yield packet, arrived_s


def stamp(frame: Any, arrived_s: float) -> None:
    """Give a frame its time of arrival."""
    frame.pts, frame.time_base = round(arrived_s / _TICK_S), _TICK_S
