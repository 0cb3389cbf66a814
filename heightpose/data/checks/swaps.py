"""Left/right swaps: would the labels be more likely with some pairs of joints exchanged?"""

from __future__ import annotations

import numpy as np

from heightpose.data.checks.bodies import Bodies
from heightpose.data.checks.finding import Finding, Fix
from heightpose.data.checks.prediction import Predictions
from heightpose.data.checks.shape import Shape
from heightpose.skeleton import Skeleton

_ARM, _LEG = ("shoulder", "elbow", "wrist"), ("hip", "knee", "ankle", "heel", "toe")
_WHOLE = "all sides"
#: Nats that a swap must win by: swaps are a few per cent of what annotators deliver.
_PRIOR = 1.0


def candidates(skeleton: Skeleton) -> dict[str, tuple[str, ...]]:
    """What people swap: a limb from some joint outward, single pairs, all legs or arms, the whole body."""
    arm, leg = (tuple(p for p in limb if f"left_{p}" in skeleton.names) for limb in (_ARM, _LEG))
    found = {f"{limb[i]} to {limb[-1]}": limb[i:] for limb in (arm, leg) for i in range(len(limb) - 1)}
    found |= {part: (part,) for part in arm + leg}
    return found | {_WHOLE: arm + leg}


def find_swaps(bodies: Bodies, shape: Shape, predictions: Predictions | None = None) -> list[Finding]:
    """Swaps that the set's own shapes, and the model's prediction where there is one, prefer to the labels."""
    options = candidates(bodies.skeleton)
    orders = [_exchanged(bodies.skeleton, parts) for parts in options.values()]
    by_shape, by_model = _gains(bodies, shape, predictions, orders)
    by_shape *= _reliability(by_shape, bodies.groups)
    by_model *= _reliability(by_model, bodies.groups)
    total = np.where(np.isnan(by_shape), -np.inf, by_shape + by_model - _PRIOR)
    found = []
    for n, row in enumerate(total):
        best = int(np.argmax(row))
        if row[best] > 0:
            name = list(options)[best]
            found.append(
                _finding(bodies, n, name, options[name], row[best], by_shape[n, best], by_model[n, best])
            )
    return found


def _gains(
    bodies: Bodies, shape: Shape, predictions: Predictions | None, orders: list[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """``(N, S)`` nats by which shape and model prefer each swap; NaN where one side of a pair has no label."""
    by_shape = np.full((len(bodies), len(orders)), np.nan)
    by_model = np.zeros(by_shape.shape)
    heavy = shape.inflation()
    for n in range(len(bodies)):
        used = bodies.used[n]
        if not used.any():
            continue
        theta, before = shape.precision(n), shape.deviation(n, bodies.xy[n])
        now = 0.5 * float(before @ theta @ before)
        for s, order in enumerate(orders):
            moved = order != np.arange(len(order))
            if (used != used[order]).any() or not used[moved].any():
                continue  # exchanging would invent a label
            after = shape.deviation(n, bodies.xy[n][order])
            by_shape[n, s] = (now - 0.5 * float(after @ theta @ after)) / heavy
            if predictions is not None:
                by_model[n, s] = predictions.swap_gain(n, order)
    return by_shape, by_model


def _reliability(gains: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """``(N, S)`` weight of a witness: 1 where it hardly ever prefers this swap in this posture, 0 where it guesses.

    Nearly all labels are right, so the share of infants for which it prefers the swap is its own rate of error: on
    a side-lying infant a net can hardly tell one leg from the other, and then it must not accuse anyone.
    """
    weight = np.zeros(gains.shape)
    for group in np.unique(groups):
        rows = groups == group
        wrong = (np.nan_to_num(gains[rows]) > 0).mean(axis=0)
        weight[rows] = np.maximum(1 - 2 * wrong, 0) ** 3
    return weight


def _finding(
    bodies: Bodies, n: int, name: str, parts: tuple[str, ...], gain: float, by_shape: float, by_model: float
) -> Finding:
    joints = tuple(f"{side}_{part}" for part in parts for side in ("left", "right"))
    item, person = bodies.items[n], bodies.people[n]
    who = [w for w, v in (("the set's shapes", by_shape), ("the model", by_model)) if v > 0]
    text = f"left and right look swapped ({name}), says {' and '.join(who)}"
    agreed = min(by_shape, by_model) > 1.0
    fix = Fix(item.id, person.id, joints) if agreed else None
    return Finding("swap", float(np.sqrt(2 * gain)), text, item, person, joints, fix=fix)


def _exchanged(skeleton: Skeleton, parts: tuple[str, ...]) -> np.ndarray:
    order = np.arange(len(skeleton))
    for part in parts:
        left, right = skeleton.indices(f"left_{part}", f"right_{part}")
        order[left], order[right] = right, left
    return order
