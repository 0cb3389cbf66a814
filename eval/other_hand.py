"""Clips as another hand might make them: posed by rule of thumb, dressed, lit and rendered by other code.

    python eval/other_hand.py --out other --count 44 --seed 1 [--textures swatches]
    heightpose eval --testset other
    heightpose eval geometry --testset other
    heightpose eval intervals --testset other

A test of what the nets and the elevation model take for granted. Only the body (Anny) and the joints' definitions are
the nursery's. Legs are turned about two axes and left in the air, the trunk is as stiff as in the rest pose, clothes
are colours of the skin's own mesh, a sphere or nothing lights the room. Nothing is fitted on these clips.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from scipy.spatial.transform import Rotation
from tqdm import tqdm

from heightpose.data.testset import freeze
from heightpose.geometry.camera import Camera
from heightpose.geometry.plane import Plane
from heightpose.geometry.sheet import SheetLayout, shipped_sheet
from heightpose.runtime.video_writer import open_video_writer
from heightpose.skeleton import INFANT
from heightpose.synth.body import BELOW_THE_NECK, BodyModel, Child
from heightpose.synth.dress import Wardrobe, vertex_normals
from heightpose.synth.index import coco_labels, leg_stratum
from heightpose.synth.nursery import truth_of
from heightpose.synth.posture import SUPINE, legs_extended
from heightpose.synth.scene import Infant, bitmap, mesh, mitsuba, use_threads
from heightpose.synth.swatches import Swatches, load_swatches
from heightpose.synth.visibility import of_joints

FRAMES, FPS, SAMPLES = 8, 5, 5
SIZE_WH = (960, 540)
#: Degrees a leg is held at: hip bent, thigh to the side, knee bent.
LEGS = {"extended": ((3, 22), (3, 22), (5, 25)), "tucked": ((40, 95), (15, 45), (50, 110))}
SKINS = np.array([[255, 224, 196], [234, 192, 160], [198, 150, 110], [150, 105, 75], [105, 70, 50]])
OUTFITS = {
    "nappy": ("pelvis", "root", "spine05"),
    "bodysuit": ("root", "pelvis", "spine", "clavicle", "shoulder", "breast", "upperarm"),
    "romper": ("root", "pelvis", "spine", "clavicle", "shoulder", "breast", "upperleg"),
    "sleepsuit": ("root", "pelvis", "spine", "clavicle", "shoulder", "breast", "upper", "lower", "foot", "toe"),
}  # fmt: skip
PX_PER_CM = 12.0


def turn(axis: str, degrees: float) -> np.ndarray:
    return Rotation.from_euler(axis, degrees, degrees=True).as_matrix()


def draw_angles(rng: np.random.Generator) -> Iterator[dict[str, float]]:
    """Angles of every frame, degrees: a base and a wave around each."""
    kind = str(rng.choice(["extended", "mixed", "tucked"]))
    base: dict[str, float] = {"turn": rng.normal(0, 20), "nod": rng.normal(-2, 6)}
    for side in "LR":
        leg = kind if kind != "mixed" else str(rng.choice(["extended", "tucked"]))
        drawn = (float(rng.uniform(*span)) for span in LEGS[leg])
        base |= dict(zip((f"flex{side}", f"abduct{side}", f"knee{side}"), drawn, strict=True))
        base |= {f"foot{side}": rng.uniform(-25, 15), f"elbow{side}": rng.uniform(5, 80)}
        base |= {f"arm{side}": rng.uniform(-40, 60), f"reach{side}": rng.uniform(-20, 20)}
    phase = {name: rng.uniform(0, 2 * np.pi) for name in base}
    reach = {name: rng.uniform(0, 8) for name in base}
    for t in range(FRAMES):
        yield {name: v + reach[name] * np.sin(phase[name] + 1.3 * t) for name, v in base.items()}


def rotations(angles: dict[str, float], model: BodyModel, *, flex_last: bool) -> dict[str, np.ndarray]:
    """Bone turns; the thigh is bent after it was moved to the side, or before."""
    out = {bone: turn("z", angles["turn"] / 2) @ turn("x", angles["nod"] / 2) for bone in ("neck02", "head")}
    for side, sign in (("L", 1.0), ("R", -1.0)):
        bend, aside = turn("x", -angles[f"flex{side}"]), turn("y", -sign * angles[f"abduct{side}"])
        out[f"upperleg01.{side}"] = bend @ aside if flex_last else aside @ bend
        out[f"lowerleg01.{side}"] = turn("x", angles[f"knee{side}"])
        out[f"foot.{side}"] = turn("x", angles[f"foot{side}"])
        out[f"upperarm01.{side}"] = turn("y", -sign * angles[f"arm{side}"]) @ turn(
            "x", angles[f"reach{side}"]
        )
        out[f"lowerarm01.{side}"] = turn("z", -sign * angles[f"elbow{side}"])
    return {bone: matrix for bone, matrix in out.items() if bone in model.bones}


def draw_view(rng: np.random.Generator) -> tuple[Camera, Plane]:
    """A pinhole 120 to 200 cm above the sheet, tilted by up to 20 degrees, with the sheet in view."""
    size = SIZE_WH
    above, tilt, azimuth = (
        rng.uniform(120, 200),
        np.deg2rad(20) * np.sqrt(rng.random()),
        rng.uniform(0, 2 * np.pi),
    )
    target = np.array([rng.normal(0, 3), rng.normal(0, 4), 0.0])
    aside = np.tan(tilt) * np.array([np.cos(azimuth), np.sin(azimuth), 0.0])
    spin = (
        np.deg2rad(rng.choice([90, -90]) + rng.normal(0, 6))
        if rng.random() < 0.8
        else rng.uniform(0, 2 * np.pi)
    )
    plane = Plane.looking_at(
        target + above * (aside + [0, 0, 1]), target, np.array([np.sin(spin), np.cos(spin), 0.0])
    )
    corners = np.array([[x, y, 0.0] for x in (-35, 35) for y in (-66, 66)]) @ plane.R.T + plane.t_cm
    extent = np.abs(corners[:, :2] / corners[:, 2:]).max(axis=0)
    focal = rng.uniform(0.85, 0.97) * min(size[0] / 2 / extent[0], size[1] / 2 / extent[1])
    middle = (size[0] - 1) / 2, (size[1] - 1) / 2
    K = np.array([[focal, 0, middle[0]], [0, focal, middle[1]], [0, 0, 1]])
    return Camera("pinhole", size, K, np.zeros(5)), plane


def sheet_picture(rng: np.random.Generator, layout: SheetLayout, swatches: Swatches | None) -> np.ndarray:
    """Linear albedo of the printed sheet, row 0 at its head, ``(H, W, 3)``."""
    width, height = (int(v * PX_PER_CM) for v in layout.size_cm)
    tile = np.full((64, 64, 3), rng.uniform(0.2, 0.8, 3), np.float32)
    if swatches is not None and rng.random() < 0.7:
        tile = cv2.resize(swatches.cloth(rng), (int(rng.uniform(120, 400)),) * 2)
    picture = np.tile(tile, (height // len(tile) + 1, width // len(tile) + 1, 1))[:height, :width].astype(
        np.float32
    )
    dictionary = cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, layout.family))
    margin, side = 16, 128
    for tag, corners in layout.tags.items():
        paper = cv2.aruco.generateImageMarker(dictionary, int(tag), side)
        paper = cv2.copyMakeBorder(paper, *[margin] * 4, cv2.BORDER_CONSTANT, value=255)
        own = np.array([[0, 0], [side, 0], [side, side], [0, side]], np.float32) + margin - 0.5
        half = np.array(layout.size_cm) / 2
        at = (np.column_stack([corners[:, 0] + half[0], half[1] - corners[:, 1]]) * PX_PER_CM - 0.5).astype(
            np.float32
        )
        warp = cv2.getPerspectiveTransform(own, at)
        ink = cv2.warpPerspective(paper, warp, (width, height), flags=cv2.INTER_AREA)
        there = (
            cv2.warpPerspective(np.full_like(paper, 255), warp, (width, height), flags=cv2.INTER_NEAREST)
            > 127
        )
        picture[there] = 0.04 + 0.82 * ink[there][:, None] / 255.0
    return picture


class OtherHand:
    """Draws and renders one clip after the other; each depends on (seed, index) alone."""

    def __init__(self, seed: int, textures: Path | None) -> None:
        self.seed = seed
        use_threads(1)
        self.model = BodyModel()
        self.layout = SheetLayout.load(shipped_sheet())
        self.swatches = None if textures is None else load_swatches(textures)
        self.bones = np.array(self.model.bones)[self.model.vertex_bone]
        trunk = self.on("root", "pelvis", "spine", "clavicle", "shoulder", "breast")
        self.bears = trunk | ~self.on(*BELOW_THE_NECK, "neck")

    def on(self, *starts: str) -> np.ndarray:
        """``(V,)`` bool: vertices that bones of these names move most."""
        return np.array([bone.startswith(starts) for bone in self.bones])

    def clip(self, index: int, out: Path) -> dict[str, Any]:
        """Write clip ``index`` with its camera and truth; returns its entry of ``clips.json``."""
        rng, name = np.random.default_rng([self.seed, index]), f"{index:06d}"
        child = self.model.sample_child(self.seed * 1_000_003 + index)
        camera, plane = draw_view(rng)
        outfit = str(rng.choice(list(OUTFITS)))
        scene, colour, thick = self._dressed(rng, outfit, plane, camera, index)
        place = (
            turn("z", 180.0 * (rng.random() < 0.3) + rng.normal(0, 12)),
            np.array([*rng.normal(0, 4, 2), 0.0]),
        )
        gain, noise, blur = rng.uniform(0.75, 1.0), rng.uniform(0.5, 5), rng.uniform(0.2, 0.7)
        joints, frames = [], []
        with open_video_writer(
            out / "clips" / f"{name}.mp4", camera.size_wh, Fraction(FPS), reproducible=True
        ) as writer:
            for t, angles in enumerate(draw_angles(rng)):
                vertices, found = self._posed(
                    child, rotations(angles, self.model, flex_last=bool(index % 2)), *place
                )
                skin = vertices + thick[:, None] * vertex_normals(vertices, self.model.faces)
                skin[:, 2] = np.maximum(skin[:, 2], 0.03)
                linear = self._traced(scene, skin, colour, seed=self.seed * 10_000 + index * FRAMES + t)
                image = np.clip(linear / np.percentile(linear, 97) * gain, 0, 1) ** (1 / 2.2) * 255
                image = cv2.GaussianBlur(image, (0, 0), blur) + rng.normal(0, noise, image.shape)
                writer.write(np.clip(image, 0, 255).astype(np.uint8), t / FPS)
                joints.append(found)
                labels = self._labels(child, skin, found, colour, camera, plane)
                frames.append({"index": index, "frame": t, "infants": [labels]})
        legs = leg_stratum([legs_extended(points) for points in joints])
        files = {"camera": camera.to_dict()}
        files["truth"] = {
            "R": plane.R.tolist(),
            "t_cm": plane.t_cm.tolist(),
            "joints_cm": np.array(joints).tolist(),
        }
        for kind, document in files.items():
            (out / "clips" / f"{name}.{kind}.json").write_text(json.dumps(document))
        strata = {"posture": "back", "legs": legs, "occlusion": "none", "outfit": outfit}
        clip = {
            "id": name, "child": f"other-{child.seed}", "video": f"clips/{name}.mp4", "sheet": "clips/sheet.yaml",
            "camera": f"clips/{name}.camera.json", "truth": f"clips/{name}.truth.json", "strata": strata,
            "length_cm": child.length_cm, "sex": child.sex, "age_months": child.age_months,
        }  # fmt: skip
        shared = {"camera": files["camera"], "split": "test", "strata": strata}
        return {"clip": clip, "frames": [shared | frame for frame in frames]}

    def _labels(
        self,
        child: Child,
        skin: np.ndarray,
        joints: np.ndarray,
        colour: np.ndarray,
        camera: Camera,
        plane: Plane,
    ) -> dict[str, Any]:
        """One frame's keypoints, seen or behind another part of the body, and box, px."""
        body = mesh("infant0", skin, self.model.faces, {"type": "diffuse"})
        alone = mitsuba().load_dict({"type": "scene", "infant0": body}, parallel=False)
        infant = Infant(skin, joints, Wardrobe("", colour, ()))
        visibility, _ = of_joints(alone, self.model, infant, 0, plane)
        return truth_of(self.model, child, infant, visibility, camera, plane) | {
            "child": f"other-{child.seed}"
        }

    def _posed(
        self, child: Child, bones: dict[str, np.ndarray], heading: np.ndarray, at_cm: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Vertices and joints on the mattress, as stiff as posed: the lowest skin of trunk and head lies on it."""
        posed = self.model.pose(child, bones)
        vertices, joints = posed.vertices_cm @ SUPINE.T, posed.joints_cm @ SUPINE.T
        middle = joints[INFANT.indices("pelvis", "thorax")].mean(axis=0)
        vertices, joints = (vertices - middle) @ heading.T + at_cm, (joints - middle) @ heading.T + at_cm
        low = np.percentile(vertices[self.bears, 2], 1.0)
        vertices[:, 2], joints[:, 2] = np.maximum(vertices[:, 2] - low, 0.05), joints[:, 2] - low
        return vertices, joints

    def _dressed(
        self, rng: np.random.Generator, outfit: str, plane: Plane, camera: Camera, index: int
    ) -> tuple[dict[str, Any], np.ndarray, np.ndarray]:
        """The scene without the infant, and the infant's colours ``(V, 3)`` and thickness of cloth ``(V,)``, cm."""
        worn = self.on(*OUTFITS[outfit])
        colour = np.tile((rng.choice(SKINS) * rng.uniform(0.9, 1.0) / 255.0) ** 2.2, (len(worn), 1))
        colour[worn] = rng.uniform(0.05, 0.9, 3)
        infrared = rng.random() < 0.15
        sheet = sheet_picture(rng, self.layout, self.swatches)
        floor = np.full((64, 64, 3), rng.uniform(0.1, 0.7, 3), np.float32)
        floor = floor if self.swatches is None else self.swatches.floor(rng)
        if infrared:
            colour = np.repeat(colour.mean(axis=1, keepdims=True) * 0.5 + 0.35, 3, axis=1)
            sheet, floor = (np.repeat(p.mean(axis=2, keepdims=True), 3, axis=2) for p in (sheet, floor))
        scene = _room(rng, sheet, floor, rails=bool(index % 3))
        scene["sensor"] = _sensor(camera, plane)
        return (
            scene,
            colour,
            np.where(worn, rng.uniform(0.8, 1.6) if outfit == "nappy" else rng.uniform(0.1, 0.8), 0.0),
        )

    def _traced(
        self, scene: dict[str, Any], vertices: np.ndarray, colour: np.ndarray, seed: int
    ) -> np.ndarray:
        mi = mitsuba()
        skin = {"type": "diffuse", "reflectance": {"type": "mesh_attribute", "name": "vertex_color"}}
        body = mesh("body", vertices, self.model.faces, {"type": "twosided", "bsdf": skin}, colour=colour)
        return np.array(
            mi.render(mi.load_dict(scene | {"body": body}, parallel=False), spp=SAMPLES, seed=seed)
        )


def _rgb(value: Any) -> dict[str, Any]:
    return {"type": "rgb", "value": [float(v) for v in np.broadcast_to(value, 3)]}


def _room(rng: np.random.Generator, sheet: np.ndarray, floor: np.ndarray, *, rails: bool) -> dict[str, Any]:
    transform = mitsuba().ScalarTransform4f

    def box(middle: list[float], half: list[float], colour: Any) -> dict[str, Any]:
        to_world = transform().translate(middle) @ transform().scale(half)
        return {
            "type": "cube",
            "to_world": to_world,
            "bsdf": {"type": "diffuse", "reflectance": _rgb(colour)},
        }

    scene: dict[str, Any] = {
        "type": "scene",
        "integrator": {"type": "path", "max_depth": 4},
        "sky": {"type": "constant", "radiance": _rgb(rng.uniform(0.3, 0.9))},
        "sheet": {
            "type": "rectangle", "to_world": transform().scale([35, 66, 1]),
            "bsdf": {"type": "diffuse", "reflectance": bitmap(sheet[::-1])},
        },
        "floor": {
            "type": "rectangle",
            "to_world": transform().translate([0, 0, -45]) @ transform().scale([300, 300, 1]),
            "bsdf": {"type": "diffuse", "reflectance": bitmap(floor) | {"to_uv": transform().scale([8, 8, 1])}},
        },
        "mattress": box([0, 0, -6.1], [36, 67, 6], 0.8),
    }  # fmt: skip
    if rails:
        for k, (x, y, across, along) in enumerate(
            ((37, 0, 1, 68), (-37, 0, 1, 68), (0, 68, 37, 1), (0, -68, 37, 1))
        ):
            scene[f"rail{k}"] = box([x, y, 5], [across, along, 15], [0.55, 0.4, 0.25])
    if rng.random() < 0.7:
        away = rng.uniform(0, 2 * np.pi)
        scene["lamp"] = {
            "type": "sphere", "radius": float(rng.uniform(8, 25)),
            "center": [float(150 * np.cos(away)), float(150 * np.sin(away)), float(rng.uniform(120, 240))],
            "emitter": {"type": "area", "radiance": _rgb(np.array([1, 0.93, 0.82]) * rng.uniform(5, 20))},
        }  # fmt: skip
    return scene


def _sensor(camera: Camera, plane: Plane) -> dict[str, Any]:
    to_world = np.eye(4)
    to_world[:3, :3] = plane.R.T @ np.diag([-1.0, -1.0, 1.0])  # Mitsuba's camera has x left and y up
    to_world[:3, 3] = plane.camera_centre_cm
    width, height = camera.size_wh
    return {
        "type": "perspective", "fov_axis": "x", "fov": float(np.degrees(2 * np.arctan(width / 2 / camera.K[0, 0]))),
        "near_clip": 1.0, "far_clip": 5000.0, "to_world": mitsuba().ScalarTransform4f(to_world),
        "film": {"type": "hdrfilm", "width": width, "height": height, "pixel_format": "rgb"},
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="folder of the test set; clips that are there stay"
    )
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--textures", type=Path, help="folder of photographed swatches for sheet and floor")
    args = parser.parse_args()
    for folder in ("clips", "entries"):
        (args.out / folder).mkdir(parents=True, exist_ok=True)
    hand = OtherHand(args.seed, args.textures)
    shutil.copy(shipped_sheet(), args.out / "clips" / "sheet.yaml")
    for index in tqdm(range(args.count), unit="clip"):
        entry = args.out / "entries" / f"{index:06d}.json"
        if not entry.is_file():
            entry.write_text(json.dumps(hand.clip(index, args.out)))
    entries = [json.loads((args.out / "entries" / f"{i:06d}.json").read_text()) for i in range(args.count)]
    (args.out / "clips.json").write_text(json.dumps([entry["clip"] for entry in entries], indent=1))
    (args.out / "annotations.json").write_text(
        json.dumps(coco_labels([entry["frames"] for entry in entries], "clips"))
    )
    freeze(args.out, f"other-hand-{args.seed}", 1, replace=True)


if __name__ == "__main__":
    main()
