"""Postures and smooth motion: which anatomical angles an infant aims at in every frame.

Angles are degrees. What is drawn here is an intention; :mod:`heightpose.synth.lying` finds the nearest angles with
which the body really rests on the mattress. Angles named in :attr:`Motion.free` are left to that altogether: how far
a thigh must bend for its heel to lie down depends on the child.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation

from heightpose.geometry.legs import leg_flexion_deg, legs_extended

__all__ = ["LIMITS", "Motion", "draw_motion", "leg_flexion_deg", "legs_extended", "root_rotation"]

POSTURES = ("back", "side", "front")
SIDES = ("left", "right")

#: Body frame (x left, y back, z head) to the mattress frame of an infant on its back, head towards +y.
SUPINE = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])

#: What joints can do. Hip: flex forwards, abduct sideways, turn outward; shoulder: raise in the frontal plane from the
#: rest pose (arms hang 48 degrees below the horizontal), lift to the front, twist inward; ankle: point the foot.
LIMITS = {"flex": (-22.0, 128.0), "abduct": (-20.0, 62.0), "outward": (-25.0, 88.0), "knee": (0.0, 138.0)}
LIMITS |= {
    "ankle": (-30.0, 60.0),
    "shoulder": (-45.0, 120.0),
    "lift": (-40.0, 125.0),
    "twist": (-100.0, 75.0),
}
LIMITS |= {"elbow": (2.0, 140.0), "yaw": (-80.0, 80.0), "nod": (-30.0, 35.0), "tilt": (-40.0, 40.0)}
LIMITS |= {"pitch": (-14.0, 14.0)}

# Standard deviation of the motion within a clip, degrees, at full liveliness.
_MOVES = {
    "knee": 16.0,
    "abduct": 5.0,
    "outward": 6.0,
    "flex": 8.0,
    "ankle": 12.0,
    "shoulder": 14.0,
    "lift": 10.0,
}
_MOVES |= {"twist": 14.0, "elbow": 18.0, "yaw": 10.0, "nod": 3.0, "tilt": 4.0, "bend": 3.0, "curl": 2.0}
_MOVES |= {"roll": 2.0, "heading": 1.0, "kick": 4.0}


@dataclass(frozen=True)
class Motion:
    """What an infant means to do over a clip.

    Attributes:
        angles: ``angles[name]`` is ``(T,)`` degrees. ``left_kick`` lifts the left foot off the mattress by so many
            degrees of the leg.
        free: angles that resting on the mattress decides.
        touch: parts ("left_foot", "left_knee", "left_hand", "left_elbow") drawn down to the mattress, with how
            strongly, per cm.
        mouth: sides whose hand is at the mouth, in a fixed order, which a set has not from one process to the next:
            the fit of :mod:`heightpose.synth.lying` stops early, and the order of its residuals shows in the picture.
    """

    angles: dict[str, np.ndarray]
    posture: str
    leg_kinds: tuple[str, str]
    free: frozenset[str] = frozenset()
    touch: dict[str, float] = field(default_factory=dict)
    mouth: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(next(iter(self.angles.values())))


@dataclass
class _Plan:
    """The base posture that the motion goes around."""

    base: dict[str, float] = field(default_factory=dict)
    free: set[str] = field(default_factory=set)
    touch: dict[str, float] = field(default_factory=dict)
    mouth: set[str] = field(default_factory=set)

    def aim(self, side: str, **angles: float) -> None:
        self.base.update({f"{side}_{name}": float(value) for name, value in angles.items()})


def draw_motion(
    rng: np.random.Generator, frames: int, fps: float, *, posture: str, leg_kinds: tuple[str, str]
) -> Motion:
    """Draw a base posture and smooth motion around it for ``frames`` frames at ``fps``."""
    plan = _Plan()
    roll = {
        "back": rng.normal(0, 7),
        "side": rng.choice([-1, 1]) * rng.normal(88, 10),
        "front": rng.normal(180, 8),
    }
    plan.base["roll"] = float(roll[posture])
    lower = "left" if plan.base["roll"] > 0 else "right"  # on the side: the one underneath
    for side, kind in zip(SIDES, leg_kinds, strict=True):
        plan.aim(side, ankle=rng.uniform(-25, 15), kick=0.0)
        {"back": _leg_on_back, "side": _leg_on_side, "front": _leg_on_front}[posture](plan, side, kind, rng)
        if posture == "back":
            _arm_on_back(plan, side, rng)
        elif posture == "front":
            _arm_on_front(plan, side, rng)
        else:
            _arm_on_side(plan, side, side == lower, rng)
    if posture == "back" and "raised" not in leg_kinds and "frog" not in leg_kinds and rng.random() < 0.08:
        _cross_ankles(plan, rng)
    _trunk_and_head(plan, posture, rng)
    return _set_moving(plan, rng, frames, fps, posture, leg_kinds)


def _leg_on_back(plan: _Plan, side: str, kind: str, rng: np.random.Generator) -> None:
    u = rng.uniform
    if kind == "raised":
        if rng.random() < 0.3:  # knees to the chest
            plan.aim(side, flex=u(95, 125), knee=u(90, 135), abduct=u(5, 35), outward=u(0, 45))
        else:
            plan.aim(side, flex=u(25, 95), knee=u(0, 100), abduct=u(0, 30), outward=u(0, 40))
        return
    plan.free.add(f"{side}_flex")
    plan.touch[f"{side}_foot"] = 1.0
    if kind == "straight":
        plan.aim(side, flex=2, knee=abs(rng.normal(0, 9)), abduct=u(0, 22), outward=u(0, 45))
    elif kind == "bent":
        plan.aim(side, flex=40, knee=u(30, 110), abduct=u(0, 30), outward=u(0, 35))
    else:
        plan.aim(side, flex=40, knee=u(50, 115), abduct=u(15, 45), outward=u(50, 85))


def _leg_on_side(plan: _Plan, side: str, kind: str, rng: np.random.Generator) -> None:
    u = rng.uniform
    plan.free.add(f"{side}_abduct")
    plan.touch |= {f"{side}_foot": 0.35, f"{side}_knee": 0.35}
    plan.aim(side, abduct=0, outward=u(-8, 15))
    if kind == "straight":
        plan.aim(side, flex=u(-10, 20), knee=abs(rng.normal(0, 9)))
    elif kind == "bent":
        flex = u(25, 75)
        plan.aim(side, flex=flex, knee=flex * u(0.8, 1.4))
    elif kind == "frog":
        plan.aim(side, flex=u(70, 112), knee=u(70, 130))
    else:
        plan.aim(side, flex=u(30, 90), knee=u(0, 70))


def _leg_on_front(plan: _Plan, side: str, kind: str, rng: np.random.Generator) -> None:
    u = rng.uniform
    plan.touch |= {f"{side}_foot": 0.8, f"{side}_knee": 0.8}
    plan.aim(side, ankle=u(10, 45))  # the instep lies down
    if kind == "bent":
        plan.aim(side, flex=u(15, 60), knee=u(40, 110), abduct=u(20, 50), outward=u(30, 70))
    elif kind == "frog":
        plan.aim(side, flex=u(55, 95), knee=u(80, 125), abduct=u(35, 58), outward=u(50, 85))
    else:
        plan.free.add(f"{side}_flex")
        plan.aim(side, flex=-4, knee=abs(rng.normal(0, 9)), abduct=u(0, 22), outward=u(-15, 30))
    if kind == "raised":  # feet in the air
        del plan.touch[f"{side}_foot"]
        plan.aim(side, knee=u(40, 110))


def _cross_ankles(plan: _Plan, rng: np.random.Generator) -> None:
    for side in SIDES:
        plan.aim(side, abduct=rng.uniform(-16, -9), outward=rng.uniform(10, 40))
    above = SIDES[int(rng.integers(2))]
    plan.aim(above, kick=10.0)
    plan.touch[f"{above}_foot"] = 0.3


def _hand_at_mouth(plan: _Plan, side: str, rng: np.random.Generator) -> None:
    plan.mouth.add(side)
    plan.free |= {f"{side}_{a}" for a in ("lift", "elbow", "twist", "shoulder")}
    plan.aim(side, shoulder=rng.uniform(-25, 15), lift=40, twist=rng.uniform(-40, 0), elbow=120)


def _arm_on_back(plan: _Plan, side: str, rng: np.random.Generator) -> None:
    u = rng.uniform
    where = str(
        rng.choice(["down", "out", "up", "chest", "mouth", "air"], p=[0.25, 0.2, 0.27, 0.1, 0.08, 0.1])
    )
    if where == "mouth":
        _hand_at_mouth(plan, side, rng)
        return
    if where == "air":
        plan.aim(side, shoulder=u(-35, 60), lift=u(20, 85), twist=u(-80, 40), elbow=u(5, 100))
        return
    if where == "chest":
        plan.free.add(f"{side}_lift")
        plan.touch[f"{side}_elbow"] = 0.5
        plan.aim(side, shoulder=u(-35, -5), lift=10, twist=u(10, 55), elbow=u(70, 125))
        return
    plan.free.add(f"{side}_lift")
    plan.touch |= {f"{side}_hand": 0.6, f"{side}_elbow": 0.6}
    if where == "down":
        plan.aim(side, shoulder=u(-35, 0), lift=0, twist=u(-60, 30), elbow=u(5, 60))
    elif where == "out":
        plan.aim(side, shoulder=u(0, 45), lift=0, twist=u(-98, 50), elbow=u(5, 110))
    else:  # beside or above the head
        plan.aim(side, shoulder=u(35, 105), lift=0, twist=u(-98, -50), elbow=u(10, 110))


def _arm_on_side(plan: _Plan, side: str, lower: bool, rng: np.random.Generator) -> None:
    u = rng.uniform
    if rng.random() < 0.15:
        _hand_at_mouth(plan, side, rng)
        return
    strength = 0.45 if lower else 0.2
    plan.touch |= {f"{side}_hand": strength, f"{side}_elbow": strength}
    if lower:
        plan.aim(side, shoulder=u(-30, 25), lift=u(45, 95), twist=u(-40, 30), elbow=u(10, 85))
    elif rng.random() < 0.2:  # along the trunk
        plan.aim(side, shoulder=u(-40, -25), lift=u(-10, 25), twist=u(-20, 40), elbow=u(5, 60))
    else:
        plan.aim(side, shoulder=u(-35, 5), lift=u(30, 80), twist=u(-20, 40), elbow=u(20, 105))


def _arm_on_front(plan: _Plan, side: str, rng: np.random.Generator) -> None:
    u = rng.uniform
    plan.free.add(f"{side}_lift")
    plan.touch |= {f"{side}_hand": 0.8, f"{side}_elbow": 0.8}
    if rng.random() < 0.7:
        plan.aim(side, shoulder=u(10, 85), lift=0, twist=u(-92, -65), elbow=u(30, 105))
    else:
        plan.aim(side, shoulder=u(-30, 5), lift=0, twist=u(-20, 45), elbow=u(5, 35))


def _trunk_and_head(plan: _Plan, posture: str, rng: np.random.Generator) -> None:
    base = plan.base | {"heading": 0.0, "bend": rng.normal(0, 6), "tilt": rng.normal(0, 6), "nod": 0.0}
    base["curl"] = float(np.clip(rng.normal(0, 4), -6, 10))
    base["yaw"] = float(np.clip(rng.normal(0, 32), -75, 75))
    if posture == "side":
        plan.free.add("tilt")  # the head lies down
        base |= {"curl": rng.uniform(0, 28), "yaw": float(np.clip(rng.normal(0, 16), -40, 40))}
        base["bend"] = rng.normal(0, 3)
    if posture == "front":  # a face is never pressed into the mattress
        base["yaw"] = float(rng.choice([-1, 1]) * rng.uniform(58, 78))
    plan.base = base


def _set_moving(
    plan: _Plan, rng: np.random.Generator, frames: int, fps: float, posture: str, leg_kinds: tuple[str, str]
) -> Motion:
    """Smooth noise around every angle of the plan, and kicks."""
    lively = rng.uniform(0.3, 1.0)
    angles = {}
    for name, value in plan.base.items():
        part = name.rpartition("_")[2]
        noise = np.zeros(frames)
        if frames > 1:
            smooth_s = rng.uniform(0.25, 0.9)
            noise = _smooth_noise(rng, frames, smooth_s * fps) * lively * _MOVES[part]
            if part == "knee" and leg_kinds[SIDES.index(name.partition("_")[0])] == "straight":
                noise *= 0.45
        if name in plan.free or (posture != "back" and part == "kick"):
            noise *= 0.0
        track = value + noise
        if part in ("knee", "kick"):
            track = np.abs(track)  # a knee bounces off its straight end; it does not hyperextend
        if part in LIMITS:
            track = np.clip(track, *LIMITS[part])
        angles[name] = track
    if posture == "back" and frames > 1:
        for side in SIDES:
            if rng.random() < 0.35:
                name = f"{side}_kick" if f"{side}_foot" in plan.touch else f"{side}_flex"
                angles[name] = np.minimum(angles[name] + _kick(rng, frames, fps), LIMITS["flex"][1])
    return Motion(
        angles, posture, leg_kinds, frozenset(plan.free), plan.touch, tuple(sorted(plan.mouth, reverse=True))
    )


def _smooth_noise(rng: np.random.Generator, frames: int, smooth: float) -> np.ndarray:
    """``(frames,)`` of unit variance, Gaussian-smoothed over ``smooth`` frames."""
    pad = int(4 * smooth) + 1
    raw = gaussian_filter1d(rng.standard_normal(frames + 2 * pad), smooth)[pad : pad + frames]
    return raw * np.sqrt(2 * np.sqrt(np.pi) * smooth)


def _kick(rng: np.random.Generator, frames: int, fps: float) -> np.ndarray:
    """One leg thrown up and let down again, degrees over time."""
    lasts = rng.uniform(0.9, 1.5) * fps
    phase = (np.arange(frames) - rng.uniform(0, frames)) / lasts
    return rng.uniform(12, 38) * np.where(np.abs(phase) < 0.5, 0.5 + 0.5 * np.cos(2 * np.pi * phase), 0.0)


def root_rotation(motion: Motion, t: int) -> np.ndarray:
    """Body frame to mattress frame at frame ``t``, before the heading: on its back and rolled."""
    roll = Rotation.from_euler("y", float(motion.angles["roll"][t]), degrees=True).as_matrix()
    return roll @ SUPINE
