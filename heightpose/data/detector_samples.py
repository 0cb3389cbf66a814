"""Training and validation samples of the detector: one transform moves the pixels and the labels together.

Spaces: ``*_frame`` the picture's px, ``*_in`` the network input's px.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from heightpose.codec import detection as detection_codec
from heightpose.config import AugmentConfig
from heightpose.data.augment import augment_pixels, drawn, scaled
from heightpose.data.items import Item, Person, head_angle_deg
from heightpose.data.mosaic import frame_tiles
from heightpose.data.occlude import paste_occluder
from heightpose.data.pictures import Pictures
from heightpose.geometry.crop import CropTransform, crop_from_box, flip_matrix, letterbox_transform
from heightpose.skeleton import INFANT, Skeleton


@dataclass(frozen=True, eq=False)
class DetectorSample:
    """One whole frame.

    Attributes:
        image: ``(256, 256, 3)`` uint8 RGB.
        boxes_xyxy_in: ``(M, 4)`` px of the input, clipped to it.
        angles_deg: ``(M,)`` head directions, 0 up, positive clockwise.
        infant: ``(M,)`` bool; False where box and direction are told, and presence is left open.
        transform: frame px to input px.
        operations: what varied it, in order, for people to read.
    """

    image: np.ndarray
    boxes_xyxy_in: np.ndarray
    angles_deg: np.ndarray
    infant: np.ndarray
    transform: CropTransform
    operations: tuple[str, ...] = ()


def can_teach(item: Item, skeleton: Skeleton = INFANT, training: bool = True) -> bool:
    """Whether all that a picture shows is labelled; in validation also that its people are infants."""
    known = all(
        p.usable.any() and head_angle_deg(p.kpts_frame, p.visibility > 0, skeleton) is not None
        for p in item.people
    )
    infants = all(person.is_infant for person in item.people)
    complete = item.infants_in_view in (None, len(item.people))
    return known and complete and (infants or training)


class DetectorSamples:
    """Whole frames, empty cots included. ``augment`` None is validation: the letterbox inference makes.

    Validation leaves out pictures of people who are no infants: what a detector should find there is open.
    """

    def __init__(
        self, pictures: Pictures, augment: AugmentConfig | None, skeleton: Skeleton = INFANT
    ) -> None:
        self.pictures, self.augment, self.skeleton = pictures, augment, skeleton
        #: Picture index of each sample. A picture of an infant that cannot be labelled must not teach
        #: that the cot is empty.
        self.entries = [
            i for i, item in enumerate(pictures.items) if can_teach(item, skeleton, augment is not None)
        ]

    def __len__(self) -> int:
        return len(self.entries)

    def item(self, index: int) -> Item:
        """The picture that a sample is."""
        return self.pictures.items[self.entries[index]]

    def sample(self, index: int, rng: np.random.Generator) -> DetectorSample:
        """One letterboxed or varied frame; ``rng`` decides how it is varied."""
        how = self.augment
        if how is not None and how.enabled and how.mosaic > 0 and rng.random() < how.mosaic:
            return self._mosaic([index, *rng.integers(len(self.entries), size=3).tolist()], rng, how)
        index = self.entries[index]
        item = self.pictures.items[index]
        transform, operations = self._transform(item, rng)
        black = how is None or not how.enabled or rng.random() < 0.5
        border = 0 if black else int(rng.integers(0, 256))
        image = transform.warp(self.pictures.picture(index), border)
        boxes, angles, infant = self.labels(item, transform)
        if how is not None and how.enabled:
            if rng.random() < how.occluder:
                # Too small to hide an infant: a label without one would teach nonsense.
                other = self.pictures.picture(int(rng.integers(len(self.pictures))))
                image, covered = paste_occluder(image, other, rng.uniform(0, detection_codec.INPUT_WH), rng)
                operations += ("occluder",) if covered.any() else ()
            image, changed = augment_pixels(image, rng, how)
            operations += changed
        return DetectorSample(image, boxes, angles, infant, transform, operations)

    def _mosaic(self, indices: list[int], rng: np.random.Generator, how: AugmentConfig) -> DetectorSample:
        """Four whole frames in one input; ``transform`` is the first one's."""
        chosen = [self.entries[k] for k in indices]
        items = [self.pictures.items[k] for k in chosen]
        placed = frame_tiles([item.size_wh for item in items], detection_codec.INPUT_WH, rng)
        width, height = detection_codec.INPUT_WH
        image = np.zeros((height, width, 3), np.uint8)
        labels = []
        for index, item, (transform, (x0, y0, x1, y1)) in zip(chosen, items, placed, strict=True):
            image[y0:y1, x0:x1] = transform.warp(self.pictures.picture(index))[y0:y1, x0:x1]
            labels.append(self.labels(item, transform))
        boxes, angles, infant = (np.concatenate(column) for column in zip(*labels, strict=True))
        image, changed = augment_pixels(image, rng, how)
        return DetectorSample(image, boxes, angles, infant, placed[0][0], ("mosaic", *changed))

    def labels(self, item: Item, transform: CropTransform) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Boxes ``(M, 4)``, head directions ``(M,)`` and whether an infant ``(M,)``, of those well enough in view."""
        boxes, angles, infant = [], [], []
        for person in item.people:
            kpts_in = transform.to_crop(person.kpts_frame)
            angle = head_angle_deg(kpts_in, person.visibility > 0, self.skeleton)
            if angle is None or not person.usable.any():
                continue
            box = _box_in(person, transform)
            clipped = _clip(box)
            # Less than a quarter in view is nobody's infant; so small a rest has no direction.
            if _area(clipped) >= 0.25 * _area(box) and (clipped[2:] - clipped[:2]).min() >= 8:
                boxes.append(clipped)
                angles.append(angle)
                infant.append(person.is_infant)
        return np.array(boxes).reshape(-1, 4), np.array(angles), np.array(infant, dtype=bool)

    def _transform(self, item: Item, rng: np.random.Generator) -> tuple[CropTransform, tuple[str, ...]]:
        letterbox = letterbox_transform(item.size_wh, detection_codec.INPUT_WH)
        how = self.augment
        if how is None or not how.enabled:
            return letterbox, ()
        if rng.random() < how.negatives:
            empty = _view_without_infant(item, rng)
            if empty is not None:
                return empty, ("without infant",)
        for _ in range(6):
            transform, names = _draw_view(letterbox, rng, how)
            if all(_share_in_view(person, transform) >= 0.7 for person in item.people):
                return transform, names
        return letterbox, ()


def _draw_view(
    letterbox: CropTransform, rng: np.random.Generator, how: AugmentConfig
) -> tuple[CropTransform, tuple[str, ...]]:
    """The letterboxed frame turned, scaled and shifted about the input's middle, mirrored half the time.

    The turn is to any direction at any strength above 0: cameras look into cots from all sides.
    """
    chosen = drawn(("shift", "scale", "turn"), rng, how)
    turn_deg, zoom, shift = 0.0, 1.0, np.zeros(2)
    width, height = letterbox.size_wh
    if "turn" in chosen:
        # Cameras are mostly square to the cot: a share of nearly quarter turns beside the arbitrary ones.
        quarter = 90.0 * rng.integers(0, 4)
        turn_deg = quarter + rng.uniform(-8, 8) if rng.random() < how.upright else rng.uniform(-180, 180)
    if "scale" in chosen:
        zoom = rng.uniform(*scaled(how.frame_scale, how.strength))
    if "shift" in chosen:
        shift = rng.uniform(-1, 1, 2) * how.frame_shift * how.strength * np.array([width, height])
    middle, angle = np.array([width - 1, height - 1]) / 2.0, np.deg2rad(turn_deg)
    move = np.eye(3)
    move[:2, :2] = zoom * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    move[:2, 2] = middle + shift - move[:2, :2] @ middle
    matrix = move @ letterbox.matrix
    flip = rng.random() < how.flip
    if flip:
        matrix = flip_matrix(letterbox.size_wh) @ matrix
    return CropTransform(matrix, letterbox.size_wh), (*chosen, *(["flip"] if flip else []))


def _view_without_infant(item: Item, rng: np.random.Generator) -> CropTransform | None:
    """A square part of the frame that no infant's box reaches, or None where there is hardly any."""
    width, height = item.size_wh
    for _ in range(8):
        side = rng.uniform(0.25, 0.6) * min(width, height)
        x, y = rng.uniform(0, width - side), rng.uniform(0, height - side)
        part = np.array([x, y, x + side, y + side])
        if all(not detection_codec.iou(part, person.bbox_xyxy) for person in item.people):
            return crop_from_box(part, 90.0 * rng.integers(0, 4), detection_codec.INPUT_WH, scale=1.0)
    return None


def _box_in(person: Person, transform: CropTransform) -> np.ndarray:
    """The infant's upright box after any turn, not clipped to the picture.

    The turned box's own bounding box would be too large. Instead the joints are turned, and the margins that
    the labelled box leaves around them go with them: a side of the new box that faces the frame's direction
    (x, y) is ``m_x x^2 + m_y y^2`` away from the outermost joint, m being the labelled box's margins on the
    two sides it faces. At every quarter turn that is the labelled box itself; in between it changes smoothly.
    """
    points, box = person.kpts_frame[person.usable], person.bbox_xyxy
    # The box may leave out a joint at the picture's edge by a rounding error: no margin is negative.
    before = np.maximum(points.min(axis=0) - box[:2], 0.0)
    after = np.maximum(box[2:] - points.max(axis=0), 0.0)
    points_in = transform.to_crop(points)
    outermost = np.concatenate([points_in.min(axis=0), points_in.max(axis=0)])
    facing = np.array([[-1.0, 0.0], [0.0, -1.0], [1.0, 0.0], [0.0, 1.0]])
    in_frame = facing @ transform.matrix[:2, :2] / transform.scale  # a similarity: its transpose turns back
    margins = (in_frame**2 * np.where(in_frame > 0, after, before)).sum(axis=1) * transform.scale
    return outermost + facing.sum(axis=1) * margins


def _share_in_view(person: Person, transform: CropTransform) -> float:
    points = transform.to_crop(person.kpts_frame[person.usable])
    size = np.array(transform.size_wh)
    return float(((points > -0.5) & (points < size - 0.5)).all(axis=1).mean()) if len(points) else 1.0


def _clip(box: np.ndarray) -> np.ndarray:
    return np.clip(box, -0.5, np.tile(np.array(detection_codec.INPUT_WH), 2) - 0.5)


def _area(box: np.ndarray) -> float:
    return float(np.maximum(box[2:] - box[:2], 0.0).prod())
