"""The nursery's production line: draws, renders and writes stills and clips, item by item, resumable.

Every item depends on (seed, index) alone, is written atomically, and is skipped when it is already there, so an
interrupted run goes on where it stopped and two cores give the same files as one.
"""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from heightpose.errors import ConfigError
from heightpose.geometry.sheet import SheetLayout
from heightpose.runtime.atomic import atomic_path, make_folder, write_json, write_text
from heightpose.synth import posture, scenario, sensor
from heightpose.synth.body import BodyModel, Child
from heightpose.synth.dress import dress
from heightpose.synth.scenario import Options

LEG_CLASSES = ("extended", "mixed", "tucked")


@dataclass(frozen=True)
class Recipe:
    """Everything a run depends on; stored beside its output so that a resumed run cannot mix two recipes."""

    seed: int
    kind: str  # "stills" or "clips"
    options: Options
    frames: int = 1
    fps: float = 10.0
    split: str | None = None
    sheet: str | None = None


class Nursery:
    """Draws and renders items; one per process (the body model takes seconds to load)."""

    def __init__(self, recipe: Recipe, threads: int = 1) -> None:
        import torch

        from heightpose.synth.scene import use_threads

        torch.set_num_threads(threads)
        use_threads(threads)
        self.recipe = recipe
        self.model = BodyModel()
        self.layout = SheetLayout.load(recipe.sheet) if recipe.sheet is not None else None

    def item(self, index: int) -> Iterator[tuple[np.ndarray, dict]]:
        """Render item ``index``: yields ``(image uint8 RGB, record)`` per frame; the record is JSON-ready truth."""
        from heightpose.synth.scene import render

        recipe, options = self.recipe, self.recipe.options
        child_seed = recipe.seed * 1_000_003 + index
        rng = np.random.default_rng([child_seed, 2])
        child = self.model.sample_child(child_seed)
        wardrobe = dress(self.model, child, rng)
        camera, plane = scenario.draw_camera(rng, options)
        room = scenario.draw_room(rng, self.layout, options, plane)
        rest = self.model.pose(child).joints_cm
        empty = bool(rng.random() < options.empty)
        lying = options.posture or str(rng.choice(posture.POSTURES, p=[0.76, 0.14, 0.10]))
        kinds = draw_leg_kinds(options.legs, rng)
        motion = posture.draw_motion(rng, recipe.frames, recipe.fps, posture=lying, leg_kinds=kinds)
        heading, at = self._settle(child, rest, motion, wardrobe, rng)
        covered = not empty and lying == "back" and bool(rng.random() < options.blanket)
        top = str(rng.choice(["pelvis", "left_knee", "thorax"]))
        exposure = rng.uniform(0.2, 0.65)
        blur = rng.uniform(1.5, 5.0) if recipe.kind == "stills" and rng.random() < 0.15 else 0.0
        denoise = recipe.kind == "stills" and bool(rng.random() < 0.6)
        blanket_seed = int(rng.integers(2**31))
        strata = {
            "posture": "none" if empty else lying,
            "occlusion": "blanket" if covered else "none",
            "sensor": room.light,
            "age_band": f"{int(child.age_months // 6) * 6}-{int(child.age_months // 6) * 6 + 6} months",
            "scene": "tags" if room.tagged else "no tags",
            "outfit": wardrobe.outfit,
            "annotator": "renderer",
        }
        for t in range(recipe.frames):
            infants = []
            if not empty:
                infants = [scenario.place(self.model, child, rest, motion, t, wardrobe, heading, at)]
            blanket = None
            if covered:
                blanket = scenario.cover(infants[0], np.random.default_rng(blanket_seed), top)
            linear, visibility = render(
                self.model, room, infants, camera, plane,
                samples=options.samples, seed=child_seed % 2**31 + t, blanket=blanket,
            )  # fmt: skip
            image = sensor.develop(
                linear,
                rng,
                infrared=room.light == "infrared",
                exposure=exposure,
                blur_px=blur,
                denoise=denoise,
            )
            record: dict = {
                "index": index,
                "frame": t,
                "t_s": t / recipe.fps,
                "split": recipe.split or _split_of(child_seed),
                "strata": dict(strata),
                "camera": camera.to_dict(),
                "plane": {"R": plane.R.tolist(), "t_cm": plane.t_cm.tolist()},
                "infants": [],
            }
            if infants:
                infant = infants[0]
                extended = posture.legs_extended(infant.joints_cm)
                record["strata"]["legs"] = "extended" if extended else "bent"
                record["infants"].append(self._truth(child, infant, visibility[0], camera, plane, extended))
            yield image, record

    def _settle(
        self, child: Child, rest, motion, wardrobe, rng: np.random.Generator
    ) -> tuple[float, np.ndarray]:
        """A heading and a place on the mattress where the whole infant fits in every frame looked at."""
        frames = sorted({0, len(motion) // 2, len(motion) - 1})
        for attempt in range(40):
            turned = rng.random() < 0.3
            spread = 25.0 if attempt < 20 else 6.0
            heading = (180.0 if turned else 0.0) + rng.normal(0, spread)
            at = np.array([rng.normal(0, 5), rng.normal(4 if not turned else -4, 9)])
            bodies = [
                scenario.place(self.model, child, rest, motion, t, wardrobe, heading, at) for t in frames
            ]
            if all(scenario.inside_mattress(b.vertices_cm, 1.5) for b in bodies):
                return heading, at
        return 0.0, np.array([0.0, 4.0])

    def _truth(self, child: Child, infant, visibility, camera, plane, extended: bool) -> dict:
        kpts = plane.to_frame(camera, infant.joints_cm)
        width, height = camera.size_wh
        inside = (kpts >= -0.5).all(1) & (kpts <= [width - 0.5, height - 0.5]).all(1)
        box = scenario.frame_box(camera, plane, infant.vertices_cm)
        return {
            "child": f"nursery-{child.seed}",
            "sex": child.sex,
            "age_months": round(child.age_months, 3),
            "length_cm": round(child.length_cm, 4),
            "keypoints": np.column_stack([kpts.round(3), visibility]).tolist(),
            "out_of_frame": (~inside).tolist(),
            "joints_cm": infant.joints_cm.round(3).tolist(),
            "bbox_xyxy": None if box is None else box.round(2).tolist(),
            "leg_extended": extended,
        }


def draw_leg_kinds(legs: str | None, rng: np.random.Generator) -> tuple[str, str]:
    """What the left and the right leg do, for one of :data:`LEG_CLASSES` (drawn when None)."""
    if legs is None:
        legs = str(rng.choice(LEG_CLASSES, p=[0.45, 0.2, 0.35]))
    bent = ("bent", "frog", "raised")
    if legs == "tucked":
        return str(rng.choice(bent)), str(rng.choice(bent))
    one = "straight" if rng.random() < 0.7 else str(rng.choice(bent))
    pair = ["straight", one] if legs == "extended" else ["straight", str(rng.choice(bent))]
    rng.shuffle(pair)
    return pair[0], pair[1]


def _split_of(child_seed: int) -> str:
    return "val" if np.random.default_rng([child_seed, 3]).random() < 0.07 else "train"


_worker: Nursery | None = None


def _start_worker(recipe: Recipe) -> None:
    global _worker
    _worker = Nursery(recipe)


def _run_item(args: tuple[int, str]) -> int:
    index, out = args
    assert _worker is not None
    writer = write_clip if _worker.recipe.kind == "clips" else write_still
    writer(_worker, index, Path(out))
    return index


def write_still(nursery: Nursery, index: int, out: Path) -> None:
    """Render one still: ``images/NNNNNN.jpg`` and ``items/NNNNNN.json``; the JSON is written last."""
    import cv2

    image, record = next(nursery.item(index))
    quality = int(np.random.default_rng([nursery.recipe.seed, index, 4]).integers(70, 97))
    with atomic_path(out / "images" / f"{index:06d}.jpg") as tmp:
        cv2.imwrite(str(tmp), image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    write_json(out / "items" / f"{index:06d}.json", [record])


def write_clip(nursery: Nursery, index: int, out: Path) -> None:
    """Render one clip: ``clips/NNNNNN.mp4`` (H.264), its camera and truth; ``items/NNNNNN.json`` is written last."""
    from heightpose.runtime.output import open_video_writer

    name = f"{index:06d}"
    frames = nursery.item(index)
    image, record = next(frames)
    records = [record]
    size_wh = (image.shape[1], image.shape[0])
    fps = Fraction(nursery.recipe.fps).limit_denominator(1001)
    with open_video_writer(out / "clips" / f"{name}.mp4", size_wh, fps) as writer:
        writer.write(image, record["t_s"])
        for image, record in frames:
            writer.write(image, record["t_s"])
            records.append(record)
    write_json(out / "clips" / f"{name}.camera.json", record["camera"])
    write_json(out / "items" / f"{name}.json", records)


def generate(recipe: Recipe, out: Path, count: int, jobs: int) -> None:
    """Render items ``0 .. count-1`` into ``out`` with ``jobs`` processes, then write the data set's index.

    Raises:
        ConfigError: ``out`` holds items of another recipe.
    """
    from tqdm import tqdm

    from heightpose.synth.contact import write_contact_sheet
    from heightpose.synth.index import write_index

    make_folder(out)
    stored = out / "recipe.json"
    wanted = json.loads(json.dumps(asdict(recipe) | {"sheet": None}))
    if stored.exists() and json.loads(stored.read_text()) != wanted:
        raise ConfigError(
            "this folder holds items of another recipe",
            where=out,
            hint="Choose an empty folder, or the same options",
        )
    for folder in ("items", "clips" if recipe.kind == "clips" else "images"):
        (out / folder).mkdir(exist_ok=True)
    write_json(stored, wanted)
    if recipe.sheet is not None and recipe.kind == "clips":
        write_text(out / "clips" / "sheet.yaml", Path(recipe.sheet).read_text(encoding="utf-8"))
    todo = [i for i in range(count) if not (out / "items" / f"{i:06d}.json").exists()]
    if todo:
        # spawn: Mitsuba's and torch's threads do not survive a fork
        context = multiprocessing.get_context("spawn")
        with context.Pool(min(jobs, len(todo)), _start_worker, (recipe,)) as pool:
            work = pool.imap_unordered(_run_item, [(i, str(out)) for i in todo])
            unit = "clip" if recipe.kind == "clips" else "picture"
            for _ in tqdm(
                work, total=count, initial=count - len(todo), unit=unit, desc="rendering", smoothing=0.05
            ):
                pass
    write_index(out, recipe, count)
    write_contact_sheet(out, recipe.kind, count, seed=recipe.seed)
