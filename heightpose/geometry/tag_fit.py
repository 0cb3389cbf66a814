"""A sheet's tags beside the flat plane that was fitted to them, and beside a curved sheet: what is asked of both."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from heightpose.geometry import planar_pose
from heightpose.geometry.camera import Camera
from heightpose.geometry.plane import Plane

_BEND_CM = 2.0  # sheets bend by about this much, 1 sd
#: Tags that are left out are asked where they are this share of those seen.
_OUT_SHARE = 0.15


@dataclass(frozen=True, eq=False)
class TagFit:
    """The ``M`` tags seen of a sheet.

    Attributes:
        plane: fitted to the tags that agree with it.
        corners: ``(M, 4, 2)`` frame pixels of all tags seen.
        model: ``(M, 4, 2)`` cm, where they are on the sheet.
        size_cm: the sheet's size across and along.
        keep: ``(M,)`` bool, which of them agree with ``plane``.
    """

    plane: Plane
    camera: Camera
    corners: np.ndarray
    model: np.ndarray
    size_cm: tuple[float, float]
    keep: np.ndarray

    def leaves_out(self, least: int) -> bool:
        """Whether so many tags are left out, and enough of those seen to be asked why."""
        return bool((~self.keep).sum() >= max(least, _OUT_SHARE * len(self.keep)))

    @cached_property
    def bent(self) -> planar_pose.WiderFit:
        """The pose and the three numbers of the bend (cm) that explain the tags that are kept best."""
        return self._bent(self.corners[self.keep], self.model[self.keep])

    @property
    def bent_whole(self) -> planar_pose.WiderFit:
        """As :attr:`bent`, of all tags seen."""
        return self._bent(self.corners, self.model)

    def _bent(self, corners: np.ndarray, model: np.ndarray) -> planar_pose.WiderFit:
        pts, plane = model.reshape(-1, 2), self.plane
        u, v = (pts / (np.asarray(self.size_cm) / 2)).T
        shapes = np.zeros((len(pts), 3, 3))
        shapes[:, 2] = np.column_stack([u * u, v * v, u * v])
        flat = planar_pose.on_mattress(model)

        def scene_of(bend_cm: np.ndarray) -> planar_pose.Scene:
            return planar_pose.Scene(self.camera, flat + shapes @ bend_cm, pts_by=shapes)

        size = np.full(3, float(np.linalg.norm(plane.t_cm)))
        kpts = corners.reshape(-1, 2)
        return planar_pose.fit_wider(scene_of, plane.R, plane.t_cm, kpts, np.full(3, _BEND_CM), size)
