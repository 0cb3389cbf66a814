"""The classic ways to read a heatmap, beside DARK, to measure what DARK gains."""

from __future__ import annotations

import numpy as np

from heightpose.codec.heatmap import HeatmapCodec
from heightpose.geometry.crop import crop_from_hm
from heightpose.types import require_shape

DARK, SHIFT, ARGMAX = "dark", "shift", "argmax"
DECODERS = (DARK, SHIFT, ARGMAX)


def decode(codec: HeatmapCodec, heatmaps: np.ndarray, decoder: str = DARK) -> tuple[np.ndarray, np.ndarray]:
    """Joint positions in crop px by one of :data:`DECODERS`.

    ``argmax`` is the highest pixel. ``shift`` goes from there a quarter of a heatmap pixel towards the higher
    neighbour along either axis, as Newell et al. (2016) and the published HRNet do. ``dark`` is
    :meth:`HeatmapCodec.decode`.

    Args:
        heatmaps: ``(N, K, h, w)`` float, finite.

    Returns:
        kpts_crop ``(N, K, 2)`` px; scores ``(N, K)``, the map's highest value clipped to 0..1.

    Raises:
        ValueError: no such decoder, or maps that are not of the codec's size.
    """
    if decoder not in DECODERS:
        raise ValueError(f"decoder: expected one of {DECODERS}, got {decoder!r}")
    if decoder == DARK:
        return codec.decode(heatmaps)
    width, height = codec.heatmap_wh
    maps = np.asarray(heatmaps, dtype=np.float64)
    require_shape("heatmaps", maps, (None, None, height, width))
    flat = maps.reshape(-1, height, width)
    place = flat.reshape(len(flat), -1).argmax(axis=1)
    x, y = place % width, place // width
    kpts_hm = np.stack([x, y], axis=-1).astype(np.float64)
    if decoder == SHIFT:
        kpts_hm += 0.25 * np.stack([_slope(flat, x, y, 1, 0), _slope(flat, x, y, 0, 1)], axis=-1)
    scores = np.clip(flat[np.arange(len(flat)), y, x], 0.0, 1.0)
    kpts_crop = crop_from_hm(kpts_hm, codec.input_wh, codec.heatmap_wh)
    return kpts_crop.reshape(*maps.shape[:2], 2), scores.reshape(maps.shape[:2])


def _slope(maps: np.ndarray, x: np.ndarray, y: np.ndarray, dx: int, dy: int) -> np.ndarray:
    """``(M,)``: 1 where the neighbour after the peak is higher than the one before, -1 the other way, 0 at the rim."""
    height, width = maps.shape[1:]
    inside = (x >= dx) & (x < width - dx) & (y >= dy) & (y < height - dy)
    rows = np.arange(len(maps))
    after = maps[rows, np.minimum(y + dy, height - 1), np.minimum(x + dx, width - 1)]
    before = maps[rows, np.maximum(y - dy, 0), np.maximum(x - dx, 0)]
    return np.where(inside, np.sign(after - before), 0.0)
