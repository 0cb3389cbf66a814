"""One picture that shows what a calibration rests on: where the corners were, what is left over, view by view."""

from __future__ import annotations

import cv2
import numpy as np

from heightpose.calibrate.run import Calibration
from heightpose.geometry.camera import Camera
from heightpose.words import plural

_WIDTH = 640  # of each panel
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_INK, _PALE, _PAPER = (60, 60, 60), (225, 225, 225), (255, 255, 255)
_ARROW_TO = 30.0  # px on the panel for the scale of residual arrows: the 90th percentile's length


def draw(calibration: Calibration) -> np.ndarray:
    """``(H, W, 3)`` uint8 RGB: coverage, residuals, lens, and a bar for each view."""
    coverage, residuals = _coverage(calibration), _residuals(calibration)
    top = np.concatenate([coverage, np.full((len(coverage), 8, 3), 255, np.uint8), residuals], axis=1)
    bottom = _bars(calibration, top.shape[1])
    return np.concatenate([_title(calibration, top.shape[1]), top, bottom])


def _title(calibration: Calibration, width: int) -> np.ndarray:
    canvas = np.full((34, width, 3), 255, np.uint8)
    solution = calibration.solution
    text = (
        f"{solution.camera.model}  f {solution.camera.K[0, 0]:.1f} px +- {100 * solution.focal_error:.2f} %   "
        f"error {solution.bundle.rms_px:.3f} px   held out {solution.held_out_rms_px:.3f} px   "
        f"{plural(len(solution.used), 'view')}"
    )
    cv2.putText(canvas, text, (10, 23), _FONT, 0.55, _INK, 1, cv2.LINE_AA)
    return canvas


def _panel(calibration: Calibration, caption: str) -> tuple[np.ndarray, float]:
    width, height = calibration.size_wh
    scale = _WIDTH / width
    canvas = np.full((round(height * scale) + 26, _WIDTH, 3), 255, np.uint8)
    cv2.rectangle(canvas, (0, 0), (_WIDTH - 1, round(height * scale) - 1), _INK, 1)
    cv2.putText(canvas, caption, (6, canvas.shape[0] - 8), _FONT, 0.45, _INK, 1, cv2.LINE_AA)
    return canvas, scale


def _at(kpts: np.ndarray, scale: float) -> np.ndarray:
    return np.round((kpts + 0.5) * scale - 0.5).astype(int)


def _coverage(calibration: Calibration) -> np.ndarray:
    """Corner dots coloured by their error (blue small, red large), the boards' outlines, the lens's bend."""
    solution = calibration.solution
    cover = solution.cover
    caption = f"corners: {100 * cover.share:.0f} % of the picture, {100 * cover.reach:.0f} % of the way to its corners"
    canvas, scale = _panel(calibration, caption)
    _lens_grid(canvas, solution.camera, scale)
    for view in solution.used:
        hull = cv2.convexHull(view.corners.kpts.astype(np.float32)).reshape(-1, 2)
        cv2.polylines(canvas, [_at(hull, scale)], True, (205, 205, 205), 1, cv2.LINE_AA)
    top = max(np.percentile(np.concatenate([_length(r) for r in solution.bundle.residuals]), 95), 1e-6)
    for view, residual in zip(solution.used, solution.bundle.residuals, strict=True):
        levels = (np.clip(_length(residual) / top, 0, 1) * 255).astype(np.uint8)
        colours = cv2.cvtColor(cv2.applyColorMap(levels[:, None], cv2.COLORMAP_JET), cv2.COLOR_BGR2RGB)[:, 0]
        for point, colour in zip(_at(view.corners.kpts, scale), colours.tolist(), strict=True):
            cv2.circle(canvas, tuple(point.tolist()), 2, colour, -1, cv2.LINE_AA)
    _legend(canvas, top)
    return canvas


def _legend(canvas: np.ndarray, top_px: float) -> None:
    ramp = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[None], cv2.COLORMAP_JET)
    strip = cv2.cvtColor(cv2.resize(ramp, (80, 8)), cv2.COLOR_BGR2RGB)
    canvas[-17:-9, -150:-70] = strip
    cv2.putText(
        canvas, f"{top_px:.2f} px", (_WIDTH - 66, canvas.shape[0] - 9), _FONT, 0.4, _INK, 1, cv2.LINE_AA
    )


def _lens_grid(canvas: np.ndarray, camera: Camera, scale: float) -> None:
    """Straight lines of the world as this lens bends them."""
    width, height = camera.size_wh
    edge = np.array([[0, (height - 1) / 2], [(width - 1) / 2, 0]])
    reach = np.minimum(np.abs(camera.undistort(edge)[[0, 1], [0, 1]]), 3.0)
    line = np.linspace(-1.3, 1.3, 80)
    for axis in (0, 1):
        for offset in np.linspace(-1, 1, 9):
            slopes = np.zeros((80, 2))
            slopes[:, axis], slopes[:, 1 - axis] = offset * reach[axis], line * reach[1 - axis]
            kpts = camera.project(np.concatenate([slopes, np.ones((80, 1))], axis=1))
            kpts = kpts[((kpts > 0) & (kpts < [width - 1, height - 1])).all(axis=1)]
            cv2.polylines(canvas, [_at(kpts, scale)], False, _PALE, 1, cv2.LINE_AA)


def _residuals(calibration: Calibration) -> np.ndarray:
    """An arrow per corner, enlarged; a pattern in them is a lens the model does not fit."""
    solution = calibration.solution
    kpts = np.concatenate([v.corners.kpts for v in solution.used])
    residual = np.concatenate(solution.bundle.residuals)
    typical = max(float(np.percentile(_length(residual), 90)), 1e-6)
    enlarge = _ARROW_TO / typical
    times = enlarge * calibration.size_wh[0] / _WIDTH
    canvas, scale = _panel(calibration, f"what is left over, {times:.0f} times enlarged")
    for point, step in zip(_at(kpts, scale), residual * enlarge, strict=True):
        tip = (round(float(point[0] + step[0])), round(float(point[1] + step[1])))
        cv2.line(canvas, tuple(point.tolist()), tip, (200, 90, 40), 1, cv2.LINE_AA)
        cv2.circle(canvas, tuple(point.tolist()), 1, _INK, -1)
    centre = _at(solution.camera.K[None, :2, 2], scale)[0]
    cv2.drawMarker(canvas, tuple(centre.tolist()), (30, 90, 200), cv2.MARKER_CROSS, 16, 1, cv2.LINE_AA)
    return canvas


def _bars(calibration: Calibration, width: int) -> np.ndarray:
    """The error of each view, those left out as disagreeing in red."""
    shown = [fate for fate in calibration.fates if fate.rms_px is not None]
    height, base = 150, 116
    canvas = np.full((height, width, 3), 255, np.uint8)
    cv2.putText(canvas, "error per view, px", (10, 14), _FONT, 0.45, _INK, 1, cv2.LINE_AA)
    top = max(fate.rms_px or 0.0 for fate in shown)
    step = (width - 70) / len(shown)
    for i, fate in enumerate(shown):
        x0, x1 = round(55 + i * step), round(55 + (i + 0.8) * step)
        tall = round((base - 26) * (fate.rms_px or 0.0) / max(top, 1e-6))
        colour = (200, 40, 40) if fate.state == "outlier" else (70, 120, 180)
        cv2.rectangle(canvas, (x0, base - tall), (max(x1, x0 + 1), base), colour, -1)
        if step > 24 or i % max(1, round(24 / step)) == 0:
            cv2.putText(canvas, str(fate.index), (x0, base + 16), _FONT, 0.38, _INK, 1, cv2.LINE_AA)
    for level in (0.5 * top, top):
        y = base - round((base - 26) * level / max(top, 1e-6))
        cv2.line(canvas, (50, y), (width - 10, y), _PALE, 1)
        cv2.putText(canvas, f"{level:.2f}", (8, y + 4), _FONT, 0.38, _INK, 1, cv2.LINE_AA)
    return canvas


def _length(residual: np.ndarray) -> np.ndarray:
    return np.linalg.norm(residual, axis=1)
