"""What turns pixels into centimetres: camera, sheet, plane, corners or height."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from heightpose.geometry.camera import Camera
from heightpose.geometry.plane import Plane
from heightpose.geometry.sheet import SheetLayout
from heightpose.types import Reason


@dataclass(frozen=True, eq=False)
class MattressCorners:
    """Four marked corners of a mattress; they become a plane once the clip's own camera is known.

    Attributes:
        kpts_frame: ``(4, 2)`` px of the clip's frames as decoded, in turn, from any corner on, in either sense.
        size_cm: (across, along) the cot.
    """

    kpts_frame: np.ndarray
    size_cm: tuple[float, float]


@dataclass(frozen=True)
class Scale:
    """What turns pixels into centimetres; any part may be missing.

    Attributes:
        camera: the camera file's content, for the picture as stored.
        sheet: layout of the printed sheet.
        plane: the mattress plane, stored or from the camera's height; where there is one the sheet, if it is seen,
            only checks it.
        corners: the mattress's corners in the picture; used before the sheet, which checks them.
        height_cm: the camera's measured height over the mattress; it checks the plane, and with a sheet and no camera
            file it makes up for what the sheet does not tell of the lens.
    """

    camera: Camera | None = None
    sheet: SheetLayout | None = None
    plane: Plane | None = None
    corners: MattressCorners | None = None
    height_cm: float | None = None

    @property
    def uses_tags(self) -> bool:
        """Whether the sheet's tags have to be found: there is no other plane, which they would only check."""
        return self.sheet is not None and self.plane is None and self.corners is None

    def missing(self) -> Reason | None:
        """Why these parts are not enough for a length, or None when they are."""
        if self.plane is None and self.sheet is None and self.corners is None:
            return Reason(
                "no_scale",
                "Nothing says how large the picture is. Lay the printed sheet under the infant and give its "
                "file with --sheet, or give --plane, --corners with --size, or --camera-height-cm, together with a "
                "--camera file.",
            )
        if self.camera is None and not self.uses_tags:
            return Reason(
                "no_camera",
                "The camera is not known, so pixels cannot be turned into centimetres. "
                "Give its calibration file with --camera, or "
                + (
                    "leave --plane and --corners out: seen from a tilted camera the sheet tells the lens too."
                    if self.sheet is not None
                    else "lay the printed sheet under the infant and give its file with --sheet: seen from a tilted "
                    "camera it tells the lens too."
                ),
            )
        return None
