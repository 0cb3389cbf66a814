"""OKS and OKS-AP, COCO's keypoint measure (cocoeval.py of the COCO API), for our joints.

``OKS = mean over labelled joints of exp(-d^2 / (2 area k^2))`` with ``k = 2 sigma``. Predictions are matched to people
in order of their score; AP is the 101-point interpolated area under the precision-recall curve, averaged over the
thresholds 0.50, 0.55, ..., 0.95. ``infer`` gives at most one prediction per frame, so every other person in a frame
is missed.

Arrays: P predictions, G people, K joints, all in original-frame pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from heightpose.metrics.bootstrap import LEVEL, Draws
from heightpose.skeleton import INFANT, Skeleton, part_of

#: COCO's own value for the joints that COCO has. The rest: CrowdPose's 0.079 for its neck and top of the head (here
#: thorax, upper_neck, head_top, crown); COCO's hip for the pelvis; COCO-WholeBody's foot values, mean of its two sides
#: (heel 0.066 and 0.094, big toe 0.068 and 0.092).
SIGMA = {
    "ankle": 0.089, "knee": 0.087, "hip": 0.107, "pelvis": 0.107, "thorax": 0.079, "upper_neck": 0.079,
    "head_top": 0.079, "crown": 0.079, "wrist": 0.062, "elbow": 0.072, "shoulder": 0.079, "heel": 0.080, "toe": 0.080,
}  # fmt: skip

OKS_THRESHOLDS = np.round(np.linspace(0.5, 0.95, 10), 2)
_RECALLS = np.linspace(0.0, 1.0, 101)
ROUNDS = 300


def sigmas(skeleton: Skeleton = INFANT) -> np.ndarray:
    """``(K,)``: each joint's sigma."""
    return np.array([SIGMA[part_of(n)] for n in skeleton.names])


def oks(
    pred: np.ndarray,
    truth: np.ndarray,
    labelled: np.ndarray,
    area: np.ndarray,
    sigma: np.ndarray | None = None,
) -> np.ndarray:
    """OKS of predictions with the people at the same place of the array.

    Args:
        pred, truth: ``(N, K, 2)`` px; NaN in ``pred`` gives 0.
        labelled: ``(N, K)`` bool.
        area: ``(N,)`` px^2, COCO's ``area`` (of the box where nothing was segmented).

    Returns:
        ``(N,)`` in [0, 1]; 0 for a person without labelled joints.
    """
    k = 2 * (sigmas() if sigma is None else np.asarray(sigma, dtype=np.float64))
    labelled = np.asarray(labelled, dtype=bool)
    square = ((np.asarray(pred, dtype=np.float64) - truth) ** 2).sum(axis=-1)
    exponent = square / (2 * (np.asarray(area, dtype=np.float64)[:, None] + np.spacing(1)) * k**2)
    similar = np.where(np.isfinite(exponent), np.exp(-np.where(np.isfinite(exponent), exponent, 0.0)), 0.0)
    number = labelled.sum(axis=1)
    return np.divide((similar * labelled).sum(axis=1), number, out=np.zeros(len(number)), where=number > 0)


#: Draws of children that are worked out together.
_TOGETHER = 50


@dataclass(frozen=True, eq=False)
class Ranked:
    """Every prediction with the best it can do, and how many people there are.

    Attributes:
        score: ``(P,)``.
        best: ``(P,)`` OKS with the person it goes to, 0 when it goes to none.
        prediction_child: P names, whom the frame shows: the unit of resampling.
        person_child: G names, one per person with a labelled joint.
    """

    score: np.ndarray
    best: np.ndarray
    prediction_child: list[str]
    person_child: list[str]


def average_precision(ranked: Ranked) -> tuple[np.ndarray, np.ndarray]:
    """AP and the largest recall at each of :data:`OKS_THRESHOLDS`, ``(T,)`` in [0, 1]; NaN when there are no people."""
    once = np.ones((1, len(ranked.score)))
    ap, recall = _precision(ranked, once, np.array([len(ranked.person_child)]))
    return ap[0], recall[0]


def summary(ranked: Ranked, *, level: float = LEVEL, rounds: int = ROUNDS, seed: int = 0) -> dict[str, Any]:
    """ "ap", "ap50", "ap75" and "ar" in per cent with intervals by child, and counts."""
    ap, recall = average_precision(ranked)
    names = {"ap": ap.mean(), "ap50": ap[0], "ap75": ap[5], "ar": recall.mean()}
    result: dict[str, Any] = {k: 100.0 * float(v) if np.isfinite(v) else None for k, v in names.items()}
    draws = Draws.by_child([*ranked.prediction_child, *ranked.person_child], rounds, seed)
    number = len(ranked.score)
    parts = [  # not all at once: a large test set's predictions times all draws would fill the memory
        _precision(ranked, taken[:, :number], taken[:, number:].sum(axis=1))
        for taken in (times[:, draws.child] for times in np.array_split(draws.times, -(-rounds // _TOGETHER)))
    ]
    ap, recall = (np.concatenate(values) for values in zip(*parts, strict=True))
    # A false alarm in an empty cot is no second child.
    shown = np.arange(len(draws.child)) >= number
    for name, drawn in (("ap", ap.mean(axis=1)), ("ap50", ap[:, 0]), ("ar", recall.mean(axis=1))):
        result[f"{name}_interval"] = draws.interval(100.0 * drawn, level, counted=shown)
    return result | {"people": len(ranked.person_child), "predictions": len(ranked.score)}


def _precision(ranked: Ranked, times: np.ndarray, people: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """:func:`average_precision` of R draws at once, ``(R, T)``.

    Args:
        times: ``(R, P)``, how often each prediction is taken.
        people: ``(R,)``, how many people are.
    """
    order = np.argsort(-ranked.score, kind="mergesort")
    best, times = ranked.best[order], times[:, order]
    people = np.where(people > 0, people, np.nan)[:, None]
    taken = np.maximum(np.cumsum(times, axis=1), np.spacing(1))
    ap, largest = (np.zeros((len(times), len(OKS_THRESHOLDS))) for _ in range(2))
    for i, threshold in enumerate(OKS_THRESHOLDS):
        right = times * (best >= threshold)
        found = np.cumsum(right, axis=1)
        precision = (found / taken)[:, ::-1]
        # the most precise at this recall or more
        precision = np.maximum.accumulate(precision, axis=1)[:, ::-1]
        reached = np.searchsorted(_RECALLS, found / people, side="right")
        ap[:, i] = (np.diff(reached, axis=1, prepend=0) * precision).sum(axis=1) / len(_RECALLS)
        largest[:, i] = right.sum(axis=1) / people[:, 0]
    return np.where(np.isnan(people), np.nan, ap), largest
