"""What is drawn for one child's scene: room, lamp, camera, where the infant lies, blankets and things in view."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial.transform import Rotation

from heightpose.errors import ConfigError
from heightpose.geometry.camera import Camera
from heightpose.geometry.plane import Plane
from heightpose.geometry.sheet import SheetLayout
from heightpose.synth import textures
from heightpose.synth.body import BodyModel
from heightpose.synth.dress import Wardrobe, vertex_normals
from heightpose.synth.loose import LOOSE, draw_loose, put_down
from heightpose.synth.lying import Lying, lie
from heightpose.synth.materials import Materials
from heightpose.synth.posture import Motion, draw_motion
from heightpose.synth.puppet import Puppet
from heightpose.synth.relief import surface_samples
from heightpose.synth.room import draw_bed, draw_light, draw_surroundings
from heightpose.synth.scene import Infant, Room, shell_vertices
from heightpose.synth.viewpoint import MATTRESS_CM, come_near, draw_camera

__all__ = [
    "MATTRESS_CM",
    "Options",
    "come_near",
    "draw_camera",
    "draw_room",
    "frame_box",
    "inside_mattress",
    "moved",
    "outline",
]
__all__ += ["lie_down", "surface_points"]

#: What the legs of a clip do; see draw_leg_kinds.
LEG_CLASSES = ("extended", "mixed", "tucked")
#: Motions drawn before a posture is given up, and of these with the same kinds of legs.
_DRAWS, _DRAWS_OF_KIND = 60, 12


@dataclass(frozen=True)
class Options:
    """What a nursery run may draw. The defaults are the variety that training wants.

    ``easy`` narrows it to what the product promises first: on the back, legs mostly extended, uncovered.
    """

    size_wh: tuple[int, int] | None = None
    samples: int = 4
    posture: str | None = None
    legs: str | None = None
    outfit: str | None = None
    blanket: float = 0.2
    blanket_extent: str | None = None
    twins: float = 0.0
    arm: float = 0.1
    fisheye: float = 0.15
    infrared: float = 0.25
    tagless: float = 0.2
    empty: float = 0.0
    clutter: float = 0.5
    max_tilt_deg: float = 35.0
    height_cm: tuple[float, float] = (120.0, 220.0)
    keep_cot_in_view: bool = False
    near: bool = False

    @classmethod
    def usual(cls, kind: str, *, easy: bool = False) -> Options:
        """What ``heightpose synth`` draws of this kind, "stills" or "clips", where nothing else is asked for.

        Stills are many, small and of all sizes; some show twins or nobody. Clips are few and large, of one child each.
        """
        if kind == "clips":
            options = cls(size_wh=(960, 540), samples=12)
        else:
            options = cls(empty=0.07, twins=0.0 if easy else 0.04)
        return options.easy() if easy else options

    def easy(self) -> Options:
        return replace(
            self, posture="back", legs="extended", blanket=0.0, tagless=0.0, clutter=0.3, max_tilt_deg=20.0,
            height_cm=(130.0, 200.0), keep_cot_in_view=True, arm=0.0, fisheye=0.0,
        )  # fmt: skip


def draw_room(
    rng: np.random.Generator, layout: SheetLayout | None, options: Options, plane: Plane, materials: Materials
) -> tuple[Room, str]:
    """Mattress, sheet, floor, bed, surroundings and lamps; also the bed's kind."""
    tagged = layout is not None and rng.random() >= options.tagless
    kind, emitters = draw_light(rng, materials.infrared, plane)
    picture = materials.sheet(textures.sheet_picture(layout if tagged else None, rng, MATTRESS_CM), tagged)
    bed, shapes = draw_bed(rng, materials)
    floor_cm = -10.5 if bed == "floor bed" else float(rng.uniform(-60, -25))
    shapes |= draw_surroundings(rng, materials, floor_cm)
    floor = materials.cloth(textures.floor(rng))
    return Room(picture, MATTRESS_CM, floor, kind, tagged, floor_cm, shapes, emitters), bed


def lie_down(
    puppet: Puppet, rng: np.random.Generator, *, posture: str, legs: str | None, frames: int, fps: float,
    wardrobe: Wardrobe,
) -> list[Infant]:  # fmt: skip
    """Draw motions until one can be lain in: the infant in every frame, the middle of its trunk over the origin.

    Args:
        posture: one of :data:`heightpose.synth.posture.POSTURES`, or :data:`heightpose.synth.loose.LOOSE`.
        legs: one of :data:`LEG_CLASSES`, None for any. What each leg does is drawn again
            where many motions fail: legs raised for long while the infant lies on its front, for one.

    Raises:
        ConfigError: none of many draws could, which only very long clips come to.
    """
    if posture == LOOSE:
        motion = draw_loose(rng, frames, fps)
        return _headed(put_down(puppet, motion, rng), motion, wardrobe)
    reasons = []
    for number in range(_DRAWS):
        if number % _DRAWS_OF_KIND == 0:
            leg_kinds = draw_leg_kinds(legs, rng)
        motion = draw_motion(rng, frames, fps, posture=posture, leg_kinds=leg_kinds)
        found = lie(puppet, motion, fps)
        if isinstance(found, list):
            return _headed(found, motion, wardrobe)
        reasons.append(found)
    raise ConfigError(
        f"no motion of {frames} frames on the {posture} with legs {legs or 'of any kind'} could be lain in",
        got=f"in {_DRAWS} draws: {', '.join(sorted(set(reasons)))}",
        hint="Fewer frames or another seed",
    )


def _headed(bodies: list[Lying], motion: Motion, wardrobe: Wardrobe) -> list[Infant]:
    infants = [Infant(at.vertices_cm, at.joints_cm, wardrobe) for at in bodies]
    return [moved(i, float(h), np.zeros(2)) for i, h in zip(infants, motion.angles["heading"], strict=True)]


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


def moved(infant: Infant, heading_deg: float, at_xy_cm: np.ndarray) -> Infant:
    """The posed infant turned about the vertical through the origin, then shifted along the mattress."""
    turn = Rotation.from_euler("z", heading_deg, degrees=True).as_matrix()
    shift = np.array([at_xy_cm[0], at_xy_cm[1], 0.0])
    return replace(
        infant, vertices_cm=infant.vertices_cm @ turn.T + shift, joints_cm=infant.joints_cm @ turn.T + shift
    )


def surface_points(model: BodyModel, infant: Infant) -> np.ndarray:
    """Samples all over the upward-facing surface of an infant and what it wears, ``(N, 3)`` cm."""
    wardrobe = infant.wardrobe
    normals = vertex_normals(infant.vertices_cm, model.faces)
    points = [surface_samples(infant.vertices_cm, model.faces)]
    points += [
        surface_samples(shell_vertices(infant.vertices_cm, normals, shell), shell.faces)
        for shell in wardrobe.shells
    ]
    if wardrobe.sack is not None:
        sack = wardrobe.sack
        points.append(surface_samples(sack.vertices_cm(infant.vertices_cm, infant.joints_cm), sack.faces()))
    return np.concatenate(points)


def outline(infants: list[Infant], margin_cm: float) -> np.ndarray:
    """``(N, 2)`` cells of 2 cm that the infants of all frames stand over, widened by ``margin_cm``."""
    cells = np.unique(
        np.concatenate([np.round(i.vertices_cm[::3, :2] / 2.0).astype(int) for i in infants]), axis=0
    )
    steps = int(np.ceil(margin_cm / 2.0))
    around = [[i, j] for i in range(-steps, steps + 1) for j in range(-steps, steps + 1)]
    return np.unique((cells[:, None] + np.array(around)[None]).reshape(-1, 2), axis=0) * 2.0


def inside_mattress(vertices_cm: np.ndarray, margin_cm: float = 1.0) -> bool:
    """True when the whole body lies within the mattress outline."""
    half = np.array(MATTRESS_CM) / 2 - margin_cm
    return bool((np.abs(vertices_cm[:, :2]) <= half).all())


def frame_box(camera: Camera, plane: Plane, vertices_cm: np.ndarray) -> np.ndarray | None:
    """Box of the projected body clipped to the frame, xyxy, or None when it lies outside."""
    pixels = plane.to_frame(camera, vertices_cm)
    width, height = camera.size_wh
    low = np.clip(pixels.min(axis=0), [-0.5, -0.5], [width - 0.5, height - 0.5])
    high = np.clip(pixels.max(axis=0), [-0.5, -0.5], [width - 0.5, height - 0.5])
    return np.concatenate([low, high]) if (high - low).min() > 8 else None
