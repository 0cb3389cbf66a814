"""The crop as one 3x3 matrix, and the only place where half-pixel arithmetic is written down.

An integer coordinate is a pixel's centre, so a picture of width ``w`` covers ``[-0.5, w - 0.5]`` and resizing
it by ``s`` maps ``u`` to ``(u + 0.5) * s - 0.5``. Everything here derives from that one line.

Spaces: ``*_frame`` original frame pixels, ``*_crop`` network input pixels, ``*_hm`` heatmap pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from heightpose.types import require_finite, require_shape

#: Margin around an infant's box, in training and inference alike.
CROP_SCALE = 1.25

#: Below this many crop pixels per frame pixel, bilinear sampling would skip frame pixels and alias.
_ALIAS_SCALE = 0.5


def resize_matrix(src_wh: tuple[int, int], dst_wh: tuple[int, int]) -> np.ndarray:
    """``(3, 3)``: pixels of a picture of ``src_wh`` -> the same points once it is resized to ``dst_wh``."""
    sx, sy = _size(dst_wh)[0] / _size(src_wh)[0], _size(dst_wh)[1] / _size(src_wh)[1]
    return np.array([[sx, 0.0, 0.5 * sx - 0.5], [0.0, sy, 0.5 * sy - 0.5], [0.0, 0.0, 1.0]])


def flip_matrix(wh: tuple[int, int]) -> np.ndarray:
    """``(3, 3)``: left-right mirror of a picture of ``wh`` (width, height) px: ``x -> w - 1 - x``."""
    return np.array([[-1.0, 0.0, _size(wh)[0] - 1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])


def hm_from_crop(kpts_crop: np.ndarray, crop_wh: tuple[int, int], hm_wh: tuple[int, int]) -> np.ndarray:
    """Crop pixels -> heatmap pixels, ``(..., 2)``: ``(u + 0.5) / stride - 0.5``."""
    return _apply(resize_matrix(crop_wh, hm_wh), kpts_crop)


def crop_from_hm(kpts_hm: np.ndarray, crop_wh: tuple[int, int], hm_wh: tuple[int, int]) -> np.ndarray:
    """Heatmap pixels -> crop pixels, ``(..., 2)``: ``(u + 0.5) * stride - 0.5``."""
    return _apply(resize_matrix(hm_wh, crop_wh), kpts_hm)


@dataclass(frozen=True, eq=False)
class CropTransform:
    """An invertible affine map from frame pixels to crop pixels.

    Attributes:
        matrix: ``(3, 3)`` float64, last row 0 0 1, frame -> crop.
        size_wh: the crop's (width, height) in px.

    Raises:
        ValueError: the matrix is not a finite, invertible affine map.
    """

    matrix: np.ndarray
    size_wh: tuple[int, int]

    def __post_init__(self) -> None:
        matrix = np.array(self.matrix, dtype=np.float64)  # a copy: the caller's array may change later
        require_shape("matrix", matrix, (3, 3))
        require_finite("matrix", matrix)
        if not np.array_equal(matrix[2], [0.0, 0.0, 1.0]):
            raise ValueError(f"matrix: expected an affine map with last row 0 0 1, got {matrix[2].tolist()}")
        if abs(np.linalg.det(matrix[:2, :2])) < 1e-12:
            raise ValueError("matrix: expected an invertible map, got a determinant of 0")
        matrix.setflags(write=False)
        object.__setattr__(self, "matrix", matrix)
        object.__setattr__(self, "size_wh", _size(self.size_wh))

    @cached_property
    def inverse(self) -> np.ndarray:
        """``(3, 3)`` crop -> frame, the exact inverse of :attr:`matrix`."""
        linear = np.linalg.inv(self.matrix[:2, :2])
        inverse = np.eye(3)
        inverse[:2, :2], inverse[:2, 2] = linear, -linear @ self.matrix[:2, 2]
        inverse.setflags(write=False)
        return inverse

    @property
    def scale(self) -> float:
        """Crop pixels per frame pixel (geometric mean of the two axes)."""
        return float(np.sqrt(abs(np.linalg.det(self.matrix[:2, :2]))))

    @property
    def mirrored(self) -> bool:
        """True when the crop shows the frame mirrored: joints then swap sides."""
        return bool(np.linalg.det(self.matrix[:2, :2]) < 0)

    def to_crop(self, kpts_frame: np.ndarray) -> np.ndarray:
        """Frame pixels ``(..., 2)`` -> crop pixels ``(..., 2)``."""
        return _apply(self.matrix, kpts_frame)

    def to_frame(self, kpts_crop: np.ndarray) -> np.ndarray:
        """Crop pixels ``(..., 2)`` -> frame pixels ``(..., 2)``, rotation and mirror undone."""
        return _apply(self.inverse, kpts_crop)

    def cov_to_frame(self, cov_crop: np.ndarray) -> np.ndarray:
        """Covariances (xx, xy, yy) ``(..., 3)`` in crop px^2 -> the same in frame px^2."""
        return _apply_cov(self.inverse, cov_crop)

    def flipped(self) -> CropTransform:
        """The same crop mirrored left-right; flipping twice gives the crop back."""
        return CropTransform(flip_matrix(self.size_wh) @ self.matrix, self.size_wh)

    def warp(self, image: np.ndarray, border: int = 0) -> np.ndarray:
        """Resample a picture into the crop.

        Args:
            image: ``(H, W)`` or ``(H, W, C)`` frame, uint8 or float32.
            border: grey level of whatever lies outside the frame.

        Returns:
            ``(h, w)`` or ``(h, w, C)`` of the same dtype. When the crop shrinks the frame more than twofold
            the frame is block-averaged first, so that no frame pixel is skipped.
        """
        if image.ndim not in (2, 3) or 0 in image.shape:
            raise ValueError(f"image: expected (H, W) or (H, W, C) and not empty, got {image.shape}")
        fill = (float(border),) * 4
        matrix = np.array(self.matrix)
        if self.scale < _ALIAS_SCALE:
            image, offset_xy, factor = self._shrink(image, int(1.0 / self.scale + 1e-6), fill)
            # Undo the shrinking's own map: small picture -> frame -> crop.
            back = np.diag([factor, factor, 1.0])
            back[:2, 2] = np.asarray(offset_xy) + 0.5 * factor - 0.5
            matrix = matrix @ back
        return cv2.warpAffine(
            np.ascontiguousarray(image),
            matrix[:2],
            self.size_wh,
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=fill,
        )

    def _shrink(
        self, image: np.ndarray, factor: int, fill: tuple[float, ...]
    ) -> tuple[np.ndarray, tuple[int, int], int]:
        """Block-average the part of the frame the crop sees. Whole blocks only, so the map stays exact."""
        w, h = self.size_wh
        outline = self.to_frame(np.array([[-1, -1], [w, -1], [w, h], [-1, h]], dtype=np.float64))
        frame_wh = np.array([image.shape[1], image.shape[0]])
        low = np.clip(np.floor(outline.min(axis=0)).astype(int) - factor, 0, frame_wh - 1)
        high = np.clip(np.ceil(outline.max(axis=0)).astype(int) + factor + 1, low + 1, frame_wh)
        pad_x, pad_y = (-(high - low)) % factor
        part = np.ascontiguousarray(image[low[1] : high[1], low[0] : high[0]])
        part = cv2.copyMakeBorder(part, 0, int(pad_y), 0, int(pad_x), cv2.BORDER_CONSTANT, value=fill)
        small = cv2.resize(
            part, (part.shape[1] // factor, part.shape[0] // factor), interpolation=cv2.INTER_AREA
        )
        return small, (int(low[0]), int(low[1])), factor


def within_frame(bbox_xyxy: np.ndarray, size_wh: tuple[int, int]) -> np.ndarray | None:
    """``(4,)``: the part of a box that a picture of ``size_wh`` shows, frame pixels; None of a box beside it."""
    limit = np.array([*size_wh, *size_wh], dtype=np.float64) - 0.5
    box = np.clip(bbox_xyxy, -0.5, limit)
    return box if (box[2:] > box[:2]).all() else None


def crop_from_box(
    bbox_xyxy: np.ndarray,
    head_angle_deg: float,
    size_wh: tuple[int, int],
    *,
    scale: float = CROP_SCALE,
    flip: bool = False,
) -> CropTransform:
    """The head-up crop around one infant.

    A square of side ``scale * max(w, h)`` around the box's centre, turned so that the head points up, fills
    the crop's shorter side; a longer side sees more of the surroundings at the same scale.

    Args:
        bbox_xyxy: ``(4,)`` frame pixels.
        head_angle_deg: image direction from pelvis to crown: 0 up, positive clockwise.
        size_wh: the crop's (width, height) in px.
        scale: margin around the box.
        flip: mirror the crop left-right after turning it.

    Raises:
        ValueError: an empty or non-finite box, a non-finite angle, or a scale that is not positive.
    """
    box = np.asarray(bbox_xyxy, dtype=np.float64)
    require_shape("bbox_xyxy", box, (4,))
    require_finite("bbox_xyxy", box)
    side = scale * max(box[2] - box[0], box[3] - box[1])
    if not (np.isfinite(side) and side > 0 and np.isfinite(head_angle_deg)):
        raise ValueError(
            f"expected a box with an area, a finite angle and a positive scale, "
            f"got {box.tolist()}, {head_angle_deg}, {scale}"
        )
    width, height = _size(size_wh)
    zoom = min(width, height) / side
    angle = np.deg2rad(float(head_angle_deg))
    cos, sin = zoom * np.cos(angle), zoom * np.sin(angle)
    # The head's direction (sin a, -cos a) must land on (0, -1): the picture turns back by a.
    linear = np.array([[cos, sin], [-sin, cos]])
    matrix = _about(linear, (box[:2] + box[2:]) / 2.0, (width, height))
    crop = CropTransform(matrix, (width, height))
    return crop.flipped() if flip else crop


def letterbox_transform(frame_wh: tuple[int, int], out_wh: tuple[int, int]) -> CropTransform:
    """The whole frame, uniformly resized and centred in ``out_wh``; bars fill what is left."""
    frame, out = _size(frame_wh), _size(out_wh)
    zoom = min(out[0] / frame[0], out[1] / frame[1])
    centre = (np.array(frame) - 1.0) / 2.0
    return CropTransform(_about(zoom * np.eye(2), centre, out), out)


def _about(linear: np.ndarray, centre_frame: np.ndarray, size_wh: tuple[int, int]) -> np.ndarray:
    """``(3, 3)``: the linear map that takes ``centre_frame`` to the middle of a picture of ``size_wh``."""
    matrix = np.eye(3)
    matrix[:2, :2] = linear
    matrix[:2, 2] = (np.array(size_wh) - 1.0) / 2.0 - linear @ centre_frame
    return matrix


def _apply(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    points = np.asarray(points, dtype=np.float64)
    if points.ndim == 0 or points.shape[-1] != 2:
        raise ValueError(f"points: expected (..., 2), got {points.shape}")
    return points @ matrix[:2, :2].T + matrix[:2, 2]


def _apply_cov(matrix: np.ndarray, cov: np.ndarray) -> np.ndarray:
    cov = np.asarray(cov, dtype=np.float64)
    if cov.ndim == 0 or cov.shape[-1] != 3:
        raise ValueError(f"cov: expected (..., 3) as xx, xy, yy, got {cov.shape}")
    full = np.stack([cov[..., [0, 1]], cov[..., [1, 2]]], axis=-2)
    linear = matrix[:2, :2]
    out = linear @ full @ linear.T
    return np.stack([out[..., 0, 0], out[..., 0, 1], out[..., 1, 1]], axis=-1)


def _size(wh: tuple[int, int]) -> tuple[int, int]:
    width, height = (int(v) for v in wh)
    if width < 1 or height < 1:
        raise ValueError(f"expected a size of at least 1x1 px, got {width}x{height}")
    return width, height
