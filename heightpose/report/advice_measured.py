"""What the newest step's results and run say of every stratum's values, as the advice needs it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from heightpose.report.timeline import Step, TestSet

#: Who labelled and where from are nothing that can be annotated more of.
_NOT_CONTENT = ("annotator", "source")
_UNKNOWN = "unknown"
#: Children in train of weights that nobody knows the training of; the ranking hardly depends on it.
_UNCOUNTED = 1000


def measured_rows(
    step: Step, testset: TestSet, target: Mapping[str, Mapping[str, float]]
) -> dict[tuple[str, str], dict[str, Any]]:
    """What is measured of each value: the repetitions' means, shares, counts."""
    results = [e.document for e in step.results[testset]]
    lengths = _documents_with_heights(step, testset)
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for stratum, values in results[0]["strata"].items():
        people = {v: both["pose"]["people"] for v, both in values.items() if both["pose"] is not None}
        known = {v: n for v, n in people.items() if v != _UNKNOWN}
        if stratum in _NOT_CONTENT or len(known) < 2:
            continue
        for value, number in known.items():
            each = [sms for d in results if (sms := mean_sms_of(d, stratum, value)) is not None]
            if not each:
                continue
            pose = values[value]["pose"]
            shares = target.get(stratum)
            rows[stratum, value] = {
                "mean_sms": sum(each) / len(each),
                "interval": pose["pckh"]["0.1"]["mean_sms_interval"] if len(results) == 1 else None,
                "share": number / sum(known.values()) if shares is None else shares.get(value, 0.0),
                "test": pose["children"],
                "train": children_in_train(step, stratum, value),
                "height_mae": _height_of(lengths, stratum, value, "mae_cm"),
                "height_yield": _height_of(lengths, stratum, value, "yield"),
            }
    return rows


def _documents_with_heights(step: Step, testset: TestSet) -> list[dict[str, Any]]:
    """The repetitions' results on the same test set, or on another where this one has no clips."""
    for one in (testset, *(t for t in step.results if t != testset)):
        documents = [e.document for e in step.results[one]]
        if documents[0]["height"] is not None:
            return documents
    return []


def _height_of(documents: Sequence[Mapping[str, Any]], stratum: str, value: str, figure: str) -> float | None:
    """The repetitions' mean of a figure of heights; None where none of them has it."""
    blocks = [d["strata"].get(stratum, {}).get(value) for d in documents]
    known = [b["height"][figure] for b in blocks if b is not None and b["height"] is not None]
    known = [number for number in known if number is not None]
    return sum(known) / len(known) if known else None


def children_in_train(step: Step, stratum: str, value: str) -> int | None:
    """Children of a stratum's value that the step was trained on; None where that was not recorded."""
    strata = None if step.training is None else step.training.strata.get("train")
    if strata is None or stratum not in strata:
        return None
    return int(strata[stratum].get(value, {}).get("children", 0))


def train_children(step: Step) -> int:
    """About how many: those of the stratum that counts most, as a child may show several values.

    Of a run whose children were not counted its pictures, of weights without a record a number that stands for some.
    """
    strata = None if step.training is None else step.training.strata.get("train")
    if strata:
        return max(sum(v["children"] for v in values.values()) for values in strata.values())
    train = {} if step.training is None else step.training.data.get("train") or {}
    return int(train.get("samples") or _UNCOUNTED)


def mean_sms_of(document: Mapping[str, Any], stratum: str, value: str) -> float | None:
    """MeanSmS@0.1 of a stratum's value in one result; None where it was not judged."""
    both = document["strata"].get(stratum, {}).get(value)
    pose = None if both is None else both["pose"]
    return None if pose is None else pose["pckh"]["0.1"]["mean_sms"]
