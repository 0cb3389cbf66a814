"""Procedural cloth, wood and sheets as small RGB pictures (values 0..1, linear enough for albedo)."""

from __future__ import annotations

import colorsys

import cv2
import numpy as np

from heightpose.geometry.sheet import SheetLayout
from heightpose.synth.swatches import Swatches

_SIZE = 256
_KINDS = (
    "plain", "plain", "plain", "stripes", "bands", "checks", "dots", "stars", "flowers", "blotches",
    "knit", "muslin", "quilted",
)  # fmt: skip

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


def _print(kind: str, x: np.ndarray, y: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """Where a print of one colour lies, ``(256, 256)`` bool; nowhere on plain cloth."""
    if kind == "stripes":
        return ((x if rng.random() < 0.5 else y) * n) % 1 < rng.uniform(0.2, 0.7)
    if kind == "checks":
        return ((x * n).astype(int) + (y * n).astype(int)) % 2 == 0
    if kind == "dots":
        return np.less(*_motifs(x, y, n, rng, 0, 0.0))
    if kind == "stars":
        return np.less(*_motifs(x, y, n, rng, 5, 0.3))
    if kind == "blotches":
        return _noise(rng, x.shape, int(rng.integers(5, 24))) > rng.uniform(0.45, 0.7)
    return np.zeros(x.shape, dtype=bool)


def _motifs(
    x: np.ndarray, y: np.ndarray, n: int, rng: np.random.Generator, points: int, depth: float
) -> tuple[np.ndarray, np.ndarray]:
    """Discs, stars or petals, one per cell of an ``n`` by ``n`` grid, each turned and shifted.

    Returns:
        ``(256, 256)`` each: the distance from the motif's centre, and the motif's radius in that direction.
    """
    cell_x, cell_y = (x * n).astype(int), (y * n).astype(int)
    off_x, off_y, turn = rng.uniform(-0.18, 0.18, (3, n, n))
    u = (x * n) % 1 - 0.5 - off_x[cell_y, cell_x]
    v = (y * n) % 1 - 0.5 - off_y[cell_y, cell_x]
    rim = 1.0 + depth * np.cos(points * (np.arctan2(v, u) + 20.0 * turn[cell_y, cell_x]))
    return np.hypot(u, v), rng.uniform(0.15, 0.24) * rim


def _knit(x: np.ndarray, y: np.ndarray, n: int) -> np.ndarray:
    """Columns of V-shaped stitches, brightness about 1."""
    across = (x * n) % 1
    stitch = (y * 2 * n + 1.2 * np.abs(across - 0.5)) % 1
    return 1.0 - 0.35 * (np.abs(stitch - 0.5) > 0.36) - 0.25 * (np.abs(across - 0.5) > 0.42)


def _muslin(x: np.ndarray, y: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """Crinkled gauze: small puckers in ragged rows, brightness about 1."""
    waver = 0.8 * _noise(rng, x.shape, 12)
    return 1.0 + 0.14 * np.sin(2 * np.pi * (n * y + waver)) * np.sin(2 * np.pi * (n // 2 * x + 2 * waver))


def _quilting(x: np.ndarray, y: np.ndarray, n: int) -> np.ndarray:
    """Diamonds that bulge between seams, brightness about 1."""
    u, v = (n * (x + y)) % 1 - 0.5, (n * (x - y)) % 1 - 0.5
    return 1.05 - 0.4 * np.maximum(np.abs(u), np.abs(v)) ** 3 * 8.0


def cloth(rng: np.random.Generator, *, plain: bool = False, pale: bool = False) -> np.ndarray:
    """A fabric: one of :data:`_KINDS`, with weave. ``(256, 256, 3)`` float32 in 0..1.

    With :func:`use_swatches` a photographed one instead, except where a plain one is asked for.
    """
    if _swatches is not None and not plain:
        photographed = _swatches.cloth(rng)
        return photographed if not pale else np.clip(0.65 + 0.3 * photographed, 0.01, 0.98)
    value = (0.7, 0.97) if pale else (0.12, 0.97)
    base, other = _colour(rng, value, 0.35 if pale else 0.8), _colour(rng, value, 0.5 if pale else 0.9)
    y, x = np.mgrid[0:_SIZE, 0:_SIZE] / _SIZE
    kind = "plain" if plain else str(rng.choice(_KINDS))
    n = int(rng.integers(4, 20))
    if kind == "knit":
        image = base * _knit(x, y, 2 * n)[..., None]
    elif kind == "muslin":
        image = base * _muslin(x, y, 3 * n, rng)[..., None]
    elif kind == "quilted":
        image = base * _quilting(x, y, max(n // 3, 2))[..., None]
    elif kind == "bands":
        bands = np.stack([base, other, *(_colour(rng, value, 0.6) for _ in range(int(rng.integers(1, 4))))])
        order = bands[rng.integers(len(bands), size=n)]
        image = order[((x if rng.random() < 0.5 else y) * n).astype(int)]
    elif kind == "flowers":
        distance, rim = _motifs(x, y, n, rng, 5, 0.45)
        image = np.where((distance < rim)[..., None], other, base)
        image = np.where((distance < 0.35 * rim.min())[..., None], _colour(rng, value), image)
    else:
        image = np.where(_print(kind, x, y, n, rng)[..., None], other, base)
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
        margin = np.ptp(to_px, axis=0) / 4 + 2  # more than the quiet zone
        left, top = np.clip(to_px.min(axis=0) - margin, 0, None).astype(int)
        right, bottom = np.clip(to_px.max(axis=0) + margin, 0, (width, height)).astype(int)
        warped = cv2.warpPerspective(bitmap, matrix, (right, bottom), flags=cv2.INTER_AREA)[top:, left:]
        printed = cv2.warpPerspective(np.ones_like(bitmap), matrix, (right, bottom), flags=cv2.INTER_NEAREST)
        inside = printed[top:, left:] > 0.5
        image[top:bottom, left:right][inside] = (black + (white - black) * warped[inside])[:, None]
    return np.clip(image, 0.01, 0.98).astype(np.float32)


#: Skin albedo, light to dark, linear RGB; a child's tone is drawn between neighbours.
_SKIN = np.array(
    [[0.82, 0.60, 0.50], [0.76, 0.52, 0.40], [0.62, 0.40, 0.28], [0.42, 0.25, 0.16], [0.20, 0.11, 0.07]]
)
_HAIR = np.array([[0.03, 0.02, 0.02], [0.10, 0.06, 0.04], [0.28, 0.17, 0.08], [0.55, 0.40, 0.20]])


def skin_colour(rng: np.random.Generator) -> np.ndarray:
    """Any tone between the lightest and the darkest, warmer or cooler, paler or more flushed."""
    t = rng.uniform(0, len(_SKIN) - 1)
    tone = np.array([np.interp(t, np.arange(len(_SKIN)), channel) for channel in _SKIN.T])
    return np.clip(tone * rng.uniform(0.9, 1.1) * [1.0, *rng.uniform(0.93, 1.05, 2)], 0.02, 0.9)


def hair_colour(rng: np.random.Generator, skin: np.ndarray) -> np.ndarray:
    """Any shade from black over brown to fair or reddish, the fairer ones over light ``skin`` (3,) only."""
    fairest = np.interp(skin[0], [0.3, 0.75], [0.6, len(_HAIR) - 1])
    t = rng.uniform(0, fairest)
    shade = np.array([np.interp(t, np.arange(len(_HAIR)), channel) for channel in _HAIR.T])
    reddish = skin[0] > 0.65 and rng.random() < 0.1
    return shade * rng.uniform(0.7, 1.2) * ([1.2, 0.85, 0.7] if reddish else 1.0)
