"""How far a leg is bent, and when a frame shows it extended."""

from __future__ import annotations

import numpy as np

from heightpose.skeleton import INFANT

#: A leg counts as extended when hip and knee are each flexed less than this.
EXTENDED_DEG = 30.0


def leg_flexion_deg(joints_cm: np.ndarray, side: str) -> tuple[float, float]:
    """(hip, knee) flexion in degrees from 3D joints ``(K, 3)`` in any frame.

    Hip: the angle in the sagittal plane between the thigh and the straight-down direction (pelvis away from the
    thorax); knee: the angle between thigh and shank. 0 is straight.
    """

    def joint(name: str) -> np.ndarray:
        return joints_cm[INFANT.index(name)]

    down = joint("pelvis") - joint("thorax")
    down = down / np.linalg.norm(down)
    left = joint("left_hip") - joint("right_hip")
    left = left - (left @ down) * down
    left = left / np.linalg.norm(left)
    front = np.cross(left, -down)  # x left, z head: y = z cross x points back, so front = x cross z
    thigh = joint(f"{side}_knee") - joint(f"{side}_hip")
    shank = joint(f"{side}_ankle") - joint(f"{side}_knee")
    hip = np.degrees(np.arctan2(thigh @ front, thigh @ down))
    cos_knee = thigh @ shank / max(float(np.linalg.norm(thigh) * np.linalg.norm(shank)), 1e-9)
    return float(abs(hip)), float(np.degrees(np.arccos(np.clip(cos_knee, -1, 1))))


def legs_extended(joints_cm: np.ndarray, limit_deg: float = EXTENDED_DEG) -> bool:
    """True when a leg has hip and knee each flexed less than ``limit_deg``."""
    return any(max(leg_flexion_deg(joints_cm, side)) < limit_deg for side in ("left", "right"))
