"""Pictures of a printed sheet through a known camera, by OpenCV alone: no code under test takes part."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import cv2
import numpy as np

PX_PER_CM = 40
PAPER, INK = 225, 30


def print_sheet(layout, hidden=(), shifted=None):
    """The sheet as a bitmap of 40 px per cm; ``shifted`` maps tag ids to (dx, dy) cm."""
    width, height = (round(v * PX_PER_CM) for v in layout.size_cm)
    sheet = np.full((height, width), PAPER, np.uint8)
    dictionary = cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, layout.family))
    for tag, corners in layout.tags.items():
        if tag in hidden:
            continue
        top_left = corners[0] + (shifted or {}).get(tag, (0.0, 0.0))
        side = round(float(corners[1, 0] - corners[0, 0]) * PX_PER_CM)
        x = round((top_left[0] + layout.size_cm[0] / 2) * PX_PER_CM)
        y = round((layout.size_cm[1] / 2 - top_left[1]) * PX_PER_CM)
        bitmap = cv2.aruco.generateImageMarker(dictionary, tag, side)
        sheet[y : y + side, x : x + side] = INK + (bitmap / 255.0 * (PAPER - INK)).astype(np.uint8)
    return sheet


def zoomed(camera, times):
    """The camera with so many times its focal length."""
    K = camera.K.copy()
    K[[0, 1], [0, 1]] *= times
    return replace(camera, K=K)


def pose(height_cm, *, tilt_deg=0.0, spin_deg=0.0, offset_cm=(0.0, 0.0)):
    """(R, t) mattress -> camera of a camera that looks down, tilted about its x axis after a spin."""
    down = np.diag([1.0, -1.0, -1.0])
    spin = cv2.Rodrigues(np.array([0.0, 0.0, np.deg2rad(spin_deg)]))[0]
    tilt = cv2.Rodrigues(np.array([np.deg2rad(tilt_deg), 0.0, 0.0]))[0]
    R = tilt @ down @ spin
    return R, -R @ np.array([offset_cm[0], offset_cm[1], height_cm])


def project(camera, R, t, pts_cm):
    """Truth for points ``(N, 3)``: OpenCV's own projection."""
    pts, rvec = np.asarray(pts_cm, dtype=np.float64)[:, None], cv2.Rodrigues(R)[0]
    if camera.model == "fisheye":
        return cv2.fisheye.projectPoints(pts, rvec, t, camera.K, camera.dist)[0].reshape(-1, 2)
    return cv2.projectPoints(pts, rvec, t, camera.K, camera.dist)[0].reshape(-1, 2)


@lru_cache(maxsize=2)
def _slopes(camera, oversample):
    """Where each sub-pixel looks, ``(N, 2)``; kept for the next picture of the same camera."""
    width, height = camera.size_wh
    u, v = np.meshgrid(
        (np.arange(width * oversample) + 0.5) / oversample - 0.5,
        (np.arange(height * oversample) + 0.5) / oversample - 0.5,
    )
    kpts = np.stack([u.ravel(), v.ravel()], axis=1)[:, None]
    if camera.model == "fisheye":
        return cv2.fisheye.undistortPoints(kpts, camera.K, camera.dist).reshape(-1, 2)
    return cv2.undistortPoints(kpts, camera.K, camera.dist).reshape(-1, 2)


def photograph(sheet, layout, camera, R, t, *, noise=2.0, oversample=2, seed=0):
    """What the camera sees, ``(H, W)`` uint8: every sub-pixel is traced back to the bitmap, then averaged.

    Lens and pixels blur light, so all averaging is of linear light; the picture is coded (gamma 2.2) at the end.
    """
    width, height = camera.size_wh
    slopes = _slopes(camera, oversample)
    plane_from_slopes = np.linalg.inv(np.column_stack([R[:, 0], R[:, 1], t]))
    rays = np.concatenate([slopes, np.ones((len(slopes), 1))], axis=1) @ plane_from_slopes.T
    xy = rays[:, :2] / rays[:, 2:]
    x = (xy[:, 0] + layout.size_cm[0] / 2) * PX_PER_CM - 0.5
    y = (layout.size_cm[1] / 2 - xy[:, 1]) * PX_PER_CM - 0.5
    shape = (height * oversample, width * oversample)
    # Blur the bitmap about as much as a sub-pixel covers of it.
    footprint = PX_PER_CM * t[2] / camera.K[0, 0] / oversample
    light = (sheet.astype(np.float32) / 255) ** 2.2
    fine = cv2.GaussianBlur(light, (0, 0), max(0.5, footprint / 3))
    maps = (x.reshape(shape).astype(np.float32), y.reshape(shape).astype(np.float32))
    big = cv2.remap(fine, *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=0.16)
    picture = cv2.resize(big, (width, height), interpolation=cv2.INTER_AREA)
    picture = cv2.GaussianBlur(picture, (0, 0), 0.6)  # a lens is never perfectly sharp
    picture = 255 * np.maximum(picture, 0) ** (1 / 2.2)
    rng = np.random.default_rng(seed)
    return np.clip(picture + rng.normal(0, noise, picture.shape), 0, 255).round().astype(np.uint8)
