"""One frame of the nursery: a Mitsuba scene and its path-traced picture.

All coordinates are the mattress frame in centimetres. The picture is traced with an ideal pinhole of the same focal
length and then resampled through the camera's lens model, so truth is exact: a joint's pixel is
``Camera.project`` of its position.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np

from heightpose.geometry.camera import Camera
from heightpose.geometry.plane import Plane
from heightpose.synth.body import BodyModel
from heightpose.synth.dress import Shell, Wardrobe, vertex_normals

_VARIANT = "scalar_rgb"


@dataclass(frozen=True)
class Infant:
    """A posed and dressed infant on the mattress."""

    vertices_cm: np.ndarray
    joints_cm: np.ndarray
    wardrobe: Wardrobe


@dataclass(frozen=True)
class Room:
    """Everything but the infant: what stays the same over a clip.

    ``objects`` are ready Mitsuba dictionaries; ``light`` 'day', 'lamp' or 'infrared'.
    """

    sheet_picture: np.ndarray
    mattress_cm: tuple[float, float]
    floor_picture: np.ndarray
    light: str
    tagged: bool = False
    floor_cm: float = -50.0
    objects: dict = field(default_factory=dict)
    emitters: dict[str, dict] = field(default_factory=dict)


def mitsuba():
    """The Mitsuba module, its scalar variant set."""
    import mitsuba as mi

    if mi.variant() != _VARIANT:
        mi.set_variant(_VARIANT)
        mi.set_log_level(mi.LogLevel.Error)
    return mi


def use_threads(count: int) -> None:
    """Render with this many threads in this process."""
    import drjit

    drjit.set_thread_count(count)


def bitmap(picture: np.ndarray) -> dict:
    mi = mitsuba()
    return {
        "type": "bitmap",
        "bitmap": mi.Bitmap(np.ascontiguousarray(picture, dtype=np.float32)),
        "raw": True,
    }


def cloth_bsdf(picture: np.ndarray) -> dict:
    return {"type": "twosided", "bsdf": {"type": "diffuse", "reflectance": bitmap(picture)}}


def mesh(
    name: str,
    vertices: np.ndarray,
    faces: np.ndarray,
    bsdf: dict,
    *,
    uv: np.ndarray | None = None,
    colour: np.ndarray | None = None,
):
    """A Mitsuba mesh from arrays, smooth-shaded."""
    mi = mitsuba()
    props = mi.Properties()
    props["mesh_bsdf"] = mi.load_dict(bsdf)
    shape = mi.Mesh(
        name,
        len(vertices),
        len(faces),
        has_vertex_normals=True,
        has_vertex_texcoords=uv is not None,
        props=props,
    )
    params = mi.traverse(shape)
    params["vertex_positions"] = np.ascontiguousarray(vertices, dtype=np.float32).ravel()
    params["faces"] = np.ascontiguousarray(faces, dtype=np.uint32).ravel()
    params["vertex_normals"] = vertex_normals(vertices, faces).astype(np.float32).ravel()
    if uv is not None:
        params["vertex_texcoords"] = np.ascontiguousarray(uv, dtype=np.float32).ravel()
    params.update()
    if colour is not None:
        shape.add_attribute("vertex_color", 3, np.ascontiguousarray(colour, dtype=np.float32).ravel())
    return shape


def shell_vertices(infant_vertices: np.ndarray, normals: np.ndarray, shell: Shell) -> np.ndarray:
    pushed = infant_vertices[shell.vertices] + shell.thickness_cm * normals[shell.vertices]
    pushed[:, 2] = np.maximum(pushed[:, 2], 0.02)
    return pushed


def _sensor(
    camera: Camera, plane: Plane, size_wh: tuple[int, int], focal_px: float, samples: int, seed: int
) -> dict:
    mi = mitsuba()
    width, height = size_wh
    to_world = np.eye(4)
    to_world[:3, :3] = plane.R.T @ np.diag([-1.0, -1.0, 1.0])  # Mitsuba's camera has x left and y up
    to_world[:3, 3] = plane.camera_centre_cm
    return {
        "type": "perspective",
        "fov_axis": "x",
        "fov": float(np.degrees(2 * np.arctan(width / 2 / focal_px))),
        "near_clip": 1.0,
        "far_clip": 5000.0,
        "to_world": mi.ScalarTransform4f(to_world),
        "film": {
            "type": "hdrfilm",
            "width": width,
            "height": height,
            "rfilter": {"type": "gaussian"},
            "pixel_format": "rgb",
        },
        "sampler": {"type": "multijitter", "sample_count": samples, "seed": seed},
    }


def lens_map(camera: Camera) -> tuple[tuple[int, int], float, np.ndarray]:
    """The ideal pinhole that covers what the camera sees.

    Returns:
        (size_wh, focal_px, map_xy): the ideal picture's size and focal length, and for every pixel of the camera's
        picture its position in the ideal one, ``(H, W, 2)`` float32.
    """
    width, height = camera.size_wh
    grid = (
        np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1).reshape(-1, 2).astype(np.float64)
    )
    focal = float(camera.K[0, 0])
    normalised = camera.undistort(grid) * focal
    half = np.abs(normalised).max(axis=0) + 2.0
    size = (2 * int(np.ceil(half[0])), 2 * int(np.ceil(half[1])))
    centre = np.array([(size[0] - 1) / 2, (size[1] - 1) / 2])
    return size, focal, (normalised + centre).reshape(height, width, 2).astype(np.float32)


def build_shapes(model: BodyModel, room: Room, infants: list[Infant], blanket: dict | None) -> dict:
    """Mitsuba shapes by name: room, mattress, infants (``infant0``, ``infant0.shell1``, ...), blanket."""
    mi = mitsuba()
    width, length = room.mattress_cm
    transform = mi.ScalarTransform4f
    shapes: dict = {
        "sheet": {
            "type": "rectangle",
            "to_world": transform().scale([width / 2, length / 2, 1.0]),
            # Mitsuba counts v upwards from the bitmap's first row; unflipped, every tag would be printed mirrored
            "bsdf": {"type": "diffuse", "reflectance": bitmap(room.sheet_picture[::-1])},
        },
        "mattress": {
            "type": "cube",
            "to_world": transform().translate([0, 0, -5.05])
            @ transform().scale([width / 2, length / 2, 5.0]),
            "bsdf": {"type": "diffuse", "reflectance": {"type": "rgb", "value": [0.75, 0.75, 0.72]}},
        },
        "floor": {
            "type": "rectangle",
            "to_world": transform().translate([0, 0, room.floor_cm]) @ transform().scale([400, 400, 1]),
            "bsdf": {
                "type": "diffuse",
                "reflectance": bitmap(room.floor_picture) | {"to_uv": transform().scale([6, 6, 1])},
            },
        },
    }
    shapes |= room.objects
    for n, infant in enumerate(infants):
        normals = vertex_normals(infant.vertices_cm, model.faces)
        skin = {
            "type": "twosided",
            "bsdf": {"type": "diffuse", "reflectance": {"type": "mesh_attribute", "name": "vertex_color"}},
        }
        shapes[f"infant{n}"] = mesh(
            f"infant{n}", infant.vertices_cm, model.faces, skin, colour=infant.wardrobe.skin
        )
        for s, shell in enumerate(infant.wardrobe.shells):
            name = f"infant{n}.shell{s}".replace(".", "_")
            vertices = shell_vertices(infant.vertices_cm, normals, shell)
            shapes[name] = mesh(name, vertices, shell.faces, cloth_bsdf(shell.picture), uv=shell.uv)
        sack = infant.wardrobe.sack
        if sack is not None:
            name = f"infant{n}_sack"
            vertices = sack.vertices_cm(infant.vertices_cm, infant.joints_cm)
            shapes[name] = mesh(name, vertices, sack.faces(), cloth_bsdf(sack.picture), uv=sack.uv())
    if blanket is not None:
        shapes["blanket"] = mesh(
            "blanket", blanket["vertices"], blanket["faces"], cloth_bsdf(blanket["picture"]), uv=blanket["uv"]
        )
    return shapes


def render(
    model: BodyModel,
    room: Room,
    infants: list[Infant],
    camera: Camera,
    plane: Plane,
    *,
    samples: int,
    seed: int,
    blanket: dict | None = None,
) -> tuple[np.ndarray, list[tuple[np.ndarray, list[str | None]]]]:
    """Path-trace one frame.

    Returns:
        (linear, visibility): the picture through the lens, ``(H, W, 3)`` float32 linear radiance, and per infant
        what :func:`heightpose.synth.visibility.of_joints` finds: ``(K,)`` 2 seen / 1 hidden by a ray from the camera
        to each joint, and by what.
    """
    from heightpose.synth.visibility import of_joints

    mi = mitsuba()
    size, focal, to_ideal = lens_map(camera)
    scene_dict = {"type": "scene", "integrator": {"type": "path", "max_depth": 3}}
    scene_dict["sensor"] = _sensor(camera, plane, size, focal, samples, seed)
    scene_dict |= room.emitters
    scene_dict |= build_shapes(model, room, infants, blanket)
    scene = mi.load_dict(scene_dict, parallel=False)
    ideal = np.array(mi.render(scene, spp=samples, seed=seed))
    picture = cv2.remap(
        ideal, to_ideal[..., 0], to_ideal[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    visibility = [of_joints(scene, model, infant, n, plane) for n, infant in enumerate(infants)]
    return picture, visibility
