"""A data set's pictures, read once: decoded in memory as far as a budget allows, then as compressed bytes."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np

from heightpose.cores import usable_cores
from heightpose.data.items import Item
from heightpose.errors import FileFormatError, HeightposeError, InputError
from heightpose.runtime.stills import decode_picture
from heightpose.words import plural

log = logging.getLogger(__name__)

#: Pictures decoded ahead, by all cores.
_READ_AHEAD = 256


class Pictures:
    """Random access to the pictures of some items; safe to read from several threads.

    Args:
        items: whose pictures; video frames are read in sequence, never by seeking, and always kept decoded.
        memory_mb: budget for decoded pictures. Later ones keep their compressed bytes, decoded at each use.
        skip_bad: leave out pictures that cannot be decoded, with a warning; see :attr:`items`.

    Attributes:
        items: the items whose pictures are there, in order; ``picture(i)`` belongs to ``items[i]``.

    Raises:
        FileFormatError: (without ``skip_bad``) a damaged, truncated or wrongly sized picture, by name.
    """

    def __init__(self, items: Sequence[Item], memory_mb: float = 4000.0, skip_bad: bool = False) -> None:
        frames = _video_frames(items)
        kept: list[Item] = []
        self._store: list[np.ndarray | bytes] = []
        used = 0
        for item, read in _read_all(items, frames):
            if isinstance(read, HeightposeError):
                if not skip_bad:
                    raise read
                log.warning("skipped: %s", read)
                continue
            rgb, data = read
            within = data is None or used + rgb.nbytes <= memory_mb * 1e6
            used += rgb.nbytes if within else 0
            kept.append(item)
            self._store.append(rgb if within or data is None else data)
        self.items: tuple[Item, ...] = tuple(kept)

    def __len__(self) -> int:
        return len(self._store)

    def picture(self, index: int) -> np.ndarray:
        """``(H, W, 3)`` uint8 RGB; do not write into it."""
        stored = self._store[index]
        return decode(stored, self.items[index].path) if isinstance(stored, bytes) else stored


def read_picture(path: Path) -> np.ndarray:
    """``(H, W, 3)`` uint8 RGB of a picture file. Errors of :func:`decode`, InputError when it cannot be read."""
    return decode(_bytes(path), path)


def first_frame(path: Path) -> np.ndarray:
    """``(H, W, 3)`` uint8 RGB of a picture file as ``infer`` reads it, which cannot read some that :func:`decode` can.

    Raises:
        InputError: it cannot be read.
        FileFormatError: its EXIF note mirrors it.
    """
    from heightpose.runtime.video import open_clip

    with open_clip(str(path)) as clip:
        if clip.mirrored:
            raise _mirrored(path)
        return next(clip.frames()).rgb


def labelled_frames(path: Path, wanted: set[int]) -> Iterator[tuple[int, np.ndarray]]:
    """(index, ``(H, W, 3)`` uint8 RGB) of some frames of a video, which is read once and in sequence.

    Raises:
        InputError: it cannot be read.
        FileFormatError: it ends before one of them, or its note mirrors it.
    """
    from heightpose.runtime.video import open_clip

    left = set(wanted)
    with open_clip(path) as clip:
        if clip.mirrored:
            raise _mirrored(path)
        for frame in clip.frames():
            if frame.index in left:
                left.remove(frame.index)
                yield frame.index, frame.rgb
            if not left:
                return
    raise FileFormatError("the video ends before a labelled frame", where=path, got=f"no frame {min(left)}")


def decode(data: bytes, path: Path) -> np.ndarray:
    """Compressed picture to ``(H, W, 3)`` uint8 RGB, turned as its EXIF note says, which is how viewers show it.

    Raises:
        FileFormatError: cannot be decoded, ends too early (which decoders fill with grey without a word), or its EXIF
            note mirrors it.
    """
    # In a JPEG's scan 0xFF is always escaped, so the end marker after the last scan's start is the real one.
    short = data[:2] == b"\xff\xd8" and data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda")
    short |= data[:4] == b"\x89PNG" and b"IEND" not in data[-16:]
    try:
        rgb, _, mirrored = (None, 0, False) if short else decode_picture(data)
    except cv2.error:  # too large
        rgb, mirrored = None, False
    if rgb is None:
        what = "the picture is truncated" if short or not data else "the picture cannot be decoded"
        raise FileFormatError(
            what, where=path, got=plural(len(data), "byte"), hint="Copy it again, or leave it out (skip_bad)"
        )
    if mirrored:
        raise _mirrored(path)
    return rgb


def _mirrored(path: Path) -> FileFormatError:
    """Viewers mirror such a picture, ``infer`` does not, so that left stays left: labels are for one of them."""
    return FileFormatError(
        "the picture's EXIF note mirrors it", where=path,
        hint="Labels made on what viewers show have left and right the wrong way round: remove the note (exiftool "
        "-Orientation= FILE) and label it again",
    )  # fmt: skip


def _read_all(
    items: Sequence[Item], frames: dict[tuple[Path, int | None], np.ndarray]
) -> Iterator[tuple[Item, tuple[np.ndarray, bytes | None] | HeightposeError]]:
    """Each item's picture and its compressed bytes (None of a video's frame), or what is wrong with it, in order."""

    def read(item: Item) -> tuple[np.ndarray, bytes | None] | HeightposeError:
        try:
            if item.frame is not None:
                rgb, data = frames[item.path, item.frame], None
            else:
                data = _bytes(item.path)
                rgb = decode(data, item.path)
            _check_size(rgb, item)
        except HeightposeError as error:
            return error
        return rgb, data

    with ThreadPoolExecutor(usable_cores()) as pool:
        # A few at a time: else everything would be decoded before it is looked at.
        for start in range(0, len(items), _READ_AHEAD):
            part = items[start : start + _READ_AHEAD]
            yield from zip(part, pool.map(read, part), strict=True)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=path) from error


def _check_size(rgb: np.ndarray, item: Item) -> None:
    size_wh = (rgb.shape[1], rgb.shape[0])
    if size_wh != item.size_wh:
        raise FileFormatError(
            "the picture's size is not the one its labels are for",
            where=item.path,
            expected=f"{item.size_wh[0]}x{item.size_wh[1]}",
            got=f"{size_wh[0]}x{size_wh[1]}",
            hint="Labels are for the picture as viewers show it, turned as its EXIF note says",
        )


def _video_frames(items: Sequence[Item]) -> dict[tuple[Path, int | None], np.ndarray]:
    wanted: dict[Path, set[int]] = defaultdict(set)
    for item in items:
        if item.frame is not None:
            wanted[item.path].add(item.frame)
    found: dict[tuple[Path, int | None], np.ndarray] = {}
    for path, indices in wanted.items():
        found |= {(path, index): rgb for index, rgb in labelled_frames(path, indices)}
    return found
