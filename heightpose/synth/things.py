"""Things in view beside or over the infant: toys made of simple solids, and an adult's arm reaching in."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.spatial.transform import Rotation

from heightpose.synth import textures
from heightpose.synth.body import BodyModel
from heightpose.synth.materials import Materials
from heightpose.synth.relief import Relief
from heightpose.synth.scene import cloth_bsdf, mesh

TOYS = ("ball", "block", "soft toy", "book", "ring", "rattle", "pillow", "dummy")
_ARM_BONES = ("upperarm", "lowerarm", "wrist", "metacarpal", "finger")
_ADULT_AGE = 0.667  # Anny's phenotype scale: a young adult


def _ellipsoid(centre: tuple, radii: tuple, rows: int = 12, cols: int = 20) -> tuple[np.ndarray, np.ndarray]:
    lat, lon = np.meshgrid(np.linspace(0, np.pi, rows), np.linspace(0, 2 * np.pi, cols), indexing="ij")
    unit = np.stack([np.sin(lat) * np.cos(lon), np.sin(lat) * np.sin(lon), np.cos(lat)], -1).reshape(-1, 3)
    return unit * radii + centre, _strip_faces(rows, cols)


def _ring(radius: float, tube: float, rows: int = 24, cols: int = 10) -> tuple[np.ndarray, np.ndarray]:
    a, b = np.meshgrid(np.linspace(0, 2 * np.pi, rows), np.linspace(0, 2 * np.pi, cols), indexing="ij")
    out = radius + tube * np.cos(b)
    points = np.stack([out * np.cos(a), out * np.sin(a), tube * np.sin(b) + tube], -1).reshape(-1, 3)
    return points, _strip_faces(rows, cols)


def _box(size: tuple[float, float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Six separate sides, so that shading stays flat."""
    points: list = []
    faces: list = []
    for axis in range(3):
        for sign in (-1.0, 1.0):
            square = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], float)
            side = np.insert(square if sign > 0 else square[::-1], axis, sign, axis=1)
            faces += [
                [len(points), len(points) + 1, len(points) + 2],
                [len(points), len(points) + 2, len(points) + 3],
            ]
            points += list(side)
    half = np.array(size) / 2
    return np.array(points) * half + [0, 0, half[2]], np.array(faces)


def _strip_faces(rows: int, cols: int) -> np.ndarray:
    k = np.arange(rows * cols).reshape(rows, cols)
    quads = np.stack([k[:-1, :-1], k[1:, :-1], k[1:, 1:], k[:-1, 1:]], axis=-1).reshape(-1, 4)
    return np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])


def toy_solids(rng: np.random.Generator, kind: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """A toy's solids as (vertices in cm, faces), standing on z = 0 round the origin."""
    s = float(rng.uniform(0.8, 1.25))
    if kind == "ball":
        r = float(rng.uniform(2.0, 5.5))
        return [_ellipsoid((0, 0, r), (r, r, r))]
    if kind == "block":
        return [_box((4.5 * s, 4.5 * s, 4.5 * s))]
    if kind == "book":
        return [_box((16 * s, 12 * s, 1.5 * s))]
    if kind == "ring":
        return [_ring(4 * s, 0.9 * s)]
    if kind == "rattle":
        return [
            _ellipsoid((0, 5 * s, 2 * s), (2 * s, 2 * s, 2 * s)),
            _ellipsoid((0, 0, 2 * s), (0.7 * s, 5 * s, 0.7 * s)),
            _ellipsoid((0, -5 * s, 2 * s), (1.3 * s, 1.3 * s, 1.3 * s)),
        ]
    if kind == "dummy":
        return [_ellipsoid((0, 0, 0.7), (2.2, 1.6, 0.7)), _ellipsoid((0, 0, 2.0), (0.8, 0.8, 1.4))]
    if kind == "pillow":
        return [_ellipsoid((0, 0, 3.2 * s), (13 * s, 9 * s, 3.2 * s))]
    parts: list[tuple] = [((0, 0, 4), (4.2, 5, 4)), ((0, 7, 4), (3.4, 3.2, 3.2))]
    parts += [((x * 3.0, 9.3, 4.5), (1.3, 1.3, 0.9)) for x in (-1, 1)]
    parts += [((x * 4.3, y, 2.5), (1.7, 2.6, 1.6)) for x in (-1, 1) for y in (3, -4.5)]
    return [_ellipsoid(tuple(s * np.array(c)), tuple(s * np.array(r))) for c, r in parts]


def put_toys(rng: np.random.Generator, materials: Materials, relief: Relief, count: int) -> dict:
    """``count`` toys on the mattress or partly over the infant: each is lifted over all that ``relief`` knows."""
    shapes: dict = {}
    for n in range(count):
        kind = str(rng.choice(TOYS))
        solids = toy_solids(rng, kind)
        turn = Rotation.from_euler("z", rng.uniform(0, 2 * np.pi)).as_matrix()
        points = np.concatenate([v for v, _ in solids]) @ turn.T
        reach = np.abs(points[:, :2]).max(axis=0)
        # most lie free beside the infant; some end up over a limb, as they do
        spots = [rng.uniform(-1, 1, 2) * np.maximum([34, 65] - reach, 1) for _ in range(24)]
        lifts = [relief.lift_over(points + [*spot, 0.05], 0.1) for spot in spots]
        low_enough = [i for i, lift in enumerate(lifts) if lift < (8.0 if rng.random() < 0.35 else 0.4)]
        if not low_enough:
            continue
        shift = np.array([*spots[low_enough[0]], 0.05 + lifts[low_enough[0]]])
        relief.add(points + shift)
        picture = materials.cloth(textures.cloth(rng))
        for k, (vertices, faces) in enumerate(solids):
            placed = vertices @ turn.T + shift
            name = f"toy{n}_{k}"
            shapes[name] = mesh(name, placed, faces, cloth_bsdf(picture), uv=vertices[:, :2] / 12.0)
    return shapes


def adult_arm(model: BodyModel, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The arm of an adult body with curled fingers: ``(vertices, faces, along)``.

    The hand's middle is the origin, the shoulder lies towards +x, z is up; ``along`` ``(V,)`` is 0 at the hand's
    middle and 1 at the shoulder.
    """
    grown = model.sample_child(int(rng.integers(2**31)))
    shape = grown.phenotype | {"age": _ADULT_AGE, "weight": float(rng.uniform(0.3, 0.7))}
    adult = replace(grown, phenotype=shape, local_changes=dict.fromkeys(grown.local_changes, 0.0), scale=1.0)
    curl = rng.uniform(2, 30)
    bend = {
        bone: Rotation.from_euler(
            "y", curl * (0.4 if bone.startswith("finger1") else 1.0), degrees=True
        ).as_matrix()
        for bone in model.bones
        if bone.startswith("finger") and bone.endswith(".L")
    }
    vertices = model.pose(adult, bend).vertices_cm
    wanted = np.array([b.startswith(_ARM_BONES) and b.endswith(".L") for b in model.bones])
    hand = np.array([b.startswith(("metacarpal", "wrist")) and b.endswith(".L") for b in model.bones])
    keep = wanted[model.vertex_bone][model.faces].all(axis=1)
    used, faces = np.unique(model.faces[keep], return_inverse=True)
    middle = vertices[hand[model.vertex_bone]].mean(axis=0)
    arm = vertices[used] - middle
    far = arm[np.argmax(np.linalg.norm(arm, axis=1))]
    x = far / np.linalg.norm(far)
    y = np.cross([0.0, 1.0, 0.0], x)
    y /= np.linalg.norm(y)
    arm = arm @ np.stack([x, y, np.cross(x, y)]).T
    if rng.random() < 0.5:
        arm, faces = arm * [1, -1, 1], faces.reshape(-1, 3)[:, ::-1]  # the other arm
    return arm, faces.reshape(-1, 3).astype(np.int32), np.clip(arm[:, 0] / np.linalg.norm(far), 0, 1)


def reach_in(
    model: BodyModel, rng: np.random.Generator, materials: Materials, relief: Relief, target_xy_cm: np.ndarray
) -> dict:
    """An adult's arm from beside the cot to ``target_xy_cm``, held just clear of everything below it."""
    arm, faces, along = adult_arm(model, rng)
    # over the nearer long side: the adult stands beside the cot, and the shoulder stays outside it
    heading = rng.normal(0, 20) + (0.0 if target_xy_cm[0] > rng.normal(0, 4) else 180.0)
    roll = rng.choice([0.0, 90.0, -90.0, 180.0]) + rng.normal(0, 15)
    pitch = rng.uniform(12, 40)
    turn = Rotation.from_euler("ZYX", [heading, -pitch, roll], degrees=True).as_matrix()
    placed = arm @ turn.T + [*target_xy_cm, 0.0]
    low = placed[:, 2].min()
    placed[:, 2] += 0.3 - low
    placed[:, 2] += relief.lift_over(placed, 0.3)
    relief.add(placed)
    skin = np.clip(textures.skin_colour(rng) * np.ones((len(arm), 1)), 0.02, 0.95)
    sleeve = along > rng.uniform(0.25, 1.4)
    skin[sleeve] = textures.cloth(rng, plain=True).mean(axis=(0, 1))
    colour = materials.skin(skin)
    bsdf = {
        "type": "twosided",
        "bsdf": {"type": "diffuse", "reflectance": {"type": "mesh_attribute", "name": "vertex_color"}},
    }
    shapes = {"adult_arm": mesh("adult_arm", placed, faces, bsdf, colour=colour)}
    shoulder = placed[np.argmax(along)]
    outward = turn @ [1.0, 0.0, 0.0]
    trunk, trunk_faces = _ellipsoid((0, 0, 0), (15.0, 22.0, 24.0))
    upright = Rotation.from_euler("z", heading, degrees=True).as_matrix()
    trunk = trunk @ upright.T + shoulder + [*(outward[:2] * 3.0), 0.0]
    shirt = cloth_bsdf(materials.cloth(textures.cloth(rng, plain=True)))
    shapes["adult_trunk"] = mesh("adult_trunk", trunk, trunk_faces, shirt, uv=trunk[:, :2] / 30.0)
    return shapes


__all__ = ["TOYS", "adult_arm", "put_toys", "reach_in", "toy_solids"]
