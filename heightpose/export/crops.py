"""Pictures to calibrate and to compare with: infants' crops of a data set, or a drawn scene where there is none."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from heightpose.data.coco import Dataset
from heightpose.data.items import Item, head_angle_deg
from heightpose.data.pictures import Pictures
from heightpose.errors import InputError
from heightpose.geometry.crop import crop_from_box, letterbox_transform
from heightpose.runtime.modelfile import ModelFile
from heightpose.skeleton import INFANT, Skeleton
from heightpose.words import plural

#: A file and the frame of a video.
Picture = tuple[Path, int | None]


@dataclass(frozen=True, eq=False)
class Views:
    """Pictures as a network sees them, and of a pose net's the truth.

    Attributes:
        batch: ``(N, 3, H, W)`` float32 RGB 0..255.
        kpts_crop, visibility: ``(N, K, 2)`` px of the view and ``(N, K)``, 0 also where out of frame; None for frames.
        pictures: which they are, N files and frames of videos; none of drawn ones.
    """

    batch: np.ndarray
    kpts_crop: np.ndarray | None = None
    visibility: np.ndarray | None = None
    pictures: tuple[Picture, ...] = ()

    def shared_with(self, other: Views) -> int:
        """How many of the pictures are ``other``'s too."""
        return len(set(self.pictures) & set(other.pictures))


def dataset_views(
    folder: Path, split: str, count: int, file: ModelFile, rather_not: Views | None = None
) -> Views:
    """An even sample of a data set: true crops for a pose net, whole frames for a detector.

    Args:
        folder: a data set.
        split: "train", "val" or "test"; pictures of no split count to each.
        count: at most so many.
        rather_not: views whose pictures are taken only where there are no others.

    Raises:
        InputError: no picture of that split that the network could look at. Else as :meth:`Dataset.load`.
    """
    is_pose = file.kind == "pose"
    dataset = Dataset.load(folder, skeleton=Skeleton(file.joints) if is_pose else INFANT)
    items = [item for item in dataset.items if item.split in (split, None)]
    if not items:
        there = sorted({str(item.split) for item in dataset.items})
        raise InputError(
            f"no picture of the split '{split}' to look at",
            where=folder,
            got=", ".join(there) or "no pictures",
        )
    if is_pose:
        usable = [
            item for item in items if len(item.people) == 1 and _angle(item, dataset.skeleton) is not None
        ]
        if not usable:
            raise InputError(
                f"no picture of the split '{split}' to look at", where=folder,
                expected="one infant whose labels tell where its head is",
                got=f"{plural(len(items), 'picture')} without",
            )  # fmt: skip
        items = usable
    if rather_not is not None:
        others = [item for item in items if _picture(item) not in rather_not.pictures]
        items = others if others else items
    items = [items[i] for i in np.unique(np.linspace(0, len(items) - 1, count).round().astype(int))]
    pictures = Pictures(items, memory_mb=0.0)
    views, kpts, visibility = [], [], []
    for i, item in enumerate(items):
        rgb = pictures.picture(i)
        if not is_pose:
            views.append(letterbox_transform((rgb.shape[1], rgb.shape[0]), file.input_wh).warp(rgb))
            continue
        person, angle = item.people[0], _angle(item, dataset.skeleton)
        assert angle is not None
        crop = crop_from_box(person.bbox_xyxy, angle, file.input_wh)
        views.append(crop.warp(rgb))
        kpts.append(crop.to_crop(person.kpts_frame))
        visibility.append(np.where(person.usable, person.visibility, 0))
    batch = np.stack(views).transpose(0, 3, 1, 2).astype(np.float32)
    used = tuple(map(_picture, items))
    if not is_pose:
        return Views(batch, pictures=used)
    return Views(batch, np.stack(kpts), np.stack(visibility), used)


def drawn_batch(count: int, wh: tuple[int, int]) -> np.ndarray:
    """Drawn bodies on a noisy ground, ``(N, 3, H, W)`` float32 RGB 0..255: to compare with, not to score by."""
    rng = np.random.default_rng(0)
    views = []
    for _ in range(count):
        rgb = np.full((256, 256, 3), rng.uniform(60, 200, 3), np.float32)
        rgb += cv2.resize(rng.normal(0, 25, (16, 16, 3)).astype(np.float32), (256, 256))
        skin, x, turn = (
            rng.uniform(120, 240, 3).tolist(),
            float(rng.uniform(110, 146)),
            float(rng.uniform(-12, 12)),
        )
        cv2.ellipse(rgb, (round(x), 140), (34, 58), turn, 0, 360, skin, -1, cv2.LINE_AA)
        cv2.circle(rgb, (round(x + turn), 52), 27, skin, -1, cv2.LINE_AA)
        for side in (-1, 1):
            cv2.line(rgb, (round(x + 18 * side), 185), (round(x + 26 * side), 240), skin, 17, cv2.LINE_AA)
            cv2.line(rgb, (round(x + 28 * side), 105), (round(x + 62 * side), 140), skin, 13, cv2.LINE_AA)
        rgb += rng.normal(0, 4, rgb.shape)
        views.append(cv2.resize(rgb.clip(0, 255), wh, interpolation=cv2.INTER_AREA))
    return np.stack(views).transpose(0, 3, 1, 2).astype(np.float32)


def resized(batch: np.ndarray, wh: tuple[int, int]) -> np.ndarray:
    """The same pictures at another size."""
    views = [cv2.resize(one.transpose(1, 2, 0), wh, interpolation=cv2.INTER_LINEAR) for one in batch]
    return np.ascontiguousarray(np.stack(views).transpose(0, 3, 1, 2))


def _picture(item: Item) -> Picture:
    return item.path.resolve(), item.frame


def _angle(item: Item, skeleton: Skeleton) -> float | None:
    """Head direction of a picture's infant; None where its labels do not say."""
    return head_angle_deg(item.people[0].kpts_frame, item.people[0].usable, skeleton)
