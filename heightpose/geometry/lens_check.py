"""Does the camera file fit the sheet? What a wrong lens does to lengths, where the sheet shows it.

A plane fitted with a wrong focal length stands at a wrong height and tilt; lengths on it are right, those above it are
not. So the focal length is fitted too, beside the pose. On 9 rendered clips with the right camera file it came out
within 0.5 %, 0.2 of its standard deviations; with one 10 % off, 2 to 13 of them, the more the camera was tilted.

A file that is further off, another camera's, bends the sheet: the outer tags are then taken for displaced and left out,
and those that agree do not object. With the right file hardly a tag is left out. So where several are, a lens is fitted
to all of them, and where that puts them in their places it is believed.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from heightpose.geometry import planar_pose
from heightpose.geometry.camera import Camera
from heightpose.geometry.plane import Plane
from heightpose.geometry.plane_length import length_changes
from heightpose.geometry.tag_fit import TagFit

#: Files are rarely further off than this, relative (1 sd): what the sheet does not tell stays as the file says.
_PRIOR = 0.1
#: Noticed from so many standard deviations of the focal length on, and from this change of a length on.
_CERTAIN, _LEAST_CHANGE = 4.0, 0.003
#: Another lens is tried where so many tags (:meth:`TagFit.leaves_out`) are not where the file's lens puts them, or
#: where those that agree do so this badly (px): right files leave 0.1 to 0.3.
_LEAST_OUT, _RIGHT_PX = 2, 0.4
#: It is believed where the tags lie this much closer to their places, and the change of a length is this certain (sd).
_CLOSER, _CERTAIN_CHANGE = 0.7, 2.0
#: Of another camera: ln of the focal length, k1, the middle of the picture over its longer side (1 sd each), and from
#: which focal lengths, over the file's, the fit starts.
_OTHER_SDS, _STARTS = np.array([0.7, 0.2, 0.04, 0.04]), (0.5, 1.0, 2.0)

#: ln of the focal length over the file's stays within this.
_MOST_CHANGE = 2.0


def lens_doubt(tags: TagFit) -> tuple[float, float]:
    """What the sheet says of the camera file's lens.

    Returns:
        The focal length that fits best over the camera's, minus 1, and how far that lens puts lengths over the tags'
        plane off, relative (1 sd); zeros where nothing speaks against the camera.
    """
    plane, camera = tags.plane, tags.camera
    fit = _focal_fit(tags)
    R, t_cm = planar_pose.stepped(fit.x, plane.R, plane.t_cm)
    seen, lens = replace(plane, R=R, t_cm=t_cm), _lens(camera, fit.x[6:])
    if tags.leaves_out(_LEAST_OUT) or (plane.rms_px or 0.0) > _RIGHT_PX:
        other = _other_lens(tags, seen.tag_rms_px(lens, tags.corners, tags.model))
        if other is not None:
            return _weighed(plane, camera, *other)
    if abs(fit.x[6]) < _CERTAIN * float(np.sqrt(fit.cov[6, 6])):
        return 0.0, 0.0
    return _weighed(plane, camera, seen, lens)


def _focal_fit(tags: TagFit) -> planar_pose.WiderFit:
    """The pose and ln of the focal length over the camera's, for a file that is right but for that."""
    plane, pts = tags.plane, planar_pose.on_mattress(tags.model[tags.keep])

    kpts, scene_of = tags.corners[tags.keep].reshape(-1, 2), partial(_scene, tags.camera, pts)
    return planar_pose.fit_wider(scene_of, plane.R, plane.t_cm, kpts, np.array([_PRIOR]), np.ones(1))


def _other_lens(tags: TagFit, before_px: np.ndarray) -> tuple[Plane, Camera] | None:
    """A lens, and the plane through it, that puts the tags, those left out too, in their places.

    Args:
        before_px: ``(M,)`` rms of the tags through the file's lens, its focal length fitted.

    Returns:
        None where no lens does, or what that means for a length is not sure.
    """
    plane, camera, corners = tags.plane, tags.camera, tags.corners
    kpts, pts = corners.reshape(-1, 2), planar_pose.on_mattress(tags.model)
    limit_px = max(float(before_px[tags.keep].max()), 0.75)
    found, least = None, _CLOSER * _misfit(before_px, limit_px)
    for start in _STARTS:
        begun = _lens(camera, np.array([np.log(start)]))
        for pose in planar_pose.solve(pts, kpts, begun)[:1]:
            fit = planar_pose.fit_wider(
                partial(_scene, begun, pts), pose.R, pose.t_cm, kpts, _OTHER_SDS, np.ones(4)
            )
            misfit = _misfit(planar_pose.tag_rms_px(fit.left_px.reshape(corners.shape)), limit_px)
            if misfit < least:
                found, least = (fit, pose, begun), misfit
    if found is None:
        return None
    fit, pose, begun = found

    def change(x: np.ndarray) -> np.ndarray:
        R, t_cm = planar_pose.stepped(x, pose.R, pose.t_cm)
        return length_changes(
            plane, replace(plane, R=R, t_cm=t_cm), _lens(begun, x[6:]), stored_camera=camera
        )

    changes = np.abs(change(fit.x))
    sds = planar_pose.standard_errors(change, fit.x, fit.cov, fit.scale)
    worst = int(np.argmax(changes))
    if changes[worst] < _CERTAIN_CHANGE * sds[worst]:
        return None
    R, t_cm = planar_pose.stepped(fit.x, pose.R, pose.t_cm)
    return replace(plane, R=R, t_cm=t_cm), _lens(begun, fit.x[6:])


def _misfit(rms_px: np.ndarray, limit_px: float) -> float:
    """How badly the tags lie where they should: each counts up to ``limit_px``."""
    return float((np.minimum(rms_px, limit_px) ** 2).mean() ** 0.5)


def _weighed(plane: Plane, camera: Camera, seen: Plane, lens: Camera) -> tuple[float, float]:
    """Focal length of ``lens`` over the camera's, minus 1, and what it changes in a length; zeros if little."""
    change = float(np.abs(length_changes(plane, seen, lens, stored_camera=camera)).max())
    return (float(lens.K[0, 0] / camera.K[0, 0]) - 1.0, change) if change > _LEAST_CHANGE else (0.0, 0.0)


def _lens(camera: Camera, change: np.ndarray) -> Camera:
    """The camera with ln of the focal length and, where given, k1 and the picture's middle changed."""
    K, dist = camera.K.copy(), camera.dist.copy()
    K[[0, 1], [0, 1]] *= np.exp(np.clip(change[0], -_MOST_CHANGE, _MOST_CHANGE))
    if len(change) > 1:
        dist[0] += change[1]
        K[:2, 2] += change[2:4] * max(camera.size_wh)
    return replace(camera, K=K, dist=dist)


def _scene(camera: Camera, pts_cm: np.ndarray, change: np.ndarray) -> planar_pose.Scene:
    """Points ``(N, 3)`` through :func:`_lens`."""
    lens = _lens(camera, change)
    by = np.zeros((4 + len(lens.dist), len(change)))
    if abs(change[0]) < _MOST_CHANGE:
        by[[0, 1], 0] = lens.K[[0, 1], [0, 1]]
    if len(change) > 1:
        by[[4, 2, 3], [1, 2, 3]] = 1.0, max(camera.size_wh), max(camera.size_wh)
    return planar_pose.Scene(lens, pts_cm, lens_by=by)
