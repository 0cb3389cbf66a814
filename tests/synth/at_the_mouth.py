"""A body that lies with both hands at its mouth; as a program, for the body model and the child given as a pickle."""

from __future__ import annotations

import pickle
import sys

import numpy as np

from heightpose.synth import lying, posture
from heightpose.synth.body import BodyModel, Child
from heightpose.synth.puppet import Puppet


def both_hands_at_the_mouth(model: BodyModel, child: Child) -> str:
    """Where the joints of a body are that lies so, to the last bit."""
    rng, puppet = np.random.default_rng(4), Puppet(model, child)
    while True:
        motion = posture.draw_motion(rng, 1, 10.0, posture="back", leg_kinds=("bent", "straight"))
        if len(motion.mouth) == 2:
            found = lying.lie(puppet, motion, 10.0)
            if not isinstance(found, str):
                return found[0].joints_cm.tobytes().hex()


if __name__ == "__main__":
    print(both_hands_at_the_mouth(*pickle.load(sys.stdin.buffer)))
