"""All frames of a clip together: one child has one upper body, one thigh length, one shank length.

Every frame offers each bone a length and a standard deviation. They are combined robustly with weights 1 / sd^2, left
and right together (Huber, 1964: a frame far off the others loses weight), which keeps what each frame contributed
readable. How wrong the combination still is depends on how the frames go together: a leg bent alike in all of them is
misread alike, frames that disagree deserve less trust, and proportions of the bones say which of them is off. A small
network, trained on clips with the errors of a pose net, reads that and returns a last correction and the standard
deviations; within a clip errors are taken to be as correlated as they were there, so many frames never make the
interval vanish.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from heightpose.geometry.lift import LiftedFrames, LiftNet, forward

#: The groups of :data:`heightpose.geometry.lift.BONE_GROUPS` that are one of ``BONES``.
SIDES = ((0,), (1, 3), (2, 4))
#: Huber's threshold, in standard deviations, and rounds of reweighting.
HUBER, ROUNDS = 1.5, 5
#: More frames than this tell the network nothing about a clip that it was not trained on.
MOST_FRAMES = 8
#: Largest correction, log.
MOST_CORRECTION = 0.4


@dataclass(frozen=True)
class ClipBones:
    """The child's bones.

    Attributes:
        lengths_cm: ``(3,)`` of :data:`heightpose.geometry.lift.BONES`; relative_sd: ``(3,)``.
        length_relative_sd: of crown-heel length.
        spread: ``(3,)`` how far the frames disagree about each bone: weighted standard deviation of its log length.
        shares: ``(T, 3)`` what each frame contributed to each bone; columns sum to 1.
    """

    lengths_cm: np.ndarray
    relative_sd: np.ndarray
    length_relative_sd: float
    spread: np.ndarray
    shares: np.ndarray


def combine(frames: LiftedFrames, net: LiftNet) -> ClipBones:
    """Bones of the child that all ``frames`` (one at least) show."""
    mean, spread, least, shares = _robust_means(
        np.log(np.maximum(frames.lengths_cm, 0.1)), frames.relative_sd
    )
    features = np.concatenate(
        [
            [mean[1] - mean[0], mean[2] - mean[0]],
            spread,
            np.log(least),
            [np.log(min(len(frames.lengths_cm), MOST_FRAMES))],
            shares.mean(axis=1) @ frames.embedding,
        ]
    )
    output = forward(net.clip, features[None])[0]
    correction = np.clip(output[:3], -MOST_CORRECTION, MOST_CORRECTION)
    log_sd = np.clip(output[3:], -6.0, 1.0)
    return ClipBones(np.exp(mean + correction), np.exp(log_sd[:3]), float(np.exp(log_sd[3])), spread, shares)


def _robust_means(logs: np.ndarray, sds: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Huber means of ``(T, 5)`` log lengths by bone: means, spreads and least sds ``(3,)``, shares ``(T, 3)``."""
    means, spreads, least, shares = [], [], [], []
    for columns in SIDES:
        values, sd = logs[:, columns].ravel(), sds[:, columns].ravel()
        weights = 1.0 / sd**2
        robust = weights
        mean = float((robust * values).sum() / robust.sum())
        for _ in range(ROUNDS):
            pull = np.abs(values - mean) / sd
            robust = weights * np.where(pull <= HUBER, 1.0, HUBER / np.maximum(pull, 1e-9))
            mean = float((robust * values).sum() / robust.sum())
        share = robust / robust.sum()
        means.append(mean)
        spreads.append(float(np.sqrt((share * (values - mean) ** 2).sum())))
        least.append(float(sd.min()))
        shares.append(share.reshape(-1, len(columns)).sum(axis=1))
    return np.array(means), np.array(spreads), np.array(least), np.stack(shares, axis=1)
