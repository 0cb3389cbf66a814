"""What every source of frames offers: its size, how it was turned, and its frames in order."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

log = logging.getLogger("heightpose")


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


#: Device, inode, bytes and time of the last change of a file.
Stamp = tuple[int, int, int, int]


@dataclass(frozen=True)
class Missing:
    """Part of a recording that could not be used.

    Attributes:
        code: "damaged", "cut_short", "picture_size" (it changes) or "stream_gone".
        after_frames: how many frames were had before it.
        text: what is wrong, for a person.
    """

    code: str
    after_frames: int
    text: str


#: The picture of a frame that nobody looks at.
NO_PICTURE = np.zeros((0, 0, 3), np.uint8)


class Clip(ABC):
    """A source of frames that is read in order and never seeked: seeking is what breaks timestamps.

    Attributes:
        name: what to call it in messages; an address comes without user name and password.
        kind: "video", "image", "folder" or "stream".
        size_wh: (width, height) of the frames given out, after turning.
        rotation_deg: clockwise degrees the stored picture was turned: 0, 90, 180 or 270.
        mirrored: a picture's note also asks for mirroring, which is left out: left stays left.
        pixel_aspect: width over height of a pixel of these frames, as the source states it; 1 where it does not.
        fps: the average rate where the source states one; timestamps, not this, say when a frame was taken.
        length_hint: number of frames where known beforehand; for progress only.
        paths: the files behind it, for hashing.
        live: a stream that can be read once only.
        missing: what of the recording could not be used, as far as it was read.
    """

    name: str
    kind: str
    size_wh: tuple[int, int]
    rotation_deg: int = 0
    mirrored: bool = False
    pixel_aspect: float = 1.0
    fps: Fraction | None = None
    length_hint: int | None = None
    live: bool = False
    paths: tuple[Path, ...] = ()
    missing: tuple[Missing, ...] = ()
    _warned: frozenset[str] = frozenset()
    _stamps: tuple[Stamp | None, ...] = ()

    @abstractmethod
    def frames(self) -> Iterator[Frame]:
        """The frames, in order, as they are decoded. A source that is not live may be read again.

        Raises:
            InputError: a picture of a folder cannot be read or has another size.
        """

    def chosen(
        self, wanted: Callable[[int, float], bool], past: Callable[[float], bool] = lambda t_s: False
    ) -> Iterator[Frame]:
        """All frames up to the first one ``past`` the end, those not ``wanted`` with an empty picture.

        Sources that can spare the work of an unwanted picture do.

        Args:
            wanted: asked once per frame with (index, t_s).
            past: of t_s, whether to stop before this frame.
        """
        for frame in self.frames():
            if past(frame.t_s):
                return
            yield frame if wanted(frame.index, frame.t_s) else frame._replace(rgb=NO_PICTURE)

    def warn_once(self, text: str, about: str | None = None) -> None:
        """A warning that a second pass does not repeat, about the clip where nothing else is named."""
        line = f"{self.name if about is None else about}: {text}"
        if line not in self._warned:
            self._warned |= {line}
            log.warning("%s", line)

    def leave_out(self, code: str, after_frames: int, text: str, *, warn: bool = True) -> None:
        """Note in :attr:`missing` that part of the recording is not used, once also where it is read again."""
        part = Missing(code, after_frames, text)
        if part not in self.missing:
            self.missing += (part,)
        if warn:
            self.warn_once(text)

    def note_files(self) -> None:
        """Remember what the files are like now, for :attr:`changed`."""
        self._stamps = tuple(_stamp(path) for path in self.paths)

    @property
    def changed(self) -> bool:
        """Whether a file was written to, or went, after it was opened: its hash is then of something else."""
        return self._stamps != tuple(_stamp(path) for path in self.paths)

    @property
    def replaced(self) -> bool:
        """Whether another file lies under a name now, or less of it: read again, its frames would be others."""
        pairs = zip(self._stamps, (_stamp(path) for path in self.paths), strict=False)
        return any(then and now and (now[:2] != then[:2] or now[2] < then[2]) for then, now in pairs)

    def close(self) -> None:  # noqa: B027 - most sources hold nothing open between reads
        """Let go of open files. Safe to call twice."""

    def __enter__(self) -> Clip:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _stamp(path: Path) -> Stamp | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


#: No recording is longer; also keeps times within what containers can hold.
_LONGEST_S = 1e8


class Clock:
    """Presentation times in seconds, strictly in the order of the frames.

    A file's times are the file's own. A live address has no zero of its own, so its first frame gets 0.
    """

    def __init__(self, fps: Fraction | None, *, from_zero: bool) -> None:
        self._step = float(1 / fps) if fps is not None else 0.04
        self._zero: float | None = None if from_zero else 0.0
        self._last: float | None = None

    def seconds(self, ticks: int | None, base: Fraction | None) -> float:
        """Time of the next frame from its timestamp and the seconds per tick, None where there is none."""
        t_s = None if ticks is None or base is None or base <= 0 else float(ticks * base)
        if t_s is not None:
            self._zero = t_s if self._zero is None else self._zero
            t_s -= self._zero
        # A raw stream has no times, a reconnected one starts again, a damaged one may claim centuries: carry
        # on at the stated rate.
        if t_s is None or abs(t_s) > _LONGEST_S or (self._last is not None and t_s <= self._last):
            t_s = 0.0 if self._last is None else self._last + self._step
        self._last = t_s
        return t_s


_TURNS = {90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}


def turn(rgb: np.ndarray, rotation_deg: int) -> np.ndarray:
    """The picture turned clockwise by 0, 90, 180 or 270 degrees."""
    return rgb if rotation_deg == 0 else cv2.rotate(rgb, _TURNS[rotation_deg])
