"""An annotator who places a joint differently from the others, always in the same direction."""

from __future__ import annotations

import numpy as np
from scipy import stats

from heightpose.data.checks.bodies import Bodies
from heightpose.data.checks.finding import CONTRADICTION, REPORTED, Finding
from heightpose.data.checks.prediction import Predictions
from heightpose.data.checks.shape import Shape
from heightpose.words import plural

_LEAST = 3
#: An annotator with up to this many pictures has each of them listed; for more the annotator's own row stands.
_LISTED = 8


def find_drift(bodies: Bodies, shape: Shape, predictions: Predictions | None = None) -> list[Finding]:
    """Annotators whose mean residual differs from everybody else's, per joint and axis.

    A robust t test of trimmed residuals (against the infant's other joints, the box, and the model),
    Bonferroni-corrected over joints, axes, witnesses and annotators.
    """
    names = np.array([str(p.strata.get("annotator", "")) for p in bodies.people])
    people = [a for a in np.unique(names) if a and (names == a).sum() >= _LEAST and (names != a).sum() >= 8]
    residuals, labels = _residuals(bodies, shape, predictions)
    found: list[Finding] = []
    for annotator in people:
        own = names == annotator
        z, shift = _test(residuals, own, len(people))
        if not np.isfinite(z).any() or np.nanmax(z) < REPORTED:
            continue
        best = int(np.nanargmax(z))
        joints = tuple(
            dict.fromkeys(
                labels[c][0] for c in np.argsort(-np.nan_to_num(z)) if z[c] >= REPORTED and labels[c][0]
            )
        )[:6]
        severity = min(float(z[best]), CONTRADICTION - 1)
        joint, frame = labels[best]
        what = joint or "the joints as a whole"
        off = f"off by {abs(shift[best]):.3f} body units {frame}"
        text = f"annotator {annotator}: {what} {off} over {plural(int(own.sum()), 'infant')}"
        rows = np.flatnonzero(own)
        pictures = tuple(bodies.items[n] for n in rows)
        first = rows[int(np.argmax(np.nan_to_num(residuals[rows, best] * np.sign(shift[best]), nan=-9)))]
        found.append(
            Finding("drift", severity, text, bodies.items[first], bodies.people[first], joints, pictures)
        )
        if len(rows) <= _LISTED:
            found += [
                Finding("drift", severity - 0.01, text, bodies.items[n], bodies.people[n], joints)
                for n in rows if n != first
            ]  # fmt: skip
    return found


def _residuals(
    bodies: Bodies, shape: Shape, predictions: Predictions | None
) -> tuple[np.ndarray, list[tuple[str, str]]]:
    """``(N, C)`` body units, and what each column is about: (joint, frame); an empty joint means all of them."""
    _, left = shape.surprise()
    columns, labels = [left.reshape(len(left), -1)], _labels(bodies, "seen from the other joints")
    unit = np.abs(bodies.axis)[:, None]
    kpts = np.where(bodies.used[..., None], bodies.kpts_frame, np.nan)
    box = np.array([p.bbox_xyxy for p in bodies.people]).reshape(-1, 4)
    with np.errstate(all="ignore"):
        middle = np.stack([_extent_middle(one) for one in kpts])
    # A shift of all joints together shows against the box, where that was not drawn around them.
    columns.append((middle - (box[:, :2] + box[:, 2:]) / 2) / unit)
    labels += [("", "to the right in the box"), ("", "down in the box")]
    if predictions is not None:
        gap = np.where(bodies.used[..., None], bodies.xy - bodies.to_body(predictions.kpts_frame), np.nan)
        columns.append(gap.reshape(len(gap), -1))
        labels += _labels(bodies, "seen from the model")
        pixels = (kpts - predictions.kpts_frame) / unit[..., None]
        columns.append(np.array([_rows_median(one) for one in pixels]))
        labels += [("", "to the right of the model"), ("", "below the model")]
        columns.append(np.array([_rows_median(one) for one in gap]))
        labels += [("", "across the model's body"), ("", "along the model's body")]
    return np.concatenate(columns, axis=1), labels


def _labels(bodies: Bodies, frame: str) -> list[tuple[str, str]]:
    return [(j, f"{axis} the body, {frame}") for j in bodies.skeleton.names for axis in ("across", "along")]


def _extent_middle(kpts: np.ndarray) -> np.ndarray:
    known = kpts[np.isfinite(kpts).all(axis=1)]
    return (known.min(axis=0) + known.max(axis=0)) / 2 if len(known) else np.full(2, np.nan)


def _rows_median(values: np.ndarray) -> np.ndarray:
    known = values[np.isfinite(values).all(axis=1)]
    return np.median(known, axis=0) if len(known) else np.full(2, np.nan)


def _test(residuals: np.ndarray, own: np.ndarray, annotators: int) -> tuple[np.ndarray, np.ndarray]:
    """Sigmas and shift of every column, corrected for how many were tried."""
    columns = residuals.shape[1]
    z, shift = np.full(columns, np.nan), np.zeros(columns)
    for c in range(columns):
        mine, theirs = (residuals[rows, c] for rows in (own, ~own))
        mine, theirs = mine[np.isfinite(mine)], theirs[np.isfinite(theirs)]
        if len(mine) < _LEAST or len(theirs) < 8:
            continue
        # Winsorised by the others' own spread: one wild joint is another check's business.
        middle = float(np.median(theirs))
        low, high = np.quantile(theirs, [0.02, 0.98])
        spread = max(high - low, 1e-6)
        mine, theirs = (
            np.clip(v, middle - 2 * spread, middle + 2 * spread) for v in (mine, np.clip(theirs, low, high))
        )
        shift[c] = float(np.median(mine)) - middle
        error = np.hypot(theirs.std(ddof=1) * np.sqrt(1 / len(mine) + 1 / len(theirs)), 1e-3)
        t = min(abs(mine.mean() - theirs.mean()), abs(np.median(mine) - middle)) / error
        p = 2 * stats.t.sf(t, len(mine) + len(theirs) - 2) * columns * annotators
        z[c] = stats.norm.isf(max(min(p, 1.0) / 2, 1e-300))
    return z, shift
