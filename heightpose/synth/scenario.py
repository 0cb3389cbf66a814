"""What is drawn for one child's scene: room, lamp, camera, where the infant lies, blankets and things in view."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import gaussian_filter, grey_dilation
from scipy.spatial.transform import Rotation

from heightpose.geometry.camera import Camera
from heightpose.geometry.plane import Plane
from heightpose.geometry.sheet import SheetLayout
from heightpose.skeleton import INFANT
from heightpose.synth import textures
from heightpose.synth.body import BodyModel, Child
from heightpose.synth.dress import Wardrobe
from heightpose.synth.posture import Motion, bone_rotations, root_rotation
from heightpose.synth.scene import Infant, Room, bitmap, mitsuba

MATTRESS_CM = (70.0, 132.0)


@dataclass(frozen=True)
class Options:
    """What a nursery run may draw. The defaults are the variety that training wants.

    ``easy`` narrows it to what the product promises first: on the back, legs mostly extended, uncovered.
    """

    size_wh: tuple[int, int] | None = None
    samples: int = 4
    posture: str | None = None
    legs: str | None = None
    blanket: float = 0.15
    infrared: float = 0.25
    tagless: float = 0.2
    empty: float = 0.0
    clutter: float = 0.5
    max_tilt_deg: float = 30.0
    height_cm: tuple[float, float] = (120.0, 220.0)
    keep_cot_in_view: bool = False

    def easy(self) -> Options:
        return replace(
            self, posture="back", legs="extended", blanket=0.0, tagless=0.0, clutter=0.3, max_tilt_deg=20.0,
            height_cm=(130.0, 200.0), keep_cot_in_view=True,
        )  # fmt: skip


def draw_camera(rng: np.random.Generator, options: Options) -> tuple[Camera, Plane]:
    """A camera above the cot: height, tilt, any in-plane turn, lens, and a focal length that shows the cot."""
    size = options.size_wh
    if size is None:
        size = tuple(rng.choice([[448, 336], [480, 272], [336, 448], [416, 320]]).tolist())
    width, height = size
    above = rng.uniform(*options.height_cm)
    tilt = np.deg2rad(options.max_tilt_deg) * np.sqrt(rng.random())
    azimuth = rng.uniform(0, 2 * np.pi)
    # the long side of the cot mostly along the long side of the picture, but any turn happens
    turn = (
        np.deg2rad(rng.choice([0, 90, 180, 270]) + rng.normal(0, 8))
        if rng.random() < 0.6
        else rng.uniform(0, 2 * np.pi)
    )
    centre = np.array([np.sin(tilt) * np.cos(azimuth), np.sin(tilt) * np.sin(azimuth), np.cos(tilt)])
    target = np.array([rng.normal(0, 3), rng.normal(0, 5), 0.0])
    centre = target + centre * (above / np.cos(tilt))
    forward = (target - centre) / np.linalg.norm(target - centre)
    up = np.array([np.sin(turn), np.cos(turn), 0.0])
    right = np.cross(forward, up)
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(forward, right), forward])
    plane = Plane(R=rotation, t_cm=-rotation @ centre, rms_px=0.0, tags=0, source="nursery")

    half = np.array(MATTRESS_CM) / 2
    corners = np.array([[x, y, 0.0] for x in (-half[0], half[0]) for y in (-half[1], half[1])])
    in_camera = corners @ rotation.T + plane.t_cm
    extent = np.abs(in_camera[:, :2] / in_camera[:, 2:]).max(axis=0)
    fill = rng.uniform(0.80, 0.97) if options.keep_cot_in_view else rng.uniform(0.85, 1.40)
    focal = fill * min(width / 2 / extent[0], height / 2 / extent[1])
    if (
        not options.keep_cot_in_view and rng.random() < 0.3
    ):  # landscape picture of a cot standing upright in it
        focal = min(focal * 1.3, fill * max(width / 2 / extent[0], height / 2 / extent[1]))
    strength = rng.uniform(-0.25, 0.08) if rng.random() < 0.7 else 0.0
    reach = np.hypot(width, height) / 2 / focal
    dist = np.array(
        [strength / max(reach, 0.5) ** 2 * 0.6, 0.0, rng.normal(0, 4e-4), rng.normal(0, 4e-4), 0.0]
    )
    K = np.array(
        [
            [focal, 0, (width - 1) / 2 + rng.normal(0, 0.008 * width)],
            [0, focal * rng.normal(1, 0.002), (height - 1) / 2 + rng.normal(0, 0.008 * height)],
            [0, 0, 1],
        ]
    )
    return Camera(model="pinhole", size_wh=(width, height), K=K, dist=dist), plane


def _light(rng: np.random.Generator, infrared: bool, plane: Plane) -> tuple[str, dict[str, dict]]:
    transform = mitsuba().ScalarTransform4f

    def rgb(value: np.ndarray | float) -> dict:
        return {"type": "rgb", "value": [float(v) for v in np.broadcast_to(value, 3)]}

    if infrared:
        at = plane.camera_centre_cm + rng.normal(0, 3, 3) + [0, 0, 4]
        lamp = {"type": "point", "position": [float(v) for v in at], "intensity": rgb(9.0 * at[2] ** 2 / 2e4)}
        return "infrared", {
            "lamp": lamp,
            "sky": {"type": "constant", "radiance": rgb(rng.uniform(0.002, 0.03))},
        }
    tint = np.array([1.0, rng.uniform(0.8, 1.0), rng.uniform(0.6, 1.05)])
    emitters: dict[str, dict] = {"sky": {"type": "constant", "radiance": rgb(tint * rng.uniform(0.15, 0.9))}}
    kind = "day"
    if rng.random() < 0.8:
        kind = "lamp"
        away = rng.uniform(0, 2 * np.pi)
        reach, above = rng.uniform(60, 260), rng.uniform(120, 260)
        place = [reach * np.cos(away), reach * np.sin(away), above]
        size = rng.uniform(10, 70)
        emitters["lamp"] = {
            "type": "rectangle",
            "to_world": transform().look_at(origin=place, target=[0, 0, 0], up=[0, 0.1, 1])
            @ transform().scale([size, size, 1]),
            "emitter": {"type": "area", "radiance": rgb(tint[::-1] * rng.uniform(2, 14) * (40 / size) ** 2)},
        }
    return kind, emitters


def _things(rng: np.random.Generator, clutter: float) -> dict[str, dict]:
    """Cot rails round the mattress and toys at its edge."""
    transform = mitsuba().ScalarTransform4f
    shapes: dict[str, dict] = {}
    half = np.array(MATTRESS_CM) / 2 + 1.5
    if rng.random() < 0.75:
        colour = textures.floor(rng).mean((0, 1)) if rng.random() < 0.6 else np.full(3, rng.uniform(0.6, 0.9))
        bsdf = {"type": "diffuse", "reflectance": {"type": "rgb", "value": [float(c) for c in colour]}}
        top, radius = rng.uniform(15, 40), rng.uniform(0.8, 1.4)

        def bar(a: np.ndarray, b: np.ndarray, r: float) -> dict:
            return {
                "type": "cylinder",
                "p0": [float(v) for v in a],
                "p1": [float(v) for v in b],
                "radius": r,
                "bsdf": bsdf,
            }

        for axis in (0, 1):
            for sign in (-1, 1):
                ends = []
                for end in (-1, 1):
                    p = np.zeros(3)
                    p[axis], p[1 - axis], p[2] = sign * half[axis], end * half[1 - axis], top
                    ends.append(p)
                shapes[f"rail{axis}{sign}"] = bar(ends[0], ends[1], radius * 1.4)
                for k, w in enumerate(np.linspace(0.03, 0.97, 7 if axis == 1 else 13)):
                    p = ends[0] * (1 - w) + ends[1] * w
                    shapes[f"bar{axis}{sign}{k}"] = bar(np.array([p[0], p[1], -8.0]), p, radius * 0.7)
    for n in range(int(rng.integers(1, 4)) if rng.random() < clutter else 0):
        size = rng.uniform(1.5, 5)
        side = rng.choice([-1, 1])
        at = [side * rng.uniform(20, 33 - size / 2), rng.uniform(-60, 60), size]
        turn = transform().translate([float(v) for v in at]) @ transform().rotate(
            [0, 0, 1], float(rng.uniform(0, 360))
        )
        shapes[f"toy{n}"] = {
            "type": str(rng.choice(["sphere", "cube"])),
            "to_world": turn @ transform().scale([float(size)] * 3),
            "bsdf": {"type": "diffuse", "reflectance": bitmap(textures.cloth(rng))},
        }
    return shapes


def draw_room(rng: np.random.Generator, layout: SheetLayout | None, options: Options, plane: Plane) -> Room:
    """Mattress, sheet, floor, rails, toys and lamps."""
    tagged = layout is not None and rng.random() >= options.tagless
    kind, emitters = _light(rng, bool(rng.random() < options.infrared), plane)
    picture = textures.sheet_picture(layout if tagged else None, rng, MATTRESS_CM)
    return Room(
        picture, MATTRESS_CM, textures.floor(rng), kind, tagged, _things(rng, options.clutter), emitters
    )


def place(
    model: BodyModel, child: Child, rest_joints_cm: np.ndarray, motion: Motion, t: int, wardrobe: Wardrobe,
    heading_deg: float, at_xy_cm: np.ndarray,
) -> Infant:  # fmt: skip
    """Pose the child at frame ``t`` and lay it on the mattress; flesh flattens where it would sink in."""
    root = root_rotation(motion, t)
    body = model.pose(child, bone_rotations(motion, t, rest_joints_cm, root))
    heading = heading_deg + float(motion.angles["heading"][t])
    turn = Rotation.from_euler("z", heading, degrees=True).as_matrix() @ root
    vertices, joints = body.vertices_cm @ turn.T, body.joints_cm @ turn.T
    bearing: tuple[str, ...] = ("root", "pelvis", "spine", "head", "neck")
    if motion.posture != "back":  # on the side or the front the legs carry too, else they would sink in
        bearing += ("upperleg", "lowerleg", "foot")
    core = np.array([b.startswith(bearing) for b in model.bones])[model.vertex_bone]
    pelvis = joints[INFANT.index("pelvis")]
    middle = (pelvis + joints[INFANT.index("thorax")]) / 2
    shift = np.array(
        [at_xy_cm[0] - middle[0], at_xy_cm[1] - middle[1], 0.1 - np.quantile(vertices[core, 2], 0.004)]
    )
    vertices, joints = vertices + shift, joints + shift
    vertices[:, 2] = np.maximum(vertices[:, 2], 0.05)
    joints[:, 2] = np.maximum(joints[:, 2], 0.1)
    return Infant(vertices, joints, wardrobe)


def cover(infant: Infant, rng: np.random.Generator, top_joint: str) -> dict:
    """A blanket over the legs up to ``top_joint``: a cloth lifted over the body, nowhere below it."""
    step = 1.2
    names = {n: infant.joints_cm[i] for i, n in enumerate(INFANT.names)}
    axis = names["pelvis"] - names["thorax"]
    down = np.arctan2(axis[1], axis[0])
    along = np.array([np.cos(down), np.sin(down)])
    across = np.array([-along[1], along[0]])
    start = names[top_joint][:2] @ along + rng.uniform(-2, 3)
    reach = rng.uniform(35, 60)
    half_width = rng.uniform(20, 30)
    middle = names["pelvis"][:2] @ across + rng.normal(0, 2)
    u = np.arange(0, reach, step)
    v = np.arange(-half_width, half_width, step)
    grid_xy = (start + u)[:, None, None] * along + (middle + v)[None, :, None] * across
    local = np.column_stack(
        [infant.vertices_cm[:, :2] @ along - start, infant.vertices_cm[:, :2] @ across - middle]
    )
    index = np.round((local - [0, -half_width]) / step).astype(int)
    inside = ((index >= 0) & (index < [len(u), len(v)])).all(axis=1)
    height = np.zeros((len(u), len(v)))
    np.maximum.at(height, tuple(index[inside].T), infant.vertices_cm[inside, 2] + 1.6)
    floor_height = grey_dilation(height, size=(5, 5))
    surface = floor_height
    for _ in range(4):
        surface = np.maximum(gaussian_filter(surface, 1.6), floor_height)
    folds = gaussian_filter(rng.standard_normal(surface.shape), 2.5)
    surface = surface + 0.6 + 0.5 * np.abs(folds) / max(np.abs(folds).std(), 1e-6)
    surface = gaussian_filter(surface, 0.6)
    rows, cols = surface.shape
    k = np.arange(rows * cols).reshape(rows, cols)
    quads = np.stack([k[:-1, :-1], k[1:, :-1], k[1:, 1:], k[:-1, 1:]], axis=-1).reshape(-1, 4)
    faces = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    vertices = np.concatenate([grid_xy.reshape(-1, 2), surface.reshape(-1, 1)], axis=1)
    uv = np.stack(np.meshgrid(v / 30, u / 30), axis=-1).reshape(-1, 2)
    return {"vertices": vertices, "faces": faces.astype(np.int32), "uv": uv, "picture": textures.cloth(rng)}


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
