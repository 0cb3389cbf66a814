"""3D joints of many moving infants without pictures: what the elevation model is learned from.

No rendering is involved, so a child's clip takes a second or two. The same draws as the nursery's clips: same
children, motions and resting on the mattress; bodies that hold their legs anywhere (:mod:`heightpose.synth.loose`) take
a tenth of the time.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from heightpose.arrays import read_arrays
from heightpose.runtime.atomic import atomic_path, make_folder
from heightpose.runtime.processes import side_by_side
from heightpose.synth import scenario
from heightpose.synth.body import BodyModel
from heightpose.synth.dress import Wardrobe
from heightpose.synth.loose import LOOSE
from heightpose.synth.posture import POSTURES
from heightpose.synth.puppet import Puppet

#: Posture of a clip. Most measurements are of infants on their back; the others need examples enough to be learned.
SHARES = {"back": 0.7, "side": 0.2, "front": 0.1}
#: Frames per second: slower ones show more of a motion in as many frames.
RATES = (2.0, 4.0, 8.0)
#: Children per file on the way: what an interruption can cost.
_PART = 25
_model: BodyModel | None = None


def _start() -> None:
    global _model
    import torch

    torch.set_num_threads(1)
    _model = BodyModel()


def _clip(seed: int, frames: int, only: str | None) -> dict[str, Any]:
    assert _model is not None
    rng = np.random.default_rng([seed, 9])
    child = _model.sample_child(seed)
    puppet = Puppet(_model, child)
    naked = Wardrobe("none", np.zeros((0, 3)), ())
    lying = only or str(rng.choice(list(SHARES), p=list(SHARES.values())))
    infants = scenario.lie_down(
        puppet, rng, posture=lying, legs=None, frames=frames,
        fps=float(rng.choice(RATES)), wardrobe=naked,
    )  # fmt: skip
    return {
        "joints_cm": np.array([infant.joints_cm for infant in infants], np.float32),
        "posture": np.int8(POSTURES.index("back" if lying == LOOSE else lying)),
        "length_cm": np.float32(child.length_cm),
        "child": np.int64(seed),
        "rest_cm": puppet.rest_joints.astype(np.float32),
    }


def _part(args: tuple[Path, list[int], int, str | None]) -> int:
    path, seeds, frames, only = args
    if not path.is_file():
        clips = [_clip(seed, frames, only) for seed in seeds]
        arrays: dict[str, Any] = {key: np.stack([clip[key] for clip in clips]) for key in clips[0]}
        with atomic_path(path) as tmp:
            np.savez_compressed(tmp, **arrays)
    return len(seeds)


def simulate(
    out: Path, *, seed: int, children: int, frames: int, jobs: int, posture: str | None = None
) -> Path:
    """Write ``out/bodies.npz``: one clip of each of ``children``. A run that was interrupted goes on.

    Args:
        posture: of all of them; None: drawn by :data:`SHARES`.

    Its arrays: ``joints_cm`` (N, T, K, 3) in a mattress frame whose origin lies under the trunk, ``rest_cm``
    (N, K, 3) in the body frame, ``posture`` (N,) an index into :data:`heightpose.synth.posture.POSTURES`,
    ``length_cm`` (N,) and ``child`` (N,).
    """
    from tqdm import tqdm

    from heightpose.synth.nursery import child_seed

    parts = out / "parts"
    make_folder(parts)
    seeds = [child_seed(seed, k) for k in range(children)]
    work = []
    for start in range(0, children, _PART):
        chosen = seeds[start : start + _PART]
        kind = "" if posture is None else f"{posture}-"
        work.append((parts / f"{kind}{seed}-{start}-{len(chosen)}x{frames}.npz", chosen, frames, posture))
    with tqdm(total=children, unit="child", desc="posing", disable=None) as bar:
        for done in side_by_side(_part, work, jobs, _start):
            bar.update(done)
    loaded = [read_arrays(path) for path, *_ in work]
    arrays: dict[str, Any] = {key: np.concatenate([part[key] for part in loaded]) for key in loaded[0]}
    final = out / "bodies.npz"
    with atomic_path(final) as tmp:
        np.savez_compressed(tmp, **arrays)
    return final
