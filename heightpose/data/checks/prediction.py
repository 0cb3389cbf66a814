"""What the pose net says about the labelled infants, and where the labels disagree with it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from heightpose.data.checks.bodies import Bodies
from heightpose.data.checks.shape import sigmas
from heightpose.skeleton import Skeleton

_SCORE_GROUPS = 8
_DEGREES = 3.0  # of freedom: the net's errors are mostly small and sometimes wild


@dataclass(frozen=True, eq=False)
class Predictions:
    """A model's joints for the infants of a data set.

    Attributes:
        kpts_frame: ``(N, K, 2)`` px, NaN for joints the model does not know; scores: ``(N, K)``.
    """

    bodies: Bodies
    kpts_frame: np.ndarray
    scores: np.ndarray

    @cached_property
    def error(self) -> np.ndarray:
        """``(N, K)`` distance of label and prediction, body units; NaN where either lacks."""
        return self._distance(np.arange(self.kpts_frame.shape[1]))

    def _distance(self, order: np.ndarray) -> np.ndarray:
        gap = np.linalg.norm(self.kpts_frame - self.bodies.kpts_frame[:, order], axis=-1)
        return np.where(self.bodies.used[:, order], gap / np.abs(self.bodies.axis)[:, None], np.nan)

    @cached_property
    def _usual(self) -> np.ndarray:
        """``(K,)`` median error of each joint over the set."""
        return np.array([np.nanmedian(c) if np.isfinite(c).any() else 1.0 for c in self.error.T]) + 1e-6

    def swap_gain(self, n: int, order: np.ndarray) -> float:
        """Nats by which the prediction prefers the labels in another order; halved, for errors come in company."""
        moved = order != np.arange(len(order))
        gap = np.linalg.norm(self.kpts_frame[n] - self.bodies.kpts_frame[n][order], axis=-1)
        after, before = gap[moved] / np.abs(self.bodies.axis[n]), self.error[n, moved]
        usual = self._usual[moved]
        cost = np.log1p((before / usual) ** 2 / _DEGREES) - np.log1p((after / usual) ** 2 / _DEGREES)
        return float(0.5 * (_DEGREES + 1) / 2 * np.nansum(cost))

    def surprise(self) -> np.ndarray:
        """``(N, K)`` sigmas of each joint's disagreement, or of its limb's where that is the greater surprise.

        Measured against the joint's usual error where the model is as sure of itself, and against the infant's other
        joints: where the model is lost all joints disagree and none stands out. A limb drawn to the wrong place
        disagrees from one joint outward, each joint a little: together they say more than the worst of them.
        """
        relative = self.error / self._usual
        with np.errstate(all="ignore"):
            own = np.array([np.nanquantile(r, 0.6) if np.isfinite(r).any() else np.nan for r in relative])
        log = np.log((relative + 0.1) / np.maximum(own, 1.0)[:, None])
        log = log - _expected(log, self.scores)
        single = np.stack([sigmas(column) for column in log.T], axis=1)
        together = np.full(single.shape, np.nan)
        for chain in _chains(self.bodies.skeleton):
            known = np.isfinite(log[:, chain])
            mean = np.where(known, log[:, chain], 0.0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
            limb = sigmas(np.where(known.sum(axis=1) >= 2, mean, np.nan))
            together[:, chain] = np.fmax(together[:, chain], limb[:, None])
        return np.where(np.isfinite(single), np.fmax(single, together), np.nan)


def _expected(log: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """``(N, K)`` the usual log error of predictions with such scores: medians of equally large groups, interpolated."""
    known = np.isfinite(log)
    if known.sum() < 20 * _SCORE_GROUPS:
        return np.zeros(log.shape)
    order = np.argsort(scores[known], kind="stable")
    groups = np.array_split(order, _SCORE_GROUPS)
    at = np.array([np.median(scores[known][g]) for g in groups])
    usual = np.array([np.median(log[known][g]) for g in groups])
    # A surer prediction is never expected to be the worse one.
    return np.interp(scores, at, np.minimum.accumulate(usual))


def _chains(skeleton: Skeleton) -> list[np.ndarray]:
    """Each limb from each of its joints outward, where that is more than one joint."""
    chains = []
    for side in ("left", "right"):
        for limb in (("shoulder", "elbow", "wrist"), ("hip", "knee", "ankle", "heel", "toe")):
            names = [f"{side}_{part}" for part in limb if f"{side}_{part}" in skeleton.names]
            chains += [skeleton.indices(*names[k:]) for k in range(len(names) - 1)]
    return chains


def predict(bodies: Bodies, model: str = "fast") -> Predictions:
    """Look at every labelled infant in the crop its own labels ask for.

    Raises:
        HeightposeError: as :meth:`PoseModel.load` and :class:`Pictures`.
    """
    from tqdm import tqdm

    from heightpose.data.pictures import Pictures
    from heightpose.runtime.networks import PoseModel
    from heightpose.runtime.pipeline import BATCH
    from heightpose.types import Detection

    net = PoseModel.load(model)
    count, size = bodies.used.shape
    kpts, scores = np.full((count, size, 2), np.nan), np.zeros((count, size))
    channels = [
        (c, bodies.skeleton.index(j)) for c, j in enumerate(net.file.joints) if j in bodies.skeleton.names
    ]
    source, target = (list(part) for part in zip(*channels, strict=True))
    for start in tqdm(range(0, count, BATCH), desc="looking", unit="batch", disable=None):
        rows = range(start, min(start + BATCH, count))
        pictures = Pictures([bodies.items[n] for n in rows])
        poses = net.estimate(
            [pictures.picture(i) for i in range(len(rows))],
            [
                Detection(bodies.people[n].bbox_xyxy, float(bodies.head_angle_deg[n]), 1.0)
                for n in rows
            ],
        )  # fmt: skip
        for n, pose in zip(rows, poses, strict=True):
            kpts[n, target], scores[n, target] = pose.kpts_frame[source], pose.scores[source]
    return Predictions(bodies, kpts, scores)
