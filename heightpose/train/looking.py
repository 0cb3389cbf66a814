"""Looks closely at a few samples on their way through a network: answers, channels, targets.

Crop shares: positions divided by the crop's (width, height). Symbols: N samples, K joints.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from heightpose.data.items import Item
from heightpose.geometry.crop import crop_from_hm
from heightpose.skeleton import mirror_name
from heightpose.train.coordinates import expectation
from heightpose.train.observed import DeadLayer, Look, Swap, Targets
from heightpose.train.pose_task import PoseTask
from heightpose.train.task_parts import Batch
from heightpose.train.tasks import Task

#: Validation samples that are looked at.
_SAMPLES = 64
#: Two joints can be told apart where they lie this far from each other, crop shares.
_APART = 0.06
#: Closer to the other joint's place than this share of the way from one to the other: taken for it.
_ON_OTHER = 0.35
#: A channel that varies by less than this share of its layer's is dead, one of the net's output by less than that.
_DEAD, _SILENT = 1e-6, 1e-3
#: Of fewer values nothing is said: in two inputs a unit may be off by chance.
_VALUES = 512
#: Pictures whose labels are compared with the picture's size.
_PICTURES = 500


class Gaze:
    """What a network answers, caught by a hook while something else calls it.

    Call :meth:`add` with each batch after the network has seen it, then :meth:`into` for the figures.
    """

    def __init__(self, net: nn.Module, task: Task) -> None:
        self.task = task
        self._raw: Tensor | None = None
        self._hook = net.register_forward_hook(self._catch)
        self._rows: list[tuple[np.ndarray, ...]] = []
        self._maps: list[np.ndarray] = []
        self._low: np.ndarray | None = None
        self._high: np.ndarray | None = None
        self.samples = 0

    def _catch(self, _net: nn.Module, _inputs: Any, output: Any) -> None:
        self._raw = output.detach() if isinstance(output, Tensor) else None

    @property
    def full(self) -> bool:
        """Whether enough samples were seen."""
        return self.samples >= _SAMPLES

    def close(self) -> None:
        """Let go of the network."""
        self._hook.remove()
        self._raw = None

    @torch.no_grad()
    def add(self, batch: Batch) -> None:
        """Take in the answers to a batch."""
        if self._raw is None or self.full:
            return
        raw, self._raw = self._raw[: _SAMPLES - self.samples].float(), None
        self.samples += len(raw)
        if raw.ndim == 4:
            low, high = raw.amin(dim=(0, 2, 3)).cpu().numpy(), raw.amax(dim=(0, 2, 3)).cpu().numpy()
            self._low = low if self._low is None else np.minimum(self._low, low)
            self._high = high if self._high is None else np.maximum(self._high, high)
        if not isinstance(self.task, PoseTask):
            self._maps.append(raw[:, 0].cpu().numpy())
            return
        size = np.array(self.task.codec.input_wh)
        pred, peak = answers(self.task, raw)
        self._rows.append(
            (pred / size, batch["kpts_crop"][: len(raw)] / size, batch["visibility"][: len(raw)], peak)
        )

    def into(self, look: Look) -> Look:
        """The look with what was seen."""
        if not self.samples:
            return look
        look = replace(look, samples=self.samples, silent=self._silent())
        if not isinstance(self.task, PoseTask):
            maps = np.concatenate(self._maps)
            contrast = float(maps.std())
            varies = float(np.sqrt(maps.var(axis=0).mean())) / contrast if contrast > 0 else 0.0
            return replace(look, pred_spread=varies, true_spread=0.1)
        pred, truth, visibility, peak = (np.concatenate(c) for c in zip(*self._rows, strict=True))
        seen = (visibility > 0) & np.isfinite(truth).all(axis=2) & np.isfinite(pred).all(axis=2)
        names = self.task.skeleton.names
        scale, fit = _fit(truth[seen], pred[seen])
        heights = peak[(visibility == 2) & np.isfinite(peak)]
        unit = self.task.config.loss.kind == "heatmap" and not self.task.coordinates
        middle = seen & np.array([mirror_name(n) == n for n in names])
        error = np.linalg.norm(pred - truth, axis=2)
        return replace(
            look,
            pred_spread=_spread(pred, seen), true_spread=_spread(truth, seen), scale=scale, fit=fit,
            peak=float(np.median(heights)) if unit and heights.size else None,
            midline_error=float(np.median(error[middle])) if middle.any() else 0.0,
            swaps=swaps(pred, truth, seen, names),
        )  # fmt: skip

    def _silent(self) -> tuple[str, ...]:
        if self._low is None or self._high is None:
            return ()
        varies = self._high - self._low
        # Maps that are all the same are a collapse; a dead one stands out from the others.
        usual = float(np.median(varies))
        if usual <= 0:
            return ()
        quiet = np.flatnonzero(varies <= _SILENT * usual)
        pose = isinstance(self.task, PoseTask)
        return tuple(self.task.skeleton.names[k] if pose else f"map {k}" for k in quiet)  # type: ignore[union-attr]


class Activity:
    """The range of every inner channel over the inputs that pass while hooks are set on activations."""

    def __init__(self, net: nn.Module) -> None:
        self._range: dict[str, tuple[Tensor, Tensor]] = {}
        self._values: dict[str, int] = {}
        self._hooks = []
        self._calls: dict[str, int] = {}
        self._hooks.append(net.register_forward_pre_hook(lambda *_: self._calls.clear()))
        for name, module in net.named_modules():
            if type(module).__module__ == nn.ReLU.__module__ and not list(module.children()):
                self._hooks.append(module.register_forward_hook(self._watch(name)))

    def _watch(self, name: str) -> Any:
        def see(_module: nn.Module, _inputs: Any, output: Any) -> None:
            # One module may serve at several places of a net.
            call = self._calls[name] = self._calls.get(name, 0) + 1
            key = name if call == 1 else f"{name} (use {call})"
            if not isinstance(output, Tensor) or output.ndim not in (3, 4):
                return
            others = (0, 2, 3) if output.ndim == 4 else (0, 1)
            output = output.detach()
            low, high = output.amin(dim=others), output.amax(dim=others)
            if key in self._range:
                before = self._range[key]
                low, high = torch.minimum(low, before[0]), torch.maximum(high, before[1])
            self._range[key] = (low, high)
            self._values[key] = self._values.get(key, 0) + output.numel() // len(low)

        return see

    def close(self) -> None:
        """Let go of the network."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = []

    def into(self, look: Look) -> Look:
        """The look with the channels that are dead."""
        dead, channels = [], 0
        for name, (low, high) in self._range.items():
            if self._values[name] < _VALUES:
                continue
            channels += len(low)
            varies = high.float() - low.float()
            number = int((varies <= _DEAD * varies.max().clamp_min(1e-12)).sum())
            if number:
                dead.append(DeadLayer(name, number, len(low)))
        return replace(look, channels=channels, dead=tuple(dead))


class TargetTally:
    """What the batches of a pose run tell the net to answer, against their labels."""

    def __init__(self, task: PoseTask) -> None:
        self.task = task
        self.off_picture = 0.0
        joints = len(task.skeleton)
        #: plain and mirrored: counts, sums and sums of squares of crop shares.
        self._sums = [np.zeros((joints, 5)) for _ in range(2)]
        self._labelled = self._off = self._samples = 0
        self._peaks: list[np.ndarray] = []
        self._map_points: list[np.ndarray] = []
        self._points: list[np.ndarray] = []

    def add(self, batch: Batch, maps: bool) -> None:
        """Take in a training batch; ``maps``: its target maps too, which is the dearer part."""
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
            off_crop=self._off / max(1, self._labelled), off_picture=self.off_picture,
            plain_n=tuple(plain_n.tolist()), mirrored_n=tuple(mirrored_n.tolist()),
            plain_mean=_pairs(plain_mean), mirrored_mean=_pairs(mirrored_mean), sd=_pairs(sd),
        )  # fmt: skip


def answers(task: PoseTask, raw: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """``(N, K, 2)`` crop px, to a heatmap pixel where maps peak; ``(N, K)`` how high they do."""
    codec = task.codec
    if task.coordinates:
        return raw.double().cpu().numpy(), np.ones(tuple(raw.shape[:2]))
    place = expectation(raw).double().cpu().numpy() if task.softmax else peaks(raw).astype(float)
    height = raw.flatten(2).amax(dim=2).double().cpu().numpy()
    return crop_from_hm(place, codec.input_wh, codec.heatmap_wh), height


def peaks(maps: Tensor) -> np.ndarray:
    """``(N, K, 2)`` int: the highest pixel of each map, x and y."""
    width = maps.shape[3]
    flat = maps.flatten(2).argmax(dim=2).cpu().numpy()
    return np.stack([flat % width, flat // width], axis=-1)


def swaps(pred: np.ndarray, truth: np.ndarray, seen: np.ndarray, names: Sequence[str]) -> tuple[Swap, ...]:
    """For each joint the other one on whose place it is predicted most often, among pictures that tell them apart.

    Args:
        pred, truth: ``(N, K, 2)`` crop shares; seen: ``(N, K)`` bool.
    """
    places = np.where(seen[..., None], truth, np.nan)
    apart = np.linalg.norm(places[:, :, None] - places[:, None], axis=3)  # (N, joint, other)
    off = np.linalg.norm(np.where(seen[..., None], pred, np.nan)[:, :, None] - places[:, None], axis=3)
    own = np.diagonal(off, axis1=1, axis2=2)[..., None]
    with np.errstate(invalid="ignore"):
        told = apart > _APART
        # Of several joints close together it is taken for the nearest.
        nearest = off == np.where(np.isnan(off), np.inf, off).min(axis=2, keepdims=True)
        taken = told & nearest & (off < _ON_OTHER * apart) & (off < own)
    count, share = told.sum(axis=0), taken.sum(axis=0)
    share = np.where(count >= 8, share / np.maximum(count, 1), 0.0)
    found = []
    for k, other in enumerate(share.argmax(axis=1)):
        if share[k, other] > 0:
            found.append(Swap(names[k], names[other], round(float(share[k, other]), 4), int(count[k, other])))
    return tuple(found)


def share_off_picture(items: Sequence[Item]) -> float:
    """Share of labelled joints, those said to be out of the frame aside, whose place is outside their picture."""
    off = total = 0
    for item in items[:: max(1, len(items) // _PICTURES)]:
        for person in item.people:
            kpts = person.kpts_frame[person.usable]
            total += len(kpts)
            off += int(((kpts < -1) | (kpts > np.array(item.size_wh))).any(axis=1).sum())
    return off / max(1, total)


def _spread(places: np.ndarray, seen: np.ndarray) -> float:
    """Root mean square over joints and axes of the standard deviation over samples."""
    variances = [places[s, k].var(axis=0) for k, s in enumerate(seen.T) if s.sum() >= 4]
    return float(np.sqrt(np.mean(variances))) if variances else 0.0


def _fit(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Slope of ``y`` over ``x`` ``(M, 2)`` and their correlation, each axis around its own mean."""
    if len(x) < 16:
        return 1.0, 0.0
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    xx, yy, xy = float((x * x).sum()), float((y * y).sum()), float((x * y).sum())
    if xx <= 0 or yy <= 0:
        return 1.0, 0.0
    return xy / xx, xy / float(np.sqrt(xx * yy))


def _scale(parts: Sequence[np.ndarray]) -> float | None:
    """Factor from labels to targets; None where they hardly have to do with each other."""
    if not parts:
        return None
    both = np.concatenate(parts)
    scale, fit = _fit(both[:, :2], both[:, 2:])
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
