"""A single picture, or a folder of pictures read as one clip."""

from __future__ import annotations

import os
import re
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO

import cv2
import numpy as np
from tqdm import tqdm

from heightpose.errors import InputError
from heightpose.runtime import exif
from heightpose.runtime.clip import Clip, Frame, turn
from heightpose.words import one_line

PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".pgm", ".ppm"})

#: Pictures that are not read: they decode tile by tile, and a single tile would pass for the picture.
UNREAD_SUFFIXES = frozenset({".heic", ".heif", ".avif"})

#: A folder of pictures carries no clock. One picture per second is assumed, which keeps times increasing.
FOLDER_PERIOD_S = 1.0


def natural_key(path: Path) -> list[tuple[int, int | str]]:
    """Sort key that puts frame2 before frame10."""
    parts = re.split(r"(\d+)", path.name.casefold())
    return [(1, int(p)) if p.isdigit() else (0, p) for p in parts if p]


def decode_picture(data: bytes, *, upright: bool = True) -> tuple[np.ndarray | None, int, bool]:
    """What every reader of pictures makes of a file's bytes; what libraries say of them goes to stderr.

    Args:
        upright: turn it as its orientation tag says; without, it is given as stored.

    Returns:
        ``(H, W, 3)`` uint8 RGB (None: it cannot be decoded), the clockwise degrees it was turned, and whether the tag
        also asks for mirroring, which is left out.

    Raises:
        cv2.error: the picture is too large.
    """
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    bgr = cv2.imdecode(np.frombuffer(exif.as_stored(data), np.uint8), flags) if data else None
    rotation_deg, mirrored = exif.orientation(data)
    rotation_deg = rotation_deg if upright else 0
    rgb = None if bgr is None else turn(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), rotation_deg)
    return rgb, rotation_deg, mirrored


def read_picture(
    path: Path, warn: Callable[..., None], *, upright: bool = True
) -> tuple[np.ndarray, int, bool]:
    """Read a picture upright.

    Args:
        upright: as :func:`decode_picture`.
        warn: called with what is odd about the picture and its name, or without the name where it is likely to be so of
            all pictures of a folder (:meth:`heightpose.runtime.clip.Clip.warn_once`).

    Returns:
        As :func:`decode_picture`, with a picture.

    Raises:
        InputError: the file is empty, no picture, or cannot be read.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=path, hint="Check the path") from error
    if not data:
        raise InputError("the file is empty", where=path, hint="Copy or record it again")
    (rgb, rotation_deg, mirrored), complaints = _decode(data, upright)
    if rgb is None:
        if _TOO_LARGE in complaints:
            raise InputError(f"the picture is {_TOO_LARGE}", where=path, hint="Make it smaller")
        raise InputError("this is not a picture that can be decoded", where=path, hint=_CONVERT)
    if any("premature end" in one or "incomplete" in one for one in complaints):  # the rest would be invented
        raise InputError("the picture is cut off", where=path, hint="Copy it again")
    if complaints:
        warn(f"the picture may be damaged: {complaints[0]}", path.name)
    if exif.holds_several(data):
        warn("holds several pictures, of which the first is read; a GIF or a video is read whole", path.name)
    if mirrored:
        warn("marked as mirrored; the mirroring is left out so that left stays left")
    return rgb, rotation_deg, mirrored


_CONVERT, _TOO_LARGE = "Save it again as JPEG or PNG", "larger than the 134 megapixels that are read"


#: How the lines of libjpeg's warnings, libpng, libtiff and OpenCV's own log begin.
_OF_A_LIBRARY = re.compile(
    r"(Corrupt JPEG|Premature end|Inconsistent progression|Invalid SOS|Application transferred|Unknown Adobe"
    r"|Warning: unknown JFIF|libpng |TIFF\w*: |imdecode|OpenCV|\[ ?(WARN|ERROR|INFO|FATAL)\b)[^\r\n]*(\r?\n)?"
)


def _decode(data: bytes, upright: bool) -> tuple[tuple[np.ndarray | None, int, bool], list[str]]:
    """:func:`decode_picture`, and what the picture libraries had to say about the file, line by line.

    They write to the process's stderr, past Python, so that is caught here: a bad file gets one line, ours. What other
    threads wrote meanwhile is passed on; the progress bar, which writes most, waits.
    """
    decoded: tuple[np.ndarray | None, int, bool] = None, 0, False
    try:
        kept = os.dup(2)
    except OSError:  # no stderr at all: nothing to catch
        kept = None
    refused = ""
    with _scratch() as caught:
        with tqdm.get_lock():
            if kept is not None:
                os.dup2(caught.fileno(), 2)
            try:
                decoded = decode_picture(data, upright=upright)
            except cv2.error as error:
                refused = str(error)
            finally:
                if kept is not None:
                    os.dup2(kept, 2)
                    os.close(kept)
        caught.seek(0)
        text = caught.read(10_000).decode("utf-8", "surrogateescape")
    others = _OF_A_LIBRARY.sub("", text)
    if others:
        with suppress(OSError):  # standard errors may be closed
            os.write(2, others.encode("utf-8", "surrogateescape"))
    complaints = [one_line(found[0]) for found in _OF_A_LIBRARY.finditer(text)]
    return decoded, [_TOO_LARGE] if "MAX_IMAGE_PIXELS" in refused else complaints


def _scratch() -> IO[bytes]:
    """An unnamed file; nowhere at all where the disk is full, and then nothing is caught."""
    try:
        return tempfile.TemporaryFile()
    except OSError:
        return open(os.devnull, "r+b")


class StillsClip(Clip):
    """Pictures of one size and one orientation, in order.

    Args:
        paths: picture files, already sorted, at least one.
        name: what to call the clip.
        kind: "image" or "folder".
        upright: turn the pictures as their orientation tags say. A camera held this way and that is one camera only by
            its stored pictures.

    Raises:
        InputError: the first picture cannot be read.
    """

    def __init__(self, paths: list[Path], name: str, kind: str, *, upright: bool = True) -> None:
        self.name, self.kind, self.paths, self._upright = name, kind, tuple(paths), upright
        self.note_files()
        first, self.rotation_deg, self.mirrored = read_picture(paths[0], self.warn_once, upright=upright)
        self.size_wh = (first.shape[1], first.shape[0])
        self.length_hint = len(paths)

    def frames(self) -> Iterator[Frame]:
        for index, path in enumerate(self.paths):
            rgb, rotation_deg, _ = read_picture(path, self.warn_once, upright=self._upright)
            size_wh = (rgb.shape[1], rgb.shape[0])
            if size_wh != self.size_wh or rotation_deg != self.rotation_deg:
                hint = "Put pictures of another camera into a folder of their own"
                if rotation_deg != self.rotation_deg:
                    hint = "Put pictures that the camera took held another way into a folder of their own"
                elif not self._upright and size_wh == self.size_wh[::-1]:
                    hint += "; where a program turned some of one camera and saved them, take them as the camera did"
                raise InputError(
                    "the pictures of one clip must have one size"
                    + (" and one orientation" if self._upright else ", as they are stored"),
                    where=path,
                    expected=_describe(self.size_wh, self.rotation_deg) + f" as in {self.paths[0].name}",
                    got=_describe(size_wh, rotation_deg),
                    hint=hint,
                )
            yield Frame(index, index * FOLDER_PERIOD_S, rgb)


def _describe(size_wh: tuple[int, int], rotation_deg: int) -> str:
    return f"{size_wh[0]}x{size_wh[1]}" + (f" turned by {rotation_deg}" if rotation_deg else "")


def list_folder(folder: Path) -> list[Path]:
    """The visible files of a folder in natural order, with links that cannot be followed: opening them tells why.

    Raises:
        InputError: the folder cannot be read.
    """
    try:
        return sorted((p for p in folder.iterdir() if p.name[0] != "." and _is_file(p)), key=natural_key)
    except OSError as error:
        raise InputError(
            f"the folder cannot be read: {error.strerror}", where=folder, hint="Check its permissions"
        ) from error


def _is_file(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return path.is_symlink()
