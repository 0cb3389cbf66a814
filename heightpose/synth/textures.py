"""Procedural cloth, wood and sheets as small RGB pictures (values 0..1, linear enough for albedo)."""

from __future__ import annotations

import colorsys

import cv2
import numpy as np

from heightpose.geometry.sheet import SheetLayout
from heightpose.synth.swatches import Swatches

_SIZE = 256

#: Photographed swatches that :func:`cloth` and :func:`floor` draw from in this process; None: procedural ones.
_swatches: Swatches | None = None


def use_swatches(swatches: Swatches | None) -> None:
    """Draw cloth and floors of this process from photographs; None: procedural again."""
    global _swatches
    _swatches = swatches


def _colour(
    rng: np.random.Generator, value: tuple[float, float] = (0.35, 0.95), saturation: float = 0.7
) -> np.ndarray:
    return np.array(colorsys.hsv_to_rgb(rng.random(), rng.random() * saturation, rng.uniform(*value)))


def _noise(rng: np.random.Generator, shape: tuple[int, int], cells: int) -> np.ndarray:
    """Smooth noise in 0..1 with about ``cells`` bumps across."""
    small = rng.random((cells, cells)).astype(np.float32)
    return cv2.resize(small, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC)


def cloth(rng: np.random.Generator, *, plain: bool = False, pale: bool = False) -> np.ndarray:
    """A fabric: plain, stripes, checks, dots or blotches, with weave. ``(256, 256, 3)`` float32 in 0..1.

    With :func:`use_swatches` a photographed one instead, except where a plain one is asked for.
    """
    if _swatches is not None and not plain:
        photographed = _swatches.cloth(rng)
        return photographed if not pale else np.clip(0.65 + 0.3 * photographed, 0.01, 0.98)
    value = (0.7, 0.97) if pale else (0.12, 0.97)
    base, other = _colour(rng, value, 0.35 if pale else 0.8), _colour(rng, value, 0.5 if pale else 0.9)
    y, x = np.mgrid[0:_SIZE, 0:_SIZE] / _SIZE
    kind = "plain" if plain else rng.choice(["plain", "plain", "stripes", "checks", "dots", "blotches"])
    n = int(rng.integers(4, 20))
    if kind == "stripes":
        mask = ((x if rng.random() < 0.5 else y) * n) % 1 < rng.uniform(0.2, 0.7)
    elif kind == "checks":
        mask = ((x * n).astype(int) + (y * n).astype(int)) % 2 == 0
    elif kind == "dots":
        u, v = (x * n) % 1 - 0.5, (y * n) % 1 - 0.5
        mask = u**2 + v**2 < rng.uniform(0.03, 0.12)
    elif kind == "blotches":
        mask = _noise(rng, (_SIZE, _SIZE), int(rng.integers(5, 24))) > rng.uniform(0.45, 0.7)
    else:
        mask = np.zeros((_SIZE, _SIZE), dtype=bool)
    image = np.where(mask[..., None], other, base)
    weave = (
        1.0
        + 0.06 * (rng.random((_SIZE, _SIZE, 1)) - 0.5)
        + 0.12 * (_noise(rng, (_SIZE, _SIZE), 9)[..., None] - 0.5)
    )
    return np.clip(image * weave, 0.01, 0.98).astype(np.float32)


def floor(rng: np.random.Generator) -> np.ndarray:
    """Wood boards or carpet, ``(256, 256, 3)`` float32; with :func:`use_swatches` a photographed one."""
    if _swatches is not None:
        return _swatches.floor(rng)
    base = np.array(
        colorsys.hsv_to_rgb(rng.uniform(0.04, 0.13), rng.uniform(0.1, 0.6), rng.uniform(0.15, 0.7))
    )
    grain = (
        _noise(rng, (_SIZE, _SIZE), 60) * 0.3
        + cv2.resize(rng.random((_SIZE, 6)).astype(np.float32), (_SIZE, _SIZE)) * 0.5
    )
    image = base * (0.6 + grain[..., None])
    if rng.random() < 0.6:
        for k in range(0, _SIZE, _SIZE // int(rng.integers(4, 9))):
            image[:, k : k + 2] *= 0.5
    return np.clip(image, 0.01, 0.95).astype(np.float32)


def sheet_picture(
    layout: SheetLayout | None,
    rng: np.random.Generator,
    size_cm: tuple[float, float],
    px_per_cm: float = 12.0,
) -> np.ndarray:
    """The mattress seen from above, x to the right and y up, ``(H, W, 3)`` float32 in 0..1.

    With a layout its tags are printed on a pale sheet, each on a white quiet zone; without one the sheet is any
    fabric.
    """
    width, height = round(size_cm[0] * px_per_cm), round(size_cm[1] * px_per_cm)
    tile = cloth(rng, plain=layout is not None and rng.random() < 0.5, pale=layout is not None)
    repeats = rng.uniform(2.0, 5.0)
    ys = (np.arange(height) / px_per_cm / 100 * repeats * _SIZE).astype(int) % _SIZE
    xs = (np.arange(width) / px_per_cm / 100 * repeats * _SIZE).astype(int) % _SIZE
    image = tile[np.ix_(ys, xs)].copy()
    wrinkles = 1.0 + 0.10 * (_noise(rng, (height, width), int(rng.integers(4, 14))) - 0.5)
    image *= wrinkles[..., None]
    if layout is None:
        return np.clip(image, 0.01, 0.98).astype(np.float32)

    dictionary = cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, layout.family))
    white, black = rng.uniform(0.75, 0.92), rng.uniform(0.02, 0.08)
    for tag_id, corners_cm in layout.tags.items():
        to_px = (
            np.column_stack([corners_cm[:, 0] + size_cm[0] / 2, size_cm[1] / 2 - corners_cm[:, 1]])
            * px_per_cm
        )
        side = 80
        bitmap = (
            cv2.aruco.generateImageMarker(dictionary, int(tag_id), side, borderBits=1).astype(np.float32)
            / 255
        )
        bitmap = np.pad(bitmap, 10, constant_values=1.0)  # one cell of quiet zone
        # to_px are continuous positions (0 = the picture's edge); pixel indices are half a pixel less
        source = (
            np.array([[10, 10], [10 + side, 10], [10 + side, 10 + side], [10, 10 + side]], np.float32) - 0.5
        )
        matrix = cv2.getPerspectiveTransform(source, (to_px - 0.5).astype(np.float32))
        warped = cv2.warpPerspective(bitmap, matrix, (width, height), flags=cv2.INTER_AREA)
        inside = (
            cv2.warpPerspective(np.ones_like(bitmap), matrix, (width, height), flags=cv2.INTER_NEAREST) > 0.5
        )
        image[inside] = (black + (white - black) * warped[inside])[:, None]
    return np.clip(image, 0.01, 0.98).astype(np.float32)


#: Skin albedo, light to dark, linear RGB; a child's tone is drawn between neighbours.
_SKIN = np.array(
    [[0.82, 0.60, 0.50], [0.76, 0.52, 0.40], [0.62, 0.40, 0.28], [0.42, 0.25, 0.16], [0.20, 0.11, 0.07]]
)
_HAIR = np.array([[0.03, 0.02, 0.02], [0.10, 0.06, 0.04], [0.28, 0.17, 0.08], [0.55, 0.40, 0.20]])


def skin_colour(rng: np.random.Generator) -> np.ndarray:
    t = rng.uniform(0, len(_SKIN) - 1.001)
    k = int(t)
    return (1 - t + k) * _SKIN[k] + (t - k) * _SKIN[k + 1]


def hair_colour(rng: np.random.Generator) -> np.ndarray:
    return _HAIR[rng.integers(len(_HAIR))] * rng.uniform(0.7, 1.2)
