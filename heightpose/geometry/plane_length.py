"""What one plane makes of a length that another one shows: how planes are compared."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from heightpose.geometry.camera import Camera

if TYPE_CHECKING:
    from heightpose.geometry.plane import Plane

#: An infant's length and its joints' height over the mattress, for which planes are compared.
_LENGTH_CM, _ELEVATION_CM = 65.0, 10.0


def length_changes(
    stored: Plane, seen: Plane, camera: Camera, stored_camera: Camera | None = None
) -> np.ndarray:
    """How much longer lengths over the sheet's middle come out over ``stored`` than over ``seen``, relative.

    Args:
        camera: of both, or of ``seen`` where ``stored_camera`` is given.

    Returns:
        ``(4,)``: for lengths in four directions, as high over the mattress as joints lie.
    """
    angle = np.arange(4) * np.pi / 4
    half = np.column_stack([np.cos(angle), np.sin(angle)]) * _LENGTH_CM / 2
    z_cm = _ELEVATION_CM if min(stored.height_cm, seen.height_cm) > 2 * _ELEVATION_CM else 0.0
    ends = np.pad(np.concatenate([half, -half]), ((0, 0), (0, 1)), constant_values=z_cm)
    back = stored.to_mattress(stored_camera or camera, seen.to_frame(camera, ends), z_cm)
    return np.linalg.norm(back[:4] - back[4:], axis=1) / _LENGTH_CM - 1.0


def length_change(stored: Plane, seen: Plane, camera: Camera) -> float:
    """That of :func:`length_changes` which is the largest, with its sign."""
    changes = length_changes(stored, seen, camera)
    return float(changes[np.argmax(np.abs(changes))])
