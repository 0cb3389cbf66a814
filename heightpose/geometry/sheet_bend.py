"""A sheet that does not lie flat, and what that does to a length.

A bowed sheet still gives a plane that fits within a pixel: its edges, where the tags are, lie higher or lower than its
middle, where the infant is. So a curved sheet is fitted too,

    ``z = a u^2 + b v^2 + c u v``,  ``u, v`` the place on the sheet over half its size,

and the plane that touches it in the middle is compared with the flat one. Measured (tags projected from bent sheets
through 30 cameras each, half of the tags hidden, 0.14 px of noise): with edges 2 cm higher than the middle lengths were
0.8 % off (rms) and this said 0.8 %, with 4 cm 1.8 and 1.7 %, with 4 cm along the cot 1.1 and 1.0 %; correlation 0.93
and more. What is left over (wrinkles) tells less: lengths err by about three times what it is of the tags' spread.
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

_BEND_CM = 2.0  # sheets bend by about this much, 1 sd
#: A bend counts from so many of its own standard deviations on, where the flat sheets of 51 rendered clips reach 1.5;
#: and from this change of a length on: flat sheets in dark pictures reach 0.0024.
_CERTAIN, _LEAST_CHANGE = 2.0, 0.003
#: Of what is left over, so much is noise: flat sheets of those clips leave 0.47 px at most, of dark pictures 0.55. And
#: what the rest weighs.
_NOISE_PX, _WRINKLE_TIMES = 0.6, 3.0


def bend_sd(
    plane: Plane, camera: Camera, corners: np.ndarray, model: np.ndarray, size_cm: tuple[float, float]
) -> float:
    """How far a bent sheet may put lengths over the flat plane off, relative (1 sd); 0 for a sheet that looks flat.

    Args:
        plane: fitted to these tags.
        corners: ``(M, 4, 2)`` frame pixels of the tags that agree with it.
        model: ``(M, 4, 2)`` cm, where they are on the sheet.
        size_cm: the sheet's size across and along.
    """
    pts, kpts = model.reshape(-1, 2), corners.reshape(-1, 2)
    u, v = (pts / (np.asarray(size_cm) / 2)).T
    shapes = np.column_stack([u * u, v * v, u * v])

    def project(R: np.ndarray, t_cm: np.ndarray, bend_cm: np.ndarray) -> np.ndarray:
        return camera.project(np.column_stack([pts, shapes @ bend_cm]) @ R.T + t_cm)

    def change(x: np.ndarray) -> np.ndarray:
        R, t_cm = planar_pose.stepped(x, plane.R, plane.t_cm)
        return length_changes(replace(plane, R=R, t_cm=t_cm), plane, camera)

    size = np.full(3, float(np.linalg.norm(plane.t_cm)))
    fit = planar_pose.fit_wider(project, plane.R, plane.t_cm, kpts, np.full(3, _BEND_CM), size)
    sds = planar_pose.standard_errors(change, fit.x, fit.cov, fit.scale)
    changes = np.abs(change(fit.x))
    worst = int(np.argmax(changes))
    bowed = float(changes[worst]) if changes[worst] > max(_LEAST_CHANGE, _CERTAIN * sds[worst]) else 0.0
    return float(np.hypot(bowed, _wrinkled(fit.left_px, corners, model)))


def _wrinkled(left_px: np.ndarray, corners: np.ndarray, model: np.ndarray) -> float:
    rms_px = float(np.sqrt((left_px**2).sum(axis=1).mean()))
    if rms_px <= _NOISE_PX or len(model) < 2:
        return 0.0
    spread_px = float(np.sqrt((corners.mean(axis=1).var(axis=0)).sum()))
    return _WRINKLE_TIMES * float(np.sqrt(rms_px**2 - _NOISE_PX**2)) / spread_px
