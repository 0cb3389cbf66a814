"""What one plane makes of a length that another one shows: how planes are compared."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from heightpose.geometry import planar_pose
from heightpose.geometry.camera import Camera
from heightpose.geometry.plane import Plane

#: An infant's length, and its joints' height over the mattress (knees and crown lie about so high), for which planes
#: and lenses are judged.
LENGTH_CM, JOINT_ELEVATION_CM = 65.0, 10.0
#: How far a tag's sides lie outside of their places, all alike (1 sd).
_GROWTH_PX = 0.3


def length_changes(
    stored: Plane, seen: Plane, camera: Camera, stored_camera: Camera | None = None,
    middle_cm: np.ndarray | None = None,
) -> np.ndarray:  # fmt: skip
    """How much longer lengths come out over ``stored`` than over ``seen``, relative.

    Args:
        camera: of both, or of ``seen`` where ``stored_camera`` is given.
        middle_cm: ``(2,)`` where on the mattress the lengths have their middle; by default the sheet's middle.

    Returns:
        ``(4,)``: for lengths in four directions, as high over the mattress as joints lie.
    """
    angle = np.arange(4) * np.pi / 4
    half = np.column_stack([np.cos(angle), np.sin(angle)]) * LENGTH_CM / 2
    z_cm = JOINT_ELEVATION_CM if min(stored.height_cm, seen.height_cm) > 2 * JOINT_ELEVATION_CM else 0.0
    ends = np.concatenate([half, -half]) + (0.0 if middle_cm is None else middle_cm)
    ends = np.pad(ends, ((0, 0), (0, 1)), constant_values=z_cm)
    back = stored.to_mattress(stored_camera or camera, seen.to_frame(camera, ends), z_cm)
    return np.linalg.norm(back[:4] - back[4:], axis=1) / LENGTH_CM - 1.0


def length_noise(plane: Plane, camera: Camera, cov: np.ndarray) -> float:
    """What noise of the tags' corners does to lengths over a plane fitted to them, relative (1 sd), to first order.

    With every tag of a sheet in view it is 0.03 %; three tags beside each other tell the tilt so badly that lengths
    over the sheet's middle come out several per cent wrong. Against the true planes of 20 rendered clips (3, 4, 6 and
    all tags, 960x540 and 480x270) corners err by 0.11 to 0.19 px per axis; they are taken to err by 0.25 or more.

    Args:
        cov: ``(6, 6)`` covariance of a step of the plane's pose (:func:`~heightpose.geometry.planar_pose.stepped`).
    """

    def changes(step: np.ndarray) -> np.ndarray:
        R, t_cm = planar_pose.stepped(step, plane.R, plane.t_cm)
        return length_changes(replace(plane, R=R, t_cm=t_cm), plane, camera)

    scale = np.concatenate([np.ones(3), np.full(3, float(np.linalg.norm(plane.t_cm)))])
    return float(planar_pose.standard_errors(changes, np.zeros(6), cov, scale).max())


def length_growth(plane: Plane, camera: Camera, corners: np.ndarray, model: np.ndarray) -> float:
    """What tags that all look a little larger than they are, or smaller, do to lengths over their plane, relative.

    Light makes them so, all alike, which :func:`length_noise` knows nothing of: whole sheets hardly mind (0.03 %), as
    the tags' distances tell the scale, but of one or two tags nothing else does. Of 160 planes from one tag of 60
    rendered pictures and 410 from two, seven were further off than said, one by its own length; with this none is.

    Args:
        corners: ``(M, 4, 2)`` frame pixels; model: ``(M, 4, 2)`` where they are on the mattress, cm.
    """
    out = corners - corners.mean(axis=1, keepdims=True)
    out /= np.maximum(np.linalg.norm(out, axis=2, keepdims=True), 1e-9)
    grown = (corners + np.sqrt(2.0) * _GROWTH_PX * out).reshape(-1, 2)
    fits = planar_pose.solve(planar_pose.on_mattress(model), grown, camera)
    if not fits:
        return 1.0
    return float(np.abs(length_changes(replace(plane, R=fits[0].R, t_cm=fits[0].t_cm), plane, camera)).max())


def length_change(
    stored: Plane, seen: Plane, camera: Camera, stored_camera: Camera | None = None,
    middle_cm: np.ndarray | None = None,
) -> float:  # fmt: skip
    """That of :func:`length_changes` which is the largest, with its sign."""
    changes = length_changes(stored, seen, camera, stored_camera, middle_cm)
    return float(changes[np.argmax(np.abs(changes))])
