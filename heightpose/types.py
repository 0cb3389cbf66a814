"""The values that flow through the pipeline, checked when they are built.

Spaces: ``*_frame`` is the original frame's pixels, ``*_crop`` the network's input, ``*_hm`` the heatmap. An integer
coordinate is a pixel's centre everywhere. Lengths are centimetres, times seconds, angles degrees unless the name
says otherwise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np


def require_shape(name: str, array: np.ndarray, shape: tuple[int | None, ...]) -> None:
    """Raise ValueError unless ``array.shape`` matches ``shape`` (None matches any size)."""
    ok = array.ndim == len(shape) and all(
        want is None or want == got for want, got in zip(shape, array.shape, strict=True)
    )
    if not ok:
        raise ValueError(f"{name}: expected shape {shape}, got {array.shape}")


def require_finite(name: str, array: np.ndarray) -> None:
    """Raise ValueError if any value is NaN or infinite."""
    if not np.isfinite(array).all():
        raise ValueError(
            f"{name}: expected finite values, got {int((~np.isfinite(array)).sum())} that are not"
        )


def wrap_degrees(angle: float) -> float:
    """The same angle in (-180, 180]."""
    wrapped = float(np.mod(angle + 180.0, 360.0) - 180.0)
    return 180.0 if wrapped == -180.0 else wrapped


def direction_deg(dx: float, dy: float) -> float:
    """The image direction of a vector in px (y points down): 0 up, positive clockwise, in (-180, 180]."""
    degrees = float(np.rad2deg(np.arctan2(dx, -dy)))
    return 180.0 if degrees == -180.0 else degrees


@dataclass(frozen=True)
class Detection:
    """One infant in one frame.

    Attributes:
        bbox_xyxy: ``(4,)`` float, frame pixels, x0 < x1 and y0 < y1.
        head_angle_deg: image direction from pelvis to crown: 0 up, positive clockwise, in (-180, 180].
        score: presence score in [0, 1].
    """

    bbox_xyxy: np.ndarray
    head_angle_deg: float
    score: float

    def __post_init__(self) -> None:
        box = np.asarray(self.bbox_xyxy, dtype=np.float64)
        require_shape("bbox_xyxy", box, (4,))
        require_finite("bbox_xyxy", box)
        if not (box[0] < box[2] and box[1] < box[3]):
            raise ValueError(f"bbox_xyxy: expected x0 < x1 and y0 < y1, got {box.tolist()}")
        if not np.isfinite(self.head_angle_deg):
            raise ValueError(f"head_angle_deg: expected a finite angle, got {self.head_angle_deg}")
        if not 0.0 <= self.score <= 1.0:
            raise ValueError(f"score: expected 0..1, got {self.score}")
        object.__setattr__(self, "bbox_xyxy", box)
        object.__setattr__(self, "head_angle_deg", wrap_degrees(self.head_angle_deg))


@dataclass(frozen=True)
class Pose:
    """The joints of one infant in one frame.

    Attributes:
        kpts_frame: ``(K, 2)`` xy, original-frame pixels.
        scores: ``(K,)`` in [0, 1], the heatmap's peak value: a ranking, not a probability. Gates were chosen on it.
        detection: the box and head direction the crop was made from.
        bbox_xyxy: ``(4,)`` the infant's own box, frame px, where more than the detection tells of it
            (:func:`heightpose.runtime.refine.boxed`); the detection's where it is not given.
        cov_frame: ``(K, 3)`` covariance of each joint's error as xx, xy, yy in frame px^2, positive definite; scaled
            on held-out data where the weights are calibrated. None where a pose does not come from heatmaps.
        probabilities: ``(K,)`` that the joint is within 0.1 head sizes; None for weights without a calibration.
        seen: ``(K,)`` probability that the joint is visible rather than hidden, by the heatmaps; None like
            ``probabilities``.
        covered: ``(K,)`` probability that a thing lies over the joint, by :mod:`heightpose.runtime.cover`, 0 of joints
            that it does not judge; None where it was not asked.
    """

    kpts_frame: np.ndarray
    scores: np.ndarray
    detection: Detection
    cov_frame: np.ndarray | None = None
    probabilities: np.ndarray | None = None
    seen: np.ndarray | None = None
    covered: np.ndarray | None = None
    bbox_xyxy: np.ndarray = None  # type: ignore[assignment] # always an array once it is built

    def __post_init__(self) -> None:
        kpts = np.asarray(self.kpts_frame, dtype=np.float64)
        require_shape("kpts_frame", kpts, (None, 2))
        require_finite("kpts_frame", kpts)
        object.__setattr__(self, "kpts_frame", kpts)
        box = self.detection.bbox_xyxy if self.bbox_xyxy is None else np.asarray(self.bbox_xyxy, np.float64)
        require_shape("bbox_xyxy", box, (4,))
        require_finite("bbox_xyxy", box)
        object.__setattr__(self, "bbox_xyxy", box)
        chances = ("probabilities", "seen", "covered")
        optional = (("cov_frame", (len(kpts), 3)), *((name, (len(kpts),)) for name in chances))
        for name, shape in (("scores", (len(kpts),)), *optional):
            value = getattr(self, name)
            if value is None and name != "scores":
                continue
            array = np.asarray(value, dtype=np.float64)
            require_shape(name, array, shape)
            require_finite(name, array)
            object.__setattr__(self, name, array)
        cov = self.cov_frame
        if cov is not None and not ((cov[:, 0] > 0) & (cov[:, 0] * cov[:, 2] > cov[:, 1] ** 2)).all():
            raise ValueError("cov_frame: expected positive definite xx, xy, yy")
        for name in chances:
            value = getattr(self, name)
            if value is not None and not ((value >= 0) & (value <= 1)).all():
                raise ValueError(f"{name}: expected 0..1")

    @property
    def reported_scores(self) -> np.ndarray:
        """``(K,)``: what a reader is told of each joint: the probability, the raw peak where there is none."""
        return self.scores if self.probabilities is None else self.probabilities


@dataclass(frozen=True)
class FrameResult:
    """What was seen in one decoded frame; ``pose`` is None where no infant was found.

    Attributes:
        index: position in decoding order, from 0.
        t_s: presentation time in seconds, from the stream's own timestamps.
        infants: how many infants the detector reports in this frame.
    """

    index: int
    t_s: float
    pose: Pose | None
    infants: int = 0


@dataclass(frozen=True)
class Reason:
    """Why a clip was not measured: a stable code and words a parent can act on."""

    code: str
    text: str

    def as_dict(self) -> dict[str, str]:
        return {"code": self.code, "text": self.text}


@dataclass(frozen=True)
class Measurement:
    """The answer for one clip: a length with its interval, or the reasons why there is none.

    Attributes:
        length_cm: crown-heel length; None when rejected, never NaN or 0.
        interval_cm: (low, high) at ``interval_level``.
        frames_total, frames_used: decoded frames, and those that informed the length.
        details: diagnostics (per-bone lengths, plane residuals, ...), plain JSON values.
    """

    length_cm: float | None
    interval_cm: tuple[float, float] | None
    frames_total: int
    frames_used: int
    reasons: tuple[Reason, ...] = ()
    interval_level: float = 0.9
    details: dict = field(default_factory=dict)

    def __post_init__(self) -> None:
        if (self.length_cm is None) != bool(self.reasons):
            raise ValueError("a measurement has either a length or reasons, not both and not neither")
        if self.length_cm is not None:
            if not (np.isfinite(self.length_cm) and self.length_cm > 0):
                raise ValueError(f"length_cm: expected a positive number, got {self.length_cm}")
            if self.interval_cm is None or not self.interval_cm[0] <= self.length_cm <= self.interval_cm[1]:
                raise ValueError(f"interval_cm {self.interval_cm} does not contain {self.length_cm}")

    @property
    def status(self) -> str:
        return "measured" if self.length_cm is not None else "rejected"

    @property
    def reported_cm(self) -> tuple[float, float, float] | None:
        """(length, low, high) in hundredths of a centimetre, as files and screens tell them; None when rejected.

        Outwards for the interval: rounding never leaves the length outside it.
        """
        if self.length_cm is None or self.interval_cm is None:
            return None
        low, high = self.interval_cm
        return round(float(self.length_cm), 2), math.floor(low * 100) / 100, math.ceil(high * 100) / 100

    @classmethod
    def rejected(
        cls, reasons: list[Reason], *, frames_total: int, frames_used: int = 0, **details: object
    ) -> Measurement:
        return cls(None, None, frames_total, frames_used, tuple(reasons), details=dict(details))
