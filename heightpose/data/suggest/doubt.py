"""How much the model doubts a frame: four kinds of disagreement, each ranked within the pool, then averaged.

Ranks, because the four have different units and heavy tails: one wild frame must not set the scale for all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from heightpose.data.suggest.looks import LOST, Look
from heightpose.skeleton import INFANT

SIGNALS = ("flip", "turns", "neighbours", "bones")
#: A bone seen longer than its child's own by less than this (log) is perspective and noise.
_BONE_SLACK = 0.1
#: Frames of one child from which its own bone lengths are known; else the pool's proportions stand in.
_OWN_FRAMES = 4
#: A frame whose neighbours are further away in time says nothing about it, s.
_NEAR_S = 1.5


@dataclass(frozen=True, eq=False)
class Doubts:
    """``N`` frames.

    Attributes:
        signals: name -> ``(N,)``, shares of the body (flip, turns, neighbours) or mean log excess (bones); NaN where
            there is nothing to compare.
        ranks: name -> ``(N,)`` 0..1 within the pool, NaN likewise.
        total: ``(N,)`` 0..1, the mean rank; 1 where the infant was lost between frames that show it.
        lost: ``(N,)`` bool, no infant found.
    """

    signals: dict[str, np.ndarray]
    ranks: dict[str, np.ndarray]
    total: np.ndarray
    lost: np.ndarray


def doubts(clips: Sequence[Sequence[Look]]) -> Doubts:
    """Doubt about every frame of some clips (one child each, frames in order), clip after clip."""
    pool = _pool_bones([look for clip in clips for look in clip])
    signals = {
        "flip": np.array([look.flip for clip in clips for look in clip]),
        "turns": np.array([look.turns for clip in clips for look in clip]),
        "neighbours": _joined([neighbours(clip) for clip in clips]),
        "bones": _joined([bones(clip, pool) for clip in clips]),
    }
    ranks = {name: ranked(values) for name, values in signals.items()}
    table = np.stack(list(ranks.values()))
    known = np.isfinite(table)
    total = np.where(known, table, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    lost = np.array([look.pose is None for clip in clips for look in clip], dtype=bool)
    seen_elsewhere = _joined([np.full(len(clip), any(k.pose is not None for k in clip)) for clip in clips])
    # A clip in which nobody is ever found may be an empty cot: worth a few pictures, not the budget.
    total = np.where(lost, np.where(seen_elsewhere, 1.0, 0.5), total)
    return Doubts(signals, ranks, total, lost)


def ranked(values: np.ndarray) -> np.ndarray:
    """``(N,)`` mid-ranks 0..1 of the finite values, ties alike; NaN stays."""
    out = np.full(len(values), np.nan)
    finite = np.isfinite(values)
    if finite.any():
        out[finite] = (rankdata(values[finite]) - 0.5) / finite.sum()
    return out


def neighbours(clip: Sequence[Look]) -> np.ndarray:
    """``(N,)`` how far each frame's joints lie from the middle of the frames before and after, shares of the body.

    Steady motion cancels; a joint that jumps away and back does not. NaN at the ends, beside a frame without a pose
    and where the neighbours are more than 1.5 s away.
    """
    out = np.full(len(clip), np.nan)
    for i in range(1, len(clip) - 1):
        before, own, after = (clip[k].pose for k in (i - 1, i, i + 1))
        if before is None or own is None or after is None:
            continue
        if clip[i + 1].result.t_s - clip[i - 1].result.t_s > 2 * _NEAR_S:
            continue
        box = own.detection.bbox_xyxy
        body = max(float(max(box[2] - box[0], box[3] - box[1])), 1.0)
        gap = np.linalg.norm(own.kpts_frame - (before.kpts_frame + after.kpts_frame) / 2, axis=-1) / body
        out[i] = float(np.minimum(gap, LOST).mean())
    return out


def bones(clip: Sequence[Look], pool: np.ndarray) -> np.ndarray:
    """``(N,)`` mean log excess of the bones over the longest that the child's other frames show them.

    Foreshortening makes a bone shorter in the picture, nothing makes it longer: only too long is a violation. The
    camera stands still in a clip, so pixels compare. Of a child with fewer than four frames the pool's proportions
    (``pool``, log shares of the skeleton's size) are the measure.
    """
    out = np.full(len(clip), np.nan)
    rows = [i for i, look in enumerate(clip) if look.pose is not None]
    if not rows:
        return out
    lengths = np.stack([_log_bones(clip[i].pose.kpts_frame) for i in rows])  # type: ignore[union-attr]
    if len(rows) >= _OWN_FRAMES:
        longest = np.quantile(lengths, 0.75, axis=0)
        excess = lengths - longest
    else:
        excess = lengths - _log_size(lengths)[:, None] - pool
    out[rows] = np.clip(excess - _BONE_SLACK, 0.0, 1.0).mean(axis=1)
    return out


def _pool_bones(looks: Sequence[Look]) -> np.ndarray:
    """``(B,)`` log share of the skeleton's size that 95 % of the pool's bones do not exceed."""
    posed = [_log_bones(look.pose.kpts_frame) for look in looks if look.pose is not None]
    if not posed:
        return np.zeros(len(INFANT.edges))
    lengths = np.stack(posed)
    return np.quantile(lengths - _log_size(lengths)[:, None], 0.95, axis=0)


def _log_bones(kpts_frame: np.ndarray) -> np.ndarray:
    ends = np.array(INFANT.edges)
    return np.log(np.maximum(np.linalg.norm(kpts_frame[ends[:, 0]] - kpts_frame[ends[:, 1]], axis=-1), 0.5))


def _log_size(log_lengths: np.ndarray) -> np.ndarray:
    """``(N,)`` log of the root mean square bone."""
    return 0.5 * np.log(np.exp(2 * log_lengths).mean(axis=1))


def _joined(parts: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate(parts) if parts else np.zeros(0)
