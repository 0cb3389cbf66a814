"""What a frame shows, as a vector: the posture in the head-up crop and the crop's look, of equal weight."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from heightpose.data.suggest.looks import Look


def describe(looks: Sequence[Look]) -> np.ndarray:
    """``(N, D)``; distances compare within one call only, since both parts are scaled to the spread found there.

    A frame without a pose has the mean posture: its look alone sets it apart.
    """
    if not looks:
        return np.zeros((0, 0))
    posture = np.stack([np.clip(look.kpts_crop, -0.5, 1.5).ravel() for look in looks])
    mean = np.nanmean(posture, axis=0) if np.isfinite(posture).any() else np.zeros(posture.shape[1])
    posture = np.where(np.isfinite(posture), posture, mean)
    return np.concatenate([_unit(posture), _unit(np.stack([look.thumb.ravel() for look in looks]))], axis=1)


def _unit(block: np.ndarray) -> np.ndarray:
    """Centred, with a mean squared length of 1."""
    centred = block - block.mean(axis=0)
    size = np.sqrt((centred**2).sum(axis=1).mean())
    return centred / size if size > 1e-9 else centred
