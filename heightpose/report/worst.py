"""The worst cases of an evaluation as pictures: what was found over what is true, infants' faces blurred."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from heightpose.data.strata import without_annotator
from heightpose.errors import HeightposeError
from heightpose.evaluate.people import People
from heightpose.evaluate.records import ClipRecord, FrameRecord, Guess, Truth
from heightpose.report.overlay import blur_labelled, draw_joints, labelled_pose
from heightpose.report.page import Html, figure, jpeg
from heightpose.runtime.video import open_clip
from heightpose.skeleton import INFANT
from heightpose.types import Detection
from heightpose.words import plural

TRUTH_RGB = (90, 230, 120)
ERROR_RGB = (255, 70, 70)
_SIDE_PX = 360
#: Of the people shown at most this many are ones that were missed: they look alike and say one thing.
_MISSED = 4


@dataclass(frozen=True)
class Case:
    """One picture to show."""

    record: FrameRecord
    person: int
    badness: float


def worst_people(people: People, number: int) -> list[Case]:
    """The people with the largest mean error of seen height joints, one picture per child, missed ones first.

    Of people found without head size, or without a seen height joint, nobody knows how wrong they are: left out.
    """
    sms = INFANT.height_joints
    seen = (people.visibility[:, sms] == 2) & ~np.isnan(people.error[:, sms])
    error = np.where(seen, np.minimum(np.nan_to_num(people.error[:, sms], posinf=2.0), 2.0), 0.0)
    badness = error.sum(axis=1) / np.maximum(seen.sum(axis=1), 1)
    badness = np.where(people.found, badness, 3.0)
    cases: list[Case] = []
    children: set[str] = set()
    missed = 0
    for row in np.argsort(-badness, kind="stable"):
        i = int(row)
        if people.found[i] and not seen[i].any():
            continue
        if people.children[i] in children or (not people.found[i] and missed >= _MISSED):
            continue
        children.add(people.children[i])
        missed += int(not people.found[i])
        frame, person = people.rows[i]
        cases.append(Case(people.frames[frame], person, float(badness[i])))
        if len(cases) == number:
            break
    return cases


def person_figure(case: Case, folder: Path, *, blur: bool) -> Html:
    """:func:`person_picture` for a page; words alone when the picture is gone."""
    found = person_picture(case, folder, blur=blur)
    if found is None:
        return figure(None, f"{_state(case)}. {_words(case)}")
    picture, state, words = found
    return figure(jpeg(picture), f"{state}. {words}", f"Worst case: {state}")


def _is_found(case: Case) -> bool:
    return case.record.guess is not None and case.record.guess.person == case.person


def _state(case: Case) -> str:
    return f"mean error {case.badness:.2f} head sizes" if _is_found(case) else "missed"


def _words(case: Case) -> str:
    truth = case.record.people[case.person]
    return f"{case.record.key}, {truth.child}" + _strata_words(truth.strata)


def person_picture(case: Case, folder: Path, *, blur: bool) -> tuple[np.ndarray, str, str] | None:
    """Truth (green) and what was found (coloured by side), a red line from each true joint to the one found.

    Returns:
        ``(H, W, 3)`` uint8 RGB, how wrong it is, and who and where it is; None when the picture is gone.
    """
    record, truth = case.record, case.record.people[case.person]
    guess, found = record.guess, _is_found(case)
    rgb = _read(folder / record.file, record.frame)
    if rgb is None:
        return None
    picture = blurred(rgb, record) if blur else rgb.copy()
    scale = max(max(np.ptp(np.array(truth.bbox_xyxy).reshape(2, 2), axis=0)) / 330.0, 0.3)
    if guess is not None and found:
        draw_joints(picture, np.array(guess.kpts), hidden=np.array(guess.scores) < 0.3, scale=scale)
        _draw_errors(picture, truth, guess, scale)
    else:
        draw_joints(picture, np.array(truth.kpts), hidden=np.array(truth.visibility) != 2, scale=scale)
    boxes = [truth.bbox_xyxy] + ([guess.bbox_xyxy] if guess is not None and found else [])
    return _cut_out(picture, boxes), _state(case), _words(case)


def clip_figure(clip: ClipRecord, records: Sequence[FrameRecord], folder: Path, *, blur: bool) -> Html:
    """The clip's best frame with its length beside the truth."""
    if clip.measured_cm is None or clip.interval_cm is None:
        words = f"{clip.id}: true {clip.length_cm:.1f} cm, refused: {', '.join(clip.reasons)}"
    else:
        low, high = clip.interval_cm
        words = (
            f"{clip.id}: {clip.measured_cm - clip.length_cm:+z.2f} cm: {clip.measured_cm:.1f} ({low:.1f}-{high:.1f}), "
            f"true {clip.length_cm:.1f} cm; {clip.used} of {plural(clip.frames, 'frame')}"
        )
    words += _strata_words(clip.strata)
    if clip.best_frame is None:  # no frame of it was ever seen
        return Html("")
    rgb = _read(folder / clip.file, clip.best_frame)
    if rgb is None:
        return figure(None, words)
    own = next((r for r in records if r.file == clip.file and r.frame == clip.best_frame), None)
    picture = rgb.copy()
    if blur:  # without labels nobody knows that the head was found, least of all in a worst case: blur it all
        picture = blurred(rgb, own) if own is not None else blur_labelled(rgb, (), unlabelled=False)
    guess = clip.best
    if guess is None:
        return figure(jpeg(_limited(picture)), words, "Worst clip")
    scale = max(max(np.ptp(np.array(guess.bbox_xyxy).reshape(2, 2), axis=0)) / 330.0, 0.3)
    draw_joints(picture, np.array(guess.kpts), hidden=np.array(guess.scores) < 0.3, scale=scale)
    return figure(jpeg(_cut_out(picture, [guess.bbox_xyxy])), words, "Worst clip")


def blurred(rgb: np.ndarray, record: FrameRecord) -> np.ndarray:
    """Every labelled head pixelated; all of the picture where a head's place is not labelled."""
    poses = [
        labelled_pose(
            np.array(truth.kpts),
            np.array(truth.visibility) > 0,
            Detection(np.array(truth.bbox_xyxy), 0.0, 1.0),
        )
        for truth in record.people
    ]
    return blur_labelled(rgb, poses, record.unlabelled)


def _draw_errors(picture: np.ndarray, truth: Truth, guess: Guess, scale: float) -> None:
    width = max(1, round(1.5 * scale))
    for true, found, seen in zip(truth.kpts, guess.kpts, truth.visibility, strict=True):
        if seen == 0:
            continue
        a, b = (tuple(int(v) for v in np.clip(np.rint(p), -30000, 30000)) for p in (true, found))
        cv2.line(picture, a, b, ERROR_RGB, width, cv2.LINE_AA)
        cv2.circle(picture, a, max(1, round(2.5 * scale)), TRUTH_RGB, -1 if seen == 2 else 1, cv2.LINE_AA)


def _cut_out(picture: np.ndarray, boxes: Sequence[Sequence[float]]) -> np.ndarray:
    """The part around some boxes, at a size for a page."""
    table = np.array(boxes, dtype=float)
    low, high = table[:, :2].min(axis=0), table[:, 2:].max(axis=0)
    grow = 0.12 * (high - low).max()
    size = np.array(picture.shape[1::-1])
    x0, y0 = np.clip(np.floor(low - grow), 0, size - 1).astype(int)
    x1, y1 = np.clip(np.ceil(high + grow), np.array([x0, y0]) + 1, size).astype(int)
    return _limited(picture[y0:y1, x0:x1])


def _limited(picture: np.ndarray) -> np.ndarray:
    zoom = _SIDE_PX / max(picture.shape[:2])
    way = cv2.INTER_AREA if zoom < 1 else cv2.INTER_CUBIC
    return cv2.resize(picture, None, fx=min(zoom, 2.0), fy=min(zoom, 2.0), interpolation=way)


def _read(path: Path, frame: int | None) -> np.ndarray | None:
    """The picture, or None when it is gone since: a report must not fail for one."""
    try:
        with open_clip(str(path)) as source:
            for one in source.frames():
                if one.index == (0 if frame is None else frame):
                    return one.rgb
    except HeightposeError:
        return None
    return None


def _strata_words(strata: dict[str, str]) -> str:
    return "".join(f"; {name} {value}" for name, value in without_annotator(strata).items())
