"""The room: lamps and their shadows, the bed's rails and sides, floor, rug and furniture."""

from __future__ import annotations

import cv2
import numpy as np

from heightpose.geometry.plane import Plane
from heightpose.synth import textures
from heightpose.synth.materials import Materials
from heightpose.synth.scene import bitmap, mitsuba
from heightpose.synth.viewpoint import MATTRESS_CM

BEDS = ("slats", "solid ends", "solid", "mesh", "floor bed", "none")
_BED_SHARES = (0.35, 0.2, 0.1, 0.13, 0.12, 0.1)


def _rgb(value: np.ndarray | float) -> dict:
    return {"type": "rgb", "value": [float(v) for v in np.broadcast_to(value, 3)]}


def draw_light(rng: np.random.Generator, infrared: bool, plane: Plane) -> tuple[str, dict[str, dict]]:
    """('infrared' | 'lamp' | 'day', emitters). In infrared the lamp sits at the camera."""
    transform = mitsuba().ScalarTransform4f
    if infrared:
        at = plane.camera_centre_cm + rng.normal(0, 3, 3) + [0, 0, 4]
        lamp = {
            "type": "point",
            "position": [float(v) for v in at],
            "intensity": _rgb(9.0 * at[2] ** 2 / 2e4),
        }
        sky = {"type": "constant", "radiance": _rgb(rng.uniform(0.002, 0.03))}
        return "infrared", {"lamp": lamp, "sky": sky}
    tint = np.array([1.0, rng.uniform(0.8, 1.0), rng.uniform(0.6, 1.05)])
    emitters: dict[str, dict] = {"sky": {"type": "constant", "radiance": _rgb(tint * rng.uniform(0.15, 0.9))}}
    if rng.random() < 0.2:
        return "day", emitters
    # beside or above the camera, never between it and the cot
    away, reach = rng.uniform(0, 2 * np.pi), rng.uniform(60, 260)
    above = plane.height_cm + rng.uniform(10, 80) if reach < 150 else rng.uniform(120, 260)
    place = [reach * np.cos(away), reach * np.sin(away), above]
    look = transform().look_at(origin=place, target=[0, 0, 0], up=[0, 0.1, 1])
    if rng.random() < 0.2:  # light through a blind or a curtain's gap
        emitters["blind"] = {
            "type": "projector",
            "irradiance": bitmap(_blind(rng, tint[::-1] * rng.uniform(1.5, 6.0))),
            "fov": float(np.degrees(2 * np.arctan(110 / np.hypot(reach, above)))),
            "to_world": look,
        }
        return "lamp", emitters
    size = rng.uniform(10, 70)
    emitters["lamp"] = {
        "type": "rectangle",
        "to_world": look @ transform().scale([size, size, 1]),
        "emitter": {"type": "area", "radiance": _rgb(tint[::-1] * rng.uniform(2, 14) * (40 / size) ** 2)},
    }
    return "lamp", emitters


def _blind(rng: np.random.Generator, colour: np.ndarray) -> np.ndarray:
    """Slats of a blind or the gap of a curtain as a slide, ``(128, 128, 3)``."""
    y, x = np.mgrid[0:128, 0:128] / 128.0
    angle = rng.uniform(0, np.pi)
    across = x * np.cos(angle) + y * np.sin(angle)
    if rng.random() < 0.6:
        light = ((across * rng.uniform(5, 16)) % 1 < rng.uniform(0.35, 0.7)).astype(np.float32)
    else:
        light = (np.abs(across - rng.uniform(0.2, 0.8)) < rng.uniform(0.05, 0.25)).astype(np.float32)
    light = cv2.GaussianBlur(light, (0, 0), rng.uniform(0.8, 4.0)) + 0.03
    return (light[..., None] * colour).astype(np.float32)


def draw_bed(rng: np.random.Generator, materials: Materials) -> tuple[str, dict]:
    """(kind, shapes): what surrounds the mattress, one of :data:`BEDS`."""
    kind = str(rng.choice(BEDS, p=_BED_SHARES))
    if kind in ("floor bed", "none"):
        return kind, {}
    wood = rng.random() < 0.6
    colour = textures.floor(rng).mean((0, 1)) if wood else np.full(3, rng.uniform(0.6, 0.9))
    bsdf = materials.solid(colour)
    top, radius = rng.uniform(15, 40), rng.uniform(0.8, 1.4)
    half = np.array(MATTRESS_CM) / 2 + 1.5
    wall = {
        "type": "twosided",
        "bsdf": {"type": "diffuse", "reflectance": bitmap(materials.cloth(textures.cloth(rng)))},
    }
    if kind == "mesh":
        weave = np.full((64, 64, 3), rng.uniform(0.25, 0.5), np.float32)
        weave[::4] = weave[:, ::4] = 0.9
        wall = {"type": "mask", "opacity": bitmap(weave) | {"to_uv": _scale(8)}, "nested": wall}
    shapes: dict = {}
    for axis in (0, 1):
        for sign in (-1, 1):
            ends = np.zeros((2, 3))
            ends[:, axis], ends[:, 1 - axis], ends[:, 2] = (
                sign * half[axis],
                (-half[1 - axis], half[1 - axis]),
                top,
            )
            shapes[f"rail{axis}{sign}"] = _bar(ends[0], ends[1], radius * 1.4, bsdf)
            if kind in ("solid", "mesh") or (kind == "solid ends" and axis == 1):
                name = "mesh" if kind == "mesh" else "panel"
                shapes[f"{name}{axis}{sign}"] = _panel(
                    axis, sign, half, top, wall if kind != "solid ends" else bsdf
                )
                continue
            for k, w in enumerate(np.linspace(0.03, 0.97, 7 if axis == 1 else 13)):
                p = ends[0] * (1 - w) + ends[1] * w
                shapes[f"bar{axis}{sign}{k}"] = _bar(np.array([p[0], p[1], -8.0]), p, radius * 0.7, bsdf)
    return kind, shapes


def _scale(by: float):
    return mitsuba().ScalarTransform4f().scale([by, by, 1])


def _bar(a: np.ndarray, b: np.ndarray, radius: float, bsdf: dict) -> dict:
    return {
        "type": "cylinder",
        "p0": [float(v) for v in a],
        "p1": [float(v) for v in b],
        "radius": float(radius),
        "bsdf": bsdf,
    }


def _panel(axis: int, sign: int, half: np.ndarray, top: float, bsdf: dict) -> dict:
    transform = mitsuba().ScalarTransform4f
    centre, size = np.zeros(3), np.full(3, 0.5)
    centre[axis], centre[2] = sign * half[axis], (top - 10) / 2
    size[1 - axis], size[2] = half[1 - axis], (top + 10) / 2
    thin = transform().translate([float(v) for v in centre]) @ transform().scale([float(v) for v in size])
    return {"type": "cube", "to_world": thin, "bsdf": bsdf}


def draw_surroundings(rng: np.random.Generator, materials: Materials, floor_cm: float) -> dict:
    """Rug, furniture and walls beside the bed; nothing of it reaches over the mattress."""
    transform = mitsuba().ScalarTransform4f
    shapes: dict = {}

    def cloth() -> dict:
        return {"type": "diffuse", "reflectance": bitmap(materials.cloth(textures.cloth(rng)))}

    if rng.random() < 0.4:
        at = [float(rng.normal(0, 60)), float(rng.normal(0, 60)), floor_cm + 0.5]
        size = [float(rng.uniform(50, 110)), float(rng.uniform(50, 110)), 1.0]
        turn = transform().translate(at) @ transform().rotate([0, 0, 1], float(rng.uniform(0, 90)))
        shapes["rug"] = {"type": "rectangle", "to_world": turn @ transform().scale(size), "bsdf": cloth()}
    for n in range(int(rng.integers(0, 3))):
        half = rng.uniform(10, 35, 3)
        side, axis = rng.choice([-1, 1]), int(rng.integers(2))
        at3 = rng.normal(0, 40, 3)
        at3[axis] = side * (MATTRESS_CM[axis] / 2 + 5 + half[axis] + rng.uniform(0, 30))
        at3[2] = floor_cm + half[2]
        block = transform().translate([float(v) for v in at3]) @ transform().scale([float(v) for v in half])
        bsdf = materials.solid(textures.floor(rng).mean((0, 1))) if rng.random() < 0.6 else cloth()
        shapes[f"furniture{n}"] = {"type": "cube", "to_world": block, "bsdf": bsdf}
    return shapes
