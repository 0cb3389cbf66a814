"""Boards before a known camera: as corners, and as pictures (by OpenCV alone, see tests/geometry/sheet_picture.py)."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np

sys.path.append(str(Path(__file__).resolve().parents[1] / "geometry"))

import sheet_picture

from heightpose.calibrate.boards import Corners
from heightpose.calibrate.paper import Drawing
from heightpose.calibrate.views import View
from heightpose.geometry.camera import Camera

SIZE = (480, 360)
PINHOLE = Camera(
    "pinhole", SIZE, [[400, 0, 246.3], [0, 400, 175.1], [0, 0, 1]], [-0.21, 0.06, 0.0008, -0.0006, 0]
)
FISHEYE = Camera("fisheye", SIZE, [[175, 0, 238.2], [0, 175, 181.9], [0, 0, 1]], [0.03, -0.012, 0.002, 0])


def poses(camera, count, seed=0, reach=0.8, tilt_deg=35.0, far=1.0):
    """(R, t) of a board about 20 cm wide, all over the picture, leaning every way."""
    rng = np.random.default_rng(seed)
    found = []
    for i in range(count):
        angle, share = 2.4 * i, reach * np.sqrt((i + 0.5) / count)
        aim = np.array([(SIZE[0] - 1) / 2, (SIZE[1] - 1) / 2]) * (
            1 + share * np.array([np.cos(angle), np.sin(angle)])
        )
        slope = camera.undistort(aim[None])[0]
        axis = rng.normal(size=2)
        lean = np.deg2rad(tilt_deg) * rng.uniform(0.4, 1.0) * axis / np.linalg.norm(axis)
        turn = cv2.Rodrigues(np.array([lean[0], lean[1], 0.0]))[0]
        spin = cv2.Rodrigues(np.array([0.0, 0.0, rng.uniform(-0.5, 0.5)]))[0]
        depth = (
            far
            * rng.uniform(0.8, 1.3)
            * 22.0
            * camera.K[0, 0]
            / 175
            / (1.9 if camera.model == "pinhole" else 1.3)
        )
        # A ray far off the axis meets a board that faces it, at the same distance.
        ray = np.array([*slope, 1.0]) / np.hypot(np.linalg.norm(slope), 1.0)
        off = np.cross([0, 0, 1.0], ray)
        sine = np.linalg.norm(off)
        face = cv2.Rodrigues(off / max(sine, 1e-9) * np.arctan2(sine, ray[2]))[0]
        found.append((face @ turn @ np.diag([1.0, -1.0, -1.0]) @ spin, depth * ray))
    return found


def grid(columns=9, rows=6, square=2.5):
    """``(N, 3)`` corners about the board's middle."""
    x, y = np.meshgrid(np.arange(columns) - (columns - 1) / 2, (rows - 1) / 2 - np.arange(rows))
    return np.stack([x.ravel(), y.ravel(), np.zeros(x.size)], axis=1) * square


def corners(camera, placed, *, noise=0.1, seed=0):
    """What a detector with that noise would see of :func:`grid` in each pose, without those out of the picture."""
    rng = np.random.default_rng(seed)
    pts = grid()
    found = []
    for R, t in placed:
        kpts = sheet_picture.project(camera, R, t, pts)
        inside = ((kpts > 0) & (kpts < np.array(SIZE) - 1)).all(axis=1)
        inside &= (pts @ R.T + t)[
            :, 2
        ] > 0.5  # OpenCV's fisheye projects what is behind as if it were in front
        kpts = kpts + rng.normal(0, noise, kpts.shape)
        found.append(Corners(np.flatnonzero(inside), pts[inside], kpts[inside]))
    return found


def views(boards):
    return [View(f"frame {i}", i, board, 2.0) for i, board in enumerate(boards)]


def bitmap(drawing: Drawing, margin_cm=1.0):
    """The drawing as printed, 40 px per cm, with a white margin, and its size in cm."""
    per_mm = sheet_picture.PX_PER_CM / 10
    pad = round(margin_cm * sheet_picture.PX_PER_CM)
    width, height = (round(side * per_mm) + 2 * pad for side in drawing.size_mm)
    sheet = np.full((height, width), sheet_picture.PAPER, np.uint8)
    for left, top, cell, black in drawing.bitmaps:
        rows, columns = black.shape
        x, y = round(left * per_mm) + pad, round(top * per_mm) + pad
        big = cv2.resize(
            black.astype(np.uint8),
            (round(columns * cell * per_mm), round(rows * cell * per_mm)),
            interpolation=cv2.INTER_NEAREST,
        )
        area = sheet[y : y + big.shape[0], x : x + big.shape[1]]
        area[big[: area.shape[0], : area.shape[1]] > 0] = sheet_picture.INK
    return sheet, SimpleNamespace(size_cm=(width / sheet_picture.PX_PER_CM, height / sheet_picture.PX_PER_CM))


#: The first codes of tag36h11, bits row by row from the top left, 1 white (AprilTag project, tag36h11.c).
TAG36H11 = (
    *(0xD5D628584, 0xD97F18B49, 0xDD280910E, 0xE479E9C98, 0xEBCBCA822, 0xF31DAB3AC),
    *(0x056A5D085, 0x10652E1D4, 0x22B1DFEAD, 0x265AD0472, 0x34FE91B86, 0x3FF962CD5),
)


def april_grid(columns, rows, tag_cm, gap_cm, *, border, bottom_up, squares):
    """A grid of the AprilTag project's tags, drawn by their codes alone; with black squares at their corners as Kalibr
    has them."""
    tag, gap = 10 * tag_cm, 10 * gap_cm
    size = (columns * (tag + gap) + gap, rows * (tag + gap) + gap)
    drawing = Drawing(size, "AprilTag grid")
    cells = 6 + 2 * border
    for number in range(columns * rows):
        row = rows - 1 - number // columns if bottom_up else number // columns
        left, top = gap + number % columns * (tag + gap), gap + row * (tag + gap)
        black = np.ones((cells, cells), bool)
        bits = [not TAG36H11[number] >> (35 - i) & 1 for i in range(36)]
        black[border : border + 6, border : border + 6] = np.reshape(bits, (6, 6))
        drawing.bitmaps.append((left, top, tag / cells, black))
    if squares:
        corners = [(c * (tag + gap), r * (tag + gap)) for c in range(columns + 1) for r in range(rows + 1)]
        drawing.bitmaps += [(left, top, gap, np.ones((1, 1), bool)) for left, top in corners]
    return drawing


def photographs(drawing, camera, placed, **kwargs):
    """Pictures of the printed drawing in each pose."""
    sheet, size = bitmap(drawing)
    return [
        sheet_picture.photograph(sheet, size, camera, R, t, seed=i, **kwargs)
        for i, (R, t) in enumerate(placed)
    ]
