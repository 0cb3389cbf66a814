"""Test-time augmentation: the same crop seen mirrored, turned and zoomed, and the heatmaps merged in one crop space.

Views form a star around the plain crop: it, its turns by +-15 degrees, its zooms by 0.75 and 1.25, and with ``flip``
the mirror image of each. The mirror image is brought back exactly. Heatmaps of turned and zoomed views are resampled
into the plain crop's heatmap with Keys' cubic kernel (IEEE Trans. ASSP 29(6), 1981, a = -1/2) at the exact place that
the crop transforms give; OpenCV's warps round positions to 1/32 px, which is 0.06 px of the crop off. A joint that a
turned or zoomed view does not hold, or only at its border, is decided by the others: each joint has one weight per
view, since weights that change from pixel to pixel would shift the peak between maps of different width.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from heightpose.errors import ConfigError
from heightpose.geometry.crop import CropTransform, crop_from_hm, hm_from_crop

KINDS = ("flip", "rotate", "scale")
TURNS_DEG = (-15.0, 15.0)
ZOOMS = (0.75, 1.25)
#: A view counts for a joint whose peak lies more than so many sigmas inside it and the plain crop, wholly from one more
#: on: a peak cut by a border tells the place only if its width is the one that was encoded, and zoomed ones are not.
_MARGIN_SIGMAS = 2.0


@dataclass(frozen=True)
class Tta:
    """Which views are looked at beside the crop itself.

    Attributes:
        flip: the mirror image of every view.
        rotate: views turned by each of :data:`TURNS_DEG`.
        scale: views enlarged by each of :data:`ZOOMS`; below 1 they see more of the surroundings.
    """

    flip: bool = True
    rotate: bool = False
    scale: bool = False

    @classmethod
    def parse(cls, text: str, where: str = "--tta") -> Tta:
        """``"none"``, or kinds joined by commas: ``"flip"``, ``"flip,rotate,scale"``. ConfigError for others."""
        words = [word.strip() for word in text.split(",")]
        if words == ["none"]:
            return cls(flip=False)
        unknown = [word for word in words if word not in KINDS]
        if unknown or len(set(words)) < len(words):
            raise ConfigError(
                "no such test-time augmentation", where=where,
                expected=f"none, or some of {', '.join(KINDS)} joined by commas, each once", got=text,
            )  # fmt: skip
        return cls(**{kind: kind in words for kind in KINDS})

    def __str__(self) -> str:
        return ",".join(kind for kind in KINDS if getattr(self, kind)) or "none"

    def views(self, size_wh: tuple[int, int]) -> list[np.ndarray]:
        """``(3, 3)`` plain crop px -> px of each view's crop, mirror images left out; the first is the identity."""
        turns_zooms = [(0.0, 1.0)]
        turns_zooms += [(turn, 1.0) for turn in TURNS_DEG if self.rotate]
        turns_zooms += [(0.0, zoom) for zoom in ZOOMS if self.scale]
        return [_about_centre(size_wh, turn, zoom) for turn, zoom in turns_zooms]

    def crops(self, crop: CropTransform) -> list[CropTransform]:
        """The crop of each of :meth:`views`."""
        return [CropTransform(view @ crop.matrix, crop.size_wh) for view in self.views(crop.size_wh)]


#: The usual views.
FLIP = Tta()


def merge_views(
    heatmaps: np.ndarray, tta: Tta, input_wh: tuple[int, int], heatmap_wh: tuple[int, int], sigma: float
) -> np.ndarray:
    """The views' heatmaps as one, in the plain crop's heatmap.

    Args:
        heatmaps: ``(V, N, K, h, w)``, a view each in the order of :meth:`Tta.views`, mirror images already merged in.
        sigma: of the encoded Gaussian, heatmap px.

    Returns:
        ``(N, K, h, w)`` float32.
    """
    if len(heatmaps) == 1:
        return heatmaps[0]
    w, h = heatmap_wh
    flat = heatmaps.reshape(len(heatmaps), -1, h * w)
    highest = flat[0].argmax(axis=1)
    total, count = flat[0].copy(), np.ones(flat.shape[1], np.float32)
    for maps, view in zip(flat[1:], tta.views(input_wh)[1:], strict=True):
        take, room = _resampler(view.tobytes(), input_wh, heatmap_wh)
        weight = np.clip(room[highest] / sigma - _MARGIN_SIGMAS, 0.0, 1.0).astype(np.float32)
        chosen = np.flatnonzero(weight)
        total[chosen] += weight[chosen, None] * np.ascontiguousarray((take @ maps[chosen].T).T)
        count += weight
    return (total / count[:, None]).reshape(heatmaps.shape[1:])


@lru_cache(maxsize=16)
def _resampler(view: bytes, input_wh: tuple[int, int], heatmap_wh: tuple[int, int]) -> tuple[Any, np.ndarray]:
    """What takes a view's flattened heatmaps to the plain crop's, and how far inside the view each pixel lies.

    Returns:
        A sparse matrix ``(h * w, h * w)`` with up to 16 values a row; distances ``(h * w,)`` to the border of the
        view or of the plain crop, whichever is nearer, heatmap px, negative where the view does not reach.
    """
    from scipy import sparse

    matrix = np.frombuffer(view).reshape(3, 3)
    w, h = heatmap_wh
    y, x = (v.ravel().astype(np.float64) for v in np.mgrid[:h, :w])
    crop = CropTransform(matrix, input_wh)
    at = hm_from_crop(
        crop.to_crop(crop_from_hm(np.stack([x, y], -1), input_wh, heatmap_wh)), input_wh, heatmap_wh
    )
    first = np.floor(at).astype(int) - 1
    rows, columns, values = [], [], []
    for dy in range(4):
        for dx in range(4):
            place = first + (dx, dy)
            inside = ((place >= 0) & (place < (w, h))).all(axis=1)
            rows.append(np.flatnonzero(inside))
            columns.append((place[:, 1] * w + place[:, 0])[inside])
            values.append((_keys(at[:, 0] - place[:, 0]) * _keys(at[:, 1] - place[:, 1]))[inside])
    take = sparse.csr_array(
        (np.concatenate(values).astype(np.float32), (np.concatenate(rows), np.concatenate(columns))),
        shape=(h * w, h * w),
    )
    own = np.stack([x, y], -1)
    room = [np.minimum(place, np.array([w - 1, h - 1]) - place).min(axis=1) for place in (at, own)]
    return take, np.minimum(*room)


def _keys(distance: np.ndarray) -> np.ndarray:
    """Keys' cubic convolution kernel with a = -1/2."""
    d = np.abs(distance)
    near, far = 1.5 * d**3 - 2.5 * d**2 + 1.0, -0.5 * d**3 + 2.5 * d**2 - 4.0 * d + 2.0
    return np.where(d <= 1.0, near, np.where(d < 2.0, far, 0.0))


def _about_centre(size_wh: tuple[int, int], turn_deg: float, zoom: float) -> np.ndarray:
    angle, centre = np.deg2rad(turn_deg), (np.array(size_wh, dtype=np.float64) - 1.0) / 2.0
    linear = zoom * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = np.eye(3)
    if turn_deg != 0.0 or zoom != 1.0:
        matrix[:2, :2], matrix[:2, 2] = linear, centre - linear @ centre
    return matrix
