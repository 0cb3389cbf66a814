"""The mattress plane: where the camera stands over the cot, and the way from pixels to centimetres."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from heightpose.arrays import as_floats
from heightpose.errors import EXIT_REJECTED, ConfigError, FileFormatError, HeightposeError
from heightpose.geometry import planar_pose
from heightpose.geometry.camera import Camera
from heightpose.geometry.sheet import SheetLayout
from heightpose.textfile import read_json
from heightpose.types import Reason, require_finite, require_shape

#: How high over the mattress a camera may be.
HEIGHT_RANGE_CM = (15.0, 1000.0)


class PlaneError(HeightposeError):
    """No trustworthy mattress plane: the clip is rejected.

    Attributes:
        code: stable, for programs: sheet_not_found, too_few_tags, sheet_inconsistent, camera_moved,
            plane_imprecise, plane_ambiguous, plane_outdated, camera_contradicted, camera_below_mattress,
            camera_too_flat, camera_height_implausible, height_contradicted, picture_mirrored, several_sheets or
            corners_inconsistent.
        text: what a parent can do about it.
    """

    exit_code = EXIT_REJECTED

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code, self.text = code, text

    @property
    def reason(self) -> Reason:
        return Reason(self.code, self.text)


@dataclass(frozen=True, eq=False)
class Plane:
    """The camera's pose over the mattress: ``x_cam = R @ x_mattress + t_cm``.

    Attributes:
        R: ``(3, 3)`` rotation, mattress frame to camera.
        t_cm: ``(3,)`` translation.
        rms_px: reprojection error per point; None where the plane was not fitted here.
        tags: how many tags it rests on.
        source: where it comes from: tags, corners (marked now or for the file), height or a file.
        height_sd_cm: standard error of the height from the fit; None where not known.
        length_sd: what the noise of few tags, a sheet that does not lie flat, a wrong focal length, or another sheet's
            file does to lengths, relative (1 sd).
        sheet: of a file: the sheet it was found from, which a clip that still shows it is compared with.
        camera: of a file: the camera that it was found through, as a clip's must be.
        focal_off: focal length that the sheet speaks for over the camera's, minus 1; 0 where it does not object.
    """

    R: np.ndarray
    t_cm: np.ndarray
    rms_px: float | None = None
    tags: int = 0
    source: str = "file"
    height_sd_cm: float | None = None
    length_sd: float = 0.0
    sheet: SheetLayout | None = None
    camera: Camera | None = None
    focal_off: float = 0.0

    def __post_init__(self) -> None:
        R, t = np.array(self.R, dtype=np.float64), np.array(self.t_cm, dtype=np.float64)
        require_shape("R", R, (3, 3))
        require_shape("t_cm", t, (3,))
        require_finite("R", R)
        require_finite("t_cm", t)
        if not np.allclose(R @ R.T, np.eye(3), atol=1e-6) or np.linalg.det(R) < 0:
            raise ValueError("R: expected a rotation (orthonormal, determinant 1)")
        if (-R.T @ t)[2] <= 0:
            raise ValueError("t_cm: expected a camera above the mattress")
        object.__setattr__(self, "R", R)
        object.__setattr__(self, "t_cm", t)

    @classmethod
    def looking_at(cls, centre_cm: np.ndarray, target_cm: np.ndarray, up: np.ndarray) -> Plane:
        """The mattress as a camera at ``centre_cm`` sees it that looks at ``target_cm``.

        Args:
            centre_cm: ``(3,)`` the camera's centre, mattress frame.
            target_cm: ``(3,)`` what appears in the middle of the picture.
            up: ``(3,)`` a direction of the mattress frame that points up in the picture; not the viewing direction.
        """
        forward = (target_cm - centre_cm) / np.linalg.norm(target_cm - centre_cm)
        right = np.cross(forward, up)
        right /= np.linalg.norm(right)
        R = np.stack([right, np.cross(forward, right), forward])
        return cls(R=R, t_cm=-R @ centre_cm)

    @property
    def camera_centre_cm(self) -> np.ndarray:
        """``(3,)`` the camera's centre in the mattress frame."""
        return -self.R.T @ self.t_cm

    @property
    def height_cm(self) -> float:
        """Distance of the camera's centre from the mattress plane."""
        return float(self.camera_centre_cm[2])

    @property
    def main(self) -> Plane:
        """Itself, the only one of a camera that stands still (:class:`heightpose.geometry.plane_track.PlaneTrack`)."""
        return self

    def at(self, index: int) -> Plane:
        """Itself, whatever the frame."""
        return self

    def to_frame(self, camera: Camera, pts_cm: np.ndarray) -> np.ndarray:
        """Points in the mattress frame ``(N, 3)`` cm -> frame pixels ``(N, 2)``."""
        pts = np.asarray(pts_cm, dtype=np.float64)
        require_shape("pts_cm", pts, (None, 3))
        return camera.project(pts @ self.R.T + self.t_cm)

    def tag_rms_px(self, camera: Camera, corners: np.ndarray, model: np.ndarray) -> np.ndarray:
        """``(M,)`` how far tags seen at ``(M, 4, 2)`` px are from where ``(M, 4, 2)`` cm puts them, rms."""
        there = self.to_frame(camera, planar_pose.on_mattress(model)).reshape(corners.shape)
        return planar_pose.tag_rms_px(there - corners)

    def to_mattress(
        self, camera: Camera, kpts_frame: np.ndarray, z_cm: np.ndarray | float = 0.0
    ) -> np.ndarray:
        """Where each pixel's ray meets the plane at height ``z_cm`` over the mattress.

        Args:
            camera: the camera for these frames.
            kpts_frame: ``(N, 2)`` frame pixels.
            z_cm: ``(N,)`` or one height for all, below the camera.

        Returns:
            ``(N, 3)`` cm in the mattress frame, finite; a ray at or above the horizon ends very far away.

        Raises:
            ValueError: a height at or above the camera.
        """
        slopes = camera.undistort(kpts_frame)
        z = np.broadcast_to(np.asarray(z_cm, dtype=np.float64), (len(slopes),))
        centre = self.camera_centre_cm
        if (z >= centre[2]).any():
            raise ValueError(f"z_cm: expected heights below {centre[2]:.1f} cm, got {z.max():.1f}")
        rays = np.concatenate([slopes, np.ones((len(slopes), 1))], axis=1)
        rays = rays / np.linalg.norm(rays, axis=1, keepdims=True) @ self.R
        reach = (z - centre[2]) / np.minimum(rays[:, 2], -1e-4)
        pts = centre + reach[:, None] * rays
        pts[:, 2] = z
        return pts

    @classmethod
    def load(cls, path: str | Path) -> Plane:
        """Read a plane file (JSON). Raises InputError or FileFormatError, naming the file and the field."""
        data = read_json(path, "plane file")
        if not isinstance(data, dict):
            got = type(data).__name__
            raise FileFormatError("not a plane file", where=path, expected="a JSON object", got=got)
        R, t = as_floats(data.get("R"), (3, 3)), as_floats(data.get("t_cm"), (3,))
        for field, value, want in (("R", R, "3x3 finite numbers"), ("t_cm", t, "three finite numbers")):
            if value is None:
                what = f"plane field '{field}' is not valid"
                raise FileFormatError(what, where=path, expected=want, got=data.get(field))
        assert R is not None
        assert t is not None
        if not np.allclose(R @ R.T, np.eye(3), atol=5e-3) or np.linalg.det(R) < 0:
            what = "plane field 'R' is not a rotation"
            raise FileFormatError(what, where=path, expected="orthonormal, determinant 1", got=R.tolist())
        u, _, vt = np.linalg.svd(R)  # files round their numbers: take the nearest rotation
        R = u @ vt
        if (-R.T @ t)[2] <= 0:
            raise FileFormatError(
                "the plane file puts the camera below the mattress",
                where=path,
                expected="the map from the mattress frame (z up) to the camera",
                got=f"a camera height of {(-R.T @ t)[2]:.1f} cm",
                hint="Perhaps it holds the inverse map, or z points down",
            )
        sheet, camera = data.get("sheet"), data.get("camera")
        return cls(
            R,
            t,
            # Marked by hand, a plane is no better for having been stored.
            source="corners" if data.get("source") == "corners" else "file",
            height_sd_cm=_sd(data, "height_sd_cm", path),
            length_sd=_sd(data, "length_sd", path) or 0.0,
            sheet=None if sheet is None else SheetLayout.from_dict(sheet, where=path),
            camera=None if camera is None else Camera.from_dict(camera, where=path),
        )

    def to_dict(self) -> dict:
        """The plane file's content; sources, sds, sheet and camera are read back, the rest is for the record."""
        record = {
            "source": self.source,
            "tags": self.tags,
            "rms_px": self.rms_px,
            "height_cm": self.height_cm,
            "height_sd_cm": self.height_sd_cm,
            "length_sd": self.length_sd,
            **({} if self.sheet is None else {"sheet": self.sheet.to_dict()}),
            **({} if self.camera is None else {"camera": self.camera.to_dict()}),
        }
        return {"R": self.R.tolist(), "t_cm": self.t_cm.tolist(), **record}


def _sd(data: dict, field: str, path: str | Path) -> float | None:
    """A standard error of a plane file, None where it has none."""
    given = data.get(field)
    value = as_floats(given, ())
    if given is not None and (value is None or value < 0):
        what = f"plane field '{field}' is not valid"
        raise FileFormatError(what, where=path, expected="a number, not negative", got=repr(given))
    return None if value is None else float(value)


def plane_from_height(height_cm: float) -> Plane:
    """A camera that looks straight down from ``height_cm``: for when neither sheet nor plane is there.

    Raises:
        ConfigError: the height is not plausible.
    """
    if not (np.isfinite(height_cm) and HEIGHT_RANGE_CM[0] <= height_cm <= HEIGHT_RANGE_CM[1]):
        want = "{:.0f} to {:.0f} cm".format(*HEIGHT_RANGE_CM)
        raise ConfigError("the camera height is out of range", expected=want, got=height_cm)
    return Plane(np.diag([1.0, -1.0, -1.0]), np.array([0.0, 0.0, float(height_cm)]), source="height")
