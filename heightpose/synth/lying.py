"""Laying a body down: the angles nearest to those meant with which nothing sinks in, floats or runs through itself.

One least-squares problem per frame over the height of the body, its pitch, the head's tilt and all limb angles. Skin
points stay above the mattress, balls that fill the limbs stay out of each other, parts that should rest are drawn
down. From frame to frame the solver starts where it ended and is held near, so that motion stays smooth. No joint is
ever moved by hand: bones keep their length.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import least_squares

from heightpose.skeleton import INFANT
from heightpose.synth.kinematics import UNKNOWNS, Kinematics, aim_of
from heightpose.synth.posture import LIMITS, SIDES, Motion
from heightpose.synth.puppet import Puppet

_AT = {name: k for k, name in enumerate(UNKNOWNS)}
_PART = [name.rpartition("_")[2] for name in UNKNOWNS]

# How far (one residual unit, degrees or cm) an angle may go from what was meant, and how far when it is free.
_SPREAD = {"height": 300.0, "pitch": 6.0, "nod": 10.0, "tilt": 10.0, "flex": 12.0, "abduct": 9.0}
_SPREAD |= {"outward": 12.0, "knee": 12.0, "ankle": 14.0, "shoulder": 15.0, "lift": 15.0, "twist": 18.0}
_SPREAD |= {"elbow": 18.0}
_FREE = 70.0
_FIRM_DEG = 4.0  # the same for the change from frame to frame at 10 frames a second
_LOW = np.array([LIMITS.get(p, (-1e9, 1e9))[0] for p in _PART])
_HIGH = np.array([LIMITS.get(p, (-1e9, 1e9))[1] for p in _PART])

_SINK_CM = 0.35  # how far heavy parts settle into cloth and mattress: their skin flattens there
_SOFT_CM = 0.25  # width of the soft minimum over skin points

#: A posed body is refused beyond these: skin below the mattress, balls in each other, resting parts above the
#: mattress, joints nearer to it than that, any joint faster.
FLATTEN_CM = 1.5
OVERLAP_CM = 1.0
FLOAT_CM = 2.5
JOINT_ABOVE_CM = 0.1
#: Flesh that rests flattens to this height over the mattress.
FLAT_CM = 0.05
SPEED_CM_S = 120.0


@dataclass(frozen=True)
class Lying:
    """A body lying at the mattress frame's origin: ``vertices_cm`` ``(V, 3)``, ``joints_cm`` ``(K, 3)``."""

    vertices_cm: np.ndarray
    joints_cm: np.ndarray


class Layout:
    """Where each part's points are in what :meth:`Kinematics.points` returns, and which balls must stay apart."""

    def __init__(self, puppet: Puppet) -> None:
        self.skin: dict[str, np.ndarray] = {}
        self.balls: dict[str, np.ndarray] = {}
        self.mark: dict[str, int] = {}
        rest: list[np.ndarray] = []
        radii: dict[int, float] = {}
        at = 0
        for name, part in puppet.parts.items():
            count, filled = len(part.points), len(part.radii)
            first = count - filled - len(part.marks)
            self.skin[name] = np.arange(at, at + first)
            self.balls[name] = np.arange(at + first, at + first + filled)
            self.mark |= {mark: at + first + filled + k for k, mark in enumerate(part.marks)}
            radii |= dict(zip(self.balls[name].tolist(), part.radii, strict=True))
            rest.append(part.points)
            at += count
        points = np.concatenate(rest)
        pairs = np.array([(i, j) for a, b in _apart() for i in self._bulk(a) for j in self._bulk(b)])
        self.one, self.other = pairs.T
        needed = np.array([radii[i] + radii[j] for i, j in pairs])
        # what touches in the rest pose already may do so
        self.needed = np.minimum(needed, np.linalg.norm(points[self.one] - points[self.other], axis=1)) - 0.2
        self.limbs = np.concatenate([v for k, v in self.skin.items() if k not in ("trunk", "head")])
        self.firm = np.array([self.mark[m] for m in self.mark if m.endswith(("heel", "toe", "crown"))])
        trunk = self.skin["trunk"]
        upper = points[trunk, 2] > np.median(points[trunk, 2])
        self.groups = {"chest": trunk[upper], "seat": trunk[~upper], "head": self.skin["head"]}
        for side in SIDES:
            own = {k.partition(".")[0]: v for k, v in self.skin.items() if k.endswith("." + side[0].upper())}
            self.groups[f"{side}_foot"] = np.concatenate([own["lowerleg01"], own["foot"]])
            self.groups[f"{side}_knee"] = own["upperleg01"]
            self.groups[f"{side}_hand"] = own["lowerarm01"]
            self.groups[f"{side}_elbow"] = own["upperarm01"]

    def _bulk(self, name: str) -> np.ndarray:
        """Balls of a part; "end:PART" only the last one."""
        return self.balls[name.removeprefix("end:")][-1:] if name.startswith("end:") else self.balls[name]


def _apart() -> list[tuple[str, str]]:
    """Pairs of parts that must not run through each other."""
    leg, out = ("upperleg01", "lowerleg01", "foot"), []
    out += [(f"{a}.L", f"{b}.R") for a in leg for b in leg]
    out += [
        ("lowerarm01.L", "lowerarm01.R"),
        ("upperarm01.L", "lowerarm01.R"),
        ("lowerarm01.L", "upperarm01.R"),
    ]
    for s in "LR":
        out += [("trunk", f"lowerleg01.{s}"), ("trunk", f"foot.{s}"), ("trunk", f"lowerarm01.{s}")]
        out += [("trunk", f"end:upperleg01.{s}"), ("trunk", f"end:upperarm01.{s}")]
        out += [("head", f"lowerarm01.{s}"), ("head", f"end:upperarm01.{s}"), ("head", f"lowerleg01.{s}")]
        out += [(f"lowerarm01.{s}", f"{part}.{z}") for part in leg for z in "LR"]
    return out


class _Frame:
    """The residuals of one frame."""

    def __init__(
        self, layout: Layout, body: Kinematics, motion: Motion, t: int, reach_cm: float,
        before: tuple[np.ndarray, np.ndarray] | None, firm_deg: float,
    ) -> None:  # fmt: skip
        self.layout, self.body, self.motion = layout, body, motion
        self.aim = aim_of(motion, t)
        self.spread = np.array(
            [_FREE if n in motion.free else _SPREAD[p] for n, p in zip(UNKNOWNS, _PART, strict=True)]
        )
        self.before, self.firm = before, np.full(len(UNKNOWNS), firm_deg)
        self.firm[_AT["height"]] = 0.1 * firm_deg
        self.kick = {
            f"{s}_foot": reach_cm * np.sin(np.deg2rad(float(motion.angles[f"{s}_kick"][t]))) for s in SIDES
        }
        self.pulls = [(layout.groups[n], 1.2, -_SINK_CM) for n in ("chest", "seat", "head")]
        self.pulls += [(layout.groups[n], w, float(self.kick.get(n, 0.0))) for n, w in motion.touch.items()]

    def residuals(self, x: np.ndarray) -> np.ndarray:
        """``(B, R)`` for unknowns ``(B, U)``."""
        layout = self.layout
        points = self.body.points(x)
        z = points[:, :, 2]
        apart = points[:, layout.one] - points[:, layout.other]
        gap = np.sqrt(np.einsum("bpi,bpi->bp", apart, apart))
        out = [
            (x - self.aim) / self.spread,
            np.maximum(_LOW - x, 0.0) + np.maximum(x - _HIGH, 0.0),
            0.45 * np.maximum(-z[:, layout.skin["trunk"]], 0.0),
            0.9 * np.maximum(-z[:, layout.skin["head"]], 0.0),
            2.5 * np.maximum(-z[:, layout.limbs], 0.0),
            8.0 * np.maximum(2 * JOINT_ABOVE_CM - z[:, layout.firm], 0.0),
            2.5 * np.maximum(layout.needed - gap, 0.0),
            np.stack([w * (_lowest(z[:, group]) - to) for group, w, to in self.pulls], axis=1),
        ]
        for side in self.motion.mouth:
            hand = points[:, layout.mark[f"{side}_knuckle"]] - points[:, layout.mark["mouth"]]
            out.append(0.6 * np.maximum(np.linalg.norm(hand, axis=1, keepdims=True) - 2.5, 0.0))
        if self.before is not None:
            at, aim = self.before
            out.append((x - at - (self.aim - aim)) / self.firm)
        return np.concatenate(out, axis=1)

    def solve(self, start: np.ndarray) -> np.ndarray:
        step = 1e-3
        eye = np.vstack([np.zeros(len(start)), step * np.eye(len(start))])

        def slope(x: np.ndarray) -> np.ndarray:
            values = self.residuals(x + eye)
            return (values[1:] - values[0]).T / step

        found = least_squares(
            lambda x: self.residuals(x[None])[0], start, jac=slope, method="lm", xtol=1e-4, ftol=1e-4,
            max_nfev=40,
        )  # fmt: skip
        return found.x

    def first_guess(self) -> np.ndarray:
        """Start of a clip: meant angles, and the best of a coarse grid for thighs and arms."""
        x = np.clip(self.aim, _LOW, _HIGH)
        x[_AT["height"]] -= self.body.points(x[None])[0, self.layout.groups["seat"], 2].min()
        for side in SIDES:
            if f"{side}_flex" in self.motion.free:
                x = self._best(x, {f"{side}_flex": np.linspace(-20, 90, 12)})
            lifts = np.linspace(-40, 110, 11) if f"{side}_lift" in self.motion.free else np.array([0.0])
            turn = x[_AT[f"{side}_twist"]] + np.array([-25.0, 0.0, 25.0])
            if len(lifts) > 1:
                x = self._best(x, {f"{side}_lift": lifts, f"{side}_twist": np.clip(turn, *LIMITS["twist"])})
        return x

    def _best(self, x: np.ndarray, grid: dict[str, np.ndarray]) -> np.ndarray:
        values = np.stack(np.meshgrid(*grid.values(), indexing="ij"), axis=-1).reshape(-1, len(grid))
        tried = np.repeat(x[None], len(values), axis=0)
        tried[:, [_AT[name] for name in grid]] = values
        return tried[(self.residuals(tried) ** 2).sum(axis=1).argmin()]


def _lowest(z: np.ndarray) -> np.ndarray:
    """A smooth minimum along the last axis."""
    low = z.min(axis=1, keepdims=True)
    return low[:, 0] - _SOFT_CM * np.log(np.exp((low - z) / _SOFT_CM).sum(axis=1))


def lie(puppet: Puppet, motion: Motion, fps: float) -> list[Lying] | str:
    """Lay a puppet down in every frame of a motion.

    Returns:
        One :class:`Lying` per frame, or in a word why the motion cannot be done: "flesh" (sinks in too far), "overlap"
        (a limb in another or in the trunk), "float" (a part that should rest does not), "jump".
    """
    layout = Layout(puppet)
    joint = {n: puppet.rest_joints[k] for k, n in enumerate(INFANT.names)}
    reach_cm = float(np.linalg.norm(joint["left_hip"] - joint["left_ankle"]))
    out: list[Lying] = []
    before = None
    for t in range(len(motion)):
        body = Kinematics(puppet, motion, t)
        frame = _Frame(layout, body, motion, t, reach_cm, before, _FIRM_DEG * 10.0 / fps)
        x = frame.solve(frame.first_guess() if before is None else before[0] + frame.aim - before[1])
        before = (x, frame.aim)
        vertices, joints, lift = laid(body, x)
        fault = _fault(frame, x, vertices, lift)
        if fault is None and out:
            jump = np.linalg.norm(joints - out[-1].joints_cm, axis=1).max()
            fault = "jump" if jump > SPEED_CM_S / fps else None
        if fault is not None:
            return fault
        out.append(flattened(vertices, joints))
    return out


def laid(body: Kinematics, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Vertices ``(V, 3)`` and joints ``(K, 3)`` with the unknowns ``x``, no joint in the mattress, and by how much they
    were lifted for that, cm: a heel that yields a millimetre lifts the body by one."""
    posed = body.puppet.pose(body.rotations(x))
    vertices, joints = body.lay(x, posed.vertices_cm), body.lay(x, posed.joints_cm)
    lift = max(0.0, JOINT_ABOVE_CM - joints[:, 2].min())
    vertices[:, 2] += lift
    joints[:, 2] += lift
    return vertices, joints, lift


def flattened(vertices: np.ndarray, joints: np.ndarray) -> Lying:
    """The laid body, its skin pressed flat where it lies."""
    vertices[:, 2] = np.maximum(vertices[:, 2], FLAT_CM)
    return Lying(vertices, joints)


def _fault(frame: _Frame, x: np.ndarray, vertices: np.ndarray, lift: float) -> str | None:
    layout = frame.layout
    points = frame.body.points(x[None])[0]
    if lift > 0.4 or vertices[:, 2].min() < -FLATTEN_CM:
        return "flesh"
    gap = np.linalg.norm(points[layout.one] - points[layout.other], axis=1)
    if (layout.needed - gap).max() > OVERLAP_CM:
        return "overlap"
    low = {name: points[group, 2].min() for name, group in layout.groups.items()}
    above = [low["head"], min(low["chest"], low["seat"]) + 1.3]  # on the side, thigh and upper arm bear too
    touch = frame.motion.touch
    for side in SIDES:
        for limb in (("hand", "elbow"), ("foot", "knee")):
            held = [f"{side}_{part}" for part in limb if touch.get(f"{side}_{part}", 0.0) >= 0.5]
            above += [min(low[name] - frame.kick.get(name, 0.0) for name in held)] if held else []
    return "float" if max(above) > FLOAT_CM else None
