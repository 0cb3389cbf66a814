"""Is the board bowed or stretched? What the corners left over say, and what it did to the focal length.

Paper that bows by a millimetre over 20 cm makes the focal length 1 to 3 % too long, while the corners still fit within
0.25 px: a bow looks much like a longer lens. It leaves a pattern of its own though. The board is taken to be

    ``z = a u^2 + b v^2 + c u v``,  ``u, v`` the place on the board over half its size,

and one Gauss-Newton step from the flat fit, over lens, poses and these three together, tells them, their covariance
and how far the lens would move. Drawn boards bowed by 0.3 to 2 mm (pinhole and fisheye, 10 to 18 views, 0.14 px of
noise): the bow came out within 0.2 mm, and the focal length less its change within 0.3 % of the true one in 31 of 36;
flat boards had none.

A printer that feeds paper by a per cent too far stretches the board one way: squares 3 % wider than high made a focal
length 3.5 % wrong that was sure to 0.5 %. The stretch is told in the same step where it is certain; it cannot be where
all views hold the board the same way up, as it then looks like pixels that are not square.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from heightpose.calibrate.boards import Corners
from heightpose.calibrate.bundle import Bundle, Freedom, huber, moved, parameters, with_parameters

#: The bow counts where its three numbers together are so far from nought: chi-squared of 3 degrees, one in 100,000.
_CERTAIN_CHI2 = 26.0
#: The stretch counts where its number is so far from nought: chi-squared of 1 degree, one in 100,000.
_CERTAIN_STRETCH_CHI2 = 19.5
#: Printers stretch by about this, 1 sd.
_STRETCH = 0.01
#: Boards bow by about this, cm, 1 sd: where views tell nothing of it, it is not guessed.
_BOW_CM = 0.2


@dataclass(frozen=True)
class Bow:
    """How a board departs from flat, and from its proportions.

    Attributes:
        height_mm: from its lowest to its highest corner; 0 where no bow is certain.
        stretch: how much wider it is than described, against its height, relative; 0 where none is certain.
        focal_change: how much that changed the focal length (fx or fy, whichever more), relative.
    """

    height_mm: float = 0.0
    stretch: float = 0.0
    focal_change: float = 0.0


def find_bow(boards: Sequence[Corners], bundle: Bundle, freedom: Freedom) -> Bow:
    """The bow and the stretch of the board, from the views and their fit with a flat one as described.

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
    # Places on the board move by (N, 3) for each: three bows along z, and wider by as much as lower.
    shapes = np.zeros((len(pts), 3, 4))
    shapes[:, 2, :3] = np.column_stack([u * u, v * v, u * v])
    shapes[:, :2, 3] = np.column_stack([u, -v]) * half / 2
    values, reach = parameters(bundle.camera), np.linalg.norm(bundle.t_cm, axis=1, keepdims=True)
    lens = freedom.basis(bundle.camera.model) * np.where(np.arange(len(values)) < 4, values[0], 1.0)[:, None]
    free, posed = lens.shape[1], 6 * len(boards)

    def project(lens_step: np.ndarray, pose_step: np.ndarray, shape_step: np.ndarray) -> np.ndarray:
        R, t_cm = moved(bundle.R, bundle.t_cm, np.tile(pose_step, (len(boards), 1)), reach)
        bent = pts + shapes @ shape_step
        on_camera = np.einsum("nij,nj->ni", R[view], bent) + t_cm[view]
        return with_parameters(bundle.camera, values + lens @ lens_step).project(on_camera)

    # Every column is the change of all corners; a pose's concerns its own view's corners only.
    sizes = (free, 6, 4)
    jacobian = np.zeros((len(pts), 2, free + posed + 4))
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
    step, cov = _step(J, r, np.array([_BOW_CM, _BOW_CM, _BOW_CM, _STRETCH]))
    stretch = float(step[-1])
    if stretch**2 < _CERTAIN_STRETCH_CHI2 * cov[3, 3]:
        stretch = 0.0
        step, cov = _step(J[:, :-1], r, np.full(3, _BOW_CM))
    bow_cm = step[free + posed :][:3]
    bowed = bow_cm @ np.linalg.solve(cov[:3, :3], bow_cm) >= _CERTAIN_CHI2
    if not bowed and not stretch:
        return Bow()
    height_mm = 10.0 * float(np.ptp(shapes[:, 2, :3] @ bow_cm)) if bowed else 0.0
    focal = float(np.abs(lens @ step[:free])[:2].max()) / values[0]
    return Bow(height_mm, stretch, focal)


def _step(J: np.ndarray, r: np.ndarray, prior_sd: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The Gauss-Newton step, and the covariance of its last numbers, which have ``prior_sd`` about nought."""
    shaped, degrees = len(prior_sd), max(len(r) - J.shape[1], 1)
    normal = J.T @ J
    normal[-shaped:, -shaped:] += np.diag(float(r @ r) / degrees / prior_sd**2)
    inverse = np.linalg.pinv(normal, hermitian=True)
    step = inverse @ (J.T @ r)
    left = r - J @ step
    return step, inverse[-shaped:, -shaped:] * float(left @ left) / degrees
