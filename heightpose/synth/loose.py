"""Bodies that are not settled by their weight: legs held anywhere in the air, a trunk put down stiffly.

The nursery's infants rest on the mattress wherever they can (:mod:`heightpose.synth.lying`), so that from a picture of
theirs one can tell how high a foot lies. Real legs kick and are held up, and other people's renderings are posed by
rule of thumb. An elevation model that knows resting infants alone takes a raised leg for a short one and is sure of it
(docs/measurement.md). So a part of what it learns from is drawn here: any angle that joints can have, nothing below the
mattress, and no more physics than that.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from heightpose.synth.kinematics import UNKNOWNS, Kinematics, aim_of
from heightpose.synth.lying import Layout, Lying, flattened, laid
from heightpose.synth.posture import LIMITS, SIDES, Motion, draw_motion
from heightpose.synth.puppet import Puppet

#: The name of the posture, beside those of :mod:`heightpose.synth.posture`.
LOOSE = "loose"
_AT = {name: k for k, name in enumerate(UNKNOWNS)}
#: Degrees that a leg is held at, by kind: hip bent, knee bent, thigh to the side, thigh turned outward.
_LEGS = {
    "extended": {"flex": (-2, 32), "knee": (0, 35), "abduct": (-5, 35), "outward": (-15, 60)},
    "bent": {"flex": (15, 80), "knee": (15, 110), "abduct": (-5, 45), "outward": (-20, 80)},
    "tucked": {"flex": (35, 120), "knee": (40, 135), "abduct": (0, 50), "outward": (-15, 85)},
    # The thigh on end, of which a picture from above shows next to nothing.
    "up": {"flex": (60, 110), "knee": (20, 130), "abduct": (-5, 30), "outward": (-20, 60)},
}
_KINDS, _KIND_SHARES = tuple(_LEGS), (0.35, 0.2, 0.2, 0.25)
#: How often the other leg is of the same kind, and of these how often held nearly alike (degrees, 1 sd).
_SAME_KIND, _ALIKE, _ALIKE_DEG = 0.7, 0.5, 10.0
#: How often thighs stay beside each other however far they are bent, and how much they then differ from that (degrees,
#: 1 sd); otherwise a bent thigh falls to the side by the drawn angle.
_BESIDE, _BESIDE_DEG = 0.5, 6.0
#: Most that a leg's angles move by within a clip, degrees, times 1.4.
_MOVES_DEG = 14.0
#: Degrees of arms that are held anywhere as well, of half of them; the others rest as in the nursery.
_ARMS, _ARM_ANYWHERE = (
    {"shoulder": (-45, 105), "lift": (-35, 100), "twist": (-100, 75), "elbow": (2, 125)},
    0.5,
)
#: Degrees that a foot points at, and how far the head nods and tilts (mean, 1 sd).
_FOOT, _HEAD = (-30, 50), {"nod": (-2.0, 7.0), "tilt": (0.0, 8.0)}
#: How far the lowest skin of head and trunk lies under the mattress's plane, cm: a soft mattress, a hard one.
_SINK_CM = (-0.3, 1.0)
#: How often a body is put down as stiffly as it is, instead of pitched until both head and seat lie down; its own
#: pitch then, degrees (1 sd).
_STIFF, _PITCH_DEG = 0.5, 3.0
#: The angle that lifts a limb out of the mattress, and the limb's parts.
_LIFTED_BY = {"flex": ("upperleg01", "lowerleg01", "foot"), "lift": ("upperarm01", "lowerarm01")}
#: Limbs' skin may lie so far below the mattress: flesh flattens.
_BELOW_CM = 0.3


def draw_loose(rng: np.random.Generator, frames: int, fps: float) -> Motion:
    """An infant on its back whose legs, feet and many arms are held at drawn angles; its trunk as in the nursery."""
    motion = draw_motion(rng, frames, fps, posture="back", leg_kinds=("straight", "straight"))
    angles = dict(motion.angles)
    kinds = [str(rng.choice(_KINDS, p=_KIND_SHARES)) for _ in SIDES]
    if rng.random() < _SAME_KIND:
        kinds[1] = kinds[0]
    beside = rng.random() < _BESIDE
    alike = kinds[0] == kinds[1] and rng.random() < _ALIKE
    held: dict[str, float] = {}
    time = np.linspace(0.0, frames / fps, frames)
    moves = _MOVES_DEG * rng.random() ** 1.5  # many hardly move
    for side, kind in zip(SIDES, kinds, strict=True):
        for angle, span in _LEGS[kind].items():
            base = rng.uniform(*span)
            if alike:
                base = held.setdefault(angle, base) + rng.normal(0, _ALIKE_DEG) * (side != SIDES[0])
            wave = np.sin(2 * np.pi * (rng.uniform(0.1, 0.8) * time + rng.random()))
            angles[f"{side}_{angle}"] = np.clip(base + moves * rng.uniform(0, 1.4) * wave, *LIMITS[angle])
        if beside:
            bent = np.cos(np.deg2rad(angles[f"{side}_flex"]))
            angles[f"{side}_abduct"] = angles[f"{side}_abduct"] * np.maximum(bent, 0.0) + rng.normal(
                0, _BESIDE_DEG
            )
        angles[f"{side}_kick"] = np.zeros(frames)
        angles[f"{side}_ankle"] = _about(angles[f"{side}_ankle"], rng.uniform(*_FOOT), "ankle")
        if rng.random() < _ARM_ANYWHERE:
            for angle, span in _ARMS.items():
                angles[f"{side}_{angle}"] = _about(angles[f"{side}_{angle}"], rng.uniform(*span), angle)
        else:
            angles[f"{side}_lift"] = angles[f"{side}_lift"] + rng.uniform(-10, 50) * (rng.random() < 0.4)
    for angle, (mean, sd) in _HEAD.items():
        angles[angle] = _about(angles[angle], rng.normal(mean, sd), angle)
    return replace(motion, angles=angles, leg_kinds=(kinds[0], kinds[1]))


def _about(track: np.ndarray, middle: float, angle: str) -> np.ndarray:
    """The same movement ``(T,)`` about another angle, within what the joint can do."""
    return np.clip(track - track.mean() + middle, *LIMITS[angle])


def put_down(puppet: Puppet, motion: Motion, rng: np.random.Generator) -> list[Lying]:
    """The body in every frame of a motion, its angles as they are."""
    stiff, sink, pitch = rng.random() < _STIFF, rng.uniform(*_SINK_CM), rng.normal(0, _PITCH_DEG)
    layout = Layout(puppet)
    return [
        _frame(Kinematics(puppet, motion, t), layout, aim_of(motion, t), stiff, sink, pitch)
        for t in range(len(motion))
    ]


def _frame(
    body: Kinematics, layout: Layout, x: np.ndarray, stiff: bool, sink_cm: float, pitch_deg: float
) -> Lying:
    skin = layout.skin
    x[_AT["height"]], x[_AT["pitch"]] = 0.0, pitch_deg
    if not stiff:  # of many pitches that with which head and seat are equally low
        tried = _varied(x, "pitch", np.linspace(*LIMITS["pitch"], 29))
        z = body.points(tried)[:, :, 2]
        low = {name: z[:, layout.groups[name]].min(axis=1) for name in ("head", "seat")}
        x = tried[np.abs(low["head"] - low["seat"]).argmin()]
    bearing = np.concatenate([skin["head"], skin["trunk"]])
    x[_AT["height"]] -= body.points(x[None])[0, bearing, 2].min() + sink_cm
    for side in SIDES:
        for angle, bones in _LIFTED_BY.items():
            limb = np.concatenate([skin[f"{bone}.{side[0].upper()}"] for bone in bones])
            x = _above(body, x, f"{side}_{angle}", limb)
    vertices, joints, _ = laid(body, x)
    return flattened(vertices, joints)


def _above(body: Kinematics, x: np.ndarray, angle: str, points: np.ndarray) -> np.ndarray:
    """The same with the angle raised as little as lifts all ``points`` out of the mattress."""
    tried = _varied(x, angle, x[_AT[angle]] + np.arange(0.0, 75.0, 2.5))
    low = body.points(tried)[:, points, 2].min(axis=1)
    free = np.flatnonzero(low >= -_BELOW_CM)
    return tried[free[0] if len(free) else low.argmax()]


def _varied(x: np.ndarray, name: str, values: np.ndarray) -> np.ndarray:
    out = np.repeat(x[None], len(values), axis=0)
    out[:, _AT[name]] = values
    return out
