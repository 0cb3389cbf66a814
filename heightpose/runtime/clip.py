"""What every source of frames offers: its size, how it was turned, and its frames in order."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np


class Frame(NamedTuple):
    """One decoded frame.

    Attributes:
        index: position in presentation order, from 0.
        t_s: presentation time in seconds, from the source's own timestamps.
        rgb: ``(H, W, 3)`` uint8, already turned upright.
    """

    index: int  # type: ignore[assignment]  # tuple.index is of no use here
    t_s: float
    rgb: np.ndarray


class Clip(ABC):
    """A source of frames that is read in order and never seeked: seeking is what breaks timestamps.

    Attributes:
        name: what to call it in messages; an address comes without user name and password.
        kind: "video", "image", "folder" or "stream".
        size_wh: (width, height) of the frames given out, after turning.
        rotation_deg: clockwise degrees the stored picture was turned: 0, 90, 180 or 270.
        fps: the average rate where the source states one; timestamps, not this, say when a frame was taken.
        length_hint: number of frames where known beforehand; for progress only.
        paths: the files behind it, for hashing.
        live: a stream that can be read once only.
    """

    name: str
    kind: str
    size_wh: tuple[int, int]
    rotation_deg: int = 0
    fps: Fraction | None = None
    length_hint: int | None = None
    live: bool = False
    paths: tuple[Path, ...] = ()

    @abstractmethod
    def frames(self) -> Iterator[Frame]:
        """The frames, in order, as they are decoded. A source that is not live may be read again.

        Raises:
            InputError: a picture of a folder cannot be read or has another size.
        """

    def close(self) -> None:  # noqa: B027 - most sources hold nothing open between reads
        """Let go of open files. Safe to call twice."""

    def __enter__(self) -> Clip:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


_TURNS = {90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}


def turn(rgb: np.ndarray, rotation_deg: int) -> np.ndarray:
    """The picture turned clockwise by 0, 90, 180 or 270 degrees."""
    return rgb if rotation_deg == 0 else cv2.rotate(rgb, _TURNS[rotation_deg])
