"""Picking frames that are doubted and unlike each other: weighted greedy k-means++ seeding.

Each pick is drawn with probability weight x squared distance to the nearest frame already chosen or labelled; of a few
such draws the one that covers most of the remaining weighted distance is taken (Arthur & Vassilvitskii, SODA 2007; as
batch selection for active learning with the weight inside the vector: BADGE, Ash et al., ICLR 2020). Farthest-first
takes the oddest frame of the pool each time, this one what stands for many. scikit-learn's own seeding cannot start
from centres that are given, which the frames labelled before are, hence these lines.
"""

from __future__ import annotations

import numpy as np


def choose(
    vectors: np.ndarray, weights: np.ndarray, budget: int, seed: int, given: np.ndarray | None = None
) -> list[int]:
    """Indices of ``budget`` frames (all of them where there are no more), in the order they were picked.

    Args:
        vectors: ``(N, D)``; weights: ``(N,)`` not negative; a frame of weight 0 is never picked.
        given: ``(M, D)`` frames labelled already.
    """
    if len(vectors) != len(weights) or not (np.isfinite(weights).all() and (weights >= 0).all()):
        raise ValueError("expected one finite weight of at least 0 per vector")
    rng = np.random.default_rng(seed)
    left = weights > 0
    picked: list[int] = []
    nearest = np.full(len(vectors), np.inf)
    for row in given if given is not None else ():
        nearest = np.minimum(nearest, ((vectors - row) ** 2).sum(axis=1))
    trials = 2 + int(np.log(max(budget, 1)))
    while len(picked) < budget and left.any():
        # Before anything is chosen, and where only copies of what is chosen are left, doubt alone decides.
        distance = np.where(np.isfinite(nearest), nearest, 1.0)
        mass = np.where(left, weights * distance, 0.0)
        mass = mass if mass.sum() > 1e-12 else np.where(left, weights, 0.0)
        tried = np.unique(rng.choice(len(vectors), size=trials, p=mass / mass.sum()))
        after = [np.minimum(nearest, ((vectors - vectors[i]) ** 2).sum(axis=1)) for i in tried]
        best = int(np.argmin([(weights * a)[left].sum() for a in after]))
        nearest = after[best]
        picked.append(int(tried[best]))
        left[tried[best]] = False
    return picked
