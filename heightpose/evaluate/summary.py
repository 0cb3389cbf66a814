"""From records to figures: the whole set, then every stratum, each with counts and intervals by child."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from heightpose.data.strata import value_in
from heightpose.evaluate.people import People, lengths_of, ranked, strata_of
from heightpose.evaluate.records import ClipRecord, FrameRecord, Truth
from heightpose.metrics import height, oks
from heightpose.metrics.bootstrap import LEVEL, Interval
from heightpose.metrics.curve import THRESHOLDS, Curve, pckh_curve
from heightpose.metrics.pckh import JointHits, pck_torso, pckh_reference_01, summary
from heightpose.skeleton import INFANT

SCHEMA = 1
#: Lower edges of the bins of joint scores.
_SCORE_BINS = np.linspace(0.0, 1.0, 11)


def summarise(frames: Sequence[FrameRecord], clips: Sequence[ClipRecord]) -> dict[str, Any]:
    """All figures of a result: "headline", "pose", "truth_crops", "empty_frames", "height", "strata".

    A part that the set does not have is None.
    """
    people = People.of(frames)
    crops = People.of(frames, _has_crop, crops=True)
    pose = pose_figures(people) if len(people) else None
    lengths = height_figures(clips) if clips else None
    return {
        "headline": headline(pose, lengths),
        "pose": pose,
        "truth_crops": pose_figures(crops, alone=True) if len(crops) else None,
        "empty_frames": empty_frames(frames),
        "height": lengths,
        "strata": strata(frames, clips),
    }


def headline(pose: dict[str, Any] | None, lengths: dict[str, Any] | None) -> dict[str, float | None]:
    """The few numbers that a table of runs shows."""
    at = None if pose is None else pose["pckh"]
    return {
        "mean_0.1": None if at is None else at["0.1"]["mean"],
        "mean_sms_0.1": None if at is None else at["0.1"]["mean_sms"],
        "mean_0.5": None if at is None else at["0.5"]["mean"],
        "oks_ap": None if pose is None or pose["oks"] is None else pose["oks"]["ap"],
        "found": None if pose is None else pose["found"]["share"],
        "height_mae_cm": None if lengths is None else lengths["mae_cm"],
        "height_estimate_mae_cm": None if lengths is None else lengths["estimate_mae_cm"],
        "height_bias_cm": None if lengths is None else lengths["bias_cm"],
        "height_yield": None if lengths is None else lengths["yield"],
        "height_coverage": None if lengths is None else lengths["coverage"],
        "null_mae_cm": None if lengths is None else lengths["null_mae_cm"],
    }


def strata(frames: Sequence[FrameRecord], clips: Sequence[ClipRecord]) -> dict[str, dict[str, Any]]:
    """stratum -> value -> {"pose", "truth_crops", "height"}, each as for the whole set."""
    found: dict[str, dict[str, Any]] = {}
    labelled = [f for f in frames if f.people]  # a false alarm in an empty cot belongs to no stratum
    for name, values in strata_of(frames, clips).items():
        found[name] = {}
        for value in values:
            people = People.of(labelled, partial(_is, name, value))
            crops = People.of(labelled, partial(_has_crop_and_is, name, value), crops=True)
            chosen = [c for c in clips if value_in(c.strata, name) == value]
            found[name][value] = {
                "pose": pose_figures(people) if len(people) else None,
                "truth_crops": pose_figures(crops, alone=True) if len(crops) else None,
                "height": height_figures(chosen) if chosen else None,
            }
    return found


def _is(name: str, value: str, person: Truth) -> bool:
    return value_in(person.strata, name) == value


def _has_crop(person: Truth) -> bool:
    return person.crop_kpts is not None


def _has_crop_and_is(name: str, value: str, person: Truth) -> bool:
    return _has_crop(person) and _is(name, value, person)


def pose_figures(people: People, *, alone: bool = False) -> dict[str, Any]:
    """PCKh at 0.1 and 0.5, the reference variant, the curve, torso PCK, OKS-AP and how scores relate to hits.

    Args:
        alone: crops were given, so nothing was searched for: no detection figures.
    """
    args = (people.pred, people.truth)
    known = people.head_size > 0
    seen = (people.visibility == 2) & known[:, None]
    hidden = (people.visibility == 1) & known[:, None]
    figures: dict[str, Any] = {
        "people": len(people),
        "children": people.draws.children,
        "interval_level": LEVEL,
        "pckh": {
            f"{a:g}": summary(*args, people.visibility, a, draws=people.draws, head_size=people.head_size)
            for a in (0.1, 0.5)
        },
        "reference_0.11": _means(pckh_reference_01(*args, seen, people.head_size), people),
        "curve": _curve(people, seen, hidden),
        "pck_torso_0.2": _torso(people),
        "oks": None,
    }
    if not alone:
        found = people.draws.means(people.found)
        figures["found"] = {
            "share": 100.0 * float(people.found.mean()) if len(people) else None,
            "interval": people.draws.interval(100.0 * found),
            "missed": int((~people.found).sum()),
        }
        figures["oks"] = oks.summary(ranked(people))
        figures["score_reliability"] = score_reliability(people, seen)
    return figures


def _means(hits: JointHits, people: People) -> dict[str, Any]:
    sms = INFANT.height_joints
    return {
        "mean": hits.mean(),
        "mean_interval": _interval(hits.drawn_means(people.draws), people, hits),
        "mean_sms": hits.mean(sms),
        "mean_sms_interval": _interval(hits.drawn_means(people.draws, sms), people, hits, sms),
    }


def _interval(
    drawn: np.ndarray, people: People, hits: JointHits | Curve, joints: np.ndarray | None = None
) -> Interval | None:
    return people.draws.interval(drawn, counted=hits.people(joints))


def _curve(people: People, seen: np.ndarray, hidden: np.ndarray) -> dict[str, Any]:
    sms = INFANT.height_joints
    found: dict[str, Any] = {"a": THRESHOLDS.tolist()}
    for prefix, counted in (("", seen), ("hidden_", hidden)):
        curve = pckh_curve(people.pred, people.truth, counted, people.head_size)
        found[f"{prefix}mean"], found[f"{prefix}mean_sms"] = curve.means(), curve.means(sms)
        found[f"{prefix}auc"], found[f"{prefix}auc_sms"] = curve.auc(), curve.auc(sms)
        found[f"{prefix}auc_interval"] = _interval(curve.drawn_aucs(people.draws), people, curve)
        drawn = curve.drawn_aucs(people.draws, sms)
        found[f"{prefix}auc_sms_interval"] = _interval(drawn, people, curve, sms)
        if not prefix:
            found["auc_per_joint"] = dict(zip(INFANT.names, curve.auc_per_joint(), strict=True))
    return found


def _torso(people: People) -> dict[str, Any]:
    hits = pck_torso(people.pred, people.truth, people.visibility > 0)
    return {
        "mean": hits.mean(),
        "interval": _interval(hits.drawn_means(people.draws), people, hits),
        "people": int(hits.counted.any(axis=1).sum()),
        "per_joint": dict(zip(INFANT.names, hits.per_joint, strict=True)),
    }


def score_reliability(people: People, seen: np.ndarray) -> list[dict[str, Any]]:
    """What a joint's score says: per tenth, how many seen joints of people found have it and how many are right."""
    counted = seen & people.found[:, None]
    score, error = people.scores[counted], people.error[counted]
    place = np.clip(np.digitize(score, _SCORE_BINS) - 1, 0, len(_SCORE_BINS) - 2)
    bins = []
    for i in range(len(_SCORE_BINS) - 1):
        inside = place == i
        number = int(inside.sum())
        bins.append(
            {
                "from": float(_SCORE_BINS[i]),
                "to": float(_SCORE_BINS[i + 1]),
                "joints": number,
                "score": float(score[inside].mean()) if number else None,
                "right_0.1": float((error[inside] <= 0.1).mean()) if number else None,
                "right_0.5": float((error[inside] <= 0.5).mean()) if number else None,
            }
        )
    return bins


def empty_frames(frames: Sequence[FrameRecord]) -> dict[str, Any]:
    """Empty cots, and those in which an infant was claimed."""
    empty = [f for f in frames if not f.people and not f.unlabelled]
    return {"frames": len(empty), "false_alarms": sum(f.guess is not None for f in empty)}


def height_figures(clips: Sequence[ClipRecord]) -> dict[str, Any]:
    """:func:`heightpose.metrics.height.summary` and how often each reason refused a clip."""
    reasons: dict[str, int] = {}
    for clip in clips:
        for code in clip.reasons:
            reasons[code] = reasons.get(code, 0) + 1
    return height.summary(lengths_of(clips)) | {"reasons": dict(sorted(reasons.items(), key=lambda r: -r[1]))}
