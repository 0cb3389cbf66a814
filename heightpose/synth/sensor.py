"""From linear radiance to the picture a cot camera delivers: exposure, tone, infrared, blur, noise."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np


@dataclass(frozen=True)
class Film:
    """How one camera takes its pictures.

    Attributes:
        exposure: the scene's median luminance is brought to this value before the tone curve.
        motion_px: length of a straight motion blur; defocus_px: sigma of the lens's blur.
        denoise: a 3x3 median; it would eat the bits of tags under some 25 px, so clips go without.
    """

    exposure: float
    motion_px: float = 0.0
    defocus_px: float = 0.0
    denoise: bool = False


def draw_film(rng: np.random.Generator, *, still: bool) -> Film:
    """Mostly well exposed and sharp; stills are sometimes dark, washed out, shaken or out of focus."""
    exposure = rng.uniform(0.2, 0.65)
    wrong = rng.random()
    motion, soft = rng.random() < 0.15, rng.random() < 0.12
    lengths = rng.uniform(1.5, 5.0), rng.uniform(0.6, 1.6)
    denoise = bool(rng.random() < 0.6)
    if not still:
        return Film(exposure)
    if wrong < 0.12:
        exposure = rng.uniform(0.05, 0.15) if wrong < 0.06 else rng.uniform(0.9, 1.4)
    return Film(exposure, lengths[0] if motion else 0.0, lengths[1] if soft else 0.0, denoise)


def develop(
    linear: np.ndarray,
    rng: np.random.Generator,
    *,
    infrared: bool,
    film: Film,
) -> np.ndarray:
    """Linear radiance ``(H, W, 3)`` to uint8 RGB."""
    image = np.maximum(np.nan_to_num(linear.astype(np.float32)), 0.0)
    if film.denoise:  # cameras denoise too; what is left of the tracer's speckle passes for sensor noise
        image = cv2.medianBlur(image, 3)
    luminance = image @ np.array([0.2126, 0.7152, 0.0722], np.float32)
    if infrared:
        image = np.repeat((image @ np.array([0.6, 0.3, 0.1], np.float32))[..., None], 3, axis=2)
    image *= film.exposure / max(float(np.median(luminance)), 1e-4)
    image = np.minimum(image, 12.0)
    image = image / (1.0 + 0.35 * image)  # a soft shoulder instead of clipping
    if film.defocus_px > 0.0:
        image = cv2.GaussianBlur(image, (0, 0), film.defocus_px)
    if film.motion_px > 1.0:
        n = int(np.ceil(film.motion_px)) | 1
        kernel = np.zeros((n, n), np.float32)
        angle = rng.uniform(0, np.pi)
        c, d = (n - 1) / 2, np.array([np.cos(angle), np.sin(angle)]) * (n - 1) / 2
        cv2.line(
            kernel,
            tuple(np.round(c - d).astype(int)),
            tuple(np.round(c + d).astype(int)),
            1.0,
            1,
            cv2.LINE_AA,
        )
        image = cv2.filter2D(image, -1, kernel / kernel.sum())
    image = image + rng.normal(0, rng.uniform(0.001, 0.02 if infrared else 0.012), image.shape).astype(
        np.float32
    )
    srgb = np.where(image <= 0.0031308, 12.92 * image, 1.055 * np.maximum(image, 1e-6) ** (1 / 2.4) - 0.055)
    return np.clip(srgb * 255.0 + 0.5, 0, 255).astype(np.uint8)
