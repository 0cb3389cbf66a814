"""What does `infer` make of things over head and feet? A test set's clips measured again with things painted over them.

    heightpose eval make nursery-easy
    python eval/painted.py eval/testsets/nursery-easy
    python eval/painted.py eval/testsets/nursery-easy --only ball "hand over the crown" --pictures painted

Everything is painted flat, with a little noise and soft edges, where the true joints say, in every frame: other code
than the training's of the net that looks for covered crowns and heels (heightpose.train.cover_data), which draws cloth,
things and hands of its own. Sleeping bags are left out, as their feet are covered anyway.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from heightpose.data.clips import Clip as KnownClip
from heightpose.data.clips import read_clips
from heightpose.geometry.camera import Camera
from heightpose.geometry.plane import Plane
from heightpose.runtime.clip import Clip, Frame
from heightpose.runtime.networks import Detector, PoseModel
from heightpose.runtime.session import measure_clip
from heightpose.runtime.settings import Settings
from heightpose.runtime.video import open_clip
from heightpose.skeleton import INFANT
from heightpose.textfile import read_json

Points = dict[str, np.ndarray]
#: Draws on a mask, given the true joints and the head's length in px.
Painter = Callable[[np.ndarray, Points, float], None]


class Brush:
    """Draws on a mask in units of the head's length; the origin is a joint, y points away from the body."""

    def __init__(self, mask: np.ndarray, origin: np.ndarray, away: np.ndarray, unit_px: float) -> None:
        self.mask, self.origin, self.unit = mask, origin, unit_px
        self.axes = np.column_stack([[-away[1], away[0]], away])

    def at(self, *points: tuple[float, float]) -> np.ndarray:
        return np.round(self.origin + self.unit * np.array(points) @ self.axes.T).astype(np.int32)

    def disc(self, x: float, y: float, radius: float) -> None:
        cv2.circle(self.mask, self.at((x, y))[0].tolist(), round(self.unit * radius), 255, -1)

    def bar(self, start: tuple[float, float], end: tuple[float, float], width: float) -> None:
        first, last = self.at(start, end).tolist()
        cv2.line(self.mask, first, last, 255, max(2, round(self.unit * width)))

    def cloth(self, edge: float, half_width: float = 2.0) -> None:
        corners = self.at(
            (-half_width, edge), (half_width, edge), (half_width, edge + 1.5), (-half_width, edge + 1.5)
        )
        cv2.fillPoly(self.mask, [corners], 255)

    def hand(self, x: float, y: float) -> None:
        self.disc(x, y, 0.38)
        for finger in (-0.24, -0.08, 0.08, 0.24):
            self.bar((x + finger, y + 0.2), (x + 1.3 * finger, y + 0.75), 0.11)

    def hand_from_the_side(self) -> None:
        self.disc(0.2, 0.1, 0.42)
        self.bar((0.5, 0.1), (1.6, 0.3), 0.4)


def over_crown(draw: Callable[[Brush], None]) -> Painter:
    def painter(mask: np.ndarray, at: Points, head_px: float) -> None:
        draw(Brush(mask, at["crown"], (at["crown"] - at["upper_neck"]) / head_px, head_px))

    return painter


def over_heels(draw: Callable[[Brush], None], sides: tuple[str, ...] = ("left", "right")) -> Painter:
    def painter(mask: np.ndarray, at: Points, head_px: float) -> None:
        for side in sides:
            shank = at[f"{side}_heel"] - at[f"{side}_knee"]
            draw(Brush(mask, at[f"{side}_heel"], shank / max(float(np.linalg.norm(shank)), 1e-6), head_px))

    return painter


#: What is painted, its colour (the infant's skin, the bedding's, or one drawn for the clip) and how.
KINDS: dict[str, tuple[str, Painter]] = {
    "cloth over a third of the head": ("bedding", over_crown(lambda b: b.cloth(-0.33))),
    "cloth over a fifth of the head": ("bedding", over_crown(lambda b: b.cloth(-0.2))),
    "hand over the crown": ("skin", over_crown(lambda b: b.hand(0, 0.2))),
    "hand from the side": ("skin", over_crown(Brush.hand_from_the_side)),
    "forearm across the crown": ("skin", over_crown(lambda b: b.bar((-2, 0.15), (2, 0.15), 0.45))),
    "ball over the crown": ("drawn", over_crown(lambda b: b.disc(0, 0.25, 0.38))),
    "large ball over the crown": ("drawn", over_crown(lambda b: b.disc(0, 0.4, 0.6))),
    "cloth over both feet": ("bedding", over_heels(lambda b: b.cloth(-0.5, 0.8))),
    "ball over one heel": ("drawn", over_heels(lambda b: b.disc(0, 0.1, 0.3), ("left",))),
    "balls over both heels": ("drawn", over_heels(lambda b: b.disc(0, 0.1, 0.3))),
    "forearm across the heels": ("skin", over_heels(lambda b: b.bar((-2, 0.1), (2, 0.1), 0.45))),
    "nothing covered, cloth an eighth above the crown": ("bedding", over_crown(lambda b: b.cloth(0.125))),
    "nothing covered, ball beside the head": ("drawn", over_crown(lambda b: b.disc(1.3, -0.3, 0.38))),
}  # fmt: skip


class Painted(Clip):
    """A clip with something over it in every frame."""

    def __init__(self, clip: Clip, joints: np.ndarray, colour: str, painter: Painter, seed: int) -> None:
        super().__init__()
        self._clip, self._joints, self._painter = clip, joints, painter
        self._colour, self._rng = colour, np.random.default_rng(seed)
        self._drawn = self._rng.integers(20, 236, 3).astype(float)
        for name in ("name", "kind", "size_wh", "rotation_deg", "fps", "length_hint", "paths"):
            setattr(self, name, getattr(clip, name))

    def frames(self) -> Iterator[Frame]:
        for frame in self._clip.frames():
            yield frame._replace(rgb=self._paint(frame.rgb, self._joints[frame.index]))

    def _paint(self, rgb: np.ndarray, joints: np.ndarray) -> np.ndarray:
        at = dict(zip(INFANT.names, joints, strict=True))
        head = at["crown"] - at["upper_neck"]
        head_px = float(np.linalg.norm(head))
        mask = np.zeros(rgb.shape[:2], np.uint8)
        self._painter(mask, at, head_px)
        face = _median(rgb, at["upper_neck"] + 0.4 * head, 0.12 * head_px)
        beyond = _median(rgb, at["crown"] + 0.4 * head, 0.12 * head_px)
        colour = {"skin": face, "bedding": beyond, "drawn": self._drawn}[self._colour]
        share = cv2.GaussianBlur(mask, (0, 0), 0.8)[..., None] / 255.0
        layer = colour + self._rng.normal(0, 3, rgb.shape)
        return np.clip(rgb * (1 - share) + layer * share, 0, 255).astype(np.uint8)


def _median(rgb: np.ndarray, at: np.ndarray, radius: float) -> np.ndarray:
    height, width = rgb.shape[:2]
    x, y = np.clip(np.round(at).astype(int), 0, [width - 1, height - 1])
    r = max(1, round(radius))
    return np.median(rgb[max(0, y - r) : y + r + 1, max(0, x - r) : x + r + 1].reshape(-1, 3), axis=0)


@dataclass(frozen=True)
class Answer:
    """A painted clip's error in length and whether its interval misses the truth, or why it was refused."""

    error_cm: float | None
    missed: bool
    code: str


def measured(
    clip: KnownClip, kind: str, seed: int, networks: tuple[Detector, PoseModel], pictures: Path | None
) -> Answer:
    """One clip with one thing over it; its first frame goes to ``pictures``."""
    assert clip.truth is not None
    scale = Settings(camera=clip.camera, plane=clip.truth).load_scale()
    with open_clip(str(clip.video)) as video:
        camera, plane = (
            Camera.load(clip.camera).for_frames(video.size_wh, video.rotation_deg),
            Plane.load(clip.truth),
        )
        truth = np.array(read_json(clip.truth, "truth")["joints_cm"])
        joints = np.stack([plane.to_frame(camera, points) for points in truth])
        painted = Painted(video, joints, *KINDS[kind], seed)
        if pictures is not None:
            picture = next(painted.frames()).rgb
            cv2.imwrite(str(pictures / f"{clip.id} {kind}.png"), picture[..., ::-1])
    with open_clip(str(clip.video)) as video:
        found = measure_clip(Painted(video, joints, *KINDS[kind], seed), *networks, scale).measurement
    if found.length_cm is None or found.interval_cm is None:
        return Answer(None, False, found.reasons[0].code)
    low, high = found.interval_cm
    return Answer(found.length_cm - clip.length_cm, not low <= clip.length_cm <= high, "")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("testset", type=Path, help="folder of a rendered test set, with clips.json")
    parser.add_argument("--model", default="fast")
    parser.add_argument("--only", nargs="+", choices=KINDS, default=list(KINDS), metavar="WHAT")
    parser.add_argument("--pictures", type=Path, help="a folder for the first frame of every clip and kind")
    args = parser.parse_args()
    clips = [
        c
        for c in read_clips(args.testset / "clips.json")
        if c.truth and "bag" not in c.strata.get("outfit", "")
    ]
    networks = Detector.load(), PoseModel.load(args.model)
    if args.pictures is not None:
        args.pictures.mkdir(parents=True, exist_ok=True)
    found: dict[str, list[Answer]] = {kind: [] for kind in args.only}
    for seed, clip in enumerate(tqdm(clips, unit="clip", disable=None)):
        for kind, answers in found.items():
            answers.append(measured(clip, kind, seed, networks, args.pictures))
    print(f"{len(clips)} clips; errors in cm")
    for kind, answers in found.items():
        codes = Counter(answer.code for answer in answers if answer.error_cm is None)
        refused = ", ".join(f"{count} {code}" for code, count in codes.most_common())
        errors = [answer.error_cm for answer in answers if answer.error_cm is not None]
        span = f" ({min(errors):+.1f} to {max(errors):+.1f})" if errors else ""
        missed = sum(answer.missed for answer in answers)
        print(
            f"{kind}: refused {refused or 'none'}; measured {len(errors)}{span}, {missed} outside the interval"
        )


if __name__ == "__main__":
    main()
