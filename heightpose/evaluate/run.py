"""A test set through the pipeline of ``infer``: every labelled frame's joints and every clip's length, as records.

A clip is measured once by :func:`heightpose.runtime.session.measure_clip`, and its labelled frames are judged by the
joints of that same run. Labelled pictures and frames of other videos go through
:func:`heightpose.runtime.pipeline.estimate_poses`. So a person the detector missed is a person without joints.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from heightpose.codec.detection import iou
from heightpose.data.clips import Clip as LengthClip
from heightpose.data.items import Item, Person, head_angle_deg
from heightpose.data.pictures import first_frame
from heightpose.data.strata import known_values
from heightpose.errors import FileFormatError, InputError
from heightpose.evaluate.known import measure_known
from heightpose.evaluate.records import ClipRecord, FrameRecord, Guess, Log, Truth
from heightpose.evaluate.subject import Subject
from heightpose.metrics.pckh import head_size_mpii, head_sizes
from heightpose.runtime.clip import Clip, Frame
from heightpose.runtime.interrupt import Interrupt
from heightpose.runtime.networks import Detector, PoseModel
from heightpose.runtime.pipeline import estimate_poses
from heightpose.runtime.session import StoppedBeforeError
from heightpose.runtime.video import open_clip
from heightpose.types import Detection, FrameResult, Measurement, Reason

log = logging.getLogger("heightpose")

#: A prediction belongs to the person whose box it overlaps most, by at least this much; the joints decide the rest.
LEAST_IOU = 0.1

_UNREADABLE = Reason("unreadable", "The clip or its camera, sheet or plane file cannot be used.")


class LabelError(FileFormatError):
    """Labels that do not fit their picture or video, for which no model is to blame."""


class Evaluation:
    """Runs what is not yet in the log.

    Args:
        truth_crops: also pose the crop of each true box, head up by the true joints, once, without a second look.
    """

    def __init__(
        self,
        subject: Subject,
        detector: Detector,
        pose_model: PoseModel,
        log_: Log,
        *,
        truth_crops: bool = False,
    ) -> None:
        pose_model.require_infant_joints("are judged")
        self.subject, self.log = subject, log_
        self._detector, self._pose, self._crops = detector, pose_model, truth_crops

    def run(self) -> bool:
        """Go through clips, pictures and other videos. Returns False when the user stopped it before its end."""
        clips = {c.id for c in self.log.clips}
        frames = {f.key for f in self.log.frames}
        todo = [c for c in self.subject.clips if c.id not in clips]
        labelled = self.subject.of_clips
        with Interrupt() as interrupt:
            for clip in _bar(todo, "clip", len(self.subject.clips)):
                self._clip(clip, labelled[clip.video], interrupt)
                if interrupt.requested:
                    return False
            stills = [i for i in self.subject.stills if self.subject.key(i) not in frames]
            with _counter(len(self.subject.stills), len(self.subject.stills) - len(stills)) as bar:
                for record in self._posed(_pictures(stills), stills):
                    self.log.add([record])
                    bar.update()
                    if interrupt.requested:
                        return False
            for path, items in self.subject.videos.items():
                missing = [i for i in items if self.subject.key(i) not in frames]
                if missing:
                    self.log.add(self._video(path, missing))
                if interrupt.requested:
                    return False
        return True

    def _clip(self, clip: LengthClip, items: Sequence[Item], interrupt: Interrupt) -> None:
        by_frame = {item.frame: item for item in items}
        records: list[FrameRecord] = []

        def watch(result: FrameResult, rgb: np.ndarray) -> None:
            if result.index in by_frame:
                records.append(self._record(by_frame[result.index], result, rgb))

        try:
            outcome = measure_known(clip, self._detector, self._pose, interrupt=interrupt, watch=watch)
        except StoppedBeforeError:
            return
        except LabelError:
            raise
        except (InputError, FileFormatError) as error:
            # What infer answers with an error is not measured; one bad clip must not hide all the others.
            log.warning("clip %s counts as not measured: %s", clip.id, error)
            self.log.add(
                self._with_unseen(records, items),
                self._measured(clip, Measurement.rejected([_UNREADABLE], frames_total=0), None),
            )
            return
        if outcome.interrupted:
            return
        if not outcome.missing:  # frames of what could not be read are not seen, as infer does not see them
            _require_all(clip.video, items, records)
        best = None if outcome.best is None else outcome.best[0]
        self.log.add(self._with_unseen(records, items), self._measured(clip, outcome.measurement, best))

    def _with_unseen(self, records: Sequence[FrameRecord], items: Sequence[Item]) -> list[FrameRecord]:
        seen = {record.frame for record in records}
        return [*records, *(self._unseen(item) for item in items if item.frame not in seen)]

    def _unseen(self, item: Item) -> FrameRecord:
        file = self.subject.relative(item.path)
        people = self._truths(item, [None] * len(item.people))
        return FrameRecord(file, item.frame, item.split, people, None, 0, item.has_unlabelled)

    def _truths(self, item: Item, crops: Sequence[np.ndarray | None]) -> list[Truth]:
        return [
            truth_of(person, self.subject.stand_in(item, n), crops[n]) for n, person in enumerate(item.people)
        ]

    def _measured(self, clip: LengthClip, measurement: Measurement, best: FrameResult | None) -> ClipRecord:
        return ClipRecord(
            clip.id, clip.child, self.subject.relative(clip.video), clip.length_cm, measurement.length_cm,
            None if measurement.interval_cm is None else [float(v) for v in measurement.interval_cm],
            measurement.interval_level, [r.code for r in measurement.reasons], measurement.frames_total,
            measurement.frames_used, clip.sex, clip.age_months, dict(clip.strata),
            None if best is None else best.index, None if best is None else _guess(best, ()),
            measurement.details.get("unreported_cm"),
        )  # fmt: skip

    def _video(self, path: Path, items: Sequence[Item]) -> list[FrameRecord]:
        wanted = {int(i.frame): i for i in items if i.frame is not None}
        with open_clip(str(path)) as source:
            records = list(self._posed(_frames(source, set(wanted)), wanted))
        _require_all(path, items, records)
        return records

    def _posed(
        self, frames: Iterator[Frame], items: Sequence[Item] | dict[int, Item]
    ) -> Iterator[FrameRecord]:
        for result, rgb in estimate_poses(frames, self._detector, self._pose):
            yield self._record(items[result.index], result, rgb)

    def _record(self, item: Item, result: FrameResult, rgb: np.ndarray) -> FrameRecord:
        _require_size(item, rgb)
        file = self.subject.relative(item.path)
        crops = self._in_true_boxes(item, rgb) if self._crops else [None] * len(item.people)
        return FrameRecord(
            file, item.frame, item.split, self._truths(item, crops), _guess(result, item.people), result.infants,
            item.has_unlabelled,
        )  # fmt: skip

    def _in_true_boxes(self, item: Item, rgb: np.ndarray) -> list[np.ndarray | None]:
        angles = [head_angle_deg(p.kpts_frame, p.visibility > 0) for p in item.people]
        boxes = [
            Detection(person.bbox_xyxy, 0.0 if angle is None else angle, 1.0)
            for person, angle in zip(item.people, angles, strict=True)
        ]
        return [pose.kpts_frame for pose in self._pose.estimate([rgb] * len(boxes), boxes)]


def match(box: np.ndarray, people: Sequence[Person]) -> tuple[int | None, float]:
    """Whose box ``box`` overlaps most and by how much; nobody's below :data:`LEAST_IOU`."""
    overlaps = [float(iou(np.asarray(box), person.bbox_xyxy)) for person in people]
    if not overlaps:
        return None, 0.0
    best = int(np.argmax(overlaps))
    return (best if overlaps[best] >= LEAST_IOU else None), overlaps[best]


def _guess(result: FrameResult, people: Sequence[Person]) -> Guess | None:
    if result.pose is None:
        return None
    detection, box = result.pose.detection, result.pose.bbox_xyxy
    person, overlap = match(box, people)
    return Guess(
        _rounded(box), round(detection.head_angle_deg, 2), round(detection.score, 5),
        _rounded(result.pose.kpts_frame), _rounded(result.pose.reported_scores, 5), person, round(overlap, 4),
    )  # fmt: skip


def truth_of(person: Person, place: str, crop_kpts: np.ndarray | None = None) -> Truth:
    """A label as a record; ``place`` stands for a child that the set does not name (:meth:`Subject.stand_in`)."""
    visibility = np.where(person.out_of_frame, 0, person.visibility)
    size, known = head_sizes(person.kpts_frame[None], (person.visibility > 0)[None])
    pixels = float(size[0]) if known[0] else None
    if pixels is None and person.head_box_xyxy is not None:
        pixels = float(head_size_mpii(person.head_box_xyxy[None])[0])
    return Truth(
        person.child if person.child is not None else place, _rounded(person.bbox_xyxy),
        _rounded(person.kpts_frame, 4), [int(v) for v in visibility], pixels if pixels else None,
        known_values(person.strata), None if crop_kpts is None else _rounded(crop_kpts),
    )  # fmt: skip


def _rounded(array: np.ndarray, digits: int = 3) -> list:
    return np.asarray(array, dtype=np.float64).round(digits).tolist()


def _pictures(items: Sequence[Item]) -> Iterator[Frame]:
    """Each picture as ``infer`` reads it, numbered by its place in ``items``."""
    for number, item in enumerate(items):
        yield Frame(number, 0.0, first_frame(item.path))


def _frames(source: Clip, wanted: set[int]) -> Iterator[Frame]:
    for frame in source.frames():
        if frame.index in wanted:
            yield frame
        if frame.index >= max(wanted):
            return


def _require_size(item: Item, rgb: np.ndarray) -> None:
    if (rgb.shape[1], rgb.shape[0]) != item.size_wh:
        raise LabelError(
            "the picture's size is not the one its labels are for", where=item.path,
            expected=f"{item.size_wh[0]}x{item.size_wh[1]}", got=f"{rgb.shape[1]}x{rgb.shape[0]}",
            hint="Label the picture upright, as it is shown",
        )  # fmt: skip


def _require_all(path: Path, items: Sequence[Item], records: Sequence[FrameRecord]) -> None:
    missing = {item.frame for item in items} - {record.frame for record in records}
    if missing:
        raise LabelError(
            "the video ends before a labelled frame", where=path,
            got=f"no frame {min(m for m in missing if m is not None)}",
            hint="'heightpose data validate' lists all labels that do not fit",
        )  # fmt: skip


def _bar(clips: Sequence[LengthClip], unit: str, total: int) -> Iterator[LengthClip]:
    yield from tqdm(
        clips,
        total=total,
        initial=total - len(clips),
        unit=unit,
        desc="measuring",
        disable=None,
        file=sys.stderr,
    )


def _counter(total: int, done: int) -> tqdm:
    return tqdm(
        total=total,
        initial=done,
        unit="picture",
        desc="posing",
        disable=None if total else True,
        file=sys.stderr,
    )
