"""What every importer yields, and the checks that all of them share."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from heightpose.data.items import Person, way_up
from heightpose.errors import FileFormatError, HeightposeError, InputError
from heightpose.runtime.exif import orientation
from heightpose.skeleton import INFANT

log = logging.getLogger(__name__)

#: Room around the joints where a source has no box, as a share of their larger extent.
BOX_MARGIN = 0.1

#: Of a place in px: far beyond any picture, and far enough from what a data set may hold for a box with a margin.
_LARGEST = 1e6

#: Bytes; a JPEG's note takes 64 KB at most and stands before the picture.
_EXIF_WITHIN = 1 << 18

#: MATLAB's type number of a compressed variable.
_COMPRESSED = 15


@dataclass(frozen=True)
class Labelled:
    """One picture with its people, in the source's own pixels.

    Attributes:
        path: the picture; for a video frame the video.
        folder: the source's folder of pictures: the name below it is kept when pictures are copied.
        where: file and item, for messages.
        size_wh: what the source says, None where it does not.
        infants_in_view: where the source knows of more people than it labels.
        strata: of the picture as a whole.
        recording: the video that the picture was taken from, where the source says so; ``recording_sha256`` its hash.
    """

    path: Path
    folder: Path
    where: str
    people: tuple[Person, ...]
    size_wh: tuple[int, int] | None = None
    split: str | None = None
    infants_in_view: int | None = None
    frame: int | None = None
    strata: dict[str, str] = field(default_factory=dict)
    recording: str | None = None
    recording_sha256: str | None = None


@dataclass
class Problems:
    """Bad items: the first one stops the import, or with ``skip_bad`` each is named and left out.

    Attributes:
        as_given: turns a message into one that names the source as the caller did.
    """

    skip_bad: bool = False
    lines: list[str] = field(default_factory=list)
    as_given: Callable[[str], str] = str

    @contextmanager
    def guard(self) -> Iterator[None]:
        """Around everything that belongs to one picture, so that a bad infant takes its picture along."""
        try:
            yield
        except HeightposeError as error:
            if not self.skip_bad:
                raise
            self.lines.append(self.as_given(str(error)))
            log.warning("skipped: %s", self.lines[-1])


def make_person(
    joints: Mapping[str, tuple[float, float, int]],
    where: str,
    *,
    bbox_xyxy: Iterable[float] | None = None,
    head_box_xyxy: Iterable[float] | None = None,
    child: str | None = None,
    strata: Mapping[str, str] | None = None,
) -> Person:
    """An infant from the joints a source labels; all others stay unlabelled.

    Args:
        joints: our name -> (x, y, visibility 1 or 2).
        bbox_xyxy: px; without it the labelled joints' extent and a margin.

    Raises:
        FileFormatError: a number is not finite or beyond any picture, a box is empty, or box and joints are missing.
    """
    kpts, seen = np.zeros((len(INFANT), 2)), np.zeros(len(INFANT), dtype=np.int8)
    for name, (x, y, visibility) in joints.items():
        if not np.isfinite([x, y]).all():
            raise FileFormatError(
                "not a finite number", where=f"{where}, joint {name}", expected="x, y", got=f"{x}, {y}"
            )
        _require_near([x, y], f"{where}, joint {name}")
        kpts[INFANT.index(name)], seen[INFANT.index(name)] = (x, y), visibility
    box = joints_box(kpts[seen > 0], where) if bbox_xyxy is None else _box(bbox_xyxy, f"{where}, box")
    head = None if head_box_xyxy is None else _box(head_box_xyxy, f"{where}, head box")
    outside = np.zeros(len(INFANT), dtype=bool)
    return Person(
        kpts, seen, outside, box, child, dict(strata if strata is not None else {}), head_box_xyxy=head
    )


def with_way_up(person: Person) -> Person:
    """The person with the stratum ``way_up`` where the labels tell it: photographs of people are judged by it.

    Not for cots seen from above, where up is the camera's choice.
    """
    way = way_up(person.kpts_frame, person.visibility > 0)
    return person if way is None else replace(person, strata=person.strata | {"way_up": way})


def joints_box(points: np.ndarray, where: str) -> np.ndarray:
    """``(4,)`` xyxy around ``(N, 2)`` labelled joints. FileFormatError when there is none."""
    if not len(points):
        raise FileFormatError("an infant without joints and box", where=where)
    low, high = points.min(axis=0), points.max(axis=0)
    margin = max(float((high - low).max()) * BOX_MARGIN, 1.0)
    return np.concatenate([low - margin, high + margin])


def _box(corners: Iterable[float], where: str) -> np.ndarray:
    box = np.array([float(v) for v in corners])
    if box.shape != (4,) or not np.isfinite(box).all() or (box[2:] <= box[:2]).any():
        raise FileFormatError(
            "not a box", where=where, expected="x0 < x1 and y0 < y1, finite", got=box.tolist()
        )
    _require_near(box.tolist(), where)
    return box


def _require_near(places: list[float], where: str) -> None:
    """FileFormatError where a coordinate is so large that the data set could not be read again."""
    far = [v for v in places if abs(v) > _LARGEST]
    if far:
        raise FileFormatError(
            "impossibly large", where=where, expected=f"at most {_LARGEST:.0f} px", got=far[0]
        )


def read_mat(path: Path, variable: str, *, squeeze: bool = False) -> Any:
    """One variable of a MATLAB file (version 5), structs as objects; ``squeeze`` drops single dimensions.

    Raises:
        InputError: no such file.
        FileFormatError: another version, damaged, or without the variable.
    """
    from scipy.io import loadmat

    if not path.is_file():  # of which the reader says only that it wants a file
        raise InputError("no such file", where=path, got="a folder" if path.is_dir() else None)
    try:
        with _sound(path) as sound:
            found = loadmat(sound, struct_as_record=False, squeeze_me=squeeze)
    except FileFormatError:
        raise
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", where=path) from error
    except NotImplementedError as error:
        raise FileFormatError(
            "a MATLAB 7.3 file", where=path, expected="version 5", hint="Save it with -v7 in MATLAB"
        ) from error
    except Exception as error:  # a damaged file raises whatever its bytes lead to
        raise FileFormatError("not a MATLAB file, or damaged", where=path, got=error) from error
    if variable not in found:
        names = [k for k in found if not k.startswith("__")]
        raise FileFormatError("lacks its labels", where=path, expected=f"a variable '{variable}'", got=names)
    return found[variable]


def require_unturned(picture: Path, where: str) -> None:
    """FileFormatError for a picture whose EXIF note turns or mirrors it, for labels made on pictures as stored.

    LSP's and MPII's were: MATLAB and the reference pass over the note that viewers, and we, go by.
    """
    try:
        with picture.open("rb") as file:
            head = file.read(_EXIF_WITHIN)
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=picture) from error
    if orientation(head) != (0, False):
        raise FileFormatError(
            "the picture's EXIF note turns it, its labels are for the picture as it is stored",
            where=f"{where}, {picture}", hint="Remove the note: exiftool -Orientation= FILE",
        )  # fmt: skip


@contextmanager
def _sound(path: Path) -> Iterator[Path]:
    """A file with the same content that can be read safely.

    Some damaged files make the reader run off its memory (scipy 1.17: SIGBUS or SIGSEGV, not every time). So a file
    that no checksum covers is read in a process of its own only, which writes it anew; this one reads what that wrote.
    """
    if not path.is_file() or _checksums_agree(path):
        yield path
        return
    code = (
        "import sys; from scipy.io import loadmat, savemat; found = loadmat(sys.argv[1]); "
        "savemat(sys.argv[2], {k: v for k, v in found.items() if k[:2] != '__'}, do_compression=True)"
    )
    with tempfile.TemporaryDirectory() as folder:
        again = Path(folder) / "again.mat"
        done = subprocess.run(
            [sys.executable, "-c", code, str(path), str(again)], capture_output=True, text=True, check=False
        )
        if done.returncode < 0:
            got = f"signal {-done.returncode} on reading it"
            raise FileFormatError("a damaged MATLAB file", where=path, got=got)
        if done.returncode > 0:
            words = (done.stderr.strip().splitlines() or ["nothing"])[-1]
            raise NotImplementedError(words) if words.startswith("NotImplementedError") else ValueError(words)
        yield again


def _checksums_agree(path: Path) -> bool:
    """Whether all of a version 5 file is compressed, as MATLAB writes it, and unpacks to what was packed."""
    data = path.read_bytes()
    order: Literal["little", "big"] = "little" if data[126:128] == b"IM" else "big"
    position = 128
    while position + 8 <= len(data):
        kind, size = (int.from_bytes(data[position + k : position + k + 4], order) for k in (0, 4))
        if kind != _COMPRESSED:
            return False
        try:
            zlib.decompress(data[position + 8 : position + 8 + size])
        except zlib.error:
            return False
        position += 8 + size
    return position == len(data) and position > 128


def files_in(folder: Path, pattern: str) -> list[Path]:
    """The files of a pattern, without those that macOS keeps beside others (``._name``)."""
    return sorted(p for p in folder.glob(pattern) if not p.name.startswith("._"))


def find_picture(folders: Iterable[Path], name: str, where: str) -> tuple[Path, Path]:
    """(picture, the folder it was found under). FileFormatError when it is in none.

    A name with Windows' separators that is nowhere as it is written is looked for with ours.
    """
    folders, tried = tuple(folders), []
    for written in dict.fromkeys((name, name.replace("\\", "/"))):
        for folder in folders:
            path = folder / written
            tried.append(folder)
            if os.path.isfile(path):  # False, unlike Path's, where no disk could have the name
                return path, folder
    looked = ", ".join(dict.fromkeys(map(str, tried)))
    raise FileFormatError(
        "the picture is missing", where=f"{where}, {str(tried[0] / name)[:300]}", hint=f"Looked in {looked}"
    )
