"""Postures and smooth motion: a few anatomical angles per frame, turned into bone rotations.

Angles are degrees. Legs and arms that rest on the mattress are solved for (the hip or shoulder angle that puts the
heel or wrist at the mattress), not guessed, so that straight legs really lie down.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation

from heightpose.geometry.legs import leg_flexion_deg, legs_extended
from heightpose.skeleton import INFANT

__all__ = ["Motion", "bone_rotations", "draw_motion", "leg_flexion_deg", "legs_extended", "root_rotation"]

POSTURES = ("back", "side", "front")
LEG_KINDS = ("straight", "bent", "frog", "raised")

#: Body frame (x left, y back, z head) to the mattress frame of an infant on its back, head towards +y.
SUPINE = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])

_SIDES = (("left", "L", 1.0), ("right", "R", -1.0))
_FRONT = np.array([0.0, -1.0, 0.0])


def _turn(axis: np.ndarray, degrees: float) -> np.ndarray:
    axis = np.asarray(axis, dtype=np.float64)
    return Rotation.from_rotvec(np.deg2rad(degrees) * axis / np.linalg.norm(axis)).as_matrix()


_X, _Y, _Z = np.eye(3)


@dataclass(frozen=True)
class Motion:
    """Angles over time: ``angles[name]`` is ``(T,)`` degrees; ``leg_kind`` and ``posture`` say what was drawn."""

    angles: dict[str, np.ndarray]
    posture: str
    leg_kinds: tuple[str, str]
    resting: dict[str, bool]

    def __len__(self) -> int:
        return len(next(iter(self.angles.values())))


def _draw_leg(kind: str, rng: np.random.Generator) -> dict[str, float]:
    u = rng.uniform
    if kind == "straight":
        return {"knee": abs(rng.normal(0, 9)), "abduct": u(0, 22), "outward": u(0, 45), "lift": 0.0}
    if kind == "bent":
        return {"knee": u(30, 110), "abduct": u(0, 30), "outward": u(0, 35), "lift": 0.0}
    if kind == "frog":
        return {"knee": u(50, 115), "abduct": u(15, 45), "outward": u(50, 85), "lift": 0.0}
    return {"knee": u(0, 100), "abduct": u(0, 30), "outward": u(0, 40), "lift": u(25, 95)}


# Standard deviation of the motion within a clip, degrees, at full liveliness.
_MOVES = {"knee": 16.0, "abduct": 5.0, "outward": 6.0, "lift": 8.0, "ankle": 12.0, "shoulder": 14.0}
_MOVES |= {"twist": 14.0, "elbow": 18.0, "raise": 10.0, "yaw": 10.0, "tilt": 4.0, "bend": 3.0, "roll": 2.0}
_MOVES |= {"heading": 1.0}
_LIMITS = {"knee": (0, 135), "abduct": (-3, 60), "outward": (-10, 88), "lift": (0, 110), "ankle": (-30, 25)}
_LIMITS |= {"elbow": (2, 140), "raise": (-10, 110), "yaw": (-80, 80), "tilt": (-25, 25)}


def draw_motion(
    rng: np.random.Generator, frames: int, fps: float, *, posture: str, leg_kinds: tuple[str, str]
) -> Motion:
    """Draw a base posture and smooth motion around it for ``frames`` frames at ``fps``."""
    base: dict[str, float] = {}
    resting: dict[str, bool] = {}
    for (side, _, _), kind in zip(_SIDES, leg_kinds, strict=True):
        leg = _draw_leg(kind, rng)
        base |= {f"{side}_{k}": v for k, v in leg.items()}
        base[f"{side}_ankle"] = rng.uniform(-25, 15)
        resting[f"{side}_leg"] = kind != "raised"
        base[f"{side}_shoulder"] = rng.choice([rng.uniform(-35, 10), rng.uniform(20, 100)])
        base[f"{side}_twist"] = rng.uniform(-100, 60)
        base[f"{side}_elbow"] = rng.uniform(5, 120)
        resting[f"{side}_arm"] = bool(rng.random() < 0.65)
        base[f"{side}_raise"] = 0.0 if resting[f"{side}_arm"] else rng.uniform(0, 80)
    base["yaw"] = float(np.clip(rng.normal(0, 32), -75, 75))
    base["tilt"] = rng.normal(0, 6)
    base["bend"] = rng.normal(0, 6)
    roll = {
        "back": rng.normal(0, 7),
        "side": rng.choice([-1, 1]) * rng.normal(88, 12),
        "front": rng.normal(180, 8),
    }
    base["roll"] = float(roll[posture])
    base["heading"] = 0.0
    if posture == "front":  # a face is never pressed into the mattress
        base["yaw"] = float(rng.choice([-1, 1]) * rng.uniform(55, 78))

    lively = rng.uniform(0.3, 1.0)
    angles = {}
    for name, value in base.items():
        part = name.rpartition("_")[2]
        noise = np.zeros(frames)
        if frames > 1:
            smooth_s = rng.uniform(0.25, 0.9)
            pad = int(4 * smooth_s * fps) + 1
            raw = gaussian_filter1d(rng.standard_normal(frames + 2 * pad), smooth_s * fps)[pad : pad + frames]
            if part == "knee" and leg_kinds[0 if name.startswith("left") else 1] == "straight":
                raw = raw * 0.45
            noise = raw * lively * _MOVES[part] * np.sqrt(2 * np.sqrt(np.pi) * smooth_s * fps)
        track = value + noise
        if part == "knee":
            track = np.abs(track)  # a knee bounces off its straight end; it does not hyperextend
        if part in _LIMITS and not (part == "lift" and resting.get(f"{name.partition('_')[0]}_leg")):
            track = np.clip(track, *_LIMITS[part])
        angles[name] = track
    for side, _, _ in _SIDES:
        if resting[f"{side}_leg"]:
            angles[f"{side}_lift"] = np.abs(angles[f"{side}_lift"]) * 0.5  # small kicks off the mattress
    return Motion(angles, posture, leg_kinds, resting)


def root_rotation(motion: Motion, t: int) -> np.ndarray:
    """Body frame to mattress frame at frame ``t``, before the heading: on its back and rolled."""
    return _turn(_Y, motion.angles["roll"][t]) @ SUPINE


def _solve_rest(height_of: object, low: float, high: float, target: float) -> float:
    """The angle in [low, high] at which ``height_of(angle)`` first comes nearest to ``target``."""
    grid = np.linspace(low, high, 61)
    heights = np.array([height_of(a) for a in grid])  # type: ignore[operator]
    return float(grid[np.argmin(np.abs(heights - target))])


def bone_rotations(
    motion: Motion, t: int, rest_joints_cm: np.ndarray, root: np.ndarray
) -> dict[str, np.ndarray]:
    """Rotations about rest-pose axes for :meth:`heightpose.synth.body.BodyModel.pose`.

    Args:
        rest_joints_cm: ``(K, 3)`` the child's joints in the rest pose, body frame.
        root: ``(3, 3)`` body to mattress; its third row is 'up', used to lay limbs down.
    """
    a = {name: float(track[t]) for name, track in motion.angles.items()}
    out: dict[str, np.ndarray] = {}
    up = root[2]
    joint = {n: rest_joints_cm[i] for i, n in enumerate(INFANT.names)}
    scale = np.ptp(rest_joints_cm[:, 2]) / 65.0
    back_depth = 5.6 * scale  # hip and shoulder centres above the mattress, infant on its back
    for side, suffix, sign in _SIDES:
        hip, knee, ankle, heel = (joint[f"{side}_{p}"] for p in ("hip", "knee", "ankle", "heel"))
        knee_r = _turn(_X, a[f"{side}_knee"])
        ankle_r = _turn(_X, a[f"{side}_ankle"])
        spin = _turn(_Y, -sign * a[f"{side}_abduct"])
        outward = _turn(_Z, sign * a[f"{side}_outward"])

        def hip_rotation(flex: float, spin: np.ndarray = spin, outward: np.ndarray = outward) -> np.ndarray:
            return _turn(_X, -flex) @ spin @ outward

        def heel_height(
            flex: float, r=hip_rotation, k=knee_r, f=ankle_r, p=(hip, knee, ankle, heel)
        ) -> float:
            turn = r(flex)
            offset = turn @ (p[1] - p[0]) + turn @ k @ (p[2] - p[1]) + turn @ k @ f @ (p[3] - p[2])
            return float(up @ offset)

        flex = a[f"{side}_lift"]
        if motion.resting[f"{side}_leg"] and abs(up[1]) > 0.5:
            flex += _solve_rest(heel_height, -22.0 if up[1] < 0 else -10.0, 115.0, -back_depth + 0.6 * scale)
        elif motion.resting[f"{side}_leg"]:
            flex += 0.6 * a[f"{side}_knee"]  # on the side: thighs bend forward about as far as knees do
        out[f"upperleg01.{suffix}"] = hip_rotation(flex)
        out[f"lowerleg01.{suffix}"] = knee_r
        out[f"foot.{suffix}"] = ankle_r

        shoulder, elbow, wrist = (joint[f"{side}_{p}"] for p in ("shoulder", "elbow", "wrist"))
        arm = elbow - shoulder
        elbow_r = _turn(np.cross(arm, _FRONT), a[f"{side}_elbow"])
        raise_r = _turn(_Y, -sign * a[f"{side}_shoulder"])
        twist_r = _turn(arm, sign * a[f"{side}_twist"])
        lift_axis = np.cross(raise_r @ arm, _FRONT)

        def shoulder_rotation(lift: float, axis=lift_axis, base=raise_r @ twist_r) -> np.ndarray:
            return _turn(axis, lift) @ base

        def wrist_height(lift: float, r=shoulder_rotation, e=elbow_r, p=(shoulder, elbow, wrist)) -> float:
            turn = r(lift)
            at_elbow = turn @ (p[1] - p[0])
            return float(min(up @ at_elbow, up @ (at_elbow + turn @ e @ (p[2] - p[1]))))

        lift = a[f"{side}_raise"]
        if abs(up[1]) > 0.5:
            floor = _solve_rest(wrist_height, -35.0, 60.0, -back_depth + 2.0 * scale)
            lift = floor + max(lift, 0.0)
        out[f"upperarm01.{suffix}"] = shoulder_rotation(lift)
        out[f"lowerarm01.{suffix}"] = elbow_r

    for bone in ("spine05", "spine04", "spine03", "spine02", "spine01"):
        out[bone] = _turn(_Y, a["bend"] / 5)
    for bone in ("neck01", "neck02", "neck03", "head"):
        out[bone] = _turn(_Z, a["yaw"] / 4) @ _turn(_Y, a["tilt"] / 4)
    return out
