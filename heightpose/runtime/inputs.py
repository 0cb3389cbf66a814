"""What was named on the command line: folders of videos taken apart, and a result folder's name for each clip."""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from heightpose.errors import InputError
from heightpose.runtime.address import called, is_address, local_path, shown, without_login
from heightpose.runtime.stills import PICTURE_SUFFIXES, list_folder
from heightpose.runtime.video import VIDEO_SUFFIXES
from heightpose.words import plural, valid_unicode

log = logging.getLogger("heightpose")

#: What lies beside recordings and is expected to be passed over without a word.
_BESIDE_SUFFIXES = frozenset((
    "", ".json", ".yaml", ".yml", ".txt", ".csv", ".md", ".html", ".pdf", ".xml", ".log", ".srt", ".ini", ".db",
))  # fmt: skip

#: Bytes of a result folder's name, of the 255 of a file system: an address may be longer, and a number may follow.
_LONGEST = 200


def expand_inputs(sources: Iterable[str]) -> tuple[list[tuple[str, str]], bool]:
    """Name every input's result folder.

    A folder that holds videos stands for each of them; a folder of pictures is one clip. What cannot be read is named
    like the others: opening it tells why.

    Returns:
        ([(source, result folder's name)], whether there are several inputs or a folder of videos).
    """
    found: list[str] = []
    several = False
    for source in sources:
        videos: list[Path] = []
        # Unlike Path's, os.path's answer is False where the folder may not be looked at.
        if not is_address(source) and os.path.isdir(local_path(source)):
            with suppress(InputError):
                videos = _videos(Path(local_path(source)))
        several = several or bool(videos)
        found.extend([str(p) for p in videos] or [source])
    names: set[str] = set()
    pairs: list[tuple[str, str]] = []
    for source in found:
        stem = name = _stem(source).encode()[:_LONGEST].decode("utf-8", "ignore")
        for number in range(2, len(found) + 2):
            if name not in names:
                break
            name = f"{stem}-{number}"
        if name != stem:
            log.warning("two inputs are called %s: results of %s go to %s", stem, shown(source), name)
        names.add(name)
        pairs.append((source, name))
    return pairs, several or len(pairs) > 1


def _videos(folder: Path) -> list[Path]:
    """The videos in a folder, with a warning of what else is passed over. InputError when it cannot be read."""
    files = list_folder(folder)
    below = _folders_of_recordings(folder)
    if below:
        log.warning(
            "%s: folders in it that hold videos or pictures are passed over (%d), such as %s. Name them as well",
            *(folder, len(below), below[0].name),
        )
    videos = [path for path in files if path.suffix.lower() in VIDEO_SUFFIXES]
    pictures = [path for path in files if path.suffix.lower() in PICTURE_SUFFIXES]
    known = VIDEO_SUFFIXES | PICTURE_SUFFIXES | _BESIDE_SUFFIXES
    others = [path.suffix.lower() for path in files if path.suffix.lower() not in known]
    if videos and pictures:
        log.warning(
            "%s: holds videos; the pictures beside them are passed over (%d). Give them a folder of their own",
            *(folder, len(pictures)),
        )
    if (videos or pictures) and others:
        log.warning(
            "%s: %s passed over, by the name neither a video nor a picture that is read (%s). Save pictures as JPEG or "
            "PNG; a video that is named itself is tried",
            *(folder, plural(len(others), "file"), ", ".join(sorted(set(others)))),
        )
    return videos


def _folders_of_recordings(folder: Path) -> list[Path]:
    """The visible folders in a folder that hold videos or pictures of their own, less those of results."""
    found = []
    with suppress(OSError):
        for path in sorted(p for p in folder.iterdir() if p.name[0] != "." and p.is_dir()):
            with suppress(InputError):
                files = list_folder(path)
                is_result = any(file.match("height*.json") for file in files)
                if not is_result and any(
                    file.suffix.lower() in VIDEO_SUFFIXES | PICTURE_SUFFIXES for file in files
                ):
                    found.append(path)
    return found


def _stem(source: str) -> str:
    if is_address(source):
        text = re.sub(r"^\w+://", "", without_login(source))
        return re.sub(r"[^A-Za-z0-9.-]+", "-", text).strip("-.") or "stream"
    path = Path(local_path(source))
    name = called(source) if os.path.isdir(path) else path.stem
    name = valid_unicode(name)  # a name in an old encoding must still be printable
    name = re.sub(r"[\x00-\x1f\x7f\x85\u2028\u2029]+", "-", name)  # and one line
    name = name.encode(sys.getfilesystemencoding(), "replace").decode(sys.getfilesystemencoding())
    return name if name.strip(".") else "clip"
