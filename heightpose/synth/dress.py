"""What a body wears: skin, hair and garments as shells of the body's own surface, pushed out along its normals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from heightpose.synth import textures
from heightpose.synth.body import BodyModel, Child
from heightpose.synth.outfits import FEET, GARMENTS, LEGS, OUTFITS, TRUNK
from heightpose.synth.sack import Sack, cut_sack


@dataclass(frozen=True)
class Shell:
    """Part of the body's surface, pushed out.

    Attributes:
        name: garment name, 'hair', 'hat', 'bonnet' or 'headband'.
        faces: ``(F, 3)`` into ``vertices``; ``vertices``: ``(V,)`` body vertex indices.
        body_faces: ``(F,)`` the body face each one lies over.
        thickness_cm: distance along the normal; ``uv``: ``(V, 2)``; picture: ``(h, w, 3)``.
    """

    name: str
    vertices: np.ndarray
    faces: np.ndarray
    body_faces: np.ndarray
    thickness_cm: float
    uv: np.ndarray
    picture: np.ndarray


@dataclass(frozen=True)
class Wardrobe:
    """A dressed child: skin colour per vertex, the shells over it, and the sleeping bag round it when it wears one."""

    outfit: str
    skin: np.ndarray
    shells: tuple[Shell, ...]
    sack: Sack | None = None


def vertex_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Area-weighted unit vertex normals, ``(V, 3)``."""
    corners = vertices[faces]
    face_normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = np.zeros_like(vertices)
    for k in range(3):
        np.add.at(normals, faces[:, k], face_normals)
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)


def _bone_mask(model: BodyModel, prefixes: tuple[str, ...]) -> np.ndarray:
    wanted = np.array([bone.startswith(prefixes) for bone in model.bones])
    return wanted[model.vertex_bone]


def _shell(
    model: BodyModel, rest: np.ndarray, mask: np.ndarray, name: str, thickness: float, picture: np.ndarray
) -> Shell:
    keep = mask[model.faces].all(axis=1)
    body_faces = np.flatnonzero(keep)
    used, faces = np.unique(model.faces[keep], return_inverse=True)
    uv = np.column_stack([rest[used, 0], rest[used, 2]]) / 30.0  # one tile per 30 cm
    return Shell(name, used, faces.reshape(-1, 3).astype(np.int32), body_faces, thickness, uv, picture)


def _scalp(model: BodyModel, rest: np.ndarray, low: float) -> np.ndarray:
    """Vertices of the skull cap: above a line that falls from the brow to the nape."""
    head = _bone_mask(model, ("head", "special", "temporalis", "oculi", "risorius", "neck03"))
    crown, brow = rest[881], rest[head]
    height = (rest[:, 2] - brow[:, 2].min()) / (crown[2] - brow[:, 2].min())
    depth = (rest[:, 1] - brow[:, 1].min()) / np.ptp(brow[:, 1])  # 0 face, 1 back of the head
    return head & (height + 0.75 * (depth - 0.5) > low)


def dress(model: BodyModel, child: Child, rng: np.random.Generator, outfit: str | None = None) -> Wardrobe:
    """Draw skin, hair, hat and outfit for a child; ``outfit`` is one of :data:`OUTFITS`, None for any."""
    rest = model.pose(child).vertices_cm
    tone = textures.skin_colour(rng)
    blotch = 1.0 + 0.05 * rng.standard_normal((len(rest), 1))
    skin = np.clip(tone * blotch, 0.02, 0.95)
    lips = _bone_mask(model, ("oris",))
    skin[lips] = tone * [1.0, 0.72, 0.70]
    skin[_bone_mask(model, ("eye.",))] = [0.05, 0.04, 0.04]

    shells: list[Shell] = []
    sack = None
    if outfit is None:
        outfit = str(rng.choice(list(OUTFITS)))
    suit = textures.cloth(rng)
    for name in OUTFITS[outfit]:
        prefixes, (thin, thick) = GARMENTS[name]
        mask = _bone_mask(model, prefixes)
        if name == "nappy":  # reaches over the top of the thighs
            hips = rest[_bone_mask(model, ("upperleg01",))]
            mask |= _bone_mask(model, ("upperleg01",)) & (rest[:, 2] > np.quantile(hips[:, 2], 0.45))
            picture = textures.cloth(rng, plain=True, pale=True)
        else:
            picture = suit if name in ("bodysuit", "sleepsuit", "shirt") else textures.cloth(rng)
        thickness = float(rng.uniform(thin, thick))
        if name == "sleeping bag":
            thickness = max(thickness, max(shell.thickness_cm for shell in shells) + 0.25)
            filling = np.flatnonzero(_bone_mask(model, (*TRUNK, *LEGS, *FEET)))
            sack = cut_sack(filling, child.length_cm / 65.0, picture, thickness + 0.3, rng)
        shells.append(_shell(model, rest, mask, name, thickness, picture))
    shells += _headwear(model, rest, child, tone, rng)
    return Wardrobe(outfit, skin, tuple(shells), sack)


def _headwear(
    model: BodyModel, rest: np.ndarray, child: Child, tone: np.ndarray, rng: np.random.Generator
) -> list[Shell]:
    """A hat, a bonnet, or what hair there is, with or without a headband; newborns are often bald."""

    def shell(mask: np.ndarray, name: str, thin: float, thick: float, picture: np.ndarray) -> Shell:
        return _shell(model, rest, mask, name, float(rng.uniform(thin, thick)), picture)

    kind = rng.random()
    if kind < 0.10:
        return [shell(_scalp(model, rest, 0.5), "hat", 0.3, 0.7, textures.cloth(rng))]
    if kind < 0.16:
        return [shell(_scalp(model, rest, 0.32), "bonnet", 0.15, 0.35, textures.cloth(rng, pale=True))]
    shells = []
    bald = float(np.interp(child.age_months, [0.0, 3.0, 9.0, 15.0], [0.55, 0.40, 0.15, 0.03]))
    if rng.random() >= bald:
        colour = np.ones((4, 4, 3)) * textures.hair_colour(rng, tone)
        colour = np.clip(colour * rng.uniform(0.8, 1.2, (4, 4, 1)), 0.01, 0.9).astype(np.float32)
        fullness = min(child.age_months / 18.0, 1.0)  # it grows thicker and further down with age
        low, thick = rng.uniform(0.72 - 0.22 * fullness, 0.78), 0.1 + 0.35 * fullness
        shells.append(shell(_scalp(model, rest, float(low)), "hair", 0.05, thick, colour))
    if rng.random() < 0.06:
        band = _scalp(model, rest, 0.55) & ~_scalp(model, rest, 0.72)
        over = max((s.thickness_cm for s in shells), default=0.0)
        shells.append(shell(band, "headband", over + 0.1, over + 0.3, textures.cloth(rng)))
    return shells
