"""Where every part of a lying body is for many sets of angles at once: what the lying solver evaluates.

The rotations are those that :meth:`heightpose.synth.puppet.Puppet.pose` then uses: what was solved is what is posed.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from heightpose.skeleton import INFANT
from heightpose.synth.posture import SIDES, Motion, root_rotation
from heightpose.synth.puppet import NECK, SPINE, Puppet

#: The unknowns: the body's height (cm) and angles in degrees.
UNKNOWNS = ("height", "pitch", "nod", "tilt") + tuple(
    f"{side}_{angle}"
    for side in SIDES
    for angle in ("flex", "abduct", "outward", "knee", "ankle", "shoulder", "lift", "twist", "elbow")
)
_AT = {name: k for k, name in enumerate(UNKNOWNS)}
_SIGN = {"left": 1.0, "right": -1.0}
_X, _Y, _Z = np.eye(3)
_FRONT = -_Y


def turn(axis: np.ndarray, degrees: float) -> np.ndarray:
    """Rotation matrix ``(3, 3)`` about an axis."""
    axis = np.asarray(axis) / np.linalg.norm(axis)
    return Rotation.from_rotvec(np.deg2rad(degrees) * axis).as_matrix()


def aim_of(motion: Motion, t: int) -> np.ndarray:
    """``(U,)`` what the motion means the unknowns to be at frame ``t``; 0 where it does not say."""
    return np.array([float(motion.angles[name][t]) if name in motion.angles else 0.0 for name in UNKNOWNS])


class Kinematics:
    """One puppet at one frame of a motion: trunk and turn of the head as drawn, everything else to be chosen.

    Attributes:
        parts: names in the order in which :meth:`points` lays out their points.
    """

    def __init__(self, puppet: Puppet, motion: Motion, t: int) -> None:
        self.puppet = puppet
        self.root = root_rotation(motion, t)
        self._yaw = turn(_Z, float(motion.angles["yaw"][t]) / len(NECK))
        curl, bend = (float(motion.angles[name][t]) / len(SPINE) for name in ("curl", "bend"))
        self._spine = dict.fromkeys(SPINE, turn(_X, curl) @ turn(_Y, bend))
        moves = puppet.transforms(self._spine)
        self._chest = moves[puppet.model.bone("clavicle.L")]
        middle = puppet.rest_joints[INFANT.indices("pelvis", "thorax")]
        self._middle = (middle[0] + self._chest[:, :3] @ middle[1] + self._chest[:, 3]) / 2
        self._trunk = puppet.skinned_points("trunk", moves)
        self._necks = [puppet.head_of(bone) for bone in NECK]
        self._skew = np.cross(self._axes()[:, None], np.eye(3)).transpose(0, 2, 1)
        self._share = np.array([1.0 / len(NECK) if name in ("nod", "tilt") else 1.0 for name in UNKNOWNS[1:]])
        self._skew2 = self._skew @ self._skew

    def _axes(self) -> np.ndarray:
        """``(U - 1, 3)`` the rest-pose axis that each angle turns about, positive as :data:`LIMITS` means it."""
        axes = [_X, _X, _Y]
        for side in SIDES:
            sign, suffix = _SIGN[side], side[0].upper()
            arm = self.puppet.head_of(f"lowerarm01.{suffix}") - self.puppet.head_of(f"upperarm01.{suffix}")
            arm = arm / np.linalg.norm(arm)
            fold = np.cross(arm, _FRONT) / np.linalg.norm(np.cross(arm, _FRONT))
            axes += [-_X, -sign * _Y, sign * _Z, _X, _X, -sign * _Y, fold, sign * arm, fold]
        return np.array(axes)

    def _turns(self, x: np.ndarray) -> dict[str, np.ndarray]:
        """``(B, 3, 3)`` rotation of each angle (Rodrigues)."""
        angle = np.deg2rad(x[:, 1:] * self._share)[:, :, None, None]
        found = np.eye(3) + np.sin(angle) * self._skew + (1 - np.cos(angle)) * self._skew2
        return {name: found[:, k] for k, name in enumerate(UNKNOWNS[1:])}

    def rotations(self, x: np.ndarray) -> dict[str, np.ndarray]:
        """Bone rotations of one set of unknowns ``(U,)``."""
        r = self._turns(x[None])
        out = dict(self._spine)
        out |= dict.fromkeys(NECK, self._neck(r)[0])
        for side in SIDES:
            suffix = side[0].upper()
            for bone, local in zip(("upperleg01", "lowerleg01", "foot"), _leg(r, side), strict=True):
                out[f"{bone}.{suffix}"] = local[0]
            for bone, local in zip(("upperarm01", "lowerarm01"), _arm(r, side), strict=True):
                out[f"{bone}.{suffix}"] = local[0]
        return out

    def lay(self, x: np.ndarray, points: np.ndarray) -> np.ndarray:
        """Posed points ``(N, 3)`` of the body frame to the mattress frame, the trunk's middle above the origin."""
        turned = turn(_X, x[_AT["pitch"]]) @ self.root
        return (points - self._middle) @ turned.T + np.array([0.0, 0.0, x[_AT["height"]]])

    def points(self, x: np.ndarray) -> np.ndarray:
        """``(B, N, 3)`` all points of all parts (see :class:`heightpose.synth.puppet.Puppet`), mattress frame."""
        puppet = self.puppet
        r = self._turns(x)
        base = r["pitch"] @ self.root
        place = -(base @ self._middle)
        place[:, 2] += x[:, _AT["height"]]
        chest = base @ self._chest[:, :3]
        at_chest = place + base @ self._chest[:, 3]
        found = {"trunk": self._trunk @ base.transpose(0, 2, 1) + place[:, None]}
        found["head"] = self._head_points(r, chest, at_chest)
        for side in SIDES:
            suffix = side[0].upper()
            legs = tuple(f"{bone}.{suffix}" for bone in ("upperleg01", "lowerleg01", "foot"))
            arms = tuple(f"{bone}.{suffix}" for bone in ("upperarm01", "lowerarm01"))
            self._chain(found, legs, _leg(r, side), base, place)
            self._chain(found, arms, _arm(r, side), chest, at_chest)
        return np.concatenate([found[name] for name in puppet.parts], axis=1)

    def _chain(self, found: dict, bones: tuple, local: tuple, turned: np.ndarray, shift: np.ndarray) -> None:
        """Follow a limb outwards; ``turned``, ``shift`` take rest-pose points to the frame before its first joint."""
        for bone, rotation in zip(bones, local, strict=True):
            part = self.puppet.parts[bone]
            turned, shift = _hinge(turned, shift, rotation, part.origin)
            found[bone] = part.points @ turned.transpose(0, 2, 1) + shift[:, None]

    def _head_points(self, r: dict, turned: np.ndarray, shift: np.ndarray) -> np.ndarray:
        neck = self._neck(r)
        for origin in self._necks:
            turned, shift = _hinge(turned, shift, neck, origin)
        return self.puppet.parts["head"].points @ turned.transpose(0, 2, 1) + shift[:, None]

    def _neck(self, r: dict) -> np.ndarray:
        """Each neck bone's share of tilting, nodding and turning."""
        return r["tilt"] @ r["nod"] @ self._yaw


def _hinge(
    turned: np.ndarray, shift: np.ndarray, rotation: np.ndarray, origin: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The frame behind a joint at the rest-pose point ``origin`` that turns by ``rotation``."""
    arm = origin - rotation @ origin
    return turned @ rotation, shift + (turned @ arm[..., None])[..., 0]


def _leg(r: dict, side: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rotations of hip, knee and ankle."""
    hip = r[f"{side}_flex"] @ r[f"{side}_abduct"] @ r[f"{side}_outward"]
    return hip, r[f"{side}_knee"], r[f"{side}_ankle"]


def _arm(r: dict, side: str) -> tuple[np.ndarray, np.ndarray]:
    """Rotations of shoulder and elbow; the arm is lifted to the front from wherever it was raised to."""
    return r[f"{side}_shoulder"] @ r[f"{side}_lift"] @ r[f"{side}_twist"], r[f"{side}_elbow"]
