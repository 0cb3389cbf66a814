"""Training and validation samples of the pose net: one crop transform moves the pixels and the labels together.

Spaces: ``*_frame`` the picture's px, ``*_crop`` the network input's px.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from heightpose.codec.heatmap import HeatmapCodec
from heightpose.config import AugmentConfig
from heightpose.data.augment import augment_pixels, drawn, scaled
from heightpose.data.items import Item, Person, head_angle_deg
from heightpose.data.mosaic import crop_mosaic
from heightpose.data.occlude import hide, lay_blanket, paste_occluder
from heightpose.data.pictures import Pictures
from heightpose.geometry.crop import CROP_SCALE, CropTransform, crop_from_box
from heightpose.skeleton import INFANT, Skeleton, part_of

#: Share of the training crops whose surroundings are black, as inference's are; the others' have any grey.
BLACK_BORDER = 0.7


@dataclass(frozen=True, eq=False)
class Placement:
    """Where a crop lies and what it then shows: a :class:`PoseSample` without its picture."""

    kpts_crop: np.ndarray
    visibility: np.ndarray
    transform: CropTransform
    operations: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class PoseSample:
    """One head-up crop.

    Attributes:
        image: ``(h, w, 3)`` uint8 RGB.
        kpts_crop: ``(K, 2)`` px.
        visibility: ``(K,)`` 2 seen, 1 hidden, 0 not labelled or out of the frame.
        transform: frame px to crop px.
        operations: what varied it, in order, for people to read.
    """

    image: np.ndarray
    kpts_crop: np.ndarray
    visibility: np.ndarray
    transform: CropTransform
    operations: tuple[str, ...] = ()


def labelled_people(item: Item, skeleton: Skeleton = INFANT) -> list[tuple[Person, float]]:
    """The people of a picture of whom crops can be made, and their head directions, degrees."""
    found = []
    for person in item.people:
        # The direction may rest on joints out of the frame: their place is known all the same.
        angle = head_angle_deg(person.kpts_frame, person.visibility > 0, skeleton)
        if angle is not None and person.usable.any():
            found.append((person, angle))
    return found


class PoseSamples:
    """Head-up crops of every labelled infant.

    Args:
        pictures: the decoded pictures.
        codec: gives the crop's size.
        augment: how to vary them; None for validation, where the crop is exactly inference's on the true box.
    """

    def __init__(
        self,
        pictures: Pictures,
        codec: HeatmapCodec,
        augment: AugmentConfig | None,
        skeleton: Skeleton = INFANT,
    ) -> None:
        self.pictures, self.codec, self.augment, self.skeleton = pictures, codec, augment, skeleton
        #: (picture index, person, head direction) of each sample.
        self.entries: list[tuple[int, Person, float]] = []
        for i, item in enumerate(pictures.items):
            self.entries += [(i, person, angle) for person, angle in labelled_people(item, skeleton)]

    def __len__(self) -> int:
        return len(self.entries)

    def item(self, index: int) -> Item:
        """The picture that a sample is cut from."""
        return self.pictures.items[self.entries[index][0]]

    def place(self, index: int, rng: np.random.Generator) -> Placement:
        """Where one crop lies; ``rng`` decides how that is varied."""
        _, person, angle = self.entries[index]
        transform, operations = self._transform(person, angle, rng)
        kpts = transform.to_crop(person.kpts_frame)
        seen = np.where(person.out_of_frame, 0, person.visibility)
        if transform.mirrored:
            kpts, seen = kpts[self.skeleton.flip_map], seen[self.skeleton.flip_map]
        return Placement(kpts, seen, transform, operations)

    def sample(self, index: int, rng: np.random.Generator) -> PoseSample:
        """One crop; ``rng`` decides how it is varied."""
        i, how = self.entries[index][0], self.augment
        placed = self.place(index, rng)
        seen, operations = placed.visibility, placed.operations
        # The colour outside the frame tells nothing; inference fills it with black.
        black = how is None or not how.enabled or rng.random() < BLACK_BORDER
        border = 0 if black else int(rng.integers(0, 256))
        image = placed.transform.warp(self.pictures.picture(i), border)
        if how is not None and how.enabled:
            # Laid over the lower half alone, a blanket would leave nothing to see.
            bare = replace(how, blanket=0.0) if "half body" in operations else how
            image, seen, laid = self._occlude(image, placed.kpts_crop, seen, rng, bare)
            image, changed = augment_pixels(image, rng, how)
            operations += laid + changed
        return PoseSample(image, placed.kpts_crop, seen, placed.transform, operations)

    def _transform(
        self, person: Person, angle: float, rng: np.random.Generator
    ) -> tuple[CropTransform, tuple[str, ...]]:
        """The chain of geometric operations as one matrix, and their names."""
        how, size = self.augment, self.codec.input_wh
        if how is None or not how.enabled:
            return crop_from_box(person.bbox_xyxy, angle, size, scale=CROP_SCALE), ()
        box, zoom, names = person.bbox_xyxy, CROP_SCALE, []
        if rng.random() < how.half_body:
            half = _half_body_box(person, rng, self.skeleton)
            if half is not None:
                box = half
                names.append("half body")
        side = max(box[2] - box[0], box[3] - box[1])
        chosen = drawn(("shift", "scale", "turn"), rng, how)
        if "shift" in chosen:
            box = box + np.tile(rng.uniform(-1, 1, 2) * how.shift * how.strength * side, 2)
        if "scale" in chosen:
            zoom *= rng.uniform(*scaled(how.scale, how.strength))
        if "turn" in chosen:
            reach = how.far_turn_deg if rng.random() < how.far_turn else how.turn_deg
            reach = min(reach * how.strength, 180.0)
            angle = angle + rng.uniform(-reach, reach)
        flip = bool(rng.random() < how.flip)
        names += [*chosen, *(["flip"] if flip else [])]
        return crop_from_box(box, angle, size, scale=zoom, flip=flip), tuple(names)

    def _occlude(
        self,
        image: np.ndarray,
        kpts: np.ndarray,
        seen: np.ndarray,
        rng: np.random.Generator,
        how: AugmentConfig,
    ) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
        laid = []
        if how.mosaic > 0 and rng.random() < how.mosaic:
            others = [self.pictures.picture(int(k)) for k in rng.integers(len(self.pictures), size=3)]
            image, covered = crop_mosaic(image, others, rng)
            seen = hide(kpts, seen, covered)
            laid.append("mosaic")
        if rng.random() < how.blanket:
            image, covered = lay_blanket(image, kpts, seen, rng, self.skeleton)
            if covered.any():
                seen = hide(kpts, seen, covered)
                laid.append("blanket")
        if rng.random() < how.occluder and (seen > 0).any():
            joint = rng.choice(np.flatnonzero(seen > 0))
            other = self.pictures.picture(int(rng.integers(len(self.pictures))))
            image, covered = paste_occluder(image, other, kpts[joint], rng)
            if covered.any():
                seen = hide(kpts, seen, covered)
                laid.append("occluder")
        return image, seen, tuple(laid)


def _half_body_box(person: Person, rng: np.random.Generator, skeleton: Skeleton) -> np.ndarray | None:
    """The box around the upper or the lower body, as HRNet's half-body transform; None with too few joints.

    A half whose joints lie close together (legs tucked up) still gets half of the infant's box.
    """
    lower_parts = ("pelvis", "hip", "knee", "ankle", "heel", "toe")
    is_lower = np.array([part_of(name) in lower_parts for name in skeleton.names])
    chosen = person.usable & (is_lower if rng.random() < 0.5 else ~is_lower)
    if person.usable.sum() < 8 or chosen.sum() < 4:
        return None
    points, whole = person.kpts_frame[chosen], person.bbox_xyxy
    low, high = points.min(axis=0), points.max(axis=0)
    side = max(1.2 * (high - low).max(), 0.5 * (whole[2:] - whole[:2]).max())
    middle = (low + high) / 2
    return np.concatenate([middle - side / 2, middle + side / 2])
