"""Bodies laid down: true bones, nothing under the mattress, nothing floating, smooth from frame to frame."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("anny")

from at_the_mouth import both_hands_at_the_mouth

from heightpose.skeleton import INFANT
from heightpose.synth import lying, posture
from heightpose.synth.body import BodyModel
from heightpose.synth.puppet import Puppet
from heightpose.synth.scenario import draw_leg_kinds

LIMB_BONES = [
    (INFANT.index(f"{side}_{one}"), INFANT.index(f"{side}_{other}"))
    for side in ("left", "right")
    for one, other in (("hip", "knee"), ("knee", "ankle"), ("shoulder", "elbow"), ("elbow", "wrist"))
]


def bone_lengths(joints_cm: np.ndarray) -> np.ndarray:
    return np.array([np.linalg.norm(joints_cm[a] - joints_cm[b]) for a, b in LIMB_BONES])


@pytest.fixture(scope="module")
def puppets(model: BodyModel) -> list[Puppet]:
    return [Puppet(model, model.sample_child(seed)) for seed in range(3)]


def draw(
    puppet: Puppet, rng: np.random.Generator, lies: str, legs: str | None, frames: int
) -> list[lying.Lying]:
    """The first motion of a few that can be lain in."""
    for _ in range(12):
        motion = posture.draw_motion(rng, frames, 10.0, posture=lies, leg_kinds=draw_leg_kinds(legs, rng))
        found = lying.lie(puppet, motion, 10.0)
        if not isinstance(found, str):
            return found
    raise AssertionError("a dozen draws in a row failed")


def test_a_puppet_poses_like_the_body_model(puppets: list[Puppet]) -> None:
    puppet, rng = puppets[0], np.random.default_rng(1)
    motion = posture.draw_motion(rng, 1, 10.0, posture="side", leg_kinds=("bent", "straight"))
    body = lying.Kinematics(puppet, motion, 0)
    angles = rng.normal(0, 20, len(lying.UNKNOWNS))
    rotations = body.rotations(angles)
    wanted = puppet.model.pose(puppet.child, rotations)
    assert np.abs(puppet.pose(rotations).vertices_cm - wanted.vertices_cm).max() < 1e-9
    assert np.abs(puppet.pose(rotations).joints_cm - wanted.joints_cm).max() < 1e-9
    # and the solver reckons with the points that are then posed
    layout, points = lying.Layout(puppet), body.points(angles[None])[0]
    joints = body.lay(angles, wanted.joints_cm)
    for name in ("crown", "left_heel", "right_toe"):
        assert points[layout.mark[name]] == pytest.approx(joints[INFANT.index(name)], abs=0.05)


@pytest.mark.parametrize("lies", posture.POSTURES)
def test_a_lying_body_keeps_its_bones_and_rests_on_the_mattress(puppets: list[Puppet], lies: str) -> None:
    rng = np.random.default_rng(4)
    pelvis, thorax = INFANT.index("pelvis"), INFANT.index("thorax")
    for puppet in puppets:
        for _ in range(2):
            (body,) = draw(puppet, rng, lies, None, 1)
            assert np.abs(bone_lengths(body.joints_cm) - bone_lengths(puppet.rest_joints)).max() < 1e-6
            assert body.joints_cm[:, 2].min() >= lying.JOINT_ABOVE_CM - 1e-9
            assert 0.0 < body.vertices_cm[:, 2].min() < 0.5, "it touches the mattress"
            trunk = np.abs(body.joints_cm[[pelvis, thorax], 2])
            assert (trunk < 0.2 * puppet.child.length_cm).all(), "the trunk lies, it does not stand"


@pytest.mark.parametrize("legs", ["extended", "tucked"])
def test_legs_are_what_was_asked_for(puppets: list[Puppet], legs: str) -> None:
    rng = np.random.default_rng(5)
    bodies = [draw(puppet, rng, "back", legs, 1)[0] for puppet in puppets for _ in range(3)]
    extended = np.mean([posture.legs_extended(body.joints_cm) for body in bodies])
    assert extended > 0.6 if legs == "extended" else extended < 0.4


def test_on_the_back_resting_heels_lie_on_the_mattress(puppets: list[Puppet]) -> None:
    rng = np.random.default_rng(6)
    heels = INFANT.indices("left_heel", "right_heel")
    for puppet in puppets:
        motion = posture.draw_motion(rng, 1, 10.0, posture="back", leg_kinds=("straight", "straight"))
        found = lying.lie(puppet, motion, 10.0)
        assert not isinstance(found, str)
        kicks = max(float(motion.angles[f"{side}_kick"][0]) for side in posture.SIDES)
        assert kicks > 0 or found[0].joints_cm[heels, 2].max() < 1.5


@pytest.mark.parametrize("lies", posture.POSTURES)
def test_motion_is_smooth(puppets: list[Puppet], lies: str) -> None:
    rng = np.random.default_rng(7)
    clip = draw(puppets[1], rng, lies, None, 15)
    joints = np.array([body.joints_cm for body in clip])
    step = np.diff(joints, axis=0)
    assert np.linalg.norm(step, axis=-1).max() <= lying.SPEED_CM_S / 10.0
    assert np.linalg.norm(step, axis=-1).max() > 0.01, "it moves"
    # a jump to another solution would be a step unlike its neighbours
    jerk = np.linalg.norm(np.diff(step, axis=0), axis=-1)
    assert jerk.max() < 5.0
    assert np.abs([bone_lengths(j) - bone_lengths(joints[0]) for j in joints]).max() < 1e-6


def test_a_body_that_cannot_lie_so_is_refused(puppets: list[Puppet]) -> None:
    rng = np.random.default_rng(8)
    motion = posture.draw_motion(rng, 2, 10.0, posture="back", leg_kinds=("raised", "raised"))
    motion.angles["left_flex"][:] = 90.0
    motion.angles["left_knee"][:] = 0.0
    motion.angles["left_flex"][1] = 10.0  # a leg thrown down within a tenth of a second
    assert lying.lie(puppets[0], motion, 10.0) == "jump"


def test_a_body_lies_the_same_in_every_process(model: BodyModel) -> None:
    """Sets of names have another order in every process."""
    child = model.sample_child(1)
    here = both_hands_at_the_mouth(model, child)
    # what lying asks of the model, without Anny, which takes seconds to load
    known = BodyModel.__new__(BodyModel)
    for name in ("bones", "parents", "faces", "vertex_bone", "skin_weights", "_rests"):
        setattr(known, name, getattr(model, name))
    other = "1" if os.environ.get("PYTHONHASHSEED") != "1" else "5"
    there = subprocess.run(
        [sys.executable, Path(__file__).with_name("at_the_mouth.py")], check=True, capture_output=True,
        input=pickle.dumps((known, child)), env={**os.environ, "PYTHONHASHSEED": other},
    ).stdout  # fmt: skip
    assert there.decode().strip() == here
