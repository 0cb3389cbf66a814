"""Where the camera is and what lens it has."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from heightpose.geometry.camera import Camera
from heightpose.geometry.plane import Plane

if TYPE_CHECKING:
    from heightpose.synth.scenario import Options

MATTRESS_CM = (70.0, 132.0)
#: A fisheye's corner looks at most this far off the axis: one perspective picture must hold all it sees.
_FISHEYE_REACH = np.deg2rad(57.0)
#: Share of the picture that an infant seen from near reaches across; above 1 its hands or feet may lie beyond.
_NEAR_FILL = (0.65, 1.02)
_SMALL_SIZES = ((448, 336), (480, 272), (336, 448), (416, 320))


def draw_camera(rng: np.random.Generator, options: Options) -> tuple[Camera, Plane]:
    """A camera above the cot: height, tilt, any in-plane turn, lens, and a focal length that shows the cot."""
    size = options.size_wh
    if size is None:
        size = _SMALL_SIZES[int(rng.integers(len(_SMALL_SIZES)))]
    plane = _draw_plane(rng, options)
    focal = _focal(rng, options, size, plane)
    if rng.random() < options.fisheye:
        return _fisheye(rng, size, focal), plane
    return _pinhole(rng, size, focal), plane


def come_near(
    rng: np.random.Generator, camera: Camera, plane: Plane, points_cm: np.ndarray
) -> tuple[Camera, Plane]:
    """The same lens in the same place, turned towards the infant and zoomed until that fills most of the picture.

    Args:
        points_cm: ``(N, 3)`` the infant's skin, mattress frame.
    """
    middle = (points_cm.min(axis=0) + points_cm.max(axis=0)) / 2
    target = np.array([*(middle[:2] + rng.normal(0, 2, 2)), 0.0])
    turn = rng.uniform(0, 2 * np.pi)
    near = _looking(plane.camera_centre_cm, target, turn)
    focal = rng.uniform(*_NEAR_FILL) * float(_fitting_focals(camera.size_wh, near, points_cm).min())
    zoomed = camera.K.copy()
    zoomed[:2, :2] *= focal / camera.K[0, 0]
    return replace(camera, K=zoomed), near


def _looking(centre_cm: np.ndarray, target_cm: np.ndarray, turn: float) -> Plane:
    """Seen from ``centre_cm`` with the target in the middle, turned in the picture by ``turn`` radians."""
    seen = Plane.looking_at(centre_cm, target_cm, np.array([np.sin(turn), np.cos(turn), 0.0]))
    return replace(seen, rms_px=0.0, source="nursery")


def _fitting_focals(size_wh: tuple[int, int], plane: Plane, points_cm: np.ndarray) -> np.ndarray:
    """``(2,)`` the focal lengths, px, at which points just fit into a picture across and down."""
    in_camera = points_cm @ plane.R.T + plane.t_cm
    return np.array(size_wh) / 2 / np.abs(in_camera[:, :2] / in_camera[:, 2:]).max(axis=0)


def _draw_plane(rng: np.random.Generator, options: Options) -> Plane:
    above = rng.uniform(*options.height_cm)
    tilt = np.deg2rad(options.max_tilt_deg) * np.sqrt(rng.random())
    azimuth = rng.uniform(0, 2 * np.pi)
    # the long side of the cot mostly along the long side of the picture, but any turn happens
    along = rng.random() < 0.6
    turn = (
        np.deg2rad(rng.choice([0, 90, 180, 270]) + rng.normal(0, 8)) if along else rng.uniform(0, 2 * np.pi)
    )
    centre = np.array([np.sin(tilt) * np.cos(azimuth), np.sin(tilt) * np.sin(azimuth), np.cos(tilt)])
    target = np.array([rng.normal(0, 3), rng.normal(0, 5), 0.0])
    centre = target + centre * (above / np.cos(tilt))
    return _looking(centre, target, turn)


def _focal(rng: np.random.Generator, options: Options, size_wh: tuple[int, int], plane: Plane) -> float:
    half = np.array(MATTRESS_CM) / 2
    corners = np.array([[x, y, 0.0] for x in (-half[0], half[0]) for y in (-half[1], half[1])])
    fitting = _fitting_focals(size_wh, plane, corners)
    fill = rng.uniform(0.80, 0.97) if options.keep_cot_in_view else rng.uniform(0.85, 1.40)
    focal = fill * fitting.min()
    # a landscape picture of a cot that stands upright in it
    if not options.keep_cot_in_view and rng.random() < 0.3:
        focal = min(focal * 1.3, fill * fitting.max())
    return float(focal)


def _matrix(rng: np.random.Generator, size_wh: tuple[int, int], focal: float) -> np.ndarray:
    width, height = size_wh
    cx = (width - 1) / 2 + rng.normal(0, 0.008 * width)
    cy = (height - 1) / 2 + rng.normal(0, 0.008 * height)
    return np.array([[focal, 0, cx], [0, focal * rng.normal(1, 0.002), cy], [0, 0, 1]])


def _pinhole(rng: np.random.Generator, size_wh: tuple[int, int], focal: float) -> Camera:
    strength = rng.uniform(-0.25, 0.08) if rng.random() < 0.7 else 0.0
    reach = max(np.hypot(*size_wh) / 2 / focal, 0.5)
    dist = np.array([strength / reach**2 * 0.6, 0.0, rng.normal(0, 4e-4), rng.normal(0, 4e-4), 0.0])
    return Camera(model="pinhole", size_wh=size_wh, K=_matrix(rng, size_wh, focal), dist=dist)


def _fisheye(rng: np.random.Generator, size_wh: tuple[int, int], focal: float) -> Camera:
    """Kannala-Brandt: a radius that grows a little slower or faster than the angle."""
    corner = np.hypot(*size_wh) / 2 * 1.03
    focal = max(focal * rng.uniform(0.85, 1.1), corner / (_FISHEYE_REACH * 0.96))
    dist = np.array([rng.uniform(-0.04, 0.03), rng.normal(0, 0.004), 0.0, 0.0])
    return Camera(model="fisheye", size_wh=size_wh, K=_matrix(rng, size_wh, focal), dist=dist)
