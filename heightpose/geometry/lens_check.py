"""Does the camera file fit the sheet? What a wrong focal length does to lengths, where a tilted sheet shows it.

A plane fitted with a wrong focal length stands at a wrong height and tilt; lengths on it are right, those above it are
not. So the focal length is fitted too, beside the pose. On 9 rendered clips with the right camera file it came out
within 0.5 %, 0.2 of its standard deviations; with one 10 % off, 2 to 13 of them, the more the camera was tilted.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from heightpose.geometry import planar_pose
from heightpose.geometry.camera import Camera
from heightpose.geometry.plane_length import length_changes

if TYPE_CHECKING:
    from heightpose.geometry.plane import Plane

#: Files are rarely further off than this, relative (1 sd): what the sheet does not tell stays as the file says.
_PRIOR = 0.1
#: Noticed from so many standard deviations of the focal length on, and from this change of a length on.
_CERTAIN, _LEAST_CHANGE = 4.0, 0.003


def focal_doubt(plane: Plane, camera: Camera, corners: np.ndarray, model: np.ndarray) -> tuple[float, float]:
    """What the sheet says of the camera's focal length.

    Args:
        plane: fitted to these tags with ``camera``.
        corners: ``(M, 4, 2)`` frame pixels of the tags that agree with it.
        model: ``(M, 4, 2)`` cm, where they are on the sheet.

    Returns:
        The focal length that fits best over the camera's, minus 1, and how far that puts lengths over ``plane`` off,
        relative (1 sd); zeros where nothing speaks against the camera.
    """
    kpts = corners.reshape(-1, 2)
    pts = np.pad(model.reshape(-1, 2), ((0, 0), (0, 1)))

    def lens(log_change: float) -> Camera:
        K = camera.K.copy()
        K[[0, 1], [0, 1]] *= np.exp(log_change)
        return replace(camera, K=K)

    def project(R: np.ndarray, t_cm: np.ndarray, log_change: np.ndarray) -> np.ndarray:
        return lens(log_change[0]).project(pts @ R.T + t_cm)

    fit = planar_pose.fit_wider(project, plane.R, plane.t_cm, kpts, np.array([_PRIOR]), np.ones(1))
    longer = float(fit.x[6])
    if abs(longer) < _CERTAIN * float(np.sqrt(fit.cov[6, 6])):
        return 0.0, 0.0
    R, t_cm = planar_pose.stepped(fit.x, plane.R, plane.t_cm)
    seen = replace(plane, R=R, t_cm=t_cm)
    change = float(np.abs(length_changes(plane, seen, lens(longer), stored_camera=camera)).max())
    return (float(np.expm1(longer)), change) if change > _LEAST_CHANGE else (0.0, 0.0)
