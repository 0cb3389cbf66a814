"""Things laid over a finished crop: rectangles, ellipses and blankets. Joints under them become hidden.

Every function returns the new crop and the ``(h, w)`` bool mask of the pixels that it covered, which is what
decides the labels. An integer coordinate is a pixel's centre.
"""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np

from heightpose.skeleton import INFANT, Skeleton, part_of

_CLOTHS = 48

#: Mean difference of a picture's colours, grey levels, below which it is a night camera's.
GREY_SPREAD = 4.0


def hide(kpts_crop: np.ndarray, visibility: np.ndarray, covered: np.ndarray) -> np.ndarray:
    """Visibility ``(K,)`` once ``covered`` lies on top: seen joints under it are hidden, none is dropped.

    Args:
        kpts_crop: ``(K, 2)`` px.
        visibility: ``(K,)`` 2 seen, 1 hidden, 0 not labelled.
        covered: ``(h, w)`` bool.
    """
    height, width = covered.shape
    x, y = np.floor(kpts_crop + 0.5).astype(int).T
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    under = inside & covered[y.clip(0, height - 1), x.clip(0, width - 1)]
    return np.where(under & (visibility == 2), 1, visibility)


def draw_place(
    target_xy: np.ndarray, size_wh: tuple[int, int], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, float | None]:
    """Where an occluder over ``target_xy``, crop px, lies in a crop of ``size_wh``.

    Returns:
        ``(2,)`` int corners of its rectangle, the second excluded; degrees of the ellipse in it, None: all of it.
    """
    size = (rng.uniform(0.08, 0.3, 2) * min(size_wh)).astype(int) + 1
    low = np.floor(np.asarray(target_xy) - rng.uniform(0.15, 0.85, 2) * size).astype(int)
    # Toys, hands and dummies have no corners.
    turned = float(rng.uniform(0, 180)) if rng.random() < 0.5 else None
    return np.clip(low, 0, size_wh), np.clip(low + size, 0, size_wh), turned


def paste_occluder(
    crop: np.ndarray, other: np.ndarray, target_xy: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Cover a place with a rectangle or an ellipse cut from another picture.

    Args:
        crop: ``(h, w, 3)`` uint8, left unchanged.
        other: ``(H, W, 3)`` uint8, what the occluder shows.
        target_xy: ``(2,)`` crop px, somewhere inside the occluder's rectangle.

    Returns:
        the crop with the occluder; its ``(h, w)`` mask, empty when it missed the crop.
    """
    height, width = crop.shape[:2]
    covered = np.zeros((height, width), bool)
    (x0, y0), (x1, y1), turned = draw_place(target_xy, (width, height), rng)
    if x1 - x0 < 2 or y1 - y0 < 2:
        return crop, covered
    w, h = int(min(x1 - x0, other.shape[1])), int(min(y1 - y0, other.shape[0]))
    sx, sy = int(rng.integers(0, other.shape[1] - w + 1)), int(rng.integers(0, other.shape[0] - h + 1))
    shape = np.ones((h, w), np.uint8)
    if turned is not None:
        shape[:] = 0
        cv2.ellipse(shape, (((w - 1) / 2, (h - 1) / 2), (float(w), float(h)), turned), 1, -1)
    covered[y0 : y0 + h, x0 : x0 + w] = shape > 0
    piece = other[sy : sy + h, sx : sx + w]
    if is_grey(crop):
        piece = cv2.cvtColor(cv2.cvtColor(piece, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    out = crop.copy()
    out[y0 : y0 + h, x0 : x0 + w][shape > 0] = piece[shape > 0]
    return out, covered


def lay_blanket(
    crop: np.ndarray,
    kpts_crop: np.ndarray,
    visibility: np.ndarray,
    rng: np.random.Generator,
    skeleton: Skeleton = INFANT,
) -> tuple[np.ndarray, np.ndarray]:
    """Cover the legs with cloth, from about the hips or knees down, wavy at its upper edge.

    The legs show through as shading, as under a real blanket, and the cloth has the crop's own brightness and
    no colour in a grey picture.

    Returns:
        the crop with the blanket, its ``(h, w)`` mask; empty where hips or lower legs are not labelled.
    """
    height, width = crop.shape[:2]
    covered = np.zeros((height, width), bool)
    hips = _labelled(kpts_crop, visibility, skeleton, "hip")
    legs = _labelled(kpts_crop, visibility, skeleton, "knee", "ankle", "heel", "toe")
    tops = _labelled(kpts_crop, visibility, skeleton, "crown", "head_top", "upper_neck", "thorax")
    if not len(hips) or not len(legs) or not len(tops):
        return crop, covered
    down = hips.mean(axis=0) - tops.mean(axis=0)
    reach = float(np.linalg.norm(down))
    if reach < 4:
        return crop, covered
    down /= reach
    tilt = np.deg2rad(rng.uniform(-12, 12))
    down = np.array([[np.cos(tilt), -np.sin(tilt)], [np.sin(tilt), np.cos(tilt)]]) @ down
    hip, foot = float((hips @ down).mean()), float((legs @ down).max())
    edge = hip + rng.uniform(-0.3, 0.55) * max(foot - hip, 0.3 * reach)
    mask = _wavy_mask((width, height), hips.mean(axis=0), down, edge, reach, rng)
    covered = mask > 0.5
    cloth = _lit_cloth(crop, _relief(kpts_crop, visibility, reach, (width, height), skeleton), rng)
    # The edge's shadow falls on whatever lies beside it, mostly above.
    shade = 1.0 - 0.35 * cv2.GaussianBlur(mask, (0, 0), max(1.0, 0.012 * width))[..., None]
    out = np.where(covered[..., None], cloth, crop * shade)
    return np.clip(out + 0.5, 0, 255).astype(np.uint8), covered


def plain_cloth(crop: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """``(h, w, 3)`` float32: cloth with nothing under it, as bright and as colourful as the crop."""
    return _lit_cloth(crop, np.zeros(crop.shape[:2], np.float32), rng)


def _labelled(kpts: np.ndarray, visibility: np.ndarray, skeleton: Skeleton, *parts: str) -> np.ndarray:
    chosen = [k for k, name in enumerate(skeleton.names) if visibility[k] > 0 and part_of(name) in parts]
    return kpts[chosen]


def _wavy_mask(
    size_wh: tuple[int, int],
    middle: np.ndarray,
    down: np.ndarray,
    edge: float,
    reach: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """``(h, w)`` float32 0..1: everything below a wavy line across the body, between two wavy sides."""
    x, y = np.meshgrid(*(np.arange(n, dtype=np.float32) for n in size_wh))
    along = x * down[0] + y * down[1]
    across = (x - middle[0]) * -down[1] + (y - middle[1]) * down[0]
    waves = rng.uniform(0.02, 0.07, 3) * reach / (1, 2, 4)
    phases, lengths = rng.uniform(0, 2 * np.pi, (2, 3)), reach * np.array([2.5, 1.2, 0.6])
    line, side = np.float32(edge), np.float32(0)
    for wave, phase, phase_side, length in zip(waves, *phases, lengths, strict=True):
        line = line + wave * np.sin(across * (2 * np.pi / length) + phase)
        side = side + wave * np.sin(along * (2 * np.pi / length) + phase_side)
    depth = along - line
    for sign in (-1, 1):  # a blanket is often wider than the crop and sometimes leaves its sides free
        depth = np.minimum(depth, rng.uniform(0.7, 2.5) * reach - sign * across + side)
    return np.clip(depth + 0.5, 0, 1).astype(np.float32)


def _relief(
    kpts: np.ndarray, visibility: np.ndarray, reach: float, size_wh: tuple[int, int], skeleton: Skeleton
) -> np.ndarray:
    """``(h, w)`` float32: height of the cloth over the legs, about 0..1."""
    height = np.zeros(size_wh[::-1], np.float32)
    thick = max(3, round(0.3 * reach))
    for child, parent in skeleton.edges:
        if visibility[child] > 0 and visibility[parent] > 0:
            ends = np.clip(np.rint(kpts[[child, parent]]), -4096, 4096).astype(int).tolist()
            cv2.line(height, ends[0], ends[1], 1.0, thick)
    return cv2.GaussianBlur(height, (0, 0), max(1.0, 0.11 * reach))


def _lit_cloth(crop: np.ndarray, relief: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """``(h, w, 3)`` float32: a fabric as large as the crop, folded, lit and as colourful as the crop."""
    height, width = crop.shape[:2]
    tile = _cloth(int(rng.integers(_CLOTHS)))
    # A few tiles across; cloth is seen coarser than it was drawn, never sharper.
    zoom = rng.uniform(0.35, 0.8) * max(width, height) / len(tile)
    angle = rng.uniform(0, 2 * np.pi)
    turn = zoom * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    shift = rng.uniform(0, len(tile), 2)
    cloth = cv2.warpAffine(
        tile, np.column_stack([turn, shift]), (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP
    )  # fmt: skip
    cells = rng.standard_normal((7, 7)).astype(np.float32)
    folds = 0.15 * cv2.resize(cells, (width, height), interpolation=cv2.INTER_CUBIC)
    slope = np.stack(np.gradient((relief + folds) * 0.12 * max(width, height)))
    lamp = rng.uniform(0, 2 * np.pi)
    shading = 1.0 + 0.32 * np.tanh(slope[0] * np.sin(lamp) + slope[1] * np.cos(lamp))
    if is_grey(crop):
        cloth = np.repeat(cloth.mean(axis=2, keepdims=True), 3, axis=2)
    bright = float(np.percentile(crop[::8, ::8], 92))
    return np.clip(cloth * shading[..., None] * bright, 0, 255).astype(np.float32)


def is_grey(crop: np.ndarray) -> bool:
    """Whether it is a night camera's picture, in which nothing has a colour."""
    return float(np.ptp(crop.reshape(-1, 3)[::37].astype(int), axis=1).mean()) < GREY_SPREAD


@cache
def _cloth(number: int) -> np.ndarray:
    """One of the fabrics, ``(256, 256, 3)`` float32 in 0..1 as a display shows it; the same in every run."""
    from heightpose.synth.textures import cloth

    return cloth(np.random.default_rng([7, number])) ** np.float32(1 / 2.2)
