"""Pixel augmentation on the finished crop: cheap enough for one thread to feed a training run on processors.

Geometry is not here: shift, scale, turn and mirror are part of the one crop transform
(:mod:`heightpose.data.samples`), so that labels and pixels cannot disagree.
"""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np

from heightpose.config import AugmentConfig

_NOISE_SIDE = 640


def augment_pixels(crop: np.ndarray, rng: np.random.Generator, how: AugmentConfig) -> np.ndarray:
    """Change light, colour, sharpness and noise of a crop ``(h, w, 3)`` uint8 RGB; returns a new one."""
    crop = _light(crop, rng, how)
    if rng.random() < how.grayscale:
        crop = cv2.cvtColor(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    if rng.random() < how.downscale:
        crop = _coarsen(crop, rng.uniform(0.35, 0.8))
    if rng.random() < how.blur:
        crop = _blur(crop, rng)
    if rng.random() < how.noise:
        crop = _noise(crop, rng, rng.uniform(2.0, how.noise_level))
    return crop


def paste_occluder(
    crop: np.ndarray, other: np.ndarray, target_xy: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Cover a place with a rectangle cut from another picture.

    Args:
        crop: ``(h, w, 3)`` uint8, left unchanged.
        other: ``(H, W, 3)`` uint8, where the rectangle comes from.
        target_xy: ``(2,)`` crop px, covered somewhere inside the rectangle.

    Returns:
        the crop with the rectangle; its ``(4,)`` x0, y0, x1, y1 in crop px, edges between pixels (so a point
        is covered when ``x0 <= x < x1`` and ``y0 <= y < y1``), empty when it missed the crop.
    """
    height, width = crop.shape[:2]
    size = (rng.uniform(0.08, 0.3, 2) * min(width, height)).astype(int) + 1
    low = np.floor(np.asarray(target_xy) - rng.uniform(0.15, 0.85, 2) * size).astype(int)
    x0, y0 = np.clip(low, 0, (width, height))
    x1, y1 = np.clip(low + size, 0, (width, height))
    if x1 - x0 < 2 or y1 - y0 < 2:
        return crop, np.zeros(4)
    w, h = int(min(x1 - x0, other.shape[1])), int(min(y1 - y0, other.shape[0]))
    sx, sy = int(rng.integers(0, other.shape[1] - w + 1)), int(rng.integers(0, other.shape[0] - h + 1))
    out = crop.copy()
    out[y0 : y0 + h, x0 : x0 + w] = other[sy : sy + h, sx : sx + w]
    return out, np.array([x0, y0, x0 + w, y0 + h]) - 0.5


def _light(crop: np.ndarray, rng: np.random.Generator, how: AugmentConfig) -> np.ndarray:
    """Brightness, contrast, gamma and a colour cast as one look-up table per channel."""
    ramp = np.arange(256, dtype=np.float64)[:, None] / 255.0
    gamma = np.exp(rng.uniform(-1, 1) * np.log1p(how.gamma))
    contrast = 1.0 + rng.uniform(-1, 1) * how.contrast
    brightness = rng.uniform(-1, 1) * how.brightness
    cast = 1.0 + rng.uniform(-1, 1, 3) * how.colour_cast
    table = ((ramp**gamma - 0.5) * contrast + 0.5 + brightness) * cast
    return cv2.LUT(crop, (np.clip(table, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8).reshape(256, 1, 3))


def _coarsen(crop: np.ndarray, factor: float) -> np.ndarray:
    """As if the camera had fewer pixels; cv2.resize keeps the half-pixel convention, so nothing moves."""
    height, width = crop.shape[:2]
    small = cv2.resize(
        crop, (max(8, round(width * factor)), max(8, round(height * factor))), interpolation=cv2.INTER_AREA
    )
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)


def _blur(crop: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    if rng.random() < 0.5:
        return cv2.GaussianBlur(crop, (0, 0), rng.uniform(0.5, 1.5))
    # Motion blur: a line kernel, odd-sized so that its middle is a pixel's centre.
    size = 2 * int(rng.integers(1, 4)) + 1
    angle = rng.uniform(0, np.pi)
    reach = (size - 1) / 2 * np.array([np.cos(angle), np.sin(angle)])
    kernel = np.zeros((size, size), np.float32)
    ends = np.rint(np.array([(size - 1) / 2 - reach, (size - 1) / 2 + reach])).astype(int)
    cv2.line(kernel, ends[0].tolist(), ends[1].tolist(), 1.0)
    return cv2.filter2D(crop, -1, kernel / kernel.sum())


def _noise(crop: np.ndarray, rng: np.random.Generator, level: float) -> np.ndarray:
    height, width = crop.shape[:2]
    bank = _noise_bank(max(_NOISE_SIDE, height + 1, width + 1))
    x, y = rng.integers(0, len(bank) - width), rng.integers(0, len(bank) - height)
    return cv2.addWeighted(crop, 1.0, bank[y : y + height, x : x + width], level, 0.0, dtype=cv2.CV_8U)


@cache
def _noise_bank(side: int) -> np.ndarray:
    """Unit noise to cut windows from: drawing fresh numbers costs ten times the rest of the augmentation."""
    return np.random.default_rng(0).standard_normal((side, side, 3), dtype=np.float32)
