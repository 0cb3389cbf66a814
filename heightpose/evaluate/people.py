"""Frame and clip records as the arrays that the metrics take."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from heightpose.evaluate.records import ClipRecord, FrameRecord, Guess, Truth
from heightpose.metrics.bootstrap import Draws
from heightpose.metrics.height import Lengths, null_length
from heightpose.metrics.oks import Ranked, oks
from heightpose.skeleton import INFANT


@dataclass(frozen=True, eq=False)
class People:
    """Labelled people of some frames, one row each.

    Attributes:
        frames: the records they come from.
        rows: (frame, person) indices of each row.
        pred: ``(N, K, 2)`` px, NaN where the person was missed.
        truth: ``(N, K, 2)`` px.
        visibility: ``(N, K)``: 2 seen, 1 hidden, 0 leave out.
        head_size: ``(N,)`` px, 0 where it is not known.
        scores: ``(N, K)`` joint scores, 0 where missed.
        found: ``(N,)`` bool.
    """

    frames: Sequence[FrameRecord]
    rows: list[tuple[int, int]]
    pred: np.ndarray
    truth: np.ndarray
    visibility: np.ndarray
    head_size: np.ndarray
    scores: np.ndarray
    found: np.ndarray

    @classmethod
    def of(
        cls,
        frames: Sequence[FrameRecord],
        keep: Callable[[Truth], bool] | None = None,
        *,
        crops: bool = False,
    ) -> People:
        """Everybody in the frames for whom ``keep`` holds.

        Args:
            crops: take the joints found in the crops of true boxes instead of those that ``infer`` gives.
        """
        rows = [
            (f, p)
            for f, frame in enumerate(frames)
            for p, person in enumerate(frame.people)
            if keep is None or keep(person)
        ]
        number, joints = len(rows), len(INFANT)
        pred, scores = np.full((number, joints, 2), np.nan), np.zeros((number, joints))
        found = np.zeros(number, dtype=bool)
        for i, (f, p) in enumerate(rows):
            guess, crop = frames[f].guess, frames[f].people[p].crop_kpts
            if crops and crop is not None:
                pred[i], found[i] = crop, True
            elif not crops and guess is not None and guess.person == p:
                pred[i], scores[i], found[i] = guess.kpts, guess.scores, True
        people = [frames[f].people[p] for f, p in rows]
        return cls(
            frames, rows, pred,
            np.array([p.kpts for p in people], dtype=float).reshape(number, joints, 2),
            np.array([p.visibility for p in people], dtype=int).reshape(number, joints),
            np.array([p.head_size_px if p.head_size_px is not None else 0.0 for p in people], dtype=float),
            scores, found,
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.rows)

    def person(self, row: int) -> Truth:
        """The label behind a row."""
        frame, person = self.rows[row]
        return self.frames[frame].people[person]

    @cached_property
    def children(self) -> list[str]:
        """N names."""
        return [self.person(i).child for i in range(len(self))]

    @cached_property
    def keys(self) -> list[str]:
        """N names that two results on one test set share."""
        return [f"{self.frames[f].key}/{p}" for f, p in self.rows]

    @cached_property
    def draws(self) -> Draws:
        """Resampled children, the same for every figure of these people."""
        return Draws.by_child(self.children)

    @cached_property
    def error(self) -> np.ndarray:
        """``(N, K)`` distance in head sizes; infinite where missed, NaN where not labelled or without head size."""
        known = (self.visibility > 0) & (self.head_size[:, None] > 0)
        distance = np.linalg.norm(self.pred - self.truth, axis=-1)
        distance = np.where(np.isfinite(distance), distance, np.inf)
        return np.where(known, distance / np.where(self.head_size > 0, self.head_size, 1.0)[:, None], np.nan)


def ranked(people: People) -> Ranked:
    """The predictions of the people's frames for OKS-AP.

    As in COCO a prediction goes to the person it resembles most, whatever the boxes say. A frame's prediction takes
    part when one of these people is in the frame or nobody is; where infants are in view that nobody labelled, only
    when it is one of the labelled ones: it may be right about one of the others.
    """
    own: dict[int, list[int]] = {}
    for row, (place, _) in enumerate(people.rows):
        if (people.visibility[row] > 0).any():
            own.setdefault(place, []).append(row)
    score, best, child = [], [], []
    for number, frame in enumerate(people.frames):
        guess, rows = frame.guess, own.get(number, [])
        if guess is None or (not rows and frame.people) or (frame.unlabelled and guess.person is None):
            continue
        if rows and guess.person is not None and (number, guess.person) not in {people.rows[r] for r in rows}:
            continue  # it is another person's, who is not among these
        score.append(guess.score * float(np.mean(guess.scores)))
        best.append(_resemblance(people, guess, rows))
        child.append(people.children[rows[0]] if rows else frame.key)
    persons = [people.children[r] for rows in own.values() for r in rows]
    return Ranked(np.array(score), np.array(best), child, persons)


def _resemblance(people: People, guess: Guess, rows: list[int]) -> float:
    """OKS with the most alike of some rows; 0 of none."""
    if not rows:
        return 0.0
    boxes = np.array([people.person(r).bbox_xyxy for r in rows])
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    guesses = np.repeat(np.array(guess.kpts)[None], len(rows), axis=0)
    return float(oks(guesses, people.truth[rows], people.visibility[rows] > 0, area).max())


def lengths_of(clips: Sequence[ClipRecord]) -> Lengths:
    """Clip records, one at least, as arrays."""
    bounds = [(np.nan, np.nan) if c.interval_cm is None else tuple(c.interval_cm) for c in clips]
    return Lengths(
        np.array([c.length_cm for c in clips], dtype=float),
        np.array([np.nan if c.measured_cm is None else c.measured_cm for c in clips], dtype=float),
        np.array([b[0] for b in bounds], dtype=float),
        np.array([b[1] for b in bounds], dtype=float),
        [c.child for c in clips],
        np.array([null_length(c.sex, c.age_months) for c in clips], dtype=float),
        clips[0].interval_level,
        np.array([np.nan if c.estimate_cm is None else c.estimate_cm for c in clips], dtype=float),
    )


def strata_of(frames: Sequence[FrameRecord], clips: Sequence[ClipRecord]) -> dict[str, list[str]]:
    """Every stratum and its values, those of the standard strata first."""
    from heightpose.data.strata import STRATA, in_order, value_in

    seen: dict[str, set[str]] = {}
    everybody = [person.strata for frame in frames for person in frame.people] + [c.strata for c in clips]
    for name in {key for strata in everybody for key in strata}:
        seen[name] = {value_in(strata, name) for strata in everybody}
    order = [s for s in STRATA if s in seen] + sorted(set(seen) - set(STRATA))
    return {name: sorted(seen[name], key=in_order) for name in order}
