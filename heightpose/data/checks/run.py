"""All checks on one data set, their findings on one list."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable

from heightpose.data.checks.bodies import Bodies
from heightpose.data.checks.boxes import find_outside
from heightpose.data.checks.drift import find_drift
from heightpose.data.checks.duplicates import find_duplicates
from heightpose.data.checks.finding import REPORTED, Finding
from heightpose.data.checks.missing import find_missing
from heightpose.data.checks.placement import find_placement
from heightpose.data.checks.prediction import Predictions, predict
from heightpose.data.checks.shape import Shape
from heightpose.data.checks.swaps import find_swaps
from heightpose.data.coco import Dataset

log = logging.getLogger("heightpose")

#: Statistics of fewer infants than this say nothing; contradictions, duplicates and omissions still do.
LEAST_INFANTS = 12
_ABOUT_PLACES = ("swap", "outside", "placement", "bone", "prediction")


def check(dataset: Dataset, model: str | None = "fast") -> list[Finding]:
    """Every suspicion about a data set, worst first; nothing is altered.

    Args:
        model: pose model to ask, a shipped name or a path; None asks none.

    Raises:
        HeightposeError: an unreadable picture or model.
    """
    found = find_outside(dataset) + find_missing(dataset) + find_duplicates(dataset)
    bodies = Bodies.of(dataset)
    if len(bodies) >= LEAST_INFANTS:
        shape = Shape.learn(bodies)
        predictions: Predictions | None = None if model is None else predict(bodies, model)
        found += find_swaps(bodies, shape, predictions)
        found += find_placement(bodies, shape, predictions)
        drift = find_drift(bodies, shape, predictions)
        found = drift + [f for f in found if not _explained(f, drift)]
    else:
        log.warning(
            "%d infants are too few to learn what is usual (%d): swaps, places, bones and predictions are not checked",
            *(len(bodies), LEAST_INFANTS),
        )
    return ranked(found)


def _explained(one: Finding, drift: list[Finding]) -> bool:
    """A misplaced joint that is its annotator's habit: the annotator's row says it once for all pictures."""
    if one.kind not in ("placement", "bone", "prediction") or one.person is None:
        return False
    who = one.person.strata.get("annotator")
    return any(
        d.person is not None and d.person.strata.get("annotator") == who
        and (not d.joints or one.joints[0] in d.joints) and one.severity < max(d.severity, 12.0)
        for d in drift
    )  # fmt: skip


def ranked(found: Iterable[Finding]) -> list[Finding]:
    """One row per suspicion, worst first: what several checks say about one infant's places is one row."""
    merged: list[Finding] = []
    groups: dict[tuple[int, int], list[Finding]] = defaultdict(list)
    for one in found:
        if one.severity < REPORTED:
            continue
        if one.kind in _ABOUT_PLACES and one.item is not None and one.person is not None:
            groups[one.item.id, one.person.id].append(one)
        else:
            merged.append(one)
    for group in groups.values():
        first, *rest = sorted(group, key=lambda f: -f.severity)
        for other in rest:
            first = first.merged(other)
        merged.append(first)
    return sorted(merged, key=lambda f: -f.severity)
