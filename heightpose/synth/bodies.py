"""3D joints of many posed infants without pictures: what the elevation model is learned from.

No rendering is involved, so thousands of bodies take minutes. The same draws as the nursery's pictures: same children,
postures, motion and resting on the mattress.
"""

from __future__ import annotations

import multiprocessing
from pathlib import Path
from typing import Any

import numpy as np

from heightpose.runtime.atomic import atomic_path
from heightpose.synth import posture, scenario
from heightpose.synth.body import BodyModel
from heightpose.synth.puppet import Puppet

_SHARES = {"back": 0.84, "side": 0.09, "front": 0.07}
_model: BodyModel | None = None


def _start() -> None:
    global _model
    import torch

    torch.set_num_threads(1)
    _model = BodyModel()


def _child(args: tuple[int, int]) -> dict[str, np.ndarray]:
    from heightpose.synth.dress import Wardrobe
    from heightpose.synth.generate import draw_leg_kinds

    seed, frames = args
    assert _model is not None
    rng = np.random.default_rng([seed, 9])
    child = _model.sample_child(seed)
    puppet = Puppet(_model, child)
    rest = puppet.rest_joints
    naked = Wardrobe("none", np.zeros((0, 3)), ())
    joints, posed = [], []
    for _ in range(frames):
        lying = str(rng.choice(list(_SHARES), p=list(_SHARES.values())))
        kinds = draw_leg_kinds(None, rng)
        (infant,) = scenario.lie_down(
            puppet, rng, posture=lying, leg_kinds=kinds, frames=1, fps=10.0, wardrobe=naked
        )
        infant = scenario.moved(infant, float(rng.uniform(-180, 180)), rng.normal(0, 8, 2))
        joints.append(infant.joints_cm)
        posed.append(posture.POSTURES.index(lying))
    return {
        "joints_cm": np.array(joints, np.float32),
        "posture": np.array(posed, np.int8),
        "length_cm": np.full(frames, child.length_cm, np.float32),
        "child": np.full(frames, seed, np.int64),
        "rest_cm": np.repeat(rest[None].astype(np.float32), frames, axis=0),
    }


def simulate(out: Path, *, seed: int, children: int, frames: int, jobs: int) -> None:
    """Write an ``.npz`` with ``joints_cm`` (N, K, 3) in the mattress frame, ``rest_cm`` (N, K, 3) in the body frame,
    ``posture`` (N,), ``length_cm`` (N,) and ``child`` (N,) for ``children x frames`` postures."""
    from tqdm import tqdm

    from heightpose.synth.generate import child_seed

    work = [(child_seed(seed, k), frames) for k in range(children)]
    context = multiprocessing.get_context("spawn")
    with context.Pool(jobs, _start) as pool:
        done = list(tqdm(pool.imap(_child, work), total=children, unit="child", desc="posing"))
    with atomic_path(out) as tmp:
        arrays: dict[str, Any] = {key: np.concatenate([d[key] for d in done]) for key in done[0]}
        np.savez_compressed(tmp, **arrays)
