"""What a pose run's batches tell the network to answer, against their labels and pictures.

Crop shares: positions divided by the crop's (width, height). Symbols: N samples, K joints.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from heightpose.data.items import Item
from heightpose.geometry.crop import crop_from_hm
from heightpose.train.observed import Targets
from heightpose.train.places import line_fit, peaks
from heightpose.train.pose_task import PoseTask
from heightpose.train.task_parts import Batch

#: Pictures whose labels are compared with the picture's size.
_PICTURES = 500
#: Of fewer infants nothing is said of where they lie.
_FEW = 16


class TargetTally:
    """What the batches of a pose run tell the net to answer, against their labels."""

    def __init__(self, task: PoseTask) -> None:
        self.task = task
        self._off_picture, self._reach = 0.0, 1.0
        self._learners: tuple[int, ...] = ()
        joints = len(task.skeleton)
        #: plain and mirrored: counts, sums and sums of squares of crop shares.
        self._sums = [np.zeros((joints, 5)) for _ in range(2)]
        self._labelled = self._off = self._samples = 0
        self._peaks: list[np.ndarray] = []
        self._map_points: list[np.ndarray] = []
        self._points: list[np.ndarray] = []

    def add_pictures(self, items: Sequence[Item]) -> None:
        """Take in the labels of all training pictures."""
        self._off_picture, self._reach = share_off_picture(items), reach(items)
        self._learners = tuple(self.task.learners(p for item in items for p in item.people).tolist())

    def add(self, batch: Batch, maps: bool) -> None:
        """Take in a training batch; ``maps``: its target maps too, which is the dearer part.

        Batches of the finer look's size are left out: the same labels under the same augmentation.
        """
        if self.task.is_fine(batch):
            return
        size = np.array(self.task.codec.input_wh)
        kpts, labelled = batch["kpts_crop"] / size, batch["visibility"] > 0
        labelled = labelled & np.isfinite(kpts).all(axis=2)
        mirrored = np.linalg.det(np.asarray(batch["matrices"])[:, :2, :2]) < 0
        kpts = np.where(labelled[..., None], kpts, 0.0)
        for sums, chosen in zip(self._sums, (~mirrored, mirrored), strict=True):
            own = kpts[chosen]
            sums += np.concatenate(
                [labelled[chosen].sum(axis=0)[:, None], own.sum(axis=0), np.square(own).sum(axis=0)], axis=1
            )
        inside = labelled & ((kpts >= 0) & (kpts < 1)).all(axis=2)
        self._samples += len(kpts)
        self._labelled += int(labelled.sum())
        self._off += int((labelled & ~inside).sum())
        if maps:
            self._add_targets(batch, kpts, inside)

    def _add_targets(self, batch: Batch, kpts: np.ndarray, inside: np.ndarray) -> None:
        codec = self.task.codec
        points = batch["kpts_hm"].float().cpu().numpy()
        points = crop_from_hm(points, codec.input_wh, codec.heatmap_wh) / np.array(codec.input_wh)
        self._points.append(np.concatenate([kpts[inside], points[inside]], axis=1))
        if self.task.coordinates:
            return
        targets = batch["heatmaps"].float()
        height = targets.flatten(2).amax(dim=2).cpu().numpy()
        place = peaks(targets)
        w, h = codec.heatmap_wh
        # A joint off the map leaves its peak on the border, which says nothing of its place.
        whole = inside & (height > 1e-3) & (place > 0).all(axis=2) & (place < np.array([w - 1, h - 1])).all(2)
        # The nearest pixel of a Gaussian is a little lower than its top; on average by this much.
        self._peaks.append(height[whole] / _mean_height(codec.sigma) ** 2)
        crop = crop_from_hm(place.astype(float), codec.input_wh, codec.heatmap_wh) / np.array(codec.input_wh)
        self._map_points.append(np.concatenate([kpts[whole], crop[whole]], axis=1))

    def targets(self) -> Targets:
        """The figures."""
        (plain_n, plain_mean, plain_sq), (mirrored_n, mirrored_mean, mirrored_sq) = (
            _moments(s) for s in self._sums
        )
        sd = np.sqrt(
            np.maximum(plain_sq - plain_mean**2, 0.0) / 2
            + np.maximum(mirrored_sq - mirrored_mean**2, 0.0) / 2
        )
        peak = np.concatenate(self._peaks) if self._peaks else np.zeros(0)
        return Targets(
            samples=self._samples,
            peak=float(np.median(peak)) if peak.size else None,
            map_scale=_scale(self._map_points), point_scale=_scale(self._points),
            off_crop=self._off / max(1, self._labelled), off_picture=self._off_picture,
            reach=self._reach, learners=self._learners,
            plain_n=tuple(plain_n.tolist()), mirrored_n=tuple(mirrored_n.tolist()),
            plain_mean=_pairs(plain_mean), mirrored_mean=_pairs(mirrored_mean), sd=_pairs(sd),
        )  # fmt: skip


def share_off_picture(items: Sequence[Item]) -> float:
    """Share of labelled joints, those said to be out of the frame aside, whose place is outside their picture."""
    off = total = 0
    for item in items[:: max(1, len(items) // _PICTURES)]:
        for person in item.people:
            kpts = person.kpts_frame[person.usable]
            total += len(kpts)
            off += int(((kpts < -1) | (kpts > np.array(item.size_wh))).any(axis=1).sum())
    return off / max(1, total)


def reach(items: Sequence[Item]) -> float:
    """How far right or down of their pictures' corner labels go, as a share of the picture; 1 of too few to tell."""
    shares = [
        person.kpts_frame[person.usable] / np.array(item.size_wh)
        for item in items[:: max(1, len(items) // _PICTURES)]
        for person in item.people
    ]
    if len(shares) < _FEW:
        return 1.0
    return float(np.quantile(np.concatenate(shares).max(axis=1), 0.99))


def _scale(parts: Sequence[np.ndarray]) -> float | None:
    """Factor from labels to targets; None where they hardly have to do with each other."""
    if not parts:
        return None
    both = np.concatenate(parts)
    scale, fit = line_fit(both[:, :2], both[:, 2:])
    return scale if fit > 0.9 else None


def _moments(sums: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Counts ``(K,)`` int, means and mean squares ``(K, 2)``."""
    count = np.maximum(sums[:, :1], 1.0)
    return sums[:, 0].astype(int), sums[:, 1:3] / count, sums[:, 3:5] / count


def _pairs(values: np.ndarray) -> tuple[tuple[float, float], ...]:
    return tuple((round(float(x), 5), round(float(y), 5)) for x, y in values)


def _mean_height(sigma: float) -> float:
    """Of a Gaussian at the nearest pixel of a row, on average over sub-pixel places."""
    return float(np.mean(np.exp(-0.5 * (np.linspace(-0.5, 0.5, 101) / sigma) ** 2)))
