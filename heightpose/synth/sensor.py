"""From linear radiance to the picture a cot camera delivers: exposure, tone, infrared, blur, noise."""

from __future__ import annotations

import cv2
import numpy as np


def develop(
    linear: np.ndarray,
    rng: np.random.Generator,
    *,
    infrared: bool,
    exposure: float,
    blur_px: float = 0.0,
    denoise: bool = False,
) -> np.ndarray:
    """Linear radiance ``(H, W, 3)`` to uint8 RGB.

    Args:
        exposure: the scene's median luminance is brought to this value before the tone curve.
        blur_px: length of a straight motion blur.
        denoise: a 3x3 median; it would eat the bits of tags under some 25 px, so clips go without.
    """
    image = np.maximum(np.nan_to_num(linear.astype(np.float32)), 0.0)
    if denoise:  # cameras denoise too; what is left of the tracer's speckle passes for sensor noise
        image = cv2.medianBlur(image, 3)
    luminance = image @ np.array([0.2126, 0.7152, 0.0722], np.float32)
    if infrared:
        image = np.repeat((image @ np.array([0.6, 0.3, 0.1], np.float32))[..., None], 3, axis=2)
    image *= exposure / max(float(np.median(luminance)), 1e-4)
    image = np.minimum(image, 12.0)
    image = image / (1.0 + 0.35 * image)  # a soft shoulder instead of clipping
    if blur_px > 1.0:
        n = int(np.ceil(blur_px)) | 1
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
