"""Which pictures of a board to calibrate with: sharp ones, no two alike, and together all over the picture."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from heightpose.calibrate.boards import Board, Corners
from heightpose.runtime.clip import Clip, turn

#: A video is thinned to about that many pictures, each the sharpest of its stretch.
_LOOKED_AT = 150
#: More views than this add time, not accuracy.
MAX_VIEWS = 40
#: Two views are alike when their corners are on average closer than this share of the picture's diagonal.
_ALIKE = 0.015
_GRID_WH = (10, 8)


@dataclass(frozen=True, eq=False)
class View:
    """One picture with a board.

    Attributes:
        name: file or frame it comes from.
        index: its place in the clip.
        corners: the board's corners, pixels of the picture **as stored**.
        blur_px: width of the board's edges, worst direction, see :func:`edge_width`.
    """

    name: str
    index: int
    corners: Corners
    blur_px: float


@dataclass
class Fate:
    """What became of one picture: ``used``, or why not (no board, few corners, blurred, alike, spare, outlier)."""

    name: str
    index: int
    state: str
    corners: int = 0
    blur_px: float | None = None
    rms_px: float | None = None
    tilt_deg: float | None = None

    def to_dict(self) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if value is not None}


def gray_pictures(clip: Clip) -> Iterator[tuple[str, int, np.ndarray]]:
    """Name, index and ``(H, W)`` grey picture as stored (not turned); of a video the sharpest of each stretch."""
    stretch = 1 if clip.kind in ("folder", "image") else max(1, -(-(clip.length_hint or 300) // _LOOKED_AT))
    best: tuple[float, int, np.ndarray] | None = None
    for frame in clip.frames():
        stored = turn(frame.rgb, (360 - clip.rotation_deg) % 360)
        gray = cv2.cvtColor(stored, cv2.COLOR_RGB2GRAY)
        sharpness = 0.0 if stretch == 1 else float(cv2.Laplacian(gray, cv2.CV_32F).var())
        if best is None or sharpness > best[0]:
            best = (sharpness, frame.index, gray)
        if frame.index % stretch == stretch - 1:
            yield _picture_name(clip, best[1]), best[1], best[2]
            best = None
    if best is not None:
        yield _picture_name(clip, best[1]), best[1], best[2]


def _picture_name(clip: Clip, index: int) -> str:
    return clip.paths[index].name if clip.kind in ("folder", "image") else f"frame {index}"


def look(name: str, index: int, gray: np.ndarray, board: Board) -> View | None:
    """The board in one picture, or None."""
    corners = board.find(gray)
    if corners is None:
        return None
    return View(name, index, corners, edge_width(gray, corners.kpts))


def edge_width(gray: np.ndarray, kpts: np.ndarray) -> float:
    """How wide the board's dark-to-light edges are, in pixels: about 2-3 when sharp.

    Grey range over steepest slope at the strong edges inside the board, median per direction of the slope; the
    widest of four directions counts, since motion blurs one direction only.
    """
    x0, y0 = np.maximum(np.floor(kpts.min(axis=0)).astype(int) - 2, 0)
    x1, y1 = np.ceil(kpts.max(axis=0)).astype(int) + 3
    patch = gray[y0:y1, x0:x1].astype(np.float32)
    if min(patch.shape) < 8:
        return float("inf")
    hull = cv2.convexHull((kpts - (x0, y0)).astype(np.float32)).astype(np.int32)
    inside = cv2.fillConvexPoly(np.zeros(patch.shape, np.uint8), hull, 1) > 0
    gx, gy = cv2.Sobel(patch, cv2.CV_32F, 1, 0) / 8, cv2.Sobel(patch, cv2.CV_32F, 0, 1) / 8
    slope = np.hypot(gx, gy)
    window = np.ones((int(np.clip(max(gray.shape) / 80, 9, 41)) | 1,) * 2, np.uint8)
    span = cv2.dilate(patch, window) - cv2.erode(patch, window)
    # Near the steepest slope of its neighbourhood: elsewhere it is noise, not the edge, that is steepest.
    crest = (slope >= 0.7 * cv2.dilate(slope, window)) & inside
    strong = crest & (span > 0.5 * np.percentile(span[inside], 90))
    direction = (np.arctan2(gy, gx)[strong] / np.pi * 4 + 0.5).astype(int) % 4
    width = (span / np.maximum(slope, 1e-6))[strong]
    medians = [float(np.median(width[direction == d])) for d in range(4) if (direction == d).sum() >= 20]
    return max(medians, default=float("inf"))


def distance(a: Corners, b: Corners) -> float:
    """Mean distance in pixels of the corners that both views show; infinite when they share fewer than four."""
    common, ia, ib = np.intersect1d(a.ids, b.ids, return_indices=True)
    if len(common) < 4:
        return float("inf")
    return float(np.linalg.norm(a.kpts[ia] - b.kpts[ib], axis=1).mean())


def choose(
    views: list[View], board: Board, size_wh: tuple[int, int], most: int = MAX_VIEWS
) -> tuple[list[View], list[Fate]]:
    """The views to use, in the clip's order, and what became of every view."""
    need = max(6, round(0.15 * board.count))
    limit = blur_limit([v.blur_px for v in views], size_wh)
    state: dict[int, str] = {}
    good: list[View] = []
    alike_px = _ALIKE * float(np.hypot(*size_wh))
    for view in sorted(views, key=lambda v: (v.blur_px, v.index)):
        if len(view.corners.ids) < need:
            state[view.index] = "few corners"
        elif view.blur_px > limit:
            state[view.index] = "blurred"
        elif any(distance(view.corners, other.corners) < alike_px for other in good):
            state[view.index] = "alike"
        else:
            good.append(view)
    used = _spread(good, size_wh, most)
    kept = {view.index for view in used}
    state.update({v.index: "used" if v.index in kept else "spare" for v in good})
    fates = [
        Fate(v.name, v.index, state[v.index], len(v.corners.ids), _finite(v.blur_px))
        for v in sorted(views, key=lambda v: v.index)
    ]
    return sorted(used, key=lambda v: v.index), fates


def blur_limit(widths: list[float], size_wh: tuple[int, int]) -> float:
    """Edge width above which a view counts as blurred: twice what the better quarter shows, within bounds.

    The bounds are for pictures of 1280 px; large sensors resolve less per pixel.
    """
    scale = max(1.0, max(size_wh) / 1280)
    finite = [w for w in widths if np.isfinite(w)]
    typical = float(np.percentile(finite, 25)) if finite else 0.0
    return float(np.clip(2.0 * typical, 5.0 * scale, 9.0 * scale))


def _spread(views: list[View], size_wh: tuple[int, int], most: int) -> list[View]:
    """At most ``most`` views, each next one far from those taken and over parts of the picture still bare."""
    if len(views) <= most:
        return views
    chosen, rest = [views[0]], list(views[1:])
    covered = cells(views[0].corners.kpts, size_wh)
    diagonal = float(np.hypot(*size_wh))
    apart = [min(distance(v.corners, chosen[0].corners), diagonal) for v in rest]
    while len(chosen) < most:
        gain = [
            far / diagonal + (cells(v.corners.kpts, size_wh) & ~covered).sum() / covered.size
            for far, v in zip(apart, rest, strict=True)
        ]
        best = int(np.argmax(gain))
        taken = rest.pop(best)
        apart.pop(best)
        chosen.append(taken)
        covered |= cells(taken.corners.kpts, size_wh)
        apart = [min(far, distance(v.corners, taken.corners)) for far, v in zip(apart, rest, strict=True)]
    return chosen


def cells(kpts: np.ndarray, size_wh: tuple[int, int]) -> np.ndarray:
    """``(8, 10)`` bool: which cells of the picture hold a corner."""
    grid = np.zeros(_GRID_WH[::-1], dtype=bool)
    share = (kpts + 0.5) / np.asarray(size_wh)
    index = np.clip((share * _GRID_WH).astype(int), 0, np.array(_GRID_WH) - 1)
    grid[index[:, 1], index[:, 0]] = True
    return grid


@dataclass(frozen=True)
class Coverage:
    """Where the corners of the views were.

    Attributes:
        share: share of the picture's 10 x 8 cells with at least one corner.
        reach: distance of the farthest corners (98th percentile) from the middle, 1 is the picture's corner.
        tilt_deg: typical spread of the board's tilt: 90th percentile.
    """

    share: float
    reach: float
    tilt_deg: float


def coverage(views: list[View], size_wh: tuple[int, int], tilts_deg: list[float]) -> Coverage:
    kpts = np.concatenate([v.corners.kpts for v in views])
    share = cells(kpts, size_wh).mean()
    middle = (np.asarray(size_wh) - 1) / 2
    reach = np.percentile(np.linalg.norm(kpts - middle, axis=1), 98) / np.linalg.norm(middle)
    return Coverage(float(share), float(reach), float(np.percentile(tilts_deg, 90)) if tilts_deg else 0.0)


def _finite(value: float) -> float | None:
    return round(value, 2) if np.isfinite(value) else None
