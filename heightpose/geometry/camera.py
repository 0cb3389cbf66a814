"""The camera: a pinhole or fisheye lens, sized and turned to fit the frames that were decoded.

Camera coordinates are OpenCV's (x right, y down, z forward) **of the picture as the camera stores it**. When
a video's metadata turn the picture, only the pixels turn: the camera frame stays the sensor's, so a plane
file measured once stays valid however the picture is stored.

Lens models: Brown-Conrady as in OpenCV's calib3d (k1, k2, p1, p2, k3) and Kannala & Brandt 2006 as in
OpenCV's fisheye module (k1..k4).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from heightpose.arrays import as_floats
from heightpose.errors import FileFormatError
from heightpose.geometry.crop import resize_matrix
from heightpose.textfile import read_json
from heightpose.types import require_shape


class FoldedLensError(FileFormatError):
    """A camera whose lens model folds the picture over within its edges: it describes no lens."""


#: Share of a side; cot cameras' lenses sit within a few hundredths of the middle.
_OFF_CENTRE = 0.2
_DIST_NAMES = {"pinhole": "k1, k2, p1, p2, k3", "fisheye": "k1, k2, k3, k4"}
_KEYS = {"model", "width", "height", "K", "dist"}
#: For files of other tools: OpenCV's, ROS's and Kalibr's hold the same numbers under other names.
_OTHER_TOOLS = (
    "heightpose calibrate camera writes one; another tool's numbers go into "
    '{"model": "pinhole", "width": .., "height": .., "K": [[fx, 0, cx], [0, fy, cy], [0, 0, 1]], '
    '"dist": [k1, k2, p1, p2, k3]}, or "fisheye" with [k1, k2, k3, k4]'
)
#: A ray this far off the axis has no finite x/z, y/z worth speaking of.
_MAX_ANGLE = np.deg2rad(89.0)
#: Slope from which on a ray counts as one of those; that angle's is 57.
_BEYOND_SLOPE = 50.0
#: Newton's steps towards a slope end below this.
_SMALL_STEP = 1e-9
#: Pixels of the stored picture -> of the frame turned clockwise by so many degrees, without the shift.
_TURNS = {
    deg: np.array(m, dtype=float).reshape(2, 2)
    for deg, m in ((0, (1, 0, 0, 1)), (90, (0, -1, 1, 0)), (180, (-1, 0, 0, -1)), (270, (0, 1, -1, 0)))
}


@dataclass(frozen=True, eq=False)
class Camera:
    """A calibrated camera.

    Attributes:
        model: "pinhole" or "fisheye".
        size_wh: (width, height) px of the frames whose pixels this camera speaks of.
        K: ``(3, 3)`` intrinsics in px, for the picture before ``turned_deg``.
        dist: ``(5,)`` k1, k2, p1, p2, k3 (pinhole) or ``(4,)`` k1..k4 (fisheye).
        turned_deg: clockwise degrees (0, 90, 180, 270) by which the decoder turned the stored picture.
    """

    model: str
    size_wh: tuple[int, int]
    K: np.ndarray
    dist: np.ndarray
    turned_deg: int = 0

    def __post_init__(self) -> None:
        if self.model not in _DIST_NAMES:
            raise ValueError(f"model: expected 'pinhole' or 'fisheye', got {self.model!r}")
        K, dist = np.array(self.K, dtype=np.float64), np.array(self.dist, dtype=np.float64)
        require_shape("K", K, (3, 3))
        require_shape("dist", dist, (len(_DIST_NAMES[self.model].split(",")),))
        if self.turned_deg not in (0, 90, 180, 270):
            raise ValueError(f"turned_deg: expected 0, 90, 180 or 270, got {self.turned_deg}")
        K.setflags(write=False)
        dist.setflags(write=False)
        object.__setattr__(self, "K", K)
        object.__setattr__(self, "dist", dist)
        object.__setattr__(self, "size_wh", (int(self.size_wh[0]), int(self.size_wh[1])))

    @classmethod
    def load(cls, path: str | Path) -> Camera:
        """Read a camera file (JSON). Raises InputError or FileFormatError, naming the file and the field."""
        return cls.from_dict(read_json(path, "camera file", hint=_OTHER_TOOLS), where=path)

    @classmethod
    def from_dict(cls, data: object, where: object = "camera") -> Camera:
        """Build from a camera file's content; ``where`` names its origin in errors."""

        def fail(field: str, expected: str, got: object, hint: str | None = None) -> FileFormatError:
            return FileFormatError(
                f"camera field '{field}' is not valid", where=where, expected=expected, got=got, hint=hint
            )

        if not isinstance(data, dict):
            raise FileFormatError(
                "not a camera file", where=where, expected="a JSON object", got=type(data).__name__
            )
        for key in sorted(_KEYS - data.keys()):
            raise fail(key, f"the fields {', '.join(sorted(_KEYS))}", "nothing", _OTHER_TOOLS)
        model = data["model"]
        if model not in ("pinhole", "fisheye"):
            raise fail("model", "pinhole or fisheye", repr(model))
        size = []
        for key in ("width", "height"):
            value = data[key]
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not (number and np.isfinite(value) and value == int(value) and value >= 1):
                raise fail(key, "a whole number of pixels", repr(value))
            size.append(int(value))
        K = as_floats(data["K"], (3, 3))
        if K is None:
            raise fail("K", "3x3 finite numbers", data["K"])
        if not (K[0, 0] > 0 and K[1, 1] > 0 and np.allclose(K[2], [0, 0, 1]) and abs(K[1, 0]) < 1e-9):
            raise fail("K", "[[fx, 0, cx], [0, fy, cy], [0, 0, 1]] with positive fx, fy", K.tolist())
        if abs(K[0, 1]) > 1e-6 * K[0, 0]:
            raise fail("K", "no skew (the lens models have none)", K[0, 1])
        if not (-0.5 <= K[0, 2] <= size[0] - 0.5 and -0.5 <= K[1, 2] <= size[1] - 0.5):
            raise fail("K", f"a principal point inside {size[0]}x{size[1]}", K[:2, 2].tolist())
        names = _DIST_NAMES[model]
        dist = as_floats(data["dist"], (len(names.split(",")),))
        if dist is None:
            raise fail("dist", f"{names} for a {model} camera", data["dist"])
        return cls(model, (size[0], size[1]), K, dist)

    def to_dict(self) -> dict:
        """The camera file's content: the camera as stored, before any turn."""
        width, height = self._stored_wh
        return {
            "model": self.model,
            "width": width,
            "height": height,
            "K": self.K.tolist(),
            "dist": self.dist.tolist(),
        }

    @property
    def is_off_centre(self) -> bool:
        """Whether the principal point is so far from the picture's middle that K may be of another picture size."""
        size = np.array(self._stored_wh)
        return bool((np.abs(self.K[:2, 2] - (size - 1) / 2) > _OFF_CENTRE * size).any())

    def for_frames(self, size_wh: tuple[int, int], rotation_deg: int = 0) -> Camera:
        """The same camera for decoded frames.

        Args:
            size_wh: (width, height) of the frames as decoded, after the turn.
            rotation_deg: clockwise degrees by which the decoder turned the stored picture.

        Raises:
            FileFormatError: the stored size is not the camera's size, uniformly resized. FoldedLensError: the lens
            model folds over within the picture.
        """
        rotation = int(rotation_deg) % 360
        if rotation not in (0, 90, 180, 270):
            raise ValueError(f"rotation_deg: expected a multiple of 90, got {rotation_deg}")
        frame = (int(size_wh[0]), int(size_wh[1]))
        stored = frame[::-1] if rotation in (90, 270) else frame
        own = self._stored_wh
        if stored != own and not _is_uniform(own, stored):
            raise FileFormatError(
                "the camera file is for another picture size",
                where="camera",
                expected=f"{own[0]}x{own[1]} or the same shape at another scale",
                got=f"{stored[0]}x{stored[1]}"
                + (f" (stored, turned by {rotation} degrees)" if rotation else ""),
                hint="Use the camera file of this video's own mode, or calibrate at this size",
            )
        K = resize_matrix(own, stored) @ self.K
        camera = replace(self, size_wh=frame, K=K, turned_deg=rotation)
        width, height = frame[0] - 1, frame[1] - 1
        edges = np.array([[0, height / 2], [width / 2, 0], [width, height / 2], [width / 2, height]])
        if not camera.is_one_to_one(edges):
            raise FoldedLensError(
                "the lens folds the picture over within its edges",
                where="camera",
                expected="distortion that grows or shrinks steadily out to the edges",
                got=f"dist {np.round(self.dist, 4).tolist()} ({self.model})",
                hint="Are width and height those of the pictures that K was found from?"
                if self.is_off_centre
                else "Calibrate again with boards out to the edges: heightpose calibrate camera --help",
            )
        return camera

    def is_one_to_one(self, kpts_frame: np.ndarray) -> bool:
        """Whether pixels ``(N, 2)`` are where the lens model puts their rays; a polynomial may fold over before.

        A fisheye's picture may end within the frame, beyond 89 degrees: there nothing is claimed.
        """
        slopes = self.undistort(kpts_frame)
        if not np.isfinite(slopes).all():
            return False
        back = self.project(np.concatenate([slopes, np.ones((len(slopes), 1))], axis=1))
        beyond = np.linalg.norm(slopes, axis=1) > _BEYOND_SLOPE
        return bool((np.linalg.norm(back - kpts_frame, axis=1)[~beyond] < 0.5).all())

    def project(self, pts_cam: np.ndarray) -> np.ndarray:
        """Points in camera coordinates ``(N, 3)`` (any unit) -> frame pixels ``(N, 2)``.

        A pinhole cannot see behind itself: such points land very far outside the frame.
        """
        pts = np.asarray(pts_cam, dtype=np.float64)
        require_shape("pts_cam", pts, (None, 3))
        if self.model == "fisheye":
            radius = np.hypot(pts[:, 0], pts[:, 1])
            theta = np.arctan2(radius, pts[:, 2])
            bent = pts[:, :2] * (self._radial(theta) / np.maximum(radius, 1e-12))[:, None]
        else:
            bent = self._bend(pts[:, :2] / _depth(pts)[:, None])
        return self._turn(bent * self.K[[0, 1], [0, 1]] + self.K[:2, 2])

    def jacobians(self, pts_cam: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Derivatives of :meth:`project` at ``(N, 3)``.

        Returns:
            ``(N, 2, 3)`` by the point, and ``(N, 2, 4 + D)`` by fx, fy, cx, cy and the D distortion coefficients.
        """
        pts = np.asarray(pts_cam, dtype=np.float64)
        bent, by_point, by_dist = (
            self._fisheye_slopes(pts) if self.model == "fisheye" else self._pinhole_slopes(pts)
        )
        focal = self.K[[0, 1], [0, 1]]
        by_lens = np.zeros((len(pts), 2, 4 + len(self.dist)))
        by_lens[:, 0, 0], by_lens[:, 1, 1] = bent.T
        by_lens[:, 0, 2] = by_lens[:, 1, 3] = 1.0
        by_lens[:, :, 4:] = by_dist * focal[:, None]
        turn = _TURNS[self.turned_deg]
        return turn @ (by_point * focal[:, None]), turn @ by_lens

    def undistort(self, kpts_frame: np.ndarray) -> np.ndarray:
        """Frame pixels ``(N, 2)`` -> the rays' slopes x/z, y/z in camera coordinates ``(N, 2)``.

        The inverse of :meth:`project` to about 1e-9 px wherever the lens model has one. Where it folds over
        (far outside most pictures) the slope of the last ray before the fold is returned.
        """
        kpts = np.asarray(kpts_frame, dtype=np.float64)
        require_shape("kpts_frame", kpts, (None, 2))
        bent = (self._unturn(kpts) - self.K[:2, 2]) / self.K[[0, 1], [0, 1]]
        radius = np.hypot(bent[:, 0], bent[:, 1])
        # The radial part first, by table: it cannot leave the branch that the lens really uses.
        values, table = self._radial_table
        straight = np.interp(radius, values, table)
        if self.model == "fisheye":
            for _ in range(3):  # Newton; the table is already good to about 1e-7
                slope = np.maximum(self._radial(straight, slope=True), 1e-6)
                step = (self._radial(straight) - radius) / slope
                straight = np.clip(straight - step, 0.0, table[-1])
            return bent * (np.tan(straight) / np.maximum(radius, 1e-12))[:, None]
        inside = radius < values[-1]
        slopes = bent * (straight / np.maximum(radius, 1e-12))[:, None]
        xy, goal = slopes[inside], bent[inside]
        for _ in range(8):
            step = self._newton_step(xy, goal)
            xy -= step
            if not (np.abs(step) > _SMALL_STEP).any():  # the next one would be its square
                break
        slopes[inside] = xy
        return slopes

    @property
    def _stored_wh(self) -> tuple[int, int]:
        return self.size_wh if self.turned_deg in (0, 180) else (self.size_wh[1], self.size_wh[0])

    @cached_property
    def _radial_table(self) -> tuple[np.ndarray, np.ndarray]:
        """:meth:`_radial`'s values and what it has them of, from 0 as far as it grows."""
        table = np.linspace(0.0, _MAX_ANGLE if self.model == "fisheye" else 8.0, 16000)
        values = self._radial(table)
        falling = np.nonzero(np.diff(values) <= 0)[0]
        end = int(falling[0]) + 1 if len(falling) else len(table)
        return values[:end], table[:end]

    def _radial(self, r: np.ndarray, slope: bool = False) -> np.ndarray:
        """Distorted radius for a slope (pinhole) or an angle (fisheye), or its derivative."""
        k = self.dist if self.model == "fisheye" else self.dist[[0, 1, 4]]
        total, square = np.zeros_like(r), r * r
        for i in range(len(k), 0, -1):
            total = ((2 * i + 1 if slope else 1) * k[i - 1] + total) * square
        return 1.0 + total if slope else r * (1.0 + total)

    def _bend(self, xy: np.ndarray) -> np.ndarray:
        """Pinhole lens distortion of slopes ``(N, 2)``, as in OpenCV's projectPoints."""
        x, y = xy[:, 0], xy[:, 1]
        k1, k2, p1, p2, k3 = self.dist.tolist()
        xx, yy = x * x, y * y
        r2 = xx + yy
        radial = 1.0 + r2 * (k1 + r2 * (k2 + r2 * k3))
        bent = np.empty_like(xy)
        bent[:, 0] = x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * xx)
        bent[:, 1] = y * radial + p1 * (r2 + 2 * yy) + 2 * p2 * x * y
        return bent

    def _bend_slopes(self, xy: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Derivatives of :meth:`_bend`, each ``(N,)``: of x by x, of either by the other one, and of y by y."""
        x, y = xy[:, 0], xy[:, 1]
        k1, k2, p1, p2, k3 = self.dist.tolist()
        r2 = x * x + y * y
        radial = 1.0 + r2 * (k1 + r2 * (k2 + r2 * k3))
        radial_r2 = k1 + r2 * (2 * k2 + 3 * k3 * r2)  # d radial / d r2
        xx = radial + 2 * x * x * radial_r2 + 2 * p1 * y + 6 * p2 * x
        yy = radial + 2 * y * y * radial_r2 + 6 * p1 * y + 2 * p2 * x
        return xx, 2 * x * y * radial_r2 + 2 * p1 * x + 2 * p2 * y, yy

    def _newton_step(self, xy: np.ndarray, bent: np.ndarray) -> np.ndarray:
        xx, xy_, yy = self._bend_slopes(xy)
        error = self._bend(xy) - bent
        det = xx * yy - xy_ * xy_
        det = np.where(np.abs(det) < 1e-6, 1e-6, det)
        step = np.stack([yy * error[:, 0] - xy_ * error[:, 1], xx * error[:, 1] - xy_ * error[:, 0]], axis=1)
        return np.clip(step / det[:, None], -0.1, 0.1)  # never jump to another branch of the polynomial

    def _pinhole_slopes(self, pts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Bent slopes ``(N, 2)``, and their derivatives by point ``(N, 2, 3)`` and coefficients ``(N, 2, 5)``."""
        depth = _depth(pts)
        xy = pts[:, :2] / depth[:, None]
        xx, xy_, yy = self._bend_slopes(xy)
        by_point = np.empty((len(pts), 2, 3))
        by_point[:, 0, 0], by_point[:, 1, 1] = xx, yy
        by_point[:, 0, 1] = by_point[:, 1, 0] = xy_
        before = pts[:, 2] >= depth
        by_point[:, :, 2] = -(by_point[:, :, :2] @ xy[:, :, None])[:, :, 0] * before[:, None]
        r2 = (xy * xy).sum(axis=1)[:, None]
        by_dist = np.empty((len(pts), 2, 5))
        by_dist[:, :, 0] = xy * r2
        by_dist[:, :, 1] = xy * r2**2
        by_dist[:, :, 4] = xy * r2**3
        by_dist[:, 0, 2] = by_dist[:, 1, 3] = 2 * xy[:, 0] * xy[:, 1]
        by_dist[:, 0, 3], by_dist[:, 1, 2] = (r2 + 2 * xy * xy).T
        return self._bend(xy), by_point / depth[:, None, None], by_dist

    def _fisheye_slopes(self, pts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """As :meth:`_pinhole_slopes`, with four coefficients."""
        radius = np.maximum(np.hypot(pts[:, 0], pts[:, 1]), 1e-12)
        theta = np.arctan2(radius, pts[:, 2])
        way, bent = pts[:, :2] / radius[:, None], self._radial(theta)
        outward = self._radial(theta, slope=True) / (radius**2 + pts[:, 2] ** 2)  # over the distance squared
        across = (bent / radius)[:, None, None]
        by_point = np.empty((len(pts), 2, 3))
        both = way[:, :, None] * way[:, None]
        by_point[:, :, :2] = both * (outward * pts[:, 2])[:, None, None] + (np.eye(2) - both) * across
        by_point[:, :, 2] = -way * (outward * radius)[:, None]
        powers = theta[:, None] ** (3, 5, 7, 9)
        return way * bent[:, None], by_point, way[:, :, None] * powers[:, None]

    def _turn(self, kpts_stored: np.ndarray) -> np.ndarray:
        """Pixels of the stored picture -> pixels of the turned frame (clockwise)."""
        if self.turned_deg == 0:
            return kpts_stored
        width, height = self._stored_wh
        u, v = kpts_stored[:, 0], kpts_stored[:, 1]
        turned = {
            90: (height - 1 - v, u),
            180: (width - 1 - u, height - 1 - v),
            270: (v, width - 1 - u),
        }
        return np.stack(turned[self.turned_deg], axis=1)

    def _unturn(self, kpts_frame: np.ndarray) -> np.ndarray:
        if self.turned_deg == 0:
            return kpts_frame
        width, height = self._stored_wh
        u, v = kpts_frame[:, 0], kpts_frame[:, 1]
        stored = {
            90: (v, height - 1 - u),
            180: (width - 1 - u, height - 1 - v),
            270: (width - 1 - v, u),
        }
        return np.stack(stored[self.turned_deg], axis=1)


def _depth(pts: np.ndarray) -> np.ndarray:
    """``(N,)`` z of points ``(N, 3)``, kept in front of a pinhole."""
    x, y, z = np.abs(pts.T)
    return np.maximum(pts[:, 2], 1e-9 * np.maximum(np.maximum(np.maximum(x, y), z), 1e-12))


def _is_uniform(own_wh: tuple[int, int], wh: tuple[int, int]) -> bool:
    """Whether ``wh`` is ``own_wh`` resized, give or take the whole (often even) pixels that encoders want."""
    (w0, h0), (w, h) = own_wh, wh
    if min(w, h) < 1 or w == w0 or h == h0:  # one side unchanged: then the other one was cropped or padded
        return False
    return abs(w - h * w0 / h0) <= 1.0 or abs(h - w * h0 / w0) <= 1.0
