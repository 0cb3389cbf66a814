"""A sleeping bag: one closed tube of cloth round the trunk and both legs, made anew from every frame's posed body.

A shell of the skin cannot be a bag, for it would clothe each leg by itself. The bag is cut into slices along the
body's axis. In each slice the cloth is the convex outline of all the flesh near it, kept as a support function
h(angle): the largest reach of the flesh in that direction. Maxima and means of support functions are support
functions of convex outlines again, so a running maximum along the axis followed by a mean of the same width is
smooth and never cuts into the body. (Schneider, Convex Bodies: The Brunn-Minkowski Theory, section 1.7.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d, maximum_filter1d, uniform_filter1d

from heightpose.skeleton import INFANT

_SLICES, _ANGLES = 44, 48
_SPREAD = 3  # slices each way over which the cloth bridges
#: Joints that a worn bag does not hide: the trunk fills it. Legs float inside a common hollow and arms that meet it
#: lie beneath it, so neither can be made out from its surface.
SEEN_THROUGH_SACK = INFANT.indices(
    "pelvis", "thorax", "left_hip", "right_hip", "left_shoulder", "right_shoulder"
)


@dataclass(frozen=True)
class Sack:
    """A sleeping bag's cut: what stays the same in all frames of a child.

    Attributes:
        filling: ``(n,)`` indices of the body vertices that it must hold: trunk and legs.
        top: where it begins, as a share of the way from thorax to pelvis.
        thickness_cm: padding and air; ``slack_cm``: how far it reaches beyond the feet.
        folds: ``(slices, angles)`` offsets in cm: the cloth's own creases.
        picture: ``(h, w, 3)`` cloth.
    """

    filling: np.ndarray
    top: float
    thickness_cm: float
    slack_cm: float
    folds: np.ndarray
    picture: np.ndarray

    def faces(self) -> np.ndarray:
        """``(F, 3)`` triangles: the wall and the closed foot end; the neck end is open."""
        k = np.arange(_SLICES * _ANGLES).reshape(_SLICES, _ANGLES)
        after = np.roll(k, -1, axis=1)
        a, b, c, d = k[:-1].ravel(), k[1:].ravel(), after[1:].ravel(), after[:-1].ravel()
        tip = np.full(_ANGLES, _SLICES * _ANGLES)
        end = np.column_stack([k[-1], after[-1], tip])
        return np.concatenate([np.column_stack([a, c, b]), np.column_stack([a, d, c]), end]).astype(np.int32)

    def uv(self) -> np.ndarray:
        """``(V, 2)``: one tile of cloth per about 30 cm."""
        along, around = np.meshgrid(np.linspace(0, 1.6, _SLICES), np.linspace(0, 2.0, _ANGLES), indexing="ij")
        uv = np.column_stack([around.ravel(), along.ravel()])
        return np.vstack([uv, [1.0, 1.7]])

    def vertices_cm(self, body_cm: np.ndarray, joints_cm: np.ndarray) -> np.ndarray:
        """The bag round a posed body: ``(V, 3)`` from vertices ``(B, 3)`` and joints ``(K, 3)``, mattress frame."""
        thorax, pelvis = joints_cm[INFANT.index("thorax")], joints_cm[INFANT.index("pelvis")]
        axis = np.append((pelvis - thorax)[:2], 0.0)
        axis /= np.linalg.norm(axis)
        across = np.array([-axis[1], axis[0], 0.0])
        flesh = body_cm[self.filling]
        s = (flesh - thorax) @ axis
        start = self.top * float((pelvis - thorax) @ axis)
        end = float(s.max()) + self.slack_cm
        at = np.linspace(start, end, _SLICES)
        angle = np.arange(_ANGLES) * 2 * np.pi / _ANGLES
        direction = np.stack([np.cos(angle), np.sin(angle)])
        section = np.column_stack([(flesh - thorax) @ across, flesh[:, 2]])

        reach = np.full((_SLICES, _ANGLES), -np.inf)
        nearest = np.clip(np.round((s - start) / (at[1] - at[0])).astype(int), -1, _SLICES - 1)
        order = np.argsort(nearest, kind="stable")
        bounds = np.searchsorted(nearest[order], np.arange(_SLICES + 1))
        for k in range(_SLICES):
            members = order[bounds[k] : bounds[k + 1]]
            if len(members):
                reach[k] = (section[members] @ direction).max(axis=0)
        reach = self._bridge(reach, direction)
        reach = reach + self.thickness_cm
        slope = np.gradient(np.column_stack([reach[:, -1:], reach, reach[:, :1]]), angle[1], axis=1)[:, 1:-1]
        outward = reach + self.folds
        x = outward * direction[0] - slope * direction[1]
        z = np.maximum(outward * direction[1] + slope * direction[0], 0.03)
        ring = thorax + at[:, None, None] * axis + x[..., None] * across
        ring[..., 2] = z
        tip = ring[-1].mean(axis=0) + axis * 0.6
        return np.vstack([ring.reshape(-1, 3), tip])

    def _bridge(self, reach: np.ndarray, direction: np.ndarray) -> np.ndarray:
        """Slices without flesh repeat the last outline, sagging flat beyond the feet; then maximum and mean."""
        filled = np.flatnonzero(np.isfinite(reach[:, 0]))
        last = filled[-1]
        for k in range(_SLICES):
            if not np.isfinite(reach[k, 0]):
                reach[k] = reach[filled[np.abs(filled - k).argmin()]]
        empty = np.arange(_SLICES) > last
        if empty.any():  # beyond the feet the cloth narrows and lies down on the mattress
            left, right = reach[last, 0], reach[last, _ANGLES // 2]
            middle, half = (left - right) / 2, (left + right) / 2
            share = (np.arange(_SLICES)[empty] - last)[:, None] / max(int(empty.sum()), 1)
            flat = middle * direction[0] + np.abs(half * 0.9 * direction[0]) + 0.6 * (1 + direction[1])
            reach[empty] = reach[last] * (1 - share) ** 0.7 + flat * (1 - (1 - share) ** 0.7)
        width = 2 * _SPREAD + 1
        reach = uniform_filter1d(
            maximum_filter1d(reach, width, axis=0, mode="nearest"), width, axis=0, mode="nearest"
        )
        return gaussian_filter1d(reach, 1.0, axis=1, mode="wrap")


def cut_sack(
    filling: np.ndarray, scale: float, picture: np.ndarray, thickness_cm: float, rng: np.random.Generator
) -> Sack:
    """Draw a bag for a body of ``scale`` (1 = 65 cm long) that must hold the vertices ``filling``."""
    folds = gaussian_filter1d(rng.standard_normal((_SLICES, _ANGLES)), 2.0, axis=0)
    folds = gaussian_filter1d(folds, 1.5, axis=1, mode="wrap")
    folds = np.abs(folds) / max(float(folds.std()), 1e-6) * rng.uniform(0.1, 0.45)
    folds[:4] *= np.linspace(0, 1, 4)[:, None]  # the chest end is hemmed
    slack = float(rng.uniform(1.0, 8.0)) * scale
    return Sack(filling, float(rng.uniform(0.2, 0.4)), thickness_cm, slack, folds, picture)
