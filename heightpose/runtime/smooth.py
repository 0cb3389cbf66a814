"""Smoothing for the eye: the drawn skeleton trembles less, the numbers stay as measured.

The One Euro filter (Casiez, Roussel, Vogel, CHI 2012): an exponential filter whose cut-off rises with speed, so that a
resting joint is still and a moving one does not lag. It works on the frames' own times, so uneven frame rates do not
matter, and it never makes up a frame: where no infant was found nothing is drawn, and after a gap it starts anew.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from heightpose.types import FrameResult

#: A gap longer than this is a new beginning.
_GAP_S = 0.5


class OneEuro:
    """A filter for ``(K, 2)`` positions.

    Args:
        cutoff_hz: what a resting joint is smoothed to.
        beta: how much the cut-off rises, Hz per unit of speed (positions per second).
        speed_cutoff_hz: smoothing of the speed itself.
    """

    def __init__(self, cutoff_hz: float = 1.0, beta: float = 5.0, speed_cutoff_hz: float = 1.0) -> None:
        self._cutoff, self._beta, self._speed_cutoff = cutoff_hz, beta, speed_cutoff_hz
        self.reset()

    def reset(self) -> None:
        """Forget what was seen."""
        self._t_s: float | None = None

    def __call__(self, positions: np.ndarray, t_s: float) -> np.ndarray:
        """The smoothed positions at a time later than the last one's."""
        if self._t_s is None or not 0 < t_s - self._t_s <= _GAP_S:
            self._value, self._speed = positions, np.zeros_like(positions)
        else:
            step = t_s - self._t_s
            speed = (positions - self._value) / step
            self._speed = self._speed + _share(self._speed_cutoff, step) * (speed - self._speed)
            cutoff = self._cutoff + self._beta * np.linalg.norm(self._speed, axis=-1, keepdims=True)
            self._value = self._value + _share(cutoff, step) * (positions - self._value)
        self._t_s = t_s
        return self._value


def _share(cutoff_hz: np.ndarray | float, step_s: float) -> np.ndarray | float:
    """How much of the way to the new value is gone (eq. 4 of the paper)."""
    turn = 2.0 * math.pi * cutoff_hz * step_s
    return turn / (turn + 1.0)


class SmoothPoses:
    """The poses of a clip's results, in order, smoothed; in units of the infant's box, so its size does not matter."""

    def __init__(self) -> None:
        self._filter, self._unit = OneEuro(), 1.0

    def __call__(self, result: FrameResult) -> FrameResult:
        """The same result with its pose smoothed; without a pose it stays without one."""
        if result.pose is None:
            self._filter.reset()
            return result
        box = result.pose.bbox_xyxy
        self._unit = self._unit if self._filter._t_s is not None else float((box[2:] - box[:2]).max())
        kpts = self._filter(result.pose.kpts_frame / self._unit, result.t_s) * self._unit
        return replace(result, pose=replace(result.pose, kpts_frame=kpts))
