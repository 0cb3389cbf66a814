"""Light, colour, noise and occluders on a whole batch at once, where the batch is: the fast twin of
:mod:`heightpose.data.augment` for trainings that a processor's threads could not feed.

Same families, same shares and the same meaning of ``strength``; CLAHE, lamp temperatures, high ISO and
blankets exist on the processor only. Every number is drawn on the processor from the batch's own generator, so that
a run repeats whatever the device; only the noise itself is drawn on the device, from a seed of that generator.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from heightpose.config import AugmentConfig
from heightpose.data.occlude import GREY_SPREAD, draw_place

#: An operation: ``(n, 3, h, w)`` float32 in 0..1, its generator, the strength -> the same, changed.
Operation = Callable[[Tensor, np.random.Generator, float], Tensor]


@dataclass(frozen=True)
class Occluders:
    """What lies over the crops of a batch, in crop px; a crop without an occluder has a size of 0.

    Attributes:
        low, high: ``(N, 2)`` int corners, ``high`` excluded; inside the crop.
        turn: ``(N,)`` radians of the ellipse inside the rectangle, NaN for the whole rectangle.
        source: ``(N,)`` int, the crop of the same batch whose pixels it shows.
        shift: ``(N, 2)`` int, where in that crop they come from.
    """

    low: np.ndarray
    high: np.ndarray
    turn: np.ndarray
    source: np.ndarray
    shift: np.ndarray

    def covers(self, x: Tensor, y: Tensor) -> Tensor:
        """``(N, ...)`` bool: whether the points, crop px, each of a shape that broadcasts to ``(N, ...)``, lie under
        their crop's occluder."""
        shape = (-1,) + (1,) * (max(x.ndim, y.ndim) - 1)

        def of_crop(values: np.ndarray) -> Tensor:
            return torch.from_numpy(values.astype(np.float32)).to(x.device).view(shape)

        (x0, y0), (x1, y1) = (tuple(of_crop(c) for c in corner.T) for corner in (self.low, self.high))
        inside = (x >= x0 - 0.5) & (x < x1 - 0.5) & (y >= y0 - 0.5) & (y < y1 - 0.5)
        # Of the ellipse with the rectangle's width and height as axes, turned: what of it lies in the rectangle.
        right, down = x - (x0 + x1 - 1) / 2, y - (y0 + y1 - 1) / 2
        turn = np.nan_to_num(self.turn)
        cos, sin = of_crop(np.cos(turn)), of_crop(np.sin(turn))
        along, across = right * cos + down * sin, down * cos - right * sin
        within = (2 * along / (x1 - x0).clamp(min=1)) ** 2 + (2 * across / (y1 - y0).clamp(min=1)) ** 2 <= 1.0
        return inside & (within | of_crop(np.isnan(self.turn)).bool())


def draw_occluders(
    kpts_crop: np.ndarray,
    visibility: np.ndarray,
    size_wh: tuple[int, int],
    share: float,
    rng: np.random.Generator,
) -> Occluders:
    """A rectangle or an ellipse over a labelled joint in ``share`` of the crops.

    Args:
        kpts_crop: ``(N, K, 2)`` px.
        visibility: ``(N, K)`` 2 seen, 1 hidden, 0 not labelled.
        size_wh: of the crops, px.
    """
    count, size = len(kpts_crop), np.array(size_wh)
    low, high, shift = np.zeros((3, count, 2), dtype=int)
    turn = np.full(count, np.nan)
    source = rng.integers(count, size=count)
    for n in range(count):
        labelled = np.flatnonzero(visibility[n] > 0)
        if rng.random() >= share or not len(labelled):
            continue
        low[n], high[n], turned = draw_place(kpts_crop[n, rng.choice(labelled)], size_wh, rng)
        if turned is not None:
            turn[n] = np.deg2rad(turned)
        shift[n] = rng.integers(-size // 4, size // 4 + 1)
    return Occluders(low, high, turn, source, shift)


def paste(images: Tensor, occluders: Occluders) -> Tensor:
    """The crops ``(N, 3, h, w)`` with their occluders laid over them; a grey crop's occluder is grey."""
    chosen = np.flatnonzero((occluders.high > occluders.low).all(axis=1))
    if not len(chosen):
        return images
    height, width = images.shape[2:]
    part = Occluders(*(getattr(occluders, field.name)[chosen] for field in fields(Occluders)))
    x = torch.arange(width, device=images.device).view(1, 1, width)
    y = torch.arange(height, device=images.device).view(1, height, 1)
    mask = part.covers(x, y)[:, None]
    pieces = torch.stack(
        [
            images[int(s)].roll((int(dy), int(dx)), dims=(1, 2))
            for s, (dx, dy) in zip(part.source, part.shift, strict=True)
        ]
    )
    where = torch.from_numpy(chosen).to(images.device)
    below = images[where]
    spread = (below.amax(dim=1) - below.amin(dim=1)).mean(dim=(1, 2))
    grey = (spread < GREY_SPREAD / 255.0)[:, None, None, None]
    pieces = torch.where(grey, pieces.mean(dim=1, keepdim=True), pieces)
    out = images.clone()
    out[where] = torch.where(mask, pieces, below)
    return out


def augment_batch(images: Tensor, rng: np.random.Generator, how: AugmentConfig) -> Tensor:
    """Change light or colour, and noise or sharpness: at most one of each per crop.

    Args:
        images: ``(N, 3, h, w)`` float32 in 0..1.

    Returns:
        new crops in 0..1.
    """
    if how.strength <= 0:
        return images
    out = images
    for share, family in ((how.pixel, PIXEL_OPERATIONS), (how.noise, NOISE_OPERATIONS)):
        picked = np.where(rng.random(len(images)) < share, rng.integers(len(family), size=len(images)), -1)
        for number, operation in enumerate(family):
            where = np.flatnonzero(picked == number)
            if len(where):
                index = torch.from_numpy(where).to(out.device)
                changed = operation(out[index], rng, how.strength).clamp(0.0, 1.0)
                out = out.index_copy(0, index, changed.to(out.dtype))
    return out


# --- light and colour -----------------------------------------------------------------------------------------


def _brightness(x: Tensor, rng: np.random.Generator, strength: float) -> Tensor:
    shift = _uniform(x, rng, -0.12 * strength, 0.12 * strength)
    contrast = _uniform(x, rng, 1 - min(0.25 * strength, 0.95), 1 + 0.25 * strength)
    return x * contrast + shift


def _gamma(x: Tensor, rng: np.random.Generator, strength: float) -> Tensor:
    reach = np.log(1 + 0.5 * strength)
    return x.clamp(0, 1) ** _uniform(x, rng, -reach, reach).exp()


def _colour(x: Tensor, rng: np.random.Generator, strength: float) -> Tensor:
    from kornia.enhance import adjust_hue, adjust_saturation

    turn = np.deg2rad(2 * 5 * strength)  # OpenCV's hue counts half degrees
    x = adjust_hue(x, _uniform(x, rng, -turn, turn).flatten())
    return adjust_saturation(x, _uniform(x, rng, max(0.0, 1 - 0.3 * strength), 1 + 0.3 * strength).flatten())


def _cast(x: Tensor, rng: np.random.Generator, strength: float) -> Tensor:
    return x * _uniform(x, rng, 1 - min(0.15 * strength, 0.9), 1 + 0.15 * strength, channels=3)


def _uneven_light(x: Tensor, rng: np.random.Generator, strength: float) -> Tensor:
    height, width = x.shape[2:]
    across = torch.linspace(-1, 1, width, device=x.device).view(1, 1, 1, width)
    along = torch.linspace(-1, 1, height, device=x.device).view(1, 1, height, 1)
    angle = _uniform(x, rng, 0, 2 * np.pi)
    return x * (1 + _uniform(x, rng, 0.02, 0.2 * strength) * (across * angle.cos() + along * angle.sin()))


def _infrared(x: Tensor, rng: np.random.Generator, strength: float) -> Tensor:
    from kornia.color import rgb_to_grayscale

    return rgb_to_grayscale(x).expand_as(x)


# --- noise and sharpness --------------------------------------------------------------------------------------


def _sensor_noise(x: Tensor, rng: np.random.Generator, strength: float) -> Tensor:
    return x + _uniform(x, rng, 0.005, 0.005 + 0.035 * strength) * _normal(x, rng, 3)


def _grey_noise(x: Tensor, rng: np.random.Generator, strength: float) -> Tensor:
    return x + _uniform(x, rng, 0.005, 0.005 + 0.035 * strength) * _normal(x, rng, 1)


def _motion_blur(x: Tensor, rng: np.random.Generator, strength: float) -> Tensor:
    from kornia.filters import motion_blur

    size = 2 * int(rng.integers(1, 2 + round(2 * strength))) + 1  # one length per batch, a direction per crop
    return motion_blur(x, size, _uniform(x, rng, 0, 180).flatten(), torch.zeros(len(x), device=x.device))


def _defocus(x: Tensor, rng: np.random.Generator, strength: float) -> Tensor:
    from kornia.filters import gaussian_blur2d

    sigma = _uniform(x, rng, 0.4, 0.4 + strength).view(-1, 1).expand(-1, 2)
    return gaussian_blur2d(x, 2 * round(3 * (0.4 + strength)) + 1, sigma)


def _compression(x: Tensor, rng: np.random.Generator, strength: float) -> Tensor:
    from kornia.enhance import jpeg_codec_differentiable

    quality = _uniform(x, rng, max(5.0, 90 - 50 * strength), 90).flatten()
    return jpeg_codec_differentiable(x.clamp(0, 1).contiguous(), quality)


def _few_pixels(x: Tensor, rng: np.random.Generator, strength: float) -> Tensor:
    from torch.nn.functional import interpolate

    factor = float(rng.uniform(max(0.2, 0.9 - 0.45 * strength), 0.9))  # one size per batch
    size = [max(8, round(n * factor)) for n in x.shape[2:]]
    small = interpolate(x, size=size, mode="bilinear", align_corners=False, antialias=True)
    return interpolate(small, size=x.shape[2:], mode="bilinear", align_corners=False)


PIXEL_OPERATIONS: tuple[Operation, ...] = (_brightness, _gamma, _colour, _cast, _uneven_light, _infrared)
NOISE_OPERATIONS: tuple[Operation, ...] = (
    _sensor_noise, _grey_noise, _motion_blur, _defocus, _compression, _few_pixels,
)  # fmt: skip


def _uniform(x: Tensor, rng: np.random.Generator, low: float, high: float, channels: int = 1) -> Tensor:
    """``(n, channels, 1, 1)`` numbers, one for each crop (and channel)."""
    values = rng.uniform(low, high, (len(x), channels, 1, 1)).astype(np.float32)
    return torch.from_numpy(values).to(x.device)


def _normal(x: Tensor, rng: np.random.Generator, channels: int) -> Tensor:
    generator = torch.Generator(x.device).manual_seed(int(rng.integers(2**62)))
    shape = (len(x), channels, *x.shape[2:])
    return torch.randn(shape, generator=generator, device=x.device, dtype=x.dtype)
