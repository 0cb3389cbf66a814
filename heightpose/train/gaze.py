"""What a network answers to a few samples: spread, scale, joints taken for others, silent maps.

Crop shares: positions divided by the crop's (width, height). Symbols: N samples, K joints.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from heightpose.geometry.crop import crop_from_hm
from heightpose.skeleton import mirror_name
from heightpose.train.coordinates import expectation
from heightpose.train.observed import Look, Swap
from heightpose.train.places import line_fit, peaks
from heightpose.train.pose_task import PoseTask
from heightpose.train.task_parts import Batch
from heightpose.train.tasks import Task

#: Validation samples that are looked at.
_SAMPLES = 64
#: Two joints can be told apart where they lie this far from each other, crop shares.
_APART = 0.06
#: Closer to the other joint's place than this share of the way from one to the other: taken for it.
_ON_OTHER = 0.35
#: A channel of the net's output that varies by less than this share of what is usual is silent.
_SILENT = 1e-3


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
        scale, fit = line_fit(truth[seen], pred[seen])
        mean = truth[seen].mean() if seen.any() else 0.0
        heights = peak[(visibility == 2) & np.isfinite(peak)]
        unit = self.task.config.loss.kind == "heatmap" and not self.task.coordinates
        middle = seen & np.array([mirror_name(n) == n for n in names])
        error = np.linalg.norm(pred - truth, axis=2)
        return replace(
            look,
            pred_spread=_spread(pred, seen), true_spread=_spread(truth, seen), scale=scale, fit=fit,
            mean_scale=float(pred[seen].mean() / mean) if mean > 0 else None,
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


def answers(task: PoseTask, raw: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """``(N, K, 2)`` crop px, to a heatmap pixel where maps peak; ``(N, K)`` how high they do."""
    codec = task.codec
    if task.coordinates:
        return raw.double().cpu().numpy(), np.ones(tuple(raw.shape[:2]))
    place = expectation(raw).double().cpu().numpy() if task.softmax else peaks(raw).astype(float)
    height = raw.flatten(2).amax(dim=2).double().cpu().numpy()
    return crop_from_hm(place, codec.input_wh, codec.heatmap_wh), height


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


def _spread(places: np.ndarray, seen: np.ndarray) -> float:
    """Root mean square over joints and axes of the standard deviation over samples."""
    variances = [places[s, k].var(axis=0) for k, s in enumerate(seen.T) if s.sum() >= 4]
    return float(np.sqrt(np.mean(variances))) if variances else 0.0
