"""Joints that are not where the infant's other joints, its bones and the model expect them."""

from __future__ import annotations

import numpy as np

from heightpose.data.checks.bodies import Bodies
from heightpose.data.checks.finding import REPORTED, Finding
from heightpose.data.checks.prediction import Predictions
from heightpose.data.checks.shape import Shape, sigmas

#: Children differ at least this much (log of a bone relative to the body), however alike a set's own seem.
_LEAST_SPREAD = 0.08


def bone_surprise(bodies: Bodies) -> np.ndarray:
    """``(N, K)`` sigmas by which the bone from each joint to its parent is too long for the body.

    Foreshortening only shortens, so only the long side is judged.
    """
    parents = bodies.skeleton.parents
    out = np.full(bodies.used.shape, np.nan)
    for child, parent in enumerate(parents):
        if parent < 0:
            continue
        length = np.linalg.norm(bodies.xy[:, child] - bodies.xy[:, parent], axis=1)
        both = bodies.used[:, child] & bodies.used[:, parent]
        out[:, child] = sigmas(np.where(both, np.log(length + 0.02), np.nan), _LEAST_SPREAD)
    return out


def find_placement(bodies: Bodies, shape: Shape, predictions: Predictions | None = None) -> list[Finding]:
    """One finding for an infant's worst joint; shape, bones and model add up as independent witnesses do."""
    distance, _ = shape.surprise()
    by_shape = np.stack([sigmas(np.log(c + 0.3), 0.15) for c in distance.T], axis=1)
    by_bone = bone_surprise(bodies)
    by_model = np.full(distance.shape, np.nan) if predictions is None else predictions.surprise()
    # Shape and bones look at the same labels: the stronger of the two is one witness, the model another.
    geometry = np.fmax(by_shape, by_bone)
    total = np.hypot(np.maximum(np.nan_to_num(geometry), 0), np.maximum(np.nan_to_num(by_model), 0))
    # Two witnesses at their usual level are no news, and a model that agrees with a wild label does not excuse it.
    total = np.maximum(np.nan_to_num(geometry), total / np.sqrt(1.5))
    found = []
    for n in range(len(bodies)):
        worst = int(np.argmax(total[n]))
        if total[n, worst] < REPORTED:
            continue
        witnesses = {
            "placement": by_shape[n, worst],
            "bone": by_bone[n, worst],
            "prediction": by_model[n, worst],
        }
        kind = max(witnesses, key=lambda w: np.nan_to_num(witnesses[w]))
        also = tuple(w for w, v in witnesses.items() if w != kind and np.nan_to_num(v) >= REPORTED)
        joint = bodies.skeleton.names[worst]
        found.append(
            Finding(kind, float(total[n, worst]), _text(kind, joint, witnesses[kind]), bodies.items[n],
                    bodies.people[n], (joint,), also=also)
        )  # fmt: skip
    return found


def _text(kind: str, joint: str, z: float) -> str:
    what = {
        "placement": "is not where the infant's other joints put it",
        "bone": "makes the bone to its parent too long for this body",
        "prediction": "is not where the model sees it",
    }[kind]
    return f"{joint} {what} ({z:.1f} sigma)"
