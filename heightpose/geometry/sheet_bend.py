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

import numpy as np

from heightpose.geometry import planar_pose
from heightpose.geometry.camera import Camera
from heightpose.geometry.plane import Plane
from heightpose.geometry.plane_length import length_changes
from heightpose.geometry.tag_fit import TagFit

#: A bend counts from so many of its own standard deviations on, where the flat sheets of 51 rendered clips reach 1.5;
#: and from this change of a length on: flat sheets in dark pictures reach 0.0024.
_CERTAIN, _LEAST_CHANGE = 2.0, 0.003
#: Of what is left over, so much is noise: flat sheets of those clips leave 0.47 px at most, of dark pictures 0.55. And
#: what the rest weighs.
_NOISE_PX, _WRINKLE_TIMES = 0.6, 3.0
#: Tags that are left out are asked where they are so many. An elevation explains one where it leaves this share of its
#: misfit; of so many of them it has to, and lengths err by so many times what it is.
_LEAST_OUT = 2
_ELEVATIONS_CM = np.linspace(-12.0, 12.0, 97)
_EXPLAINED, _NEARLY_ALL, _RAISED_TIMES = 0.5, 0.8, 1.5


def bend_sd(tags: TagFit) -> float:
    """How far a bent sheet may put lengths over the flat plane off, relative (1 sd); 0 for a sheet that looks flat.

    Of a mattress that sags, or is raised on one side, the tags that would show it are left out as displaced and the
    rest looks flat. So where several are, each is asked whether it lies higher or lower than the plane; where nearly
    all of them do, lengths are taken to be off by that. A fold or a shift within the sheet moves tags as no elevation
    does.
    """
    plane, camera, corners, model, keep = tags.plane, tags.camera, tags.corners, tags.model, tags.keep
    own, _ = _bent(tags.bent, plane, camera, corners[keep], model[keep])
    if not tags.leaves_out(_LEAST_OUT):
        return own
    raised = _raised(plane, camera, corners[~keep], model[~keep])
    if not raised:
        return own
    whole, left_px = _bent(tags.bent_whole, plane, camera, corners, model)
    if np.median(left_px[~keep]) < _EXPLAINED * np.median(plane.tag_rms_px(camera, corners, model)[~keep]):
        return max(own, whole)
    return max(own, raised)


def _raised(plane: Plane, camera: Camera, corners: np.ndarray, model: np.ndarray) -> float:
    """What the elevation of tags that are not in the plane does to lengths, relative (1 sd); 0 where they are shifted.

    Measured (sheets with one side 3 to 6 cm up or with a trough along the cot, 24 cameras each): lengths were up to 5 %
    off, and in 14 to 25 % of the planes by more than 1.645 of these standard deviations and half a per cent; without,
    in 54 to 92 %. An elevation explains half of the tags along a ridge, fewer that are shifted, nine in ten and more
    of a bent sheet's.
    """
    flat_px = plane.tag_rms_px(camera, corners, model)
    best_px, best_cm = flat_px.copy(), np.zeros(len(model))
    for z_cm in _ELEVATIONS_CM:
        pts = np.concatenate([model, np.full((*model.shape[:2], 1), z_cm)], axis=2)
        there = plane.to_frame(camera, pts.reshape(-1, 3)).reshape(corners.shape)
        rms_px = planar_pose.tag_rms_px(there - corners)
        closer = rms_px < best_px
        best_px[closer], best_cm[closer] = rms_px[closer], z_cm
    explained = best_px < _EXPLAINED * flat_px
    if explained.mean() < _NEARLY_ALL:
        return 0.0
    return _RAISED_TIMES * float(np.median(np.abs(best_cm[explained]))) / plane.height_cm


def _bent(
    fit: planar_pose.WiderFit, plane: Plane, camera: Camera, corners: np.ndarray, model: np.ndarray
) -> tuple[float, np.ndarray]:
    """What the bend fitted to these tags does to lengths, relative (1 sd), and ``(M,)`` px what it leaves of each."""

    def change(x: np.ndarray) -> np.ndarray:
        R, t_cm = planar_pose.stepped(x, plane.R, plane.t_cm)
        return length_changes(replace(plane, R=R, t_cm=t_cm), plane, camera)

    sds = planar_pose.standard_errors(change, fit.x, fit.cov, fit.scale)
    changes = np.abs(change(fit.x))
    worst = int(np.argmax(changes))
    bowed = float(changes[worst]) if changes[worst] > max(_LEAST_CHANGE, _CERTAIN * sds[worst]) else 0.0
    left_px = planar_pose.tag_rms_px(fit.left_px.reshape(corners.shape))
    return float(np.hypot(bowed, _wrinkled(fit.left_px, corners, model))), left_px


def _wrinkled(left_px: np.ndarray, corners: np.ndarray, model: np.ndarray) -> float:
    rms_px = float(np.sqrt((left_px**2).sum(axis=1).mean()))
    if rms_px <= _NOISE_PX or len(model) < 2:
        return 0.0
    spread_px = float(np.sqrt((corners.mean(axis=1).var(axis=0)).sum()))
    return _WRINKLE_TIMES * float(np.sqrt(rms_px**2 - _NOISE_PX**2)) / spread_px
