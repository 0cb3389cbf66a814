"""PCKh, its means Mean@a and MeanSmS@a, and PCK by torso: pure functions of arrays.

PCKh@a is the share of labelled joints with ``||pred - truth|| <= a * head_size``, inclusive, per joint; the
mean is the plain mean over joints. ``a`` is always an explicit number: the reference HRNet and DARK code
reads index 11 of ``arange(0, .51, .01)`` for "@0.1", which is 0.11. That variant is here under its own name
only.

Arrays: N people, K joints; ``pred`` and ``truth`` ``(N, K, 2)`` px of the original frame, ``counted``
``(N, K)`` bool. A person whom the detector missed has NaN in ``pred`` and counts all its joints wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from heightpose.metrics.bootstrap import Draws
from heightpose.skeleton import INFANT, Skeleton
from heightpose.types import require_shape

#: What published tables call "@0.1".
REFERENCE_01 = 0.11


@dataclass(frozen=True, eq=False)
class JointHits:
    """Which joints were found.

    Attributes:
        hit: ``(N, K)`` bool, False wherever ``counted`` is.
        counted: ``(N, K)`` bool, joints that take part.
    """

    hit: np.ndarray
    counted: np.ndarray

    @property
    def counts(self) -> np.ndarray:
        """``(K,)`` int: how many people each joint's share rests on."""
        return self.counted.sum(axis=0)

    @property
    def per_joint(self) -> list[float | None]:
        """Per cent per joint; None for a joint that nobody has."""
        hits, counts = self.hit.sum(axis=0), self.counts
        return [100.0 * float(h) / int(c) if c else None for h, c in zip(hits, counts, strict=True)]

    def mean(self, joints: np.ndarray | None = None) -> float | None:
        """Plain mean over joints, per cent, of those that anybody has; None when there is none."""
        shares = self.per_joint
        chosen = [shares[int(k)] for k in (range(len(shares)) if joints is None else joints)]
        present = [s for s in chosen if s is not None]
        return float(np.mean(present)) if present else None

    def people(self, joints: np.ndarray | None = None) -> np.ndarray:
        """``(N,)`` bool: who has a counted joint among these (among all by default)."""
        chosen = self.counted if joints is None else self.counted[:, np.asarray(joints)]
        return np.asarray(chosen.any(axis=1))

    def drawn_means(self, draws: Draws, joints: np.ndarray | None = None) -> np.ndarray:
        """``(R,)``: :meth:`mean` of each draw of children; NaN where a draw holds no counted joint."""
        shares = self.drawn_shares(draws)
        shares = shares if joints is None else shares[:, np.asarray(joints)]
        present = np.isfinite(shares)
        total, number = np.where(present, shares, 0.0).sum(axis=1), present.sum(axis=1)
        return np.divide(total, number, out=np.full(len(total), np.nan), where=number > 0)

    def drawn_shares(self, draws: Draws) -> np.ndarray:
        """``(R, K)``: :attr:`per_joint` of each draw of children; NaN where a draw lacks the joint."""
        h, c = draws.sums(self.hit), draws.sums(self.counted)
        return 100.0 * np.divide(h, c, out=np.full_like(h, np.nan), where=c > 0)


def head_sizes(
    truth: np.ndarray, labelled: np.ndarray, skeleton: Skeleton = INFANT
) -> tuple[np.ndarray, np.ndarray]:
    """``||crown - upper_neck||`` in the image; a skeleton without crown has its head_top instead.

    Returns:
        size ``(N,)`` px, and known ``(N,)`` bool: both joints labelled and apart. An unknown size is 0.
    """
    crown = skeleton.index("crown" if "crown" in skeleton.names else "head_top")
    neck = skeleton.index("upper_neck")
    size = np.linalg.norm(np.asarray(truth, float)[:, crown] - np.asarray(truth, float)[:, neck], axis=-1)
    known = np.asarray(labelled, bool)[:, crown] & np.asarray(labelled, bool)[:, neck] & (size > 0)
    return np.where(known, size, 0.0), known


def head_size_mpii(head_box_xyxy: np.ndarray) -> np.ndarray:
    """MPII's head size: 0.6 x the diagonal of the annotated head box ``(N, 4)``; for MPII data only."""
    box = np.asarray(head_box_xyxy, dtype=np.float64)
    return 0.6 * np.hypot(box[:, 2] - box[:, 0], box[:, 3] - box[:, 1])


def pckh(
    pred: np.ndarray, truth: np.ndarray, counted: np.ndarray, head_size: np.ndarray, a: float
) -> JointHits:
    """PCKh@a.

    Args:
        pred: ``(N, K, 2)`` px; NaN counts as wrong.
        truth: ``(N, K, 2)`` px.
        counted: ``(N, K)`` bool, which joints take part.
        head_size: ``(N,)`` px, positive wherever a joint of that person is counted.
        a: threshold in head sizes, inclusive.

    Raises:
        ValueError: shapes that do not fit, a threshold that is not positive, or a counted person without head
            size.
    """
    return pckh_at(pred, truth, counted, head_size, [a])[0]


def pckh_at(
    pred: np.ndarray,
    truth: np.ndarray,
    counted: np.ndarray,
    head_size: np.ndarray,
    thresholds: Sequence[float],
) -> list[JointHits]:
    """:func:`pckh` at each of several thresholds."""
    pred, truth = np.asarray(pred, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    counted, head_size = np.asarray(counted, dtype=bool), np.asarray(head_size, dtype=np.float64)
    require_shape("truth", truth, (None, None, 2))
    require_shape("pred", pred, truth.shape)
    require_shape("counted", counted, truth.shape[:2])
    require_shape("head_size", head_size, (len(truth),))
    for a in thresholds:
        if not (np.isfinite(a) and a > 0):
            raise ValueError(f"a: expected a positive number, got {a}")
    if not (head_size[counted.any(axis=1)] > 0).all():
        raise ValueError("head_size: expected a positive size for every person with counted joints")
    error = np.linalg.norm(pred - truth, axis=-1)
    with np.errstate(invalid="ignore"):
        # Inclusive up to rounding: an error of exactly a * head_size is a hit however it was computed.
        hits = [error <= a * head_size[:, None] * (1 + 1e-9) for a in thresholds]
    return [JointHits(hit & counted, counted) for hit in hits]


def pckh_reference_01(
    pred: np.ndarray, truth: np.ndarray, counted: np.ndarray, head_size: np.ndarray
) -> JointHits:
    """What the reference HRNet and DARK code prints as "@0.1" (it is 0.11); for published tables only."""
    return pckh(pred, truth, counted, head_size, REFERENCE_01)


def pck_torso(
    pred: np.ndarray, truth: np.ndarray, labelled: np.ndarray, a: float = 0.2, skeleton: Skeleton = INFANT
) -> JointHits:
    """PCK@a of the torso, for LSP-style data: within ``a * ||left_shoulder - right_hip||``.

    Over labelled joints of people whose torso joints (shoulders and hips) are all labelled.
    """
    truth, labelled = np.asarray(truth, dtype=np.float64), np.asarray(labelled, dtype=bool)
    torso = skeleton.indices("left_shoulder", "right_shoulder", "left_hip", "right_hip")
    size = np.linalg.norm(
        truth[:, skeleton.index("left_shoulder")] - truth[:, skeleton.index("right_hip")], axis=-1
    )
    complete = labelled[:, torso].all(axis=1) & (size > 0)
    return pckh(pred, truth, labelled & complete[:, None], np.where(complete, size, 1.0), a)


def summary(
    pred: np.ndarray,
    truth: np.ndarray,
    visibility: np.ndarray,
    a: float,
    *,
    children: Sequence[object] | None = None,
    draws: Draws | None = None,
    head_size: np.ndarray | None = None,
    skeleton: Skeleton = INFANT,
) -> dict[str, Any]:
    """Mean@a and MeanSmS@a with all that belongs to them, as plain JSON values.

    Args:
        visibility: ``(N, K)``: 2 seen, 1 hidden, 0 leave out (not labelled or out of the frame).
        children: ``(N,)``; adds 90 % intervals resampled by child, of the means and of each joint.
        draws: the same, where the children were drawn already.
        head_size: ``(N,)`` px, 0 where not known; by default :func:`head_sizes`.

    Returns:
        "mean", "mean_sms" (seen joints, the headline), "hidden_mean", "hidden_mean_sms", "per_joint" and
        "counts" by name, "hidden_per_joint" and "hidden_counts", "people" and "without_head_size"; with children
        "..._interval" of each; None where nothing is there.
    """
    visibility = np.asarray(visibility)
    size = head_sizes(truth, visibility > 0, skeleton)[0] if head_size is None else np.asarray(head_size)
    known = size > 0
    if draws is None and children is not None:
        draws = Draws.by_child(children)
    result: dict[str, Any] = {"a": a, "people": int(known.sum()), "without_head_size": int((~known).sum())}
    for prefix, level in (("", 2), ("hidden_", 1)):
        hits = pckh(pred, truth, (visibility == level) & known[:, None], size, a)
        result[f"{prefix}mean"] = hits.mean()
        result[f"{prefix}mean_sms"] = hits.mean(skeleton.height_joints)
        result[f"{prefix}per_joint"] = dict(zip(skeleton.names, hits.per_joint, strict=True))
        result[f"{prefix}counts"] = dict(zip(skeleton.names, hits.counts.tolist(), strict=True))
        if draws is None:
            continue
        shares = hits.drawn_shares(draws)
        for name, joints in (("mean", None), ("mean_sms", skeleton.height_joints)):
            drawn = hits.drawn_means(draws, joints)
            result[f"{prefix}{name}_interval"] = draws.interval(drawn, counted=hits.people(joints))
        result[f"{prefix}per_joint_interval"] = {
            name: draws.interval(shares[:, k], counted=hits.counted[:, k])
            for k, name in enumerate(skeleton.names)
        }
    return result
