"""Sides of printed tags, and with them their corners, to a tenth of a pixel.

OpenCV finds and reads the tags, but none of its corner refinements is unbiased: contour corners sit half a
pixel inside the black border, the "subpix" window swallows the first bit cells of a small tag, and the
"apriltag" corners are half a pixel off in x and y. So each side of the tag is fitted here as a line through
the steepest dark-to-light steps across it, and the corners are where neighbouring lines meet. The steps are
located in linear light: a lens blurs light, and seen through the sRGB curve (IEC 61966-2-1) a blurred edge leans
into the dark, which makes a tag look up to 0.7 px too small.
"""

from __future__ import annotations

from functools import cache

import numpy as np

_PROFILE_STEP_PX = 0.25
_SIDE_SAMPLES = 24
_ROUNDS = 5
#: Sides from this length on may be fitted as arcs.
_ARC_PX = 30.0
#: Grey levels between border and paper below which a side is no edge.
_MIN_CONTRAST = 6.0


def refine_quads(
    gray: np.ndarray, quads: np.ndarray, cells: int, *, bent: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Fit the four sides of dark squares on light paper.

    Across each side the light step is located as the centroid of the outward brightening. The window reaches
    about half a bit cell to either side, so that the edges of the inner bits, one cell away, stay out, and it
    follows the edge over several rounds, so that it ends symmetric about it and hence unbiased.

    Args:
        gray: ``(H, W)`` uint8 picture, sRGB-coded as cameras deliver it.
        quads: ``(M, 4, 2)`` first guess, clockwise in the picture, to about a pixel.
        cells: bit cells along a side, border included.
        bent: sides of 30 px and more are arcs, as a strong lens draws them: unbiased then, but noisier. Shorter ones
            stay straight, as the bend falls with the square of the length and the noise does not.

    Returns:
        ``(M, 4, 2)`` corners and ``(M,)`` bool, False where a side has no clear edge or the fit ran away.
    """
    light = _linear_light()[gray]
    start = np.asarray(quads, dtype=np.float64)
    side = np.linalg.norm(np.roll(start, -1, axis=1) - start, axis=2)  # (M, 4) px
    cell = side.mean(axis=1) / cells
    reach = np.clip(0.45 * cell, 0.75, 5.0)
    ends = np.clip(1.5 / side.min(axis=1), 0.08, 0.2)  # leave out what the rounded corners touch
    grid = np.linspace(0.0, 1.0, _SIDE_SAMPLES)
    along = ends[:, None] + grid * (1 - 2 * ends[:, None])  # (M, S) as a share of the side
    steps = int(np.ceil(reach.max() / _PROFILE_STEP_PX))
    across = np.arange(-steps, steps + 1) * _PROFILE_STEP_PX  # (T,) px, outwards
    inside = np.abs(across) <= reach[:, None] + 1e-9  # (M, T)

    arcs = (side >= _ARC_PX) & bent  # (M, 4)
    corners = start.copy()
    for _ in range(_ROUNDS):
        first, second = corners, np.roll(corners, -1, axis=1)
        tangent = second - first
        unit = tangent / np.maximum(np.linalg.norm(tangent, axis=2, keepdims=True), 1e-9)
        normal = np.stack([unit[..., 1], -unit[..., 0]], axis=-1)  # outwards, as the quad is clockwise
        points = first[:, :, None] + tangent[:, :, None] * along[:, None, :, None]  # (M, 4, S, 2)
        probes = points[:, :, :, None] + normal[:, :, None, None] * across[:, None]  # (M, 4, S, T, 2)
        half = 0.5 * normal[:, :, None, None]
        rise = sample(light, probes + half) - sample(light, probes - half)  # brightening per px, outwards
        weight = np.maximum(rise, 0.0) * inside[:, None, None]
        mass = weight.sum(axis=-1)  # (M, 4, S)
        offset = (weight * across).sum(axis=-1) / np.maximum(mass, 1e-9)
        shift, turn, bend = _line_fit(along[:, None] - 0.5, offset, mass, arcs)
        start_point = first + normal * (shift - 0.5 * turn + 0.25 * bend)[..., None]
        end_point = second + normal * (shift + 0.5 * turn + 0.25 * bend)[..., None]
        corners = _meet(start_point, end_point)
    moved = np.linalg.norm(corners - start, axis=2).max(axis=1)
    good = np.isfinite(corners).all(axis=(1, 2)) & (moved < 1.5 + 0.75 * cell)
    beside = normal[:, :, None] * reach[:, None, None, None]
    contrast = sample(gray, points + beside) - sample(gray, points - beside)
    return corners, good & (np.median(contrast, axis=-1).min(axis=1) > _MIN_CONTRAST)


@cache
def _linear_light() -> np.ndarray:
    """``(256,)`` grey level -> linear light, 0..255, by the sRGB curve."""
    level = np.arange(256) / 255.0
    return 255.0 * np.where(level <= 0.04045, level / 12.92, ((level + 0.055) / 1.055) ** 2.4)


def sample(image: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The picture ``(H, W)`` at ``(..., 2)`` px, bilinear, its border continued; float.

    OpenCV's remap rounds places to 1/32 px, and SciPy's map_coordinates takes longer to import than to work.
    """
    height, width = image.shape
    points = np.nan_to_num(points)  # of a quad that came apart, which is left out later
    x, y = (np.clip(points[..., k], 0.0, size - 1.0) for k, size in ((0, width), (1, height)))
    left, top = x.astype(np.intp), y.astype(np.intp)
    right, below = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
    x, y = x - left, y - top
    upper = (1.0 - x) * image[top, left] + x * image[top, right]
    lower = (1.0 - x) * image[below, left] + x * image[below, right]
    return (1.0 - y) * upper + y * lower


def _line_fit(
    x: np.ndarray, y: np.ndarray, weight: np.ndarray, arcs: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weighted ``y = shift + turn * x + bend * x**2`` along the last axis, refitted once without stray samples.

    ``bend`` is 0 where ``arcs`` is False.
    """
    x = np.broadcast_to(x, y.shape)
    powers = np.stack([np.ones_like(x), x, np.where(arcs[..., None], x * x, 0.0)], axis=-1)
    for _ in range(2):
        weighted = powers * weight[..., None]
        normal = np.swapaxes(weighted, -1, -2) @ powers + 1e-9 * np.eye(3)
        fitted = np.linalg.solve(normal, (weighted * y[..., None]).sum(axis=-2)[..., None])
        stray = np.abs(y - (powers @ fitted)[..., 0])
        weight = weight * (stray <= 2.5 * np.median(stray, axis=-1, keepdims=True) + 0.05)
    return fitted[..., 0, 0], fitted[..., 1, 0], fitted[..., 2, 0]


def _meet(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Corners ``(M, 4, 2)`` where each side's line meets the previous side's."""
    ones = np.ones((*first.shape[:-1], 1))
    lines = np.cross(np.concatenate([first, ones], axis=-1), np.concatenate([second, ones], axis=-1))
    meet = np.cross(np.roll(lines, 1, axis=1), lines)
    with np.errstate(divide="ignore", invalid="ignore"):  # parallel sides: caught as not finite
        return meet[..., :2] / meet[..., 2:]
