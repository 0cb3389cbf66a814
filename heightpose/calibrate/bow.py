"""Is the board bowed? What the corners left over by a flat board say, and what it did to the focal length.

Paper that bows by a millimetre over 20 cm makes the focal length 1 to 3 % too long, while the corners still fit within
0.25 px: a bow looks much like a longer lens. It leaves a pattern of its own though. The board is taken to be

    ``z = a u^2 + b v^2 + c u v``,  ``u, v`` the place on the board over half its size,

and one Gauss-Newton step from the flat fit, over lens, poses and these three together, tells them, their covariance
and how far the lens would move. Drawn boards bowed by 0.3 to 2 mm (pinhole and fisheye, 10 to 18 views, 0.14 px of
noise): the bow came out within 0.2 mm, and the focal length less its change within 0.3 % of the true one in 31 of 36;
flat boards had none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from heightpose.calibrate.boards import Corners
from heightpose.calibrate.bundle import Bundle, Freedom, huber, moved, parameters, with_parameters

#: The bow counts where its three numbers together are so far from nought: chi-squared of 3 degrees, one in 100,000.
_CERTAIN_CHI2 = 26.0
#: Boards bow by about this, cm, 1 sd: where views tell nothing of it, it is not guessed.
_BOW_CM = 0.2


@dataclass(frozen=True)
class Bow:
    """How a board departs from flat.

    Attributes:
        height_mm: from its lowest to its highest corner; 0 where no bow is certain.
        focal_change: how much that changed the focal length (fx or fy, whichever more), relative.
    """

    height_mm: float = 0.0
    focal_change: float = 0.0


def find_bow(boards: Sequence[Corners], bundle: Bundle, freedom: Freedom) -> Bow:
    """The bow of the board, from the views and their fit with a flat one.

    Args:
        boards: the views fitted.
        bundle: their fit.
        freedom: what it was free to change.
    """
    pts = np.concatenate([board.pts_cm for board in boards])
    view = np.repeat(np.arange(len(boards)), [len(board.ids) for board in boards])
    residual = np.concatenate(bundle.residuals)
    half = np.maximum(np.ptp(pts[:, :2], axis=0) / 2, 1e-6)
    u, v = ((pts[:, :2] - pts[:, :2].min(axis=0)) / half - 1).T
    shapes = np.column_stack([u * u, v * v, u * v])
    values, reach = parameters(bundle.camera), np.linalg.norm(bundle.t_cm, axis=1, keepdims=True)
    lens = freedom.basis(bundle.camera.model) * np.where(np.arange(len(values)) < 4, values[0], 1.0)[:, None]
    free, posed = lens.shape[1], 6 * len(boards)

    def project(lens_step: np.ndarray, pose_step: np.ndarray, bow_cm: np.ndarray) -> np.ndarray:
        R, t_cm = moved(bundle.R, bundle.t_cm, np.tile(pose_step, (len(boards), 1)), reach)
        bent = pts + np.pad((shapes @ bow_cm)[:, None], ((0, 0), (2, 0)))
        on_camera = np.einsum("nij,nj->ni", R[view], bent) + t_cm[view]
        return with_parameters(bundle.camera, values + lens @ lens_step).project(on_camera)

    # Every column is the change of all corners; a pose's concerns its own view's corners only.
    sizes = (free, 6, 3)
    jacobian = np.zeros((len(pts), 2, free + posed + 3))
    for part, size in enumerate(sizes):
        for axis in range(size):
            steps = [np.zeros(n) for n in sizes]
            steps[part][axis] = 1e-5
            change = (project(*steps) - project(*(-step for step in steps))) / 2e-5
            if part == 1:
                jacobian[np.arange(len(pts)), :, free + 6 * view + axis] = change
            else:
                jacobian[:, :, (axis if part == 0 else free + posed + axis)] = change
    weight = np.repeat(np.sqrt(huber(residual)), 2)
    J, r = jacobian.reshape(2 * len(pts), -1) * weight[:, None], residual.ravel() * weight
    normal = J.T @ J
    sigma2 = float(r @ r) / max(len(r) - J.shape[1], 1)
    normal[-3:, -3:] += np.eye(3) * sigma2 / _BOW_CM**2
    inverse = np.linalg.pinv(normal, hermitian=True)
    step = inverse @ (J.T @ r)
    left = r - J @ step
    cov = inverse[-3:, -3:] * float(left @ left) / max(len(r) - J.shape[1], 1)
    bow_cm = step[-3:]
    if bow_cm @ np.linalg.solve(cov, bow_cm) < _CERTAIN_CHI2:
        return Bow()
    focal = float(np.abs(lens @ step[:free])[:2].max()) / values[0]
    return Bow(10.0 * float(np.ptp(shapes @ bow_cm)), focal)
