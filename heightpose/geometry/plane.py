"""The mattress plane: where the camera stands over the cot, and the way from pixels to centimetres.

The pose is found from the printed sheet's tags (or four corners of the mattress): a homography consensus over
pairs of tags throws out tags that are bent, displaced or misread; both solutions of the planar pose (IPPE,
Collins & Bartoli 2014) are refined on the reprojection error in the distorted picture, and the better one has
to be clearly better. A plane that cannot be trusted is a :class:`PlaneError`, never a guess.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from heightpose.errors import EXIT_REJECTED, ConfigError, FileFormatError, HeightposeError
from heightpose.geometry import planar_pose
from heightpose.geometry.camera import Camera, as_floats
from heightpose.geometry.lens_check import lens_doubt
from heightpose.geometry.plane_length import length_growth, length_noise
from heightpose.geometry.sheet import SheetLayout, TagView
from heightpose.geometry.sheet_bend import bend_sd
from heightpose.geometry.sheet_size import size_off
from heightpose.geometry.tag_fit import TagFit
from heightpose.textfile import read_json
from heightpose.types import Reason, require_finite, require_shape

_MIN_TAGS = 3
_SECOND_SHEET = 2  # so many tags there twice: one may be a mistake
_MAX_TILT_DEG = 65.0  # from straight down, seen from the middle of the points; flatter than this is edge-on
_HEIGHT_RANGE_CM = (15.0, 1000.0)
_MAX_HEIGHT_SD = 0.03  # of the height: what corner noise alone may do to it
_MAX_LENGTH_SD = 0.03  # of a length: the same, or a bent sheet, or a wrong lens
_AGAIN = "Please check that the sheet lies flat, uncovered and in view, and record again."
_TOO_LITTLE = f"Too little of the printed sheet can be seen to measure with it. {_AGAIN}"


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
        sheet = data.get("sheet")
        return cls(
            R,
            t,
            # Marked by hand, a plane is no better for having been stored.
            source="corners" if data.get("source") == "corners" else "file",
            height_sd_cm=_sd(data, "height_sd_cm", path),
            length_sd=_sd(data, "length_sd", path) or 0.0,
            sheet=None if sheet is None else SheetLayout.from_dict(sheet, where=path),
        )

    def to_dict(self) -> dict:
        """The plane file's content; sources and sds are read back, as the sheet is, the rest is for the record."""
        record = {
            "source": self.source,
            "tags": self.tags,
            "rms_px": self.rms_px,
            "height_cm": self.height_cm,
            "height_sd_cm": self.height_sd_cm,
            "length_sd": self.length_sd,
            **({} if self.sheet is None else {"sheet": self.sheet.to_dict()}),
        }
        return {"R": self.R.tolist(), "t_cm": self.t_cm.tolist(), **record}


def _sd(data: dict, field: str, path: str | Path) -> float | None:
    """A standard error of a plane file, None where it has none."""
    given = data.get(field)
    value = as_floats(given, ())
    if given is not None and (value is None or value < 0):
        what = f"plane field '{field}' is not valid"
        raise FileFormatError(what, where=path, expected="a number, not negative", got=given)
    return None if value is None else float(value)


def plane_from_height(height_cm: float) -> Plane:
    """A camera that looks straight down from ``height_cm``: for when neither sheet nor plane is there.

    Raises:
        ConfigError: the height is not plausible.
    """
    if not (np.isfinite(height_cm) and _HEIGHT_RANGE_CM[0] <= height_cm <= _HEIGHT_RANGE_CM[1]):
        want = "{:.0f} to {:.0f} cm".format(*_HEIGHT_RANGE_CM)
        raise ConfigError("the camera height is out of range", expected=want, got=height_cm)
    return Plane(np.diag([1.0, -1.0, -1.0]), np.array([0.0, 0.0, float(height_cm)]), source="height")


def plane_from_tags(views: list[TagView], camera: Camera, layout: SheetLayout) -> Plane:
    """The plane from the tags seen over a clip of a camera that stands still.

    Args:
        views: the tags of each looked-at frame.
        camera: the camera for these frames.
        layout: the sheet.

    Raises:
        PlaneError: no sheet, too few tags that agree, or a pose that cannot be trusted.
    """
    require_one_sheet(views)
    ids, corners, jitter_px = tag_medians(views, layout)
    need = min(_MIN_TAGS, len(layout.tags))
    if not len(ids):
        text = f"The printed sheet was not found in the video, or the sheet file is another sheet's. {_AGAIN}"
        raise PlaneError("sheet_not_found", text)
    if len(ids) < need:
        text = f"Only {len(ids)} of the sheet's {len(layout.tags)} tags were seen; it takes {need}. {_AGAIN}"
        raise PlaneError("too_few_tags", text)
    if jitter_px > 0.01 * np.hypot(*camera.size_wh):
        text = "The camera moved during the recording. Please fix it in place above the cot and record again."
        raise PlaneError("camera_moved", text)
    model = np.stack([layout.tags[tag] for tag in ids.tolist()])
    px_per_cm = float(np.median(_sides(corners) / _sides(model)))
    keep = planar_pose.consensus(corners, model, camera, max(2.0, 0.5 * px_per_cm))
    for _ in range(4):
        _require_agreement(int(keep.sum()), len(ids), need)
        fitted = keep
        pose = fit_pose(corners[fitted], model[fitted], camera)
        plane = Plane(pose.R, pose.t_cm, pose.rms_px, int(fitted.sum()), "tags", pose.height_sd_cm)
        rms = plane.tag_rms_px(camera, corners, model)
        limit = min(max(0.75, 0.1 * px_per_cm, 3.0 * float(np.median(rms[keep]))), max(2.0, 0.5 * px_per_cm))
        again = rms <= limit
        if np.array_equal(again, keep):
            break
        keep = again
    if pose.height_sd_cm > _MAX_HEIGHT_SD * plane.height_cm:
        raise PlaneError("plane_imprecise", _TOO_LITTLE)
    if pose.rms_px > max(1.0, 0.3 * px_per_cm):
        raise PlaneError("plane_imprecise", f"The printed sheet is crumpled or bent. {_AGAIN}")
    tags = TagFit(plane, camera, corners, model, layout.size_cm, keep)
    bent = bend_sd(tags)
    focal_off, lens = lens_doubt(plane, camera, corners, model, keep)
    noise = length_noise(plane, camera, pose.cov)
    few = float(np.hypot(noise, length_growth(plane, camera, corners[fitted], model[fitted])))
    _require_sure(few, bent, lens)
    size = size_off(tags)
    if abs(size) > _MAX_LENGTH_SD:
        raise _another_sheet(int((~keep).sum()), len(ids), size)
    # A wrong lens looks bent, and a bent sheet as seen through another lens: of all the largest counts.
    length_sd = float(np.hypot(few, max(bent, lens, abs(size))))
    return replace(plane, length_sd=length_sd, focal_off=focal_off)


def require_one_sheet(views: Sequence[TagView]) -> None:
    """Refuse views that show a second sheet of the kind: the tags that one of them hides would be taken from the other.

    Raises:
        PlaneError: ``several_sheets``.
    """
    if any(len(view.repeated) >= _SECOND_SHEET for view in views):
        raise PlaneError(
            "several_sheets",
            "More than one printed sheet of this kind is in view. Please cover the other one, or move the camera so "
            "that it sees this cot alone, and record again.",
        )


def _require_sure(noise: float, bent: float, lens: float) -> None:
    """Refuse a plane over which lengths are not known well enough to be given out, saying what is to blame."""
    if max(noise, bent, lens) <= _MAX_LENGTH_SD:
        return
    if lens >= max(noise, bent):
        text = (
            "The sheet's tags are where the sheet file says only to a camera with another lens than the camera file's. "
            "Is it this camera's file? heightpose calibrate check tells."
        )
        raise PlaneError("camera_contradicted", text)
    if bent >= noise:
        raise PlaneError("plane_imprecise", f"The printed sheet is crumpled or bent. {_AGAIN}")
    raise PlaneError("plane_imprecise", _TOO_LITTLE)


def _another_sheet(out: int, seen: int, size: float) -> PlaneError:
    text = (
        f"{out} of the {seen} tags seen are not where the sheet file says, and the others are "
        f"{abs(100 * size):.0f} % {'larger' if size > 0 else 'smaller'} than it says: it is the file of another sheet, "
        "or the sheet is crumpled. Please give the file that was written with this sheet."
    )
    return PlaneError("sheet_inconsistent", text)


def _require_agreement(agreeing: int, seen: int, need: int) -> None:
    if agreeing < max(need, 0.5 * seen):
        text = (
            f"Only {agreeing} of the {seen} tags seen are where the sheet file says: "
            f"the sheet is folded, or it is another one. {_AGAIN}"
        )
        raise PlaneError("sheet_inconsistent", text)


def tag_medians(views: list[TagView], layout: SheetLayout) -> tuple[np.ndarray, np.ndarray, float]:
    """Ids ``(M,)``, corners ``(M, 4, 2)`` as medians over the frames, and their typical stray (px)."""
    seen: dict[int, list[np.ndarray]] = {}
    for view in views:
        for tag, quad in zip(view.ids.tolist(), view.corners_frame, strict=True):
            if tag in layout.tags:
                seen.setdefault(tag, []).append(quad)
    ids = np.array(sorted(seen), dtype=np.intp)
    if not len(ids):
        return ids, np.zeros((0, 4, 2)), 0.0
    medians = {tag: np.median(np.stack(quads), axis=0) for tag, quads in seen.items()}
    # Per tag, then over tags: one tag that a hand pushes about is no moving camera.
    stray = [np.median(np.linalg.norm(np.stack(quads) - medians[tag], axis=2)) for tag, quads in seen.items()]
    return ids, np.stack([medians[tag] for tag in ids.tolist()]), float(np.median(stray))


def fit_pose(corners: np.ndarray, model: np.ndarray, camera: Camera) -> planar_pose.PoseFit:
    """The camera's pose from ``(M, 4, 2)`` corners, frame pixels, and where they are on the mattress, cm.

    Raises:
        PlaneError: another pose explains the corners as well, or no camera above a cot is posed so.
    """
    kpts, pts = corners.reshape(-1, 2), planar_pose.on_mattress(model)
    fits = planar_pose.solve(pts, kpts, camera)
    if not fits:
        text = "The camera seems to look at the mattress from below: the points are mirrored or out of order."
        raise PlaneError("camera_below_mattress", text)
    best = fits[0]
    for other in fits[1:]:
        apart = np.rad2deg(np.arccos(np.clip(other.R[:, 2] @ best.R[:, 2], -1, 1)))
        if apart > 5.0 and other.rms_px < 1.2 * best.rms_px + 0.1:
            text = f"The sheet is too small in the picture to tell its tilt. {_AGAIN}"
            raise PlaneError("plane_ambiguous", text)
    centre = -best.R.T @ best.t_cm
    tilt = np.rad2deg(np.arctan2(np.linalg.norm((centre - pts.mean(axis=0))[:2]), centre[2]))
    if tilt > _MAX_TILT_DEG:
        text = "The camera looks at the mattress from the side. Please mount it above the cot, looking down."
        raise PlaneError("camera_too_flat", text)
    if not _HEIGHT_RANGE_CM[0] <= centre[2] <= _HEIGHT_RANGE_CM[1]:
        text = f"A camera {centre[2]:.0f} cm above the mattress: please check the sheet and camera files."
        raise PlaneError("camera_height_implausible", text)
    return best


def _sides(quads: np.ndarray) -> np.ndarray:
    return np.linalg.norm(np.roll(quads, -1, axis=1) - quads, axis=2).mean(axis=1)
