"""Which joints the camera sees, decided by rays through the very scene that is rendered."""

from __future__ import annotations

import numpy as np

from heightpose.geometry.plane import Plane
from heightpose.skeleton import INFANT
from heightpose.synth.body import BELOW_THE_NECK, BodyModel
from heightpose.synth.sack import SEEN_THROUGH_SACK
from heightpose.synth.scene import Infant, mitsuba

# Bones whose surface may be the first thing seen when a joint counts as seen ({s} is the joint's side).
_SEEN_THROUGH = {
    "ankle": ("lowerleg02{s}", "foot{s}", "toe*{s}"),
    "heel": ("foot{s}", "toe*{s}"),
    "toe": ("foot{s}", "toe*{s}"),
    "knee": ("upperleg*{s}", "lowerleg*{s}"),
    "hip": ("pelvis{s}", "root", "spine05", "upperleg*{s}"),
    "pelvis": ("pelvis*", "root", "spine05", "spine04", "upperleg*"),
    "thorax": ("neck*", "spine01", "spine02", "clavicle*", "shoulder01*", "breast*"),
    "shoulder": ("clavicle{s}", "shoulder01{s}", "upperarm*{s}", "spine01", "spine02", "breast{s}"),
    "elbow": ("upperarm*{s}", "lowerarm*{s}"),
    "wrist": ("lowerarm*{s}", "wrist{s}", "metacarpal*{s}", "finger*{s}"),
}


def seen_through(bones: list[str]) -> np.ndarray:
    """``(K, B)`` bool: which bones' surface belongs to the body part of each joint."""
    from fnmatch import fnmatchcase

    head_bones = {b for b in bones if not b.startswith(BELOW_THE_NECK)}
    table = np.zeros((len(INFANT), len(bones)), dtype=bool)
    for k, name in enumerate(INFANT.names):
        side, _, part = name.partition("_")
        if name in ("crown", "head_top", "upper_neck"):
            table[k] = [b in head_bones for b in bones]
            continue
        patterns = [p.format(s=f".{side[0].upper()}") for p in _SEEN_THROUGH[part or name]]
        table[k] = [any(fnmatchcase(b, p) for p in patterns) for b in bones]
    return table


def of_joints(
    scene, model: BodyModel, infant: Infant, number: int, plane: Plane
) -> tuple[np.ndarray, list[str | None]]:
    """Per joint 2 seen / 1 hidden, and the name of the foreign shape that hides it (None: seen, or its own body)."""
    allowed = seen_through(model.bones)
    visible = np.ones(len(INFANT), dtype=int)
    hidden_by: list[str | None] = [None] * len(INFANT)
    for k, joint in enumerate(infant.joints_cm):
        passes: tuple[str, ...] = ("mesh",)  # a cot's net hides nothing
        if k in SEEN_THROUGH_SACK:
            passes += (f"infant{number}_sack",)  # the trunk fills the bag: ask what lies below its cloth
        hit = _first_hit(scene, plane.camera_centre_cm, joint, passes)
        if hit is None:  # also an edge joint on the outline: nothing lies between it and the camera
            visible[k] = 2
            continue
        owner, _, shell = hit.shape.id().partition("_shell")
        if owner != f"infant{number}":
            if owner.partition("_")[0] != f"infant{number}":
                hidden_by[k] = owner
            continue
        face = int(hit.prim_index)
        if shell:
            face = int(infant.wardrobe.shells[int(shell)].body_faces[face])
        bones = model.vertex_bone[model.faces[face]]
        visible[k] = 2 if allowed[k][bones].any() else 1
    return visible, hidden_by


def _first_hit(scene, origin: np.ndarray, joint: np.ndarray, passes: tuple[str, ...]):
    """What the ray from the camera meets before it reaches the joint, shapes named in ``passes`` aside, or None."""
    mi = mitsuba()
    distance = float(np.linalg.norm(joint - origin))
    direction = (joint - origin) / distance
    start = 0.0
    for _ in range(16):
        point = origin + start * direction
        hit = scene.ray_intersect(mi.Ray3f(mi.ScalarPoint3f(*point), mi.ScalarVector3f(*direction)))
        # an edge joint lies in the skin itself: what is met there or behind it does not hide it
        if not hit.is_valid() or start + hit.t > distance - 0.02:
            return None
        if not hit.shape.id().startswith(passes):
            return hit
        start += float(hit.t) + 1e-3
    return None
