"""Angles of legs that were bent by known amounts."""

from __future__ import annotations

import numpy as np
import pytest
from straight import body

from heightpose.geometry.legs import EXTENDED_DEG, leg_flexion_deg, legs_extended
from heightpose.skeleton import INFANT


def bent(
    hip_deg: float, knee_deg: float, aside: float = 0.0, sides: tuple[str, ...] = ("left",)
) -> np.ndarray:
    """On its back, head along y: thighs raised by one angle, the shanks folded back under them by the other.

    ``aside`` is what the thigh spreads to the side, as a share of its length.
    """
    joints = body()
    joints[INFANT.indices("thorax", "pelvis"), 2] = 5.0  # the trunk lies flat
    for side, sign in (("left", 1.0), ("right", -1.0)):
        h, k = (hip_deg, knee_deg) if side in sides else (0.0, 0.0)
        hip, knee, ankle = INFANT.indices(f"{side}_hip", f"{side}_knee", f"{side}_ankle")
        joints[hip] = [4.0 * sign, 0.0, 5.0]
        for part, above, angle, length in ((knee, hip, h, 16.0), (ankle, knee, h - k, 13.0)):
            turned = np.deg2rad(angle)
            joints[part] = joints[above] + length * np.array([0.0, -np.cos(turned), np.sin(turned)])
            if part == knee:
                joints[part, 0] += sign * aside * length
    return joints


@pytest.mark.parametrize(
    ("hip_deg", "knee_deg"), [(0, 0), (20, 70), (60, 0), (100, 130), (135, 10), (-15, 5)]
)
def test_the_angles_are_those_by_which_the_leg_was_bent(hip_deg: float, knee_deg: float) -> None:
    joints = bent(hip_deg, knee_deg)
    assert leg_flexion_deg(joints, "left") == pytest.approx((abs(hip_deg), knee_deg), abs=1e-4)
    assert leg_flexion_deg(joints, "right") == pytest.approx((0.0, 0.0), abs=1e-4)
    spin = np.array([[0.36, 0.48, -0.8], [-0.8, 0.6, 0.0], [0.48, 0.64, 0.6]])
    assert leg_flexion_deg(7.0 + joints @ spin.T, "left") == pytest.approx((abs(hip_deg), knee_deg), abs=1e-4)


def test_a_leg_spread_to_the_side_is_not_flexed_at_the_hip() -> None:
    """Nor is it where the hips stand askew to the trunk."""
    joints = bent(40.0, 0.0, aside=0.6)
    assert leg_flexion_deg(joints, "left")[0] == pytest.approx(40.0, abs=1e-4)
    joints[INFANT.index("right_hip"), 1] += 3.0
    assert leg_flexion_deg(joints, "left")[0] == pytest.approx(40.0, abs=1e-4)


def test_one_leg_with_both_joints_unbent_is_enough() -> None:
    just, beyond = EXTENDED_DEG - 1.0, EXTENDED_DEG + 1.0
    assert legs_extended(bent(just, just, sides=("left", "right")))
    assert legs_extended(bent(90.0, 90.0, sides=("left",)))
    assert legs_extended(bent(90.0, 90.0, sides=("right",)))
    for hip, knee in ((beyond, 0.0), (0.0, beyond)):
        joints = bent(hip, knee, sides=("left", "right"))
        assert not legs_extended(joints)
        assert legs_extended(joints, beyond + 1.0)
