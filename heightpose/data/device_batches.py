"""Batches whose pictures stay on the device: decoded once, cut and varied there.

A processor's thread makes about 150 crops a second, a GPU learns from thousands. Here it draws only numbers: the crop
matrices, the labels and what varies each crop. The device holds one generous head-up cutting of every infant and
resamples it, so a crop comes from the same matrix as everywhere else, resampled twice instead of once.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from torch import Tensor

from heightpose.config import AugmentConfig
from heightpose.data.batches import Batches
from heightpose.data.device_augment import Occluders, augment_batch, draw_occluders, paste
from heightpose.data.samples import BLACK_BORDER, Placement, PoseSamples
from heightpose.errors import ConfigError, MissingExtraError
from heightpose.geometry.crop import CROP_SCALE, crop_from_box

#: Side of the cutting, in sides of the box: what the usual variation can reach; corners beyond it are border.
CUTTING_SCALE = 2.0


@dataclass(frozen=True, eq=False)
class _Drawn:
    """A batch before the device has had it.

    Attributes:
        labels: everything but ``image`` and ``heatmaps``.
        index: ``(N,)`` which cuttings.
        border: ``(N,)`` grey outside of them, 0..1.
        to_cutting: ``(N, 3, 3)`` crop px to cutting px.
        occluders: None where nothing is varied.
        rng: for what is drawn on.
    """

    labels: Any
    index: Tensor
    border: Tensor
    to_cutting: np.ndarray
    occluders: Occluders | None
    rng: np.random.Generator


class DeviceBatches(Batches):
    """Training batches of a pose net, made on ``device``.

    Args:
        device: where the cuttings are kept; None: the processor, until :attr:`device` is set before the first batch.
        others: as :class:`~heightpose.data.batches.Batches`; ``collate`` takes :class:`Placement` objects and makes
            everything but ``image`` and ``heatmaps``.

    Raises:
        ConfigError: the samples are varied in a way that only the processor can.
        MissingExtraError: kornia is not installed.
    """

    def __init__(
        self, samples: PoseSamples, *args: Any, device: torch.device | None = None, **kwargs: Any
    ) -> None:
        super().__init__(samples, *args, **kwargs)
        self.pose_samples, self.device = samples, device
        how = samples.augment
        if how is not None and how.enabled:
            if find_spec("kornia") is None:
                raise MissingExtraError("kornia", "train", "data.on_device")
            for name in ("blanket", "mosaic"):
                if getattr(how, name) > 0:
                    raise ConfigError(
                        "only the processor can vary pictures like this", where=f"augment.{name}",
                        got=getattr(how, name), expected="0 with data.on_device",
                        hint=f"Set augment.{name}: 0, or data.on_device: false",
                    )  # fmt: skip
        self._cuttings: tuple[Tensor, np.ndarray] | None = None

    def __iter__(self) -> Iterator[Any]:
        self._stored()  # before several threads ask for it
        yield from super().__iter__()

    def _stored(self) -> tuple[Tensor, np.ndarray]:
        """``(samples, 3, s, s)`` uint8 cuttings on the device, and ``(samples, 3, 3)`` frame px to cutting px."""
        if self._cuttings is None:
            samples, (width, height) = self.pose_samples, self.pose_samples.codec.input_wh
            side = round(max(width, height) * CUTTING_SCALE / CROP_SCALE)

            def cut(index: int) -> tuple[np.ndarray, np.ndarray]:
                i, person, angle = samples.entries[index]
                transform = crop_from_box(person.bbox_xyxy, angle, (side, side), scale=CUTTING_SCALE)
                return transform.warp(samples.pictures.picture(i)), transform.matrix

            cuttings = torch.empty((len(samples), side, side, 3), dtype=torch.uint8, device=self.device)
            to_side = np.empty((len(samples), 3, 3))
            with ThreadPoolExecutor(max(self.workers, 1)) as pool:
                for index, (image, matrix) in enumerate(pool.map(cut, range(len(samples)))):
                    cuttings[index] = torch.from_numpy(image).to(cuttings.device)
                    to_side[index] = matrix
            self._cuttings = cuttings.permute(0, 3, 1, 2), to_side
        return self._cuttings

    def _make(self, chosen: np.ndarray, rng: np.random.Generator) -> _Drawn:
        """All that the processor decides about a batch."""
        to_side = self._stored()[1]
        how = self.pose_samples.augment
        placed = [self.pose_samples.place(int(i), rng) for i in chosen]
        # The device goes from the crop's pixels to the cutting's.
        to_cutting = to_side[chosen] @ np.stack([p.transform.inverse for p in placed])
        occluders = None
        if _varies(how):
            assert how is not None
            kpts, seen = np.stack([p.kpts_crop for p in placed]), np.stack([p.visibility for p in placed])
            occluders = draw_occluders(kpts, seen, self.pose_samples.codec.input_wh, how.occluder, rng)
            x, y = torch.from_numpy(np.nan_to_num(kpts, nan=-1e9).astype(np.float32)).unbind(-1)
            hidden = occluders.covers(x, y).numpy() & (seen == 2)
            placed = [
                Placement(p.kpts_crop, np.where(under, 1, p.visibility), p.transform, p.operations)
                for p, under in zip(placed, hidden, strict=True)
            ]
        grey = rng.integers(0, 256, len(placed)) if _varies(how) else np.zeros(len(placed))
        black = rng.random(len(placed)) < BLACK_BORDER
        border = torch.from_numpy(np.where(black, 0.0, grey).astype(np.float32) / 255.0)
        index = torch.from_numpy(np.asarray(chosen, dtype=np.int64))
        return _Drawn(self.collate(placed), index, border, to_cutting, occluders, rng)

    def _finish(self, made: _Drawn) -> Any:
        cuttings = self._stored()[0]
        device = cuttings.device
        chosen = cuttings[made.index.to(device)].float() / 255.0
        image = warp(chosen, made.to_cutting, self.pose_samples.codec.input_wh, made.border.to(device))
        if made.occluders is not None:
            assert self.pose_samples.augment is not None
            image = paste(image, made.occluders)
            image = augment_batch(image, made.rng, self.pose_samples.augment)
        batch = {
            k: v.to(device, non_blocking=True) if isinstance(v, Tensor) else v for k, v in made.labels.items()
        }
        codec = self.pose_samples.codec
        heatmaps = gaussians(batch["kpts_hm"], batch["weights"] > 0, codec.heatmap_wh, codec.sigma)
        image = (image * 255.0).contiguous(memory_format=torch.channels_last)
        return batch | {"image": image, "heatmaps": heatmaps}


def gaussians(kpts_hm: Tensor, drawn: Tensor, heatmap_wh: tuple[int, int], sigma: float) -> Tensor:
    """:meth:`heightpose.codec.heatmap.HeatmapCodec.encode` where the joints are.

    Args:
        kpts_hm: ``(N, K, 2)`` heatmap px.
        drawn: ``(N, K)`` bool; the maps of the others are empty.

    Returns:
        ``(N, K, h, w)`` float32.
    """
    along_x, along_y = (
        torch.exp(-0.5 * ((torch.arange(size, device=kpts_hm.device) - kpts_hm[..., i, None]) / sigma) ** 2)
        for i, size in enumerate(heatmap_wh)
    )
    return (along_y * drawn[..., None])[..., :, None] * along_x[..., None, :]


def warp(images: Tensor, to_source: np.ndarray, size_wh: tuple[int, int], border: Tensor) -> Tensor:
    """Resample pictures bilinearly, an integer coordinate being a pixel's centre.

    Args:
        images: ``(N, C, H, W)`` float.
        to_source: ``(N, 3, 3)`` affine, px of the result to px of ``images``.
        size_wh: of the result.
        border: ``(N,)`` value outside.

    Returns:
        ``(N, C, h, w)`` as :meth:`heightpose.geometry.crop.CropTransform.warp` gives where the picture is not
        shrunk more than twofold.
    """
    from torch.nn.functional import affine_grid, grid_sample

    def from_unit(wh: tuple[int, int]) -> np.ndarray:
        # The grid counts from -1 to 1 over the outer edges of the outermost pixels.
        w, h = wh
        return np.array([[w / 2, 0, (w - 1) / 2], [0, h / 2, (h - 1) / 2], [0, 0, 1]])

    height, width = images.shape[2:]
    unit = np.linalg.inv(from_unit((width, height))) @ to_source @ from_unit(size_wh)
    theta = torch.from_numpy(unit[:, :2].astype(np.float32)).to(images.device)
    grid = affine_grid(theta, [len(images), images.shape[1], size_wh[1], size_wh[0]], align_corners=False)
    outside = border.view(-1, 1, 1, 1)
    return grid_sample(images - outside, grid, mode="bilinear", align_corners=False) + outside


def _varies(how: AugmentConfig | None) -> bool:
    return how is not None and how.enabled
