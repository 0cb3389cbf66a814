"""One item of the nursery, drawn and rendered from (seed, index) alone: who lies how, under what, seen by which camera.

Writing items to disk, by many processes, is :mod:`heightpose.synth.generate`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from heightpose.geometry.camera import Camera
from heightpose.geometry.plane import Plane
from heightpose.geometry.sheet import SheetLayout
from heightpose.skeleton import INFANT
from heightpose.synth import posture, scenario, sensor, textures
from heightpose.synth.blanket import BlanketPlan, cover, plan_blanket
from heightpose.synth.body import BodyModel, Child
from heightpose.synth.dress import dress
from heightpose.synth.loose import LOOSE
from heightpose.synth.materials import Materials
from heightpose.synth.puppet import Puppet
from heightpose.synth.relief import Relief, surface_samples
from heightpose.synth.scenario import Options
from heightpose.synth.scene import Infant, Room
from heightpose.synth.swatches import load_swatches
from heightpose.synth.things import put_toys, reach_in

_LEG_JOINTS = INFANT.indices(
    "left_knee", "right_knee", "left_ankle", "right_ankle", "left_heel", "right_heel"
)


@dataclass(frozen=True)
class Recipe:
    """Everything a run depends on; stored beside its output so that a resumed run cannot mix two recipes.

    ``sheet`` and ``textures`` are paths of this machine: their content's hashes are stored instead.
    """

    seed: int
    kind: str  # "stills" or "clips"
    options: Options
    frames: int = 1
    fps: float = 10.0
    split: str | None = None
    sheet: str | None = None
    textures: str | None = None  # folder of photographed swatches
    per_child: int = 1  # items of each child, in other postures, clothes and scenes

    def to_dict(self) -> dict:
        """Plain values that are the same wherever the same recipe is run."""
        files: dict = {"sheet": None, "textures": None}
        if self.sheet is not None:
            files["sheet"] = hashlib.sha256(Path(self.sheet).read_bytes()).hexdigest()
        if self.textures is not None:
            files["textures"] = load_swatches(Path(self.textures)).files
        return json.loads(json.dumps(asdict(self) | files))


@dataclass(frozen=True)
class Guest:
    """An infant in the scene: who, lying how, and where it is in every frame."""

    child: Child
    lying: str
    frames: list[Infant]


class Nursery:
    """Draws and renders items; one per process (the body model takes seconds to load)."""

    def __init__(self, recipe: Recipe, threads: int = 1) -> None:
        import torch

        from heightpose.synth.scene import use_threads

        torch.set_num_threads(threads)
        use_threads(threads)
        self.recipe = recipe
        textures.use_swatches(None if recipe.textures is None else load_swatches(Path(recipe.textures)))
        self.model = BodyModel()
        #: Postures are drawn until all infants of a scene fit, twins at most: each body is built once.
        self._puppet = lru_cache(maxsize=2)(self._build_puppet)
        self.layout = SheetLayout.load(recipe.sheet) if recipe.sheet is not None else None

    def item(self, index: int) -> Iterator[tuple[np.ndarray, dict]]:
        """Render item ``index``: yields ``(image uint8 RGB, record)`` per frame; the record is JSON-ready truth."""
        from heightpose.synth.scene import render

        recipe, options = self.recipe, self.recipe.options
        seed = child_seed(recipe.seed, index)
        child = child_seed(recipe.seed, index // recipe.per_child)
        rng = np.random.default_rng([seed, 2])
        camera, plane = scenario.draw_camera(rng, options)
        materials = Materials(bool(rng.random() < options.infrared), rng)
        room, bed = scenario.draw_room(rng, self.layout, options, plane, materials)
        guests = self._guests(child, rng, materials)
        if options.near and guests:
            skin = np.concatenate([infant.vertices_cm for infant in guests[0].frames])
            camera, plane = scenario.come_near(np.random.default_rng([seed, 5]), camera, plane, skin)
        plan = None
        if guests and rng.random() < options.blanket:
            cloth = materials.cloth(textures.cloth(rng))
            plan = plan_blanket(rng, cloth, options.blanket_extent)
        room = self._furnish(room, guests, plan, rng, materials)
        still = recipe.kind == "stills"
        film = sensor.draw_film(rng, still=still)
        strata = self._strata(guests, room, bed)
        for t in range(recipe.frames):
            infants = [guest.frames[t] for guest in guests]
            blanket = None
            if plan is not None:
                points = np.concatenate([scenario.surface_points(self.model, i) for i in infants])
                blanket = cover(infants[0].joints_cm, points, plan)
            linear, seen = render(
                self.model, room, infants, camera, plane,
                samples=options.samples, seed=seed % 2**31 + t, blanket=blanket,
            )  # fmt: skip
            image = sensor.develop(linear, rng, infrared=materials.infrared, film=film)
            record: dict = {
                "index": index,
                "frame": t,
                "t_s": t / recipe.fps,
                "split": recipe.split or _split_of(child),
                "strata": strata | {"occlusion": _occlusion([by for _, by in seen], plan is not None)},
                "camera": camera.to_dict(),
                "plane": {"R": plane.R.tolist(), "t_cm": plane.t_cm.tolist()},
                "tagged": room.tagged,
                "infants": [],
            }
            for guest, infant, (visibility, hidden_by) in zip(guests, infants, seen, strict=True):
                truth = truth_of(self.model, guest.child, infant, visibility, camera, plane)
                truth["legs_covered"] = all(hidden_by[k] is not None for k in _LEG_JOINTS)
                occlusion = _occlusion([hidden_by], plan is not None)
                truth["strata"] = _own_strata(guest) | {"occlusion": occlusion, "legs": _legs(truth)}
                record["infants"].append(truth)
            record["strata"]["legs"] = _legs(record["infants"][0] if guests else None)
            yield image, record

    def _guests(self, seed: int, rng: np.random.Generator, materials: Materials) -> list[Guest]:
        """Nobody, one infant or twins, each posed in every frame and laid where all frames fit."""
        options = self.recipe.options
        if rng.random() < options.empty:
            return []
        twins = bool(rng.random() < options.twins)
        if twins:
            age = float(rng.uniform(0, 12))  # older ones hardly share a cot
            for _ in range(6):
                pair = [self._guest(s, rng, materials, age) for s in (seed, seed + 2**40)]
                placed = settle(pair, rng)
                if placed is not None:
                    return placed
        for _ in range(12):  # a long child with wide arms may need another posture
            alone = self._guest(seed, rng, materials)
            placed = settle([alone], rng)
            if placed is not None:
                return placed
        # In the middle, along the cot: as good as it gets for one who is longer than the mattress.
        return [alone]

    def _build_puppet(self, seed: int, age_months: float | None) -> Puppet:
        return Puppet(self.model, self.model.sample_child(seed, age_months=age_months))

    def _guest(
        self, seed: int, rng: np.random.Generator, materials: Materials, age_months: float | None = None
    ) -> Guest:
        recipe, options = self.recipe, self.recipe.options
        puppet = self._puppet(seed, age_months)
        child = puppet.child
        wardrobe = materials.wardrobe(dress(self.model, child, rng, options.outfit))
        lying = options.posture or str(rng.choice(posture.POSTURES, p=[0.76, 0.14, 0.10]))
        frames = scenario.lie_down(
            puppet, rng, posture=lying, legs=options.legs,
            frames=recipe.frames, fps=recipe.fps, wardrobe=wardrobe,
        )  # fmt: skip
        return Guest(child, "back" if lying == LOOSE else lying, frames)

    def _furnish(
        self,
        room: Room,
        guests: list[Guest],
        plan: BlanketPlan | None,
        rng: np.random.Generator,
        materials: Materials,
    ) -> Room:
        """Toys and an adult's arm, clear of every body in every frame and of the blanket."""
        options = self.recipe.options
        toys = int(rng.integers(1, 4)) if rng.random() < options.clutter else 0
        arm = bool(rng.random() < options.arm)
        if not toys and not arm:
            return room
        relief = Relief()
        for t in range(self.recipe.frames if guests else 0):
            points = np.concatenate([scenario.surface_points(self.model, g.frames[t]) for g in guests])
            relief.add(points)
            if plan is not None:
                blanket = cover(guests[0].frames[t].joints_cm, points, plan)
                relief.add(surface_samples(blanket["vertices"], blanket["faces"]))
        shapes = put_toys(rng, materials, relief, toys)
        if arm:
            target = rng.normal(0, 15, 2)
            if guests:
                joints = guests[0].frames[0].joints_cm
                target = joints[int(rng.integers(len(joints))), :2] + rng.normal(0, 6, 2)
            shapes |= reach_in(self.model, rng, materials, relief, target)
        return replace(room, objects=room.objects | shapes)

    def _strata(self, guests: list[Guest], room: Room, bed: str) -> dict:
        """The picture's strata: of what is said of an infant, the first one's."""
        first = _own_strata(guests[0]) if guests else dict.fromkeys(("posture", "age_band", "outfit"), "none")
        return first | {
            "sensor": room.light,
            "scene": ("tags" if room.tagged else "no tags") + f", {bed}",
            "infants": len(guests),
            "objects": "arm" if "adult_arm" in room.objects else "toys" if _has_toys(room) else "none",
            "annotator": "renderer",
        }


def settle(guests: list[Guest], rng: np.random.Generator) -> list[Guest] | None:
    """Headings and places where all infants stay on the mattress and off each other in every frame, or None."""
    for attempt in range(60):
        placed: list[Guest] = []
        taken: set[tuple[float, float]] = set()
        for k, guest in enumerate(guests):
            turned = rng.random() < 0.3
            heading = (180.0 if turned else 0.0) + rng.normal(0, 25.0 if attempt < 20 else 8.0)
            at = np.array([rng.normal(0, 5), rng.normal(-4 if turned else 4, 9)])
            if len(guests) > 1:
                at = np.array([(2 * k - 1) * rng.uniform(12, 19), rng.normal(0, 22)])
            frames = [scenario.moved(frame, heading, at) for frame in guest.frames]
            cells = set(map(tuple, scenario.outline(frames, 2.0).tolist()))
            if taken & cells or not all(scenario.inside_mattress(f.vertices_cm, 1.5) for f in frames):
                break
            taken |= cells
            placed.append(replace(guest, frames=frames))
        if len(placed) == len(guests):
            return placed
    return None


def truth_of(
    model: BodyModel, child: Child, infant: Infant, visibility: np.ndarray, camera: Camera, plane: Plane
) -> dict:
    """What a frame's record says of one infant."""
    kpts = plane.to_frame(camera, infant.joints_cm)
    width, height = camera.size_wh
    inside = (kpts >= -0.5).all(1) & (kpts <= [width - 0.5, height - 0.5]).all(1)
    box = scenario.frame_box(camera, plane, infant.vertices_cm)
    head_box = scenario.frame_box(camera, plane, infant.vertices_cm[model.head_vertices])
    return {
        "child": f"nursery-{child.seed}",
        "sex": child.sex,
        "age_months": round(child.age_months, 3),
        "length_cm": round(child.length_cm, 4),
        "keypoints": np.column_stack([kpts.round(3), visibility]).tolist(),
        "out_of_frame": (~inside).tolist(),
        "joints_cm": infant.joints_cm.round(3).tolist(),
        "bbox_xyxy": None if box is None else box.round(2).tolist(),
        "head_box_xyxy": None if head_box is None else head_box.round(2).tolist(),
        "leg_extended": bool(posture.legs_extended(infant.joints_cm)),
    }


def _has_toys(room: Room) -> bool:
    return any(name.startswith("toy") for name in room.objects)


def _occlusion(hidden_by: list[list[str | None]], blanket: bool) -> str:
    """The most telling thing that hides joints: a blanket (even over few), an arm, a thing, the twin."""
    names = {name for joints in hidden_by for name in joints if name is not None}
    if blanket:
        return "blanket"
    for prefix, stratum in (("adult", "arm"), ("toy", "object"), ("infant", "twin"), ("", "bed")):
        if any(name.startswith(prefix) for name in names):
            return stratum
    return "none"


def _legs(infant: dict | None) -> str:
    """A still's legs: covered when all is hidden by something, extended when a leg is, tucked otherwise."""
    if infant is None:
        return "none"
    if infant["legs_covered"]:
        return "covered"
    return "extended" if infant["leg_extended"] else "tucked"


def _own_strata(guest: Guest) -> dict[str, str]:
    low = int(guest.child.age_months // 6) * 6
    return {
        "posture": guest.lying,
        "age_band": f"{low}-{low + 6} months",
        "outfit": guest.frames[0].wardrobe.outfit,
    }


def child_seed(seed: int, index: int) -> int:
    """The child of item ``index`` of a run: no two seeds share one while indices stay under a million."""
    return seed * 1_000_003 + index


def _split_of(seed: int) -> str:
    return "val" if np.random.default_rng([seed, 3]).random() < 0.07 else "train"
