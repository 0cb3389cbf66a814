"""Does the camera file fit the sheet? What a wrong focal length does to lengths, where a tilted sheet shows it.

A plane fitted with a wrong focal length stands at a wrong height and tilt; lengths on it are right, those above it are
not. So the focal length is fitted too, beside the pose. On 9 rendered clips with the right camera file it came out
within 0.5 %, 0.2 of its standard deviations; with one 10 % off, 2 to 13 of them, the more the camera was tilted.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import cv2
import numpy as np
from scipy.optimize import least_squares

from heightpose.geometry import planar_pose
from heightpose.geometry.camera import Camera
from heightpose.geometry.plane_length import length_changes

if TYPE_CHECKING:
    from heightpose.geometry.plane import Plane

#: Corners of one tag err together: taken to be this good, px per axis; residuals beyond so many times it are outliers.
_SIGMA_PX, _SOFT = 0.4, 1.5
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

    def refitted(x: np.ndarray) -> tuple[Plane, Camera]:
        K = camera.K.copy()
        K[[0, 1], [0, 1]] *= np.exp(x[6])
        R = np.asarray(cv2.Rodrigues(x[:3])[0]) @ plane.R
        return replace(plane, R=R, t_cm=plane.t_cm + x[3:6]), replace(camera, K=K)

    def residuals(x: np.ndarray) -> np.ndarray:
        fitted, lens = refitted(x)
        error = lens.project(pts @ fitted.R.T + fitted.t_cm) - kpts
        return np.concatenate([error.ravel() / _SIGMA_PX, x[6:] / _PRIOR])

    distance = float(np.linalg.norm(plane.t_cm))
    scale = np.array([1.0, 1.0, 1.0, distance, distance, distance, 1.0])
    x = least_squares(residuals, np.zeros(7), x_scale=scale, loss="soft_l1", f_scale=_SOFT, max_nfev=30).x
    slopes = planar_pose.jacobian(residuals, x, scale)
    sd = float(np.sqrt(np.linalg.pinv(slopes.T @ slopes)[6, 6]))
    if abs(x[6]) < _CERTAIN * sd:
        return 0.0, 0.0
    change = float(np.abs(length_changes(plane, *refitted(x), stored_camera=camera)).max())
    return (float(np.expm1(x[6])), change) if change > _LEAST_CHANGE else (0.0, 0.0)
