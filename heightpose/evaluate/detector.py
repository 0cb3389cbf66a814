"""What a detector finds: boxes and head directions of labelled infants, false alarms in empty cots.

The detector alone, as ``infer`` asks it, before any pose net; or with the pose net, as ``infer`` decides: boxes and
directions that the joints ask for, the evidence of both as score (:mod:`heightpose.runtime.presence`). Every picture is
looked at once at a low threshold; all higher ones are worked out from that.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from tqdm import tqdm

from heightpose.codec.detection import iou
from heightpose.data.items import Item, head_angle_deg
from heightpose.data.pictures import Pictures
from heightpose.data.strata import in_order, value_of
from heightpose.evaluate.subject import Subject
from heightpose.evaluate.text import figure
from heightpose.metrics.bootstrap import Draws, Interval, binomial_interval
from heightpose.metrics.detection import Answer, answers
from heightpose.runtime.networks import Detector, PoseModel
from heightpose.runtime.presence import CANDIDATE, weighed
from heightpose.runtime.refine import second_look
from heightpose.types import Detection
from heightpose.words import plural

#: Scores of the curve; detections below the lowest are not asked for.
THRESHOLDS = (0.2, 0.3, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.8, 0.9)
#: A detection that overlaps nobody by this much is of nothing.
_NOBODY_IOU = 0.1
#: Pictures decoded and looked at together.
_CHUNK = 32


@dataclass(frozen=True, eq=False)
class Looked:
    """A picture and its detections down to the lowest of :data:`THRESHOLDS`, best first, frame px."""

    item: Item
    detections: tuple[Detection, ...]

    def at(self, threshold: float) -> list[Detection]:
        """The detections of at least this score."""
        return [one for one in self.detections if one.score >= threshold]

    def answers(self, threshold: float) -> list[Answer]:
        """An answer for each labelled infant."""
        found = [(one.bbox_xyxy, one.head_angle_deg) for one in self.at(threshold)]
        people = self.item.people
        angles = [head_angle_deg(p.kpts_frame, p.visibility > 0) for p in people]
        return answers(found, [p.bbox_xyxy for p in people], angles)

    @property
    def empty(self) -> bool:
        """Whether nobody is there: neither labelled nor known to be in view."""
        return not self.item.people and not self.item.infants_in_view

    def strays(self, threshold: float) -> int:
        """Detections of nothing beside labelled infants; 0 where somebody is in view whom nobody labelled."""
        people = self.item.people
        if not people or self.item.has_unlabelled:
            return 0
        return sum(
            all(iou(one.bbox_xyxy, person.bbox_xyxy) < _NOBODY_IOU for person in people)
            for one in self.at(threshold)
        )


def look(items: Sequence[Item], detector: Detector, pose_model: PoseModel | None = None) -> list[Looked]:
    """Every item's picture through the detector, and what it finds through the pose net if there is one.

    Raises:
        HeightposeError: a picture that cannot be read or is not of the size its labels are for.
    """
    patient = replace(detector, threshold=THRESHOLDS[0] if pose_model is None else CANDIDATE)
    looked: list[Looked] = []
    with tqdm(total=len(items), unit="picture", desc="detecting", disable=None, file=sys.stderr) as bar:
        for start in range(0, len(items), _CHUNK):
            pictures = Pictures(items[start : start + _CHUNK])
            rgbs = [pictures.picture(i) for i in range(len(pictures))]
            found = patient.detect(rgbs)
            if pose_model is not None:
                found = [_asked(pose_model, rgb, those) for rgb, those in zip(rgbs, found, strict=True)]
            looked += [Looked(i, tuple(f)) for i, f in zip(pictures.items, found, strict=True)]
            bar.update(len(rgbs))
    return looked


def _asked(pose_model: PoseModel, rgb: np.ndarray, found: Sequence[Detection]) -> list[Detection]:
    rgbs = [rgb] * len(found)
    return weighed(second_look(pose_model, rgbs, pose_model.estimate(rgbs, found)))


def judge(looked: Sequence[Looked], threshold: float) -> dict[str, Any]:
    """All figures at one threshold, by stratum, and the curve over :data:`THRESHOLDS`.

    Shares are 0..1; intervals (90 %) of infants by child, of pictures exact (Clopper and Pearson). ``head`` figures are
    of infants found at IoU 0.5.
    """
    rows = list(_rows(looked, threshold))
    strata: dict[str, dict[str, Any]] = {}
    for name in sorted({key for person, _, _ in rows for key in person.strata} - {"annotator"}):
        values = sorted({value_of(person, name) for person, _, _ in rows}, key=in_order)
        if len(values) > 1:
            chosen = {v: [row for row in rows if value_of(row[0], name) == v] for v in values}
            strata[name] = {value: _infants(some) for value, some in chosen.items()}
    return {
        "threshold": threshold,
        "pictures": len(looked),
        **_infants(rows),
        **_empty(looked, threshold),
        "strata": strata,
        "curve": [
            {"threshold": at, "found": _found(list(_rows(looked, at)))} | _empty(looked, at)
            for at in THRESHOLDS
        ],
    }


def lines(summary: dict[str, Any]) -> list[str]:
    """The figures for a terminal."""
    n, empties = summary["infants"], summary["empty"]
    text = [
        f"{plural(summary['pictures'], 'picture')}, {plural(n, 'infant')}, {plural(empties, 'empty cot')}; "
        f"threshold {summary['threshold']:g}"
    ]
    if n:
        text += [
            f"found (IoU 0.5)     {_share(summary['found'], summary['found_interval'])}",
            f"found (IoU 0.75)    {_share(summary['found_0.75'])}",
            f"mean IoU            {summary['mean_iou']:.3f}",
            f"head direction      {_degrees(summary)}",
            f"detections of nothing beside infants: {summary['strays']}",
        ]
    if empties:
        share = _share(summary["false_alarms"], summary["false_alarms_interval"])
        text.append(f"false alarms        {summary['alarmed']} of {empties} empty cots, {share}")
    for name, values in summary["strata"].items():
        text += ["", f"{name:<22}{'infants':>8}  {'found':<22}head direction"]
        for value, row in values.items():
            found = _share(row["found"], row["found_interval"])
            text.append(f"  {value:<20}{row['infants']:>8}  {found:<22}{_degrees(row)}")
    text += ["", f"{'threshold':<12}{'found':>8}{'false alarms':>15}"]
    for row in summary["curve"]:
        cells = [_share(row[key]) for key in ("found", "false_alarms")]
        text.append(f"{row['threshold']:<12g}{cells[0]:>8}{cells[1]:>15}")
    return text


def table(subject: Subject, looked: Sequence[Looked], threshold: float) -> list[dict[str, Any]]:
    """A row per labelled infant and per empty cot of a set, for a CSV file; ``person`` is the infant's number in the
    picture."""
    rows: list[dict[str, Any]] = []
    for one in looked:
        found = len(one.at(threshold))
        best = max((d.score for d in one.detections), default=0.0)
        picture = {
            "set": subject.name, "picture": subject.key(one.item), "person": "", "best_score": round(best, 4),
            "detections": found, "child": "", "iou": "", "head_error_deg": "", "false_alarm": "",
        }  # fmt: skip
        if one.empty:
            rows.append(picture | {"false_alarm": int(found > 0)})
        for number, (person, answer) in enumerate(zip(one.item.people, one.answers(threshold), strict=True)):
            turn = "" if answer.turn_deg is None else round(answer.turn_deg, 2)
            told = {"person": number, "child": person.child or "", "iou": round(answer.overlap, 4)}
            rows.append(picture | told | {"head_error_deg": turn})
    return rows


def _rows(looked: Iterable[Looked], threshold: float) -> Iterable[tuple[Any, Answer, str]]:
    """Person, answer and child; where the labels name none, what it was taken from stands for it."""
    for number, one in enumerate(looked):
        for place, (person, answer) in enumerate(zip(one.item.people, one.answers(threshold), strict=True)):
            yield person, answer, person.child or one.item.series or f"{number}/{place}"


def _infants(rows: Sequence[tuple[Any, Answer, str]]) -> dict[str, Any]:
    found = [answer.found for _, answer, _ in rows]
    overlap = np.array([answer.overlap for _, answer, _ in rows])
    known = np.array([answer.turn_deg is not None for _, answer, _ in rows], dtype=bool)
    turn = np.array([answer.turn_deg for _, answer, _ in rows if answer.turn_deg is not None])
    children = [child for _, _, child in rows]
    by_child, heads = (
        Draws.by_child(children),
        Draws.by_child([c for c, k in zip(children, known, strict=True) if k]),
    )
    some, directed = len(rows) > 0, len(turn) > 0
    return {
        "infants": len(rows),
        "children": by_child.children,
        "found": _found(rows),
        "found_interval": _interval(by_child, by_child.means(np.array(found)) if some else None),
        "found_0.75": float((overlap >= 0.75).mean()) if some else None,
        "mean_iou": float(overlap.mean()) if some else None,
        "head_median_deg": float(np.median(turn)) if directed else None,
        "head_median_interval_deg": _interval(heads, heads.quantiles(turn, 0.5) if directed else None),
        "head_over_20": float((turn > 20).mean()) if directed else None,
        "head_over_90": float((turn > 90).mean()) if directed else None,
    }


def _found(rows: Sequence[tuple[Any, Answer, str]]) -> float | None:
    return float(np.mean([answer.found for _, answer, _ in rows])) if rows else None


def _empty(looked: Sequence[Looked], threshold: float) -> dict[str, Any]:
    alarmed = [bool(one.at(threshold)) for one in looked if one.empty]
    return {
        "empty": len(alarmed),
        "alarmed": sum(alarmed),
        "false_alarms": float(np.mean(alarmed)) if alarmed else None,
        "false_alarms_interval": binomial_interval(sum(alarmed), len(alarmed)),
        "strays": sum(one.strays(threshold) for one in looked),
    }


def _interval(draws: Draws, drawn: np.ndarray | None) -> Interval | None:
    return None if drawn is None else draws.interval(drawn)


def _share(value: float | None, interval: Interval | None = None) -> str:
    return "-" if value is None else f"{figure(value, interval, scale=100)} %"


def _degrees(row: dict[str, Any]) -> str:
    if row["head_median_deg"] is None:
        return "-"
    median = figure(row["head_median_deg"], row["head_median_interval_deg"])
    beyond = f"over 20: {100 * row['head_over_20']:.1f} %, over 90: {100 * row['head_over_90']:.1f} %"
    return f"{median} degrees off in the median, {beyond}"
