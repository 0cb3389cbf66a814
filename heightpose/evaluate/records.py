"""What the pipeline said about each labelled frame and each clip, kept as JSON lines.

The records are the raw material of every figure: a result can be recomputed, compared pair by pair, and a run that was
interrupted goes on after its last whole line. Joints are in the infant skeleton's order, pixels are the original
frame's.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from heightpose.data.items import frame_key
from heightpose.errors import FileFormatError, HeightposeError
from heightpose.runtime.atomic import append_text, whole_lines, write_text

Point = list[float]
_FRAMES, _CLIPS = "frames.jsonl", "clips.jsonl"


@dataclass(frozen=True)
class Truth:
    """One labelled person.

    Attributes:
        child: whom it shows; where the set does not say, what stands for it (:meth:`.subject.Subject.stand_in`).
        kpts: ``[[x, y], ...]``.
        visibility: 2 seen, 1 hidden, 0 not labelled or out of the frame.
        head_size_px: what PCKh divides by, None where it is not known.
        crop_kpts: the joints found in the crop of the true box, where that was asked for.
    """

    child: str
    bbox_xyxy: list[float]
    kpts: list[Point]
    visibility: list[int]
    head_size_px: float | None
    strata: dict[str, str]
    crop_kpts: list[Point] | None = None


@dataclass(frozen=True)
class Guess:
    """The one infant that ``infer`` poses in a frame.

    Attributes:
        person: index of the labelled person it is, None where it is nobody's.
        iou: overlap of its box with that person's (with the nearest where it is nobody's).
    """

    bbox_xyxy: list[float]
    head_angle_deg: float
    score: float
    kpts: list[Point]
    scores: list[float]
    person: int | None
    iou: float


@dataclass(frozen=True)
class FrameRecord:
    """A labelled picture or video frame.

    Attributes:
        file: path relative to the data set's folder, with ``..`` where the picture lies outside of it.
        unlabelled: whether infants are in view that nobody labelled.
        detected: how many infants the detector reports.
    """

    file: str
    frame: int | None
    split: str | None
    people: list[Truth]
    guess: Guess | None
    detected: int
    unlabelled: bool = False

    @property
    def key(self) -> str:
        return frame_key(self.file, self.frame)


@dataclass(frozen=True)
class ClipRecord:
    """A clip of a child of known length.

    Attributes:
        measured_cm: None where the clip was rejected, and ``reasons`` say why.
        unreported_cm: the length that the geometry had for a rejected clip, None where it had none.
        best_frame, best: the frame shown best and its pose, for pictures.
    """

    id: str
    child: str
    file: str
    length_cm: float
    measured_cm: float | None
    interval_cm: list[float] | None
    interval_level: float
    reasons: list[str]
    frames: int
    used: int
    sex: str | None
    age_months: float | None
    strata: dict[str, str] = field(default_factory=dict)
    best_frame: int | None = None
    best: Guess | None = None
    unreported_cm: float | None = None

    @property
    def key(self) -> str:
        return self.id

    @property
    def estimate_cm(self) -> float | None:
        """The length that the geometry had, given out or not."""
        return self.unreported_cm if self.measured_cm is None else self.measured_cm


R = TypeVar("R", FrameRecord, ClipRecord)


def frame_from(data: dict[str, Any]) -> FrameRecord:
    """A frame record from its JSON object."""
    people = [Truth(**person) for person in data["people"]]
    guess = None if data["guess"] is None else Guess(**data["guess"])
    return FrameRecord(**(data | {"people": people, "guess": guess}))


def clip_from(data: dict[str, Any]) -> ClipRecord:
    """A clip record from its JSON object."""
    best = None if data["best"] is None else Guess(**data["best"])
    return ClipRecord(**(data | {"best": best}))


class Log:
    """The records of one run in a folder: appended as they come, read back whole.

    Raises:
        HeightposeError: the folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        frames, clips = read_records(folder)
        self._frames, self._clips = {f.key: f for f in frames}, {c.key: c for c in clips}
        # Rewritten once: a line that an interruption cut in half must not be continued.
        for name, records in ((_FRAMES, frames), (_CLIPS, clips)):
            write_text(folder / name, _text(records))

    @property
    def frames(self) -> list[FrameRecord]:
        """Each labelled frame's latest record."""
        return list(self._frames.values())

    @property
    def clips(self) -> list[ClipRecord]:
        """Each clip's latest record."""
        return list(self._clips.values())

    def add(self, frames: Iterable[FrameRecord] = (), clip: ClipRecord | None = None) -> None:
        """Append; a clip goes in after its frames, so that one whose line is there is whole."""
        new = list(frames)
        append_text(self.folder / _FRAMES, _text(new))
        self._frames |= {frame.key: frame for frame in new}
        if clip is not None:
            append_text(self.folder / _CLIPS, _text([clip]))
            self._clips[clip.key] = clip


def forget(folder: Path) -> bool:
    """Drop the records in a folder; whether there were any."""
    files = [path for name in (_FRAMES, _CLIPS) if (path := folder / name).is_file()]
    for path in files:
        path.unlink()
    return bool(files)


def read_records(folder: Path) -> tuple[list[FrameRecord], list[ClipRecord]]:
    """The records in a folder, each frame and clip once; a line cut short at the end is left out.

    Raises:
        FileFormatError: a line that is no record.
    """
    frames = [frame_from(d) for d in _lines(folder / _FRAMES)]
    clips = [clip_from(d) for d in _lines(folder / _CLIPS)]
    return list({f.key: f for f in frames}.values()), list({c.key: c for c in clips}.values())


def _lines(path: Path) -> list[dict[str, Any]]:
    try:
        return [json.loads(line) for line in whole_lines(path).splitlines()]
    except ValueError as error:
        raise FileFormatError(
            "not records of an evaluation", where=path, got=error, hint="Evaluate again into another folder"
        ) from error


def _text(records: Iterable[FrameRecord | ClipRecord]) -> str:
    return "".join(json.dumps(asdict(record), allow_nan=False) + "\n" for record in records)


def require_records(folder: Path) -> tuple[list[FrameRecord], list[ClipRecord]]:
    """As :func:`read_records`, of a finished result. Raises HeightposeError when there are none."""
    records = folder / "records"
    if not records.is_dir():
        raise HeightposeError(
            "no result of an evaluation", where=folder, expected="result.json and records/",
            hint="Make it with: heightpose eval --testset NAME --out DIR",
        )  # fmt: skip
    try:
        return read_records(records)
    except (KeyError, TypeError) as error:
        raise FileFormatError(
            "records of another version", where=records, got=error, hint="Evaluate again"
        ) from error
