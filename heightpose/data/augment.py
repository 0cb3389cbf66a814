"""Pixel and noise operations of albumentations on the finished crop: at most one of each per picture.

Geometry is not here: shift, scale, turn, half-body and mirror are one crop matrix
(:mod:`heightpose.data.samples`), so that labels and pixels cannot disagree. Nothing here moves a pixel.

``strength`` is 1 at ``randaugment_m`` 5 and scales every range below; at 0 the picture stays as it is.
"""

from __future__ import annotations

import copy
import os
import random
from functools import cache
from typing import Any

import cv2
import numpy as np

from heightpose.config import AugmentConfig

#: (name, operation) pairs of one family.
Family = tuple[tuple[str, Any], ...]


def augment_pixels(
    crop: np.ndarray, rng: np.random.Generator, how: AugmentConfig
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Change the light or colour and the noise or sharpness of a crop ``(h, w, 3)`` uint8 RGB.

    Returns:
        a new crop; the names of what was applied: at most one pixel and one noise operation, in that order.
    """
    applied: list[str] = []
    for share, family in ((how.pixel, pixel_operations), (how.noise, noise_operations)):
        if rng.random() < share and how.strength > 0:
            operations = family(how.strength)
            name, operation = operations[rng.integers(len(operations))]
            crop = apply(operation, crop, rng)
            applied.append(name)
    return crop, tuple(applied)


def apply(operation: Any, crop: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One albumentations operation with our own generator; safe to call from several threads."""
    # The operation keeps its generators and last parameters on itself, so every call works on its own copy.
    mine = copy.copy(operation)
    mine.set_random_state(rng, random.Random(int(rng.integers(2**63))))
    return mine(image=crop)["image"]


@cache
def pixel_operations(strength: float) -> Family:
    """Light and colour: lamps, exposure, the camera's own processing, night infrared."""
    A, s = _albumentations(), strength
    return (
        ("brightness", A.RandomBrightnessContrast(_up_to(0.12 * s), _up_to(0.25 * s), p=1.0)),
        ("gamma", A.RandomGamma((100 / (1 + 0.5 * s), 100 * (1 + 0.5 * s)), p=1.0)),
        ("hue and saturation", A.HueSaturationValue(5 * s, 25 * s, 8 * s, p=1.0)),
        ("colour cast", A.MultiplicativeNoise(_around(0.15 * s), per_channel=True, p=1.0)),
        ("lamp", A.PlanckianJitter(temperature_limit=_kelvin(s), p=1.0)),
        ("uneven light", A.Illumination(intensity_range=(0.01, min(0.01 + 0.09 * s, 0.2)), p=1.0)),
        ("infrared", A.ToGray(p=1.0)),
        ("local contrast", A.CLAHE(clip_limit=(1.0, 1.0 + 0.8 * s), tile_grid_size=(4, 4), p=1.0)),
    )


@cache
def noise_operations(strength: float) -> Family:
    """What sensors, lenses, motion and compression do to a picture."""
    A, s = _albumentations(), strength
    return (
        ("sensor noise", A.GaussNoise(std_range=(0.005, 0.005 + 0.035 * s), p=1.0)),
        ("grey noise", A.GaussNoise(std_range=(0.005, 0.005 + 0.035 * s), per_channel=False, p=1.0)),
        ("high ISO", A.ISONoise(color_shift=(0.005, 0.005 + 0.02 * s), intensity=(0.05, 0.05 + 0.25 * s), p=1.0)),
        # Neither shifted nor directed: a blur that is not centred moves the joints, by up to 0.8 px.
        ("motion blur", A.MotionBlur((3, _odd(3 + 4 * s)), allow_shifted=False, direction_range=(0, 0), p=1.0)),
        ("defocus", A.GaussianBlur(blur_limit=0, sigma_limit=(0.4, 0.4 + 1.0 * s), p=1.0)),
        ("compression", A.ImageCompression(quality_range=(max(5, round(90 - 50 * s)), 90), p=1.0)),
        ("few pixels", _FewPixels(max(0.2, 0.9 - 0.45 * s), 0.9)),
    )  # fmt: skip


class _FewPixels:
    """As if the camera had fewer pixels.

    Not albumentations' Downscale, whose two resizes use different factors when the small size is not whole: it
    moves the picture by up to half a pixel.
    """

    def __init__(self, low: float, high: float) -> None:
        self.low, self.high = low, high

    def set_random_state(self, rng: np.random.Generator, py_random: random.Random) -> None:
        self.rng = rng

    def __call__(self, image: np.ndarray) -> dict[str, np.ndarray]:
        height, width = image.shape[:2]
        factor = self.rng.uniform(self.low, self.high)
        size = max(8, round(width * factor)), max(8, round(height * factor))
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        return {"image": cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)}


@cache
def _albumentations() -> Any:
    # Before the import, which otherwise asks the network for a newer version: nothing leaves this machine.
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
    from heightpose.errors import MissingExtraError

    try:
        import albumentations
    except ImportError as error:
        raise MissingExtraError("albumentations", "train", "varying training pictures") from error
    return albumentations


def _up_to(limit: float) -> tuple[float, float]:
    return -min(limit, 0.95), min(limit, 0.95)


def _around(limit: float) -> tuple[float, float]:
    return 1.0 - min(limit, 0.9), 1.0 + limit


def _kelvin(strength: float) -> tuple[int, int]:
    """Colour temperatures about daylight's 6000 K; lamps in a child's room are warm rather than cold."""
    return max(4000, round(6000 - 1500 * strength)), min(15000, round(6000 + 2500 * strength))


def _odd(size: float) -> int:
    return 2 * (round(size) // 2) + 1


def drawn(names: tuple[str, ...], rng: np.random.Generator, how: AugmentConfig) -> tuple[str, ...]:
    """``randaugment_n`` of the geometric operations' names; none where the strength is 0."""
    count = min(how.randaugment_n, len(names)) if how.strength > 0 else 0
    return tuple(names[k] for k in sorted(rng.choice(len(names), count, replace=False)))


def scaled(factors: tuple[float, float], strength: float) -> tuple[float, float]:
    """A range of scale factors, made narrower or wider about 1 in equal ratios."""
    return factors[0] ** strength, factors[1] ** strength
