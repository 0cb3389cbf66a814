"""What :mod:`heightpose.train.cover` learns from: patches around crown and heels, some with something laid over them.

Things are laid over head-up crops; then the shipped pose net looks, and the patches are cut where it puts the joints,
as ``infer`` does: at the edge of what covers them. Labels say whether the true joint lies under it.

    python -m heightpose.train.cover_data nursery --looks 16 --out nursery.npz
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from heightpose.arrays import read_arrays
from heightpose.data.coco import Dataset
from heightpose.data.items import Item, Person
from heightpose.data.occlude import is_grey, plain_cloth
from heightpose.data.pictures import read_picture
from heightpose.data.samples import labelled_people
from heightpose.errors import ConfigError, FileFormatError
from heightpose.geometry.body import surety
from heightpose.geometry.crop import crop_from_box
from heightpose.runtime.atomic import atomic_path
from heightpose.runtime.cover import JOINTS, PATCH, patches
from heightpose.runtime.networks import PoseModel
from heightpose.skeleton import INFANT
from heightpose.types import Detection, require_shape

#: px of the crops that things are laid over, and how much more than the infant's box they show.
_CROP, _SCALE = 384, 1.6
COVERED, FREE, UNKNOWN = 1, 0, -1

#: Joints nearer than this to the edge of what covers them are in doubt, head sizes.
_DOUBT = 0.06
#: Surety above which a pose net's joints stand for missing labels.
_SURE = 0.55
_CROWN, *_HEELS = JOINTS
#: Corners of what counts as round.
_ROUND = 24
_NECK, _PELVIS = INFANT.indices("upper_neck", "pelvis")


@dataclass(frozen=True, eq=False)
class Patches:
    """N looks at infants.

    Attributes:
        images: ``(N, 3, PATCH, PATCH, 3)`` uint8 around :data:`~heightpose.runtime.cover.JOINTS`.
        labels: ``(N, 3)`` int8 COVERED, FREE or UNKNOWN.
    """

    images: np.ndarray
    labels: np.ndarray

    @classmethod
    def load(cls, path: Path) -> Patches:
        """A file of :meth:`save`. FileFormatError: it is none."""
        arrays = read_arrays(path, "a file of patches")
        try:
            images, labels = arrays["images"], arrays["labels"]
            require_shape("images", images, (None, len(JOINTS), PATCH, PATCH, 3))
            require_shape("labels", labels, (len(images), len(JOINTS)))
        except (KeyError, ValueError) as error:
            raise FileFormatError("not a file of patches", where=path, got=error) from error
        return cls(images, labels)

    def save(self, path: Path) -> None:
        """Write an ``.npz``, whole or not at all."""
        with atomic_path(path) as tmp:
            np.savez(tmp, images=self.images, labels=self.labels)


def draw_patches(
    items: Iterable[Item], model: PoseModel, teacher: PoseModel, *, each: int, seed: int = 0
) -> Patches:
    """Every infant ``each`` times, one time in three with nothing over it.

    Args:
        model: says where patches lie, as in ``infer``.
        teacher: says where joints without labels are.

    Raises:
        ConfigError: there is nobody to look at.
    """
    rng = np.random.default_rng(seed)
    images, labels = [], []
    for item in tqdm(list(items), desc="patches", unit="picture"):
        rgb = read_picture(item.path)
        for person, angle in labelled_people(item):
            for image, label in _looks(rgb, person, angle, model, teacher, each, rng):
                images.append(image)
                labels.append(label)
    if not images:
        raise ConfigError("no infant is labelled in these pictures", hint="Check the data set and --split")
    return Patches(np.stack(images), np.stack(labels))


def _looks(
    rgb: np.ndarray,
    person: Person,
    angle: float,
    model: PoseModel,
    teacher: PoseModel,
    each: int,
    rng: np.random.Generator,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    crop = crop_from_box(person.bbox_xyxy, angle, (_CROP, _CROP), scale=_SCALE)
    picture = crop.warp(rgb)
    kpts, free = _truth(crop.to_crop(person.kpts_frame), person, picture, teacher)
    if kpts is None:
        return
    pictures, covered = [], []
    for _ in range(each):
        laid, mask = picture, np.zeros((_CROP, _CROP), bool)
        if rng.random() >= 1 / 3:
            laid, mask = lay_over(picture, kpts, rng)
        pictures.append(laid)
        covered.append(mask)
    seen = model.estimate(pictures, [_detection(rng) for _ in pictures])
    head = _head(kpts)
    for laid, mask, pose in zip(pictures, covered, seen, strict=True):
        cut = patches(laid, pose.kpts_frame)
        if cut is None or np.linalg.norm(pose.kpts_frame[_PELVIS] - kpts[_PELVIS]) > head:
            continue
        yield cut, _labels(kpts, free, mask, head)


def _truth(
    kpts: np.ndarray, person: Person, picture: np.ndarray, teacher: PoseModel
) -> tuple[np.ndarray | None, np.ndarray]:
    """``(K, 2)`` crop px, and ``(3,)`` which of the judged joints are surely in the open; by the teacher where labels
    lack, None where it is not sure."""
    judged = list(JOINTS)
    if (person.visibility[judged] > 0).all() and person.visibility[_PELVIS] > 0:
        return kpts, (person.visibility[judged] == 2) & ~person.out_of_frame[judged]
    pose = teacher.estimate([picture], [_detection(None)])[0]
    if surety(pose) < _SURE:
        return None, np.zeros(3, bool)
    return pose.kpts_frame, pose.scores[judged] > _SURE


def _detection(rng: np.random.Generator | None) -> Detection:
    """The infant's box in such a crop, as a detector finds it; exact without ``rng``."""
    half = _CROP / _SCALE / 2
    size, shift, turn = (1.0, np.zeros(2), 0.0)
    if rng is not None:
        size, shift, turn = rng.normal(1.0, 0.06), rng.normal(0.0, 0.05 * half, 2), rng.normal(0.0, 8.0)
    centre = (_CROP - 1) / 2 + shift
    return Detection(np.concatenate([centre - size * half, centre + size * half]), turn, 1.0)


def _labels(kpts: np.ndarray, free: np.ndarray, mask: np.ndarray, head: float) -> np.ndarray:
    """``(3,)``: what lies under the mask is covered; near its edge, or hidden by anything else, is unknown."""
    inside = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 3)
    outside = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 3)
    labels = np.full(3, UNKNOWN, np.int8)
    for i, joint in enumerate(JOINTS):
        x, y = np.rint(kpts[joint]).astype(int)
        if not (0 <= x < _CROP and 0 <= y < _CROP):
            continue
        if inside[y, x] > _DOUBT * head:
            labels[i] = COVERED
        elif free[i] and outside[y, x] > _DOUBT * head:
            labels[i] = FREE
    return labels


def lay_over(
    picture: np.ndarray, kpts: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Bedding, a thing, a hand or an arm over head or feet, or close to them.

    Returns:
        the picture, and its ``(h, w)`` bool mask.
    """
    mask = np.zeros(picture.shape[:2], np.float32)
    ends = ("head", "feet") if rng.random() < 0.25 else ("head",) if rng.random() < 0.5 else ("feet",)
    shape = _SHAPES[rng.choice(len(_SHAPES), p=_SHARES)]
    for end in ends:
        mask = np.maximum(mask, shape(picture.shape[:2], kpts, end, rng))
    soft = cv2.GaussianBlur(mask, (0, 0), rng.uniform(0.3, 2.5))
    lit = picture.astype(np.float32)
    if rng.random() < 0.5:  # the shadow beside its edge
        shadow = cv2.GaussianBlur(np.roll(mask, rng.integers(-6, 7, 2), (0, 1)), (0, 0), rng.uniform(2, 6))
        lit *= 1.0 - rng.uniform(0.1, 0.5) * shadow[..., None]
    bare = shape is _hand or (shape is _arm and rng.random() < 0.7)
    look = _skin(picture, kpts, mask, rng) if bare else _cover(picture, _beyond(kpts, ends[-1]), rng)
    lit += soft[..., None] * (look - lit)
    return np.clip(lit + 0.5, 0, 255).astype(np.uint8), mask > 0.5


def _sheet(shape: tuple[int, ...], kpts: np.ndarray, end: str, rng: np.random.Generator) -> np.ndarray:
    """Everything beyond a line across the body near an end, to some width and depth: bedding, a blanket's edge."""
    head = _head(kpts)
    axis = (kpts[_CROWN] - kpts[_PELVIS]) / np.linalg.norm(kpts[_CROWN] - kpts[_PELVIS])
    if end == "head":
        away, tip, reach = axis, kpts[_CROWN], rng.uniform(-0.25, 0.9) * head
    else:
        lower = kpts[_HEELS][np.argmin(kpts[_HEELS] @ axis)]
        away, tip, reach = -axis, lower, rng.uniform(-0.3, 1.6) * head
    away = _turned(away, np.deg2rad(rng.normal(0, 15)))
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    along = (x - tip[0]) * away[0] + (y - tip[1]) * away[1] + reach
    across = (y - tip[1]) * away[0] - (x - tip[0]) * away[1] - rng.normal(0, 0.2) * head
    if rng.random() < 0.5:
        wave = rng.uniform(0.0, 0.15) * head
        along = along + wave * np.sin(across / head * rng.uniform(1, 5) + rng.uniform(0, 6))
    inside = (along > 0) & (along < rng.uniform(0.5, 4.0) * head + reach)
    return (inside & (np.abs(across) < rng.uniform(0.5, 3.0) * head)).astype(np.float32)


def _thing(shape: tuple[int, ...], kpts: np.ndarray, end: str, rng: np.random.Generator) -> np.ndarray:
    """An ellipse, a rectangle or a ragged patch about an end: a toy, a cloth."""
    head = _head(kpts)
    joint = _joint(kpts, end, rng)
    corners = int(rng.choice([4, 5, 6, 7, _ROUND]))
    angles = np.arange(corners) * 2 * np.pi / corners
    radii = np.ones(corners)
    if corners not in (4, _ROUND):
        angles, radii = np.sort(rng.uniform(0, 2 * np.pi, corners)), rng.uniform(0.8, 1.2, corners)
    points = np.column_stack([np.cos(angles), np.sin(angles)]) * radii[:, None] * rng.uniform(0.25, 0.9, 2)
    points = joint + head * (_turned(points, rng.uniform(0, np.pi)) + rng.normal(0, 0.55, 2))
    mask = np.zeros(shape, np.float32)
    cv2.fillPoly(mask, [np.rint(points).astype(np.int32)], 1.0)
    return mask


def _hand(shape: tuple[int, ...], kpts: np.ndarray, end: str, rng: np.random.Generator) -> np.ndarray:
    """A palm, a wrist and fingers laid over an end from any side."""
    head = _head(kpts)
    size = head * rng.uniform(0.6, 1.1)  # an adult's hand is 18 cm long, a head 11 to 14
    joint = _joint(kpts, end, rng) + rng.normal(0, 0.25, 2) * head
    turn = rng.uniform(0, 2 * np.pi)
    mask = np.zeros(shape, np.float32)

    def part(at: tuple[float, float], half: tuple[float, float], lean: float = 0.0) -> None:
        middle = joint + size * _turned(np.array(at), turn)
        box = (middle.tolist(), (2 * size * np.array(half)).tolist(), np.rad2deg(turn + lean))
        cv2.ellipse(mask, box, 1.0, -1)

    spread = rng.uniform(0.0, 0.25)
    for place in (-1.5, -0.5, 0.5, 1.5):  # fingers point along -y of the hand
        part((0.16 * place * (1 + spread), -0.25), (0.085, rng.uniform(0.3, 0.45)), spread * place * 0.7)
    part((0.0, 0.25), (0.38, 0.36))
    part((0.0, 0.9), (0.25, 0.7))
    return mask


def _arm(shape: tuple[int, ...], kpts: np.ndarray, end: str, rng: np.random.Generator) -> np.ndarray:
    """A forearm from one side, mostly across the body: it ends behind the end of the body or passes it."""
    head = _head(kpts)
    joint = kpts[_HEELS].mean(axis=0) if end == "feet" and rng.random() < 0.5 else _joint(kpts, end, rng)
    joint = joint + rng.normal(0, 0.3, 2) * head
    body = kpts[_CROWN] - kpts[_PELVIS]
    along = _turned(body / np.linalg.norm(body), np.pi / 2 * rng.choice([-1, 1]) + rng.normal(0, 0.45))
    start, stop = joint - rng.uniform(0.1, 3.0) * head * along, joint + rng.uniform(2.5, 5.0) * head * along
    aside = head * np.array([along[1], -along[0]])
    thin, thick = np.sort(rng.uniform(0.15, 0.4, 2))  # an adult's forearm is 5 to 9 cm thick
    mask = np.zeros(shape, np.float32)
    corners = np.array(
        [start - thin * aside, start + thin * aside, stop + thick * aside, stop - thick * aside]
    )
    cv2.fillPoly(mask, [np.rint(corners).astype(np.int32)], 1.0)
    cv2.circle(mask, np.rint(start).astype(int).tolist(), round(thin * head), 1.0, -1)
    return mask


def _beyond(kpts: np.ndarray, end: str) -> np.ndarray:
    """``(2,)`` a place beside the infant, half a head beyond one end of it."""
    if end == "head":
        return kpts[_CROWN] + 0.5 * (kpts[_CROWN] - kpts[_NECK])
    lower = kpts[_HEELS].mean(axis=0)
    away = lower - kpts[_PELVIS]
    return lower + 0.5 * _head(kpts) * away / max(float(np.linalg.norm(away)), 1e-6)


def _head(kpts: np.ndarray) -> float:
    """Crown to neck, in the joints' px."""
    return float(np.linalg.norm(kpts[_CROWN] - kpts[_NECK]))


def _joint(kpts: np.ndarray, end: str, rng: np.random.Generator) -> np.ndarray:
    """``(2,)`` the crown, or one of the heels."""
    return kpts[_CROWN if end == "head" else rng.choice(_HEELS)]


def _turned(points: np.ndarray, angle: float) -> np.ndarray:
    """``(..., 2)`` turned by ``angle``, radians."""
    return points @ np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])


_SHAPES, _SHARES = (_sheet, _thing, _hand, _arm), (0.45, 0.25, 0.15, 0.15)


def _skin(picture: np.ndarray, kpts: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """``(h, w, 3)`` float32: the colour of the infant's face, lighter or darker, rounded where the mask ends."""
    colour = _colour_at(picture, kpts[_NECK] + rng.uniform(0.3, 0.6) * (kpts[_CROWN] - kpts[_NECK]))
    colour = colour * rng.uniform(0.6, 1.3)
    round_ = cv2.GaussianBlur(mask, (0, 0), rng.uniform(3, 8))[..., None]
    noise = rng.normal(0, rng.uniform(0, 5), picture.shape)
    return (colour * (1.0 - rng.uniform(0.1, 0.5) * (1.0 - round_)) + noise).astype(np.float32)


def _colour_at(picture: np.ndarray, point: np.ndarray) -> np.ndarray:
    """``(3,)`` the median over a few pixels around a point, moved into the picture."""
    height, width = picture.shape[:2]
    x, y = np.rint(point).astype(int).clip(3, [width - 4, height - 4])
    return np.median(picture[y - 3 : y + 4, x - 3 : x + 4].reshape(-1, 3), axis=0)


def _cover(picture: np.ndarray, beyond: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """``(h, w, 3)`` float32, what the thing looks like: bedding from elsewhere in the picture, cloth, or one colour,
    often that of the bedding at the point ``beyond`` the infant."""
    height, width = picture.shape[:2]
    kind = rng.random()
    if kind < 0.35:
        shift = (int(rng.integers(-height, height)), int(rng.integers(-width, width)))
        return cv2.flip(np.roll(picture, shift, (0, 1)), int(rng.integers(-1, 2))).astype(np.float32)
    if kind < 0.5:
        return plain_cloth(picture, rng)
    pixels = picture[::7, ::7].reshape(-1, 3)
    pixels = pixels[pixels.any(axis=1)] if pixels.any() else pixels
    chosen = rng.random()
    colour = pixels[rng.integers(len(pixels))] if chosen < 0.5 else np.median(pixels, axis=0)
    if chosen > 0.65 and (beside := _colour_at(picture, beyond)).any():  # black lies outside the frame
        colour = beside
    if rng.random() < 0.2 and not is_grey(picture):
        colour = rng.uniform(0, 255, 3)
    cells = rng.normal(0, rng.uniform(0, 18), (5, 5)).astype(np.float32)
    folds = cv2.resize(cells, (width, height), interpolation=cv2.INTER_CUBIC)[..., None]
    noise = rng.normal(0, rng.uniform(0, 5), picture.shape)
    return (colour + folds + noise).astype(np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("folder", type=Path, help="a data set; joints it lacks are those of `accurate`")
    parser.add_argument("--split", default="train")
    parser.add_argument("--first", type=int, help="only so many of its pictures")
    parser.add_argument("--looks", type=int, default=16, help="at each infant")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True, help="the .npz to write")
    args = parser.parse_args()
    items = [i for i in Dataset.load(args.folder, skip_bad=True).subset(args.split).items if i.frame is None]
    models = PoseModel.load("fast"), PoseModel.load("accurate")
    drawn = draw_patches(items[: args.first], *models, each=args.looks, seed=args.seed)
    drawn.save(args.out)
    print(f"{len(drawn.labels)} looks, crown covered in {(drawn.labels[:, 0] == COVERED).sum()}: {args.out}")


if __name__ == "__main__":
    main()
