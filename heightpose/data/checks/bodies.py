"""All infants of a data set in one frame: head up, in units of the body's own size, robust to a misplaced joint."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from heightpose.data.coco import Dataset
from heightpose.data.items import Item, Person
from heightpose.skeleton import Skeleton

#: Where the midline's points lie along a lying infant, in lengths of it: only a start, the set's own medians follow.
_PROFILE = {"crown": 0.5, "head_top": 0.5, "upper_neck": 0.32, "thorax": 0.25, "pelvis": -0.02}
_PAIRED = {"shoulder": 0.22, "hip": -0.02}


@dataclass(frozen=True, eq=False)
class Bodies:
    """``N`` infants as arrays.

    Attributes:
        items, people: whom row ``n`` belongs to.
        kpts_frame: ``(N, K, 2)`` px; used: ``(N, K)`` bool, labelled and inside the frame.
        axis: ``(N,)`` complex px: one body unit towards the head; origin: ``(N,)`` complex px.
    """

    skeleton: Skeleton
    items: tuple[Item, ...]
    people: tuple[Person, ...]
    kpts_frame: np.ndarray
    used: np.ndarray
    axis: np.ndarray
    origin: np.ndarray

    @classmethod
    def of(cls, dataset: Dataset) -> Bodies:
        """The infants whose midline says how they lie."""
        size = len(dataset.skeleton)
        pairs = [(i, p) for i in dataset.items for p in i.people]
        kpts = np.array([p.kpts_frame for _, p in pairs]).reshape(-1, size, 2)
        used = np.array([p.usable for _, p in pairs], dtype=bool).reshape(-1, size)
        points, place = _midline(kpts, used, dataset.skeleton)
        axis, origin = _robust_axis(points, place)
        for _ in range(2):  # the second time along the set's own proportions
            along = ((points - origin[:, None]) / axis[:, None]).real
            with np.errstate(all="ignore"):
                own = np.array([np.nanmedian(c) if np.isfinite(c).any() else np.nan for c in along.T])
            axis, origin = _robust_axis(points, np.where(np.isfinite(own), own, place))
        keep = np.isfinite(axis) & (np.abs(axis) > 1e-6)
        chosen = [pair for pair, k in zip(pairs, keep, strict=True) if k]
        return cls(
            dataset.skeleton, tuple(i for i, _ in chosen), tuple(p for _, p in chosen),
            kpts[keep], used[keep], axis[keep], origin[keep],
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.people)

    def to_body(self, kpts_frame: np.ndarray) -> np.ndarray:
        """``(N, K, 2)`` px -> (across, along) in body units."""
        z = kpts_frame[..., 0] + 1j * kpts_frame[..., 1]
        w = (z - self.origin[:, None]) / self.axis[:, None]
        return np.stack([w.imag, w.real], axis=-1)

    @cached_property
    def xy(self) -> np.ndarray:
        """``(N, K, 2)`` the labels in body units; meaningless where not ``used``."""
        return self.to_body(self.kpts_frame)

    @cached_property
    def head_angle_deg(self) -> np.ndarray:
        """``(N,)`` image direction towards the head: 0 up, clockwise."""
        return np.rad2deg(np.arctan2(self.axis.real, -self.axis.imag))

    @cached_property
    def groups(self) -> np.ndarray:
        """``(N,)`` str: the stated posture where the set states one; few of a kind are told together."""
        names = np.array([str(p.strata.get("posture", "")) for p in self.people])
        values, counts = np.unique(names, return_counts=True)
        few = values[counts < 12]
        return np.where(np.isin(names, few), "", names)


def _midline(kpts: np.ndarray, used: np.ndarray, skeleton: Skeleton) -> tuple[np.ndarray, np.ndarray]:
    """``(N, M)`` complex points, NaN where not labelled; the middle of a pair does not mind which side is which."""
    z = np.where(used, kpts[..., 0] + 1j * kpts[..., 1], np.nan)
    columns, place = [], []
    for name, along in _PROFILE.items():
        if name in skeleton.names:
            columns.append(z[:, skeleton.index(name)])
            place.append(along)
    for part, along in _PAIRED.items():
        left, right = skeleton.indices(f"left_{part}", f"right_{part}")
        columns.append((z[:, left] + z[:, right]) / 2)
        place.append(along)
    return np.stack(columns, axis=1), np.array(place)


def _robust_axis(points: np.ndarray, place: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Theil-Sen in the complex plane: the median slope over all pairs of midline points, and where zero is."""
    a, b = np.triu_indices(len(place), 1)
    far = np.abs(place[a] - place[b]) > 0.12
    a, b = a[far], b[far]
    slopes = (points[:, a] - points[:, b]) / (place[a] - place[b])
    axis = _median(slopes)
    return axis, _median(points - axis[:, None] * place)


def _median(z: np.ndarray) -> np.ndarray:
    z = np.where(np.isfinite(z), z, complex(np.nan, np.nan))  # a bare nan would leave the imaginary part 0
    out = np.full(len(z), np.nan, dtype=complex)
    some = np.isfinite(z).any(axis=1)
    out[some] = np.nanmedian(z[some].real, axis=1) + 1j * np.nanmedian(z[some].imag, axis=1)
    return out
