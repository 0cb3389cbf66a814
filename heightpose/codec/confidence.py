"""What heatmaps say about their joints, and the calibration that turns it into probabilities and covariances.

A heatmap's maximum is not a probability. Four figures of the maps are the evidence: the height of the peak, how
wide the map spreads, how far the views of test-time augmentation agree, and how sure the whole skeleton is. A
logistic model with an own offset per joint, fitted and checked by :mod:`heightpose.train.confidence`, turns them into
the probabilities that a joint is right and that it is seen; a log-linear one into the size of its error.

A calibration belongs to one weights file and to the views it was fitted with; it lies beside the weights as
``NAME.calibration.json`` and names them by hash. Everything is a plain number; nothing in it can run.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from heightpose.errors import FileFormatError
from heightpose.types import require_finite, require_shape

log = logging.getLogger("heightpose")

SCHEMA = 1
#: A joint is right within this many head sizes.
RIGHT_HEADS = 0.1
FEATURES = ("peak", "spread", "agreement", "frame")

#: Peaks are clipped to this range before the logit, ratios before the logarithm: beyond lies rounding noise.
_PEAK_RANGE = (0.01, 0.99)
_RATIO_RANGE = (0.05, 20.0)
_LARGEST_FILE = 1 << 20
#: What the name of views ends with where they are those of the net's finer input
#: (:attr:`heightpose.runtime.networks.PoseModel.fine`).
FINE = " fine"


@dataclass(frozen=True)
class Evidence:
    """What the heatmaps of one set of views say; all but the covariance without a unit.

    Attributes:
        peak: ``(N, K)`` height of the merged map's peak, 0..1.
        cov_crop: ``(N, K, 3)`` moments of the merged map (:meth:`HeatmapCodec.covariance`), crop px^2.
        sigma_crop: the encoded Gaussian's width in crop px.
        view_peak: ``(N, K)`` mean of the single views' peaks: higher than ``peak`` where they disagree.
    """

    peak: np.ndarray
    cov_crop: np.ndarray
    sigma_crop: float
    view_peak: np.ndarray

    def features(self) -> np.ndarray:
        """``(N, K, 4)``: logit of the peak; log of width over encoded width; log of merged peak over the views'
        peaks, 0 where they agree; median logit of the skeleton's peaks."""
        peak = np.clip(self.peak, *_PEAK_RANGE)
        logit = np.log(peak / (1.0 - peak))
        variance = np.sqrt(_determinant(self.cov_crop))
        spread = 0.5 * np.log(np.clip(variance / self.sigma_crop**2, *_RATIO_RANGE))
        view_peak = np.clip(self.view_peak, *_PEAK_RANGE)
        agreement = np.log(np.clip(peak / view_peak, *_RATIO_RANGE))
        frame = np.broadcast_to(np.median(logit, axis=1, keepdims=True), logit.shape)
        return np.stack([logit, spread, agreement, frame], axis=-1)


@dataclass(frozen=True)
class Linear:
    """``features . weights + bias`` per joint."""

    weights: np.ndarray
    bias: np.ndarray

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """``(N, K, F)`` -> ``(N, K)``."""
        return features @ self.weights + self.bias

    def as_dict(self) -> dict[str, list[float]]:
        return {"weights": self.weights.tolist(), "bias": self.bias.tolist()}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any], joints: int) -> Linear:
        weights, bias = (np.asarray(value[key], dtype=np.float64) for key in ("weights", "bias"))
        require_shape("weights", weights, (len(FEATURES),))
        require_shape("bias", bias, (joints,))
        for name, array in (("weights", weights), ("bias", bias)):
            require_finite(name, array)
        return cls(weights, bias)


@dataclass(frozen=True)
class Calibration:
    """Evidence of one network under one set of views -> probabilities and covariances.

    Attributes:
        right: log odds that a joint lies within :data:`RIGHT_HEADS` of the truth.
        seen: log odds that it is visible rather than hidden.
        error: log of the standard deviation of its error along either axis, in encoded widths.
        shape: how far the covariance takes on the map's shape: 0 round, 1 as drawn out as the map.
        stretch: how much larger errors are along the crop's y, the body's axis, than across it, beyond the map's shape.
    """

    right: Linear
    seen: Linear
    error: Linear
    shape: float
    stretch: float = 1.0

    def probabilities(self, evidence: Evidence) -> np.ndarray:
        """``(N, K)`` that the joint is within 0.1 head sizes."""
        return sigmoid(self.right(evidence.features()))

    def seen_probabilities(self, evidence: Evidence) -> np.ndarray:
        """``(N, K)`` that the joint is visible."""
        return sigmoid(self.seen(evidence.features()))

    def cov_crop(self, evidence: Evidence) -> np.ndarray:
        """``(N, K, 3)`` covariance of the joint's error, crop px^2: the map's shape, the fitted size."""
        variance = (np.exp(self.error(evidence.features())) * evidence.sigma_crop) ** 2
        return unit_shape(evidence.cov_crop, self.shape, self.stretch) * variance[..., None]

    def as_dict(self) -> dict[str, Any]:
        parts = {name: getattr(self, name).as_dict() for name in ("right", "seen", "error")}
        return parts | {"shape": self.shape, "stretch": self.stretch}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any], joints: int) -> Calibration:
        """Raises KeyError, TypeError or ValueError for anything but what :meth:`as_dict` gives."""
        shape, stretch = float(value["shape"]), float(value["stretch"])
        if not (0.0 <= shape <= 1.0 and 0.1 <= stretch <= 10.0):
            raise ValueError(f"shape 0..1 and stretch 0.1..10, got {shape}, {stretch}")
        right, seen, error = (Linear.from_dict(value[name], joints) for name in ("right", "seen", "error"))
        return cls(right, seen, error, shape, stretch)


def chance_right(head: Any, sd: Any) -> Any:
    """Probability that a joint with Gaussian noise ``sd`` in x and y lies within :data:`RIGHT_HEADS` of ``head``, both
    in one unit (Rayleigh's distribution)."""
    return -np.expm1(-0.5 * (RIGHT_HEADS * head / sd) ** 2)


def unit_shape(cov: np.ndarray, power: float, stretch: float = 1.0) -> np.ndarray:
    """Covariances ``(..., 3)`` to the given power, stretched along y, with a determinant of 1.

    With ``C = R diag(a, b) R'`` the result is ``S R diag(r, 1 / r) R' S``, ``r = (a / b)^(power / 2)``, ``S^2 =
    diag(1 / stretch, stretch)``; a power of 0 gives circles before the stretch.
    """
    xx, xy, yy = (cov[..., i] for i in range(3))
    mean, half = (xx + yy) / 2, np.hypot((xx - yy) / 2, xy)
    ratio = ((mean + half) / np.maximum(mean - half, 1e-12)) ** (power / 2)
    grow, pull = (ratio + 1 / ratio) / 2, (ratio - 1 / ratio) / 2 / np.maximum(half, 1e-12)
    tilt = pull * (xx - yy) / 2
    return np.stack([(grow + tilt) / stretch, pull * xy, (grow - tilt) * stretch], axis=-1)


def calibration_path(weights: Path) -> Path:
    """Where the calibration of a weights file lies; all of its forms share one."""
    return weights.with_name(f"{weights.stem}.calibration.json")


def weights_hash(weights: Path) -> str:
    """SHA-256 of a weights file, of OpenVINO's with the .bin beside it."""
    files = [weights, weights.with_suffix(".bin")] if weights.suffix.lower() == ".xml" else [weights]
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()


def load_calibrations(weights: Path, joints: tuple[str, ...]) -> dict[str, Calibration]:
    """The calibrations beside a weights file, by their views (``str(Tta)``, with :data:`FINE` those of the finer
    input); empty where there are none for it.

    A calibration of other weights is left aside with a warning.

    Raises:
        FileFormatError: a calibration file that is damaged or for other joints.
    """
    path = calibration_path(weights)
    if not os.path.isfile(path):  # False, unlike Path's, where its name is too long
        return {}
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise ValueError(f"{path.stat().st_size} bytes")
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["kind"] != "calibration" or document["schema"] != SCHEMA:
            raise ValueError(f"kind {document['kind']}, schema {document['schema']}")
        if weights_hash(weights) not in [str(entry["sha256"]) for entry in document["weights"]]:
            log.warning("%s belongs to other weights and is left aside; fit it again", path.name)
            return {}
        if tuple(document["joints"]) != tuple(joints) or tuple(document["features"]) != FEATURES:
            raise ValueError("other joints or features than this version's")
        return {
            str(views): Calibration.from_dict(value["parameters"], len(joints))
            for views, value in document["views"].items()
        }
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OSError) as error:
        raise FileFormatError(
            "the calibration of these weights cannot be used", where=path, got=f"{type(error).__name__}: {error}",
            hint="Delete it, or fit it again with: heightpose eval confidence",
        ) from error  # fmt: skip


def _determinant(cov: np.ndarray) -> np.ndarray:
    return np.maximum(cov[..., 0] * cov[..., 2] - cov[..., 1] ** 2, 1e-12)


def sigmoid(x: np.ndarray) -> np.ndarray:
    """Probabilities of log odds of any shape."""
    return 1.0 / (1.0 + np.exp(-np.clip(x, -30.0, 30.0)))
