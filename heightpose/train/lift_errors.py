"""What a pose net gets wrong on rendered stills, as the elevation model is told it: the errors it is trained to bear.

A net's errors are not its covariances' noise: where it is unsure it answers about the mean of what it thinks possible,
a hidden leg's heatmap is as sharp as a seen one's, and feet are missed together. So errors are not drawn from a formula
but taken from the net itself, on stills that it was not trained on, each from a still whose limb lies much alike.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from heightpose.arrays import read_arrays
from heightpose.errors import ConfigError
from heightpose.evaluate.intervals import known_stills, look_at_stills
from heightpose.geometry import body
from heightpose.geometry.lift import mattress_sd
from heightpose.runtime.atomic import atomic_path
from heightpose.runtime.networks import Detector, PoseModel
from heightpose.skeleton import INFANT
from heightpose.train.lift_data import Told, from_pelvis, odds_from_wrong, own_frame, to_own_frame

_K = len(INFANT)
#: Log of the range of errors over those of the stills, by clip.
_LEVEL = (math.log(0.15), math.log(1.4))
#: Stills that a step looks among, and how many of the most similar it chooses from.
_AMONG, _NEAREST = 600, 3
_TRUNK = (
    INFANT.indices("crown", "thorax", "left_shoulder", "right_shoulder", "left_hip", "right_hip"),
    INFANT.indices("crown", "head_top", "upper_neck", "thorax", "pelvis", "left_shoulder", "right_shoulder", "left_hip",
                   "right_hip"),
)  # fmt: skip


def _limb(sides: tuple[str, ...], root: str, *parts: str) -> tuple[np.ndarray, np.ndarray]:
    own = [f"{side}_{part}" for side in sides for part in parts]
    return INFANT.indices(*(f"{side}_{root}" for side in sides), *own), INFANT.indices(*own)


_SIDES = ("left", "right")
_ARMS = tuple(_limb((side,), "shoulder", "elbow", "wrist") for side in _SIDES)
_LEG = ("hip", "knee", "ankle", "heel", "toe")
#: Parts of the body that have their errors from one still each: (joints that say how alike the part lies, its joints).
#: Each leg by itself, or both together, as what hides one often hides the other.
PARTS = (
    (_TRUNK, *_ARMS, *(_limb((side,), *_LEG) for side in _SIDES)),
    (_TRUNK, *_ARMS, _limb(_SIDES, *_LEG)),
)


def collect(
    folder: Path, detector: Detector, pose: PoseModel, *, first: int, split: str
) -> dict[str, np.ndarray]:
    """Look at the stills of a nursery folder from number ``first`` on as ``infer`` does.

    Returns:
        Arrays of the ``N`` stills that show one infant which is found clearly and whole: ``truth`` and ``seen_at``
        (N, K, 2) where the rays of the true and the found joints meet the mattress, cm; ``sd`` (N, K) cm, ``right`` and
        ``seen`` (N, K) what the net says of them.
    """
    if pose.calibration is None:
        raise ConfigError(
            "errors are learned with what the net says of them", where=pose.file.path,
            expected="weights with a calibration", hint="Run heightpose eval confidence first",
        )  # fmt: skip
    items = [item for item in known_stills(folder, split) if item.id >= first]
    if not items:
        raise ConfigError(
            "no still to learn errors from", where=folder, expected=f"split {split}, from number {first}"
        )
    rows: dict[str, list[np.ndarray]] = {key: [] for key in ("truth", "seen_at", "sd", "right", "seen")}
    for item, result, (camera, plane, _, _) in look_at_stills(folder, items, detector, pose):
        found = result.pose
        if found is None or not isinstance(body.clear_frames([result], camera), list):
            continue
        assert found.cov_frame is not None  # with a calibration all three are there
        assert found.probabilities is not None
        assert found.seen is not None
        for key, kpts in (("truth", item.people[0].kpts_frame), ("seen_at", found.kpts_frame)):
            rows[key].append(plane.to_mattress(camera, kpts, 0.0)[:, :2])
        rows["sd"].append(mattress_sd(found.kpts_frame[None], found.cov_frame[None], camera, plane)[0])
        rows["right"].append(found.probabilities)
        rows["seen"].append(found.seen)
    return {key: np.array(values, np.float32) for key, values in rows.items()}


class NetErrors:
    """The errors of stills, for other infants: by limb, from stills where it lies alike.

    Every part of the body has its error and what is said of it from a still of its own, with some noise on what is
    said: so many joints from one still would tell which still it is.

    Args:
        paths: files of :func:`collect`; their mirror images are used too.
    """

    def __init__(self, paths: list[Path]) -> None:
        parts = [{key: torch.from_numpy(array) for key, array in read_arrays(path).items()} for path in paths]
        data = {key: torch.cat([part[key] for part in parts]) for key in parts[0]}
        turn, size = own_frame(data["truth"])
        local = to_own_frame(from_pelvis(data["truth"]), turn, size)
        error = to_own_frame(data["seen_at"] - data["truth"], turn, size)
        relative = data["sd"] / size[:, None]
        odds = [torch.logit(data[key].double(), 1e-4).float() for key in ("right", "seen")]
        flip, sign = torch.as_tensor(INFANT.flip_map), torch.tensor([-1.0, 1.0])
        self.local = torch.cat([local, local[:, flip] * sign])
        self.error = torch.cat([error, error[:, flip] * sign])
        self.sd, self.right, self.seen = (torch.cat([v, v[:, flip]]) for v in (relative, *odds))

    def __len__(self) -> int:
        return len(self.local)

    def draw(self, flat: Tensor) -> tuple[Tensor, Told]:
        """Errors for clips whose joints' rays meet the mattress at ``flat`` ``(B, T, K, 2)``, cm.

        Returns:
            (error ``(B, T, K, 2)`` cm, what is said of the joints).
        """
        b, t = flat.shape[:2]
        each = flat.flatten(0, 1)
        turn, size = own_frame(each)
        local = to_own_frame(from_pelvis(each), turn, size)
        library = torch.randperm(len(self))[:_AMONG]
        stills = self.local[library]
        error = torch.zeros(b * t, _K, 2)
        sd, right, seen = (torch.zeros(b * t, _K) for _ in range(3))
        # Frames of a clip are misread alike: so many of them have the error of its first.
        shared = torch.rand(b, 1) * 0.45 + 0.5
        for like, own in PARTS[int(torch.randint(len(PARTS), ()))]:
            apart = torch.cdist(
                local[:, torch.as_tensor(like)].flatten(1),
                stills[:, torch.as_tensor(like)].flatten(1),
            )
            nearest = apart.topk(min(_NEAREST, len(library)), largest=False).indices
            row = library[nearest.gather(1, torch.randint(nearest.shape[1], (b * t, 1)))[:, 0]].reshape(b, t)
            row = torch.where(torch.rand(b, t) < shared, row[:, :1], row).flatten()
            joints = torch.as_tensor(own)
            error[:, joints] = self.error[row][:, joints]
            for into, values in ((sd, self.sd), (right, self.right), (seen, self.seen)):
                into[:, joints] = values[row][:, joints]
        # Sharper and smaller pictures than the stills'; a joint is right as its error is smaller (Rayleigh).
        level = torch.exp(torch.empty(b, 1).uniform_(*_LEVEL)).expand(b, t).reshape(-1, 1)
        right = odds_from_wrong(-nn.functional.softplus(right) / level**2)
        said = sd * level * torch.exp(0.2 * torch.randn(b * t, _K)) * size[:, None]
        error = torch.einsum("tji,tkj->tki", turn, error) * (level * size[:, None])[..., None]
        told = Told(said, right + 0.3 * torch.randn(b * t, _K), seen + 0.3 * torch.randn(b * t, _K))
        return error.reshape(b, t, _K, 2), told.reshape(b, t)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("folder", type=Path, help="nursery stills, from `heightpose synth`")
    parser.add_argument("--model", default="fast", help="pose net")
    parser.add_argument(
        "--first", type=int, default=0, help="number of the first still that it was not trained on"
    )
    parser.add_argument("--split", default="train")
    parser.add_argument("--out", type=Path, required=True, help="the .npz to write")
    args = parser.parse_args()
    arrays: dict[str, Any] = collect(
        args.folder, Detector.load(), PoseModel.load(args.model), first=args.first, split=args.split
    )
    with atomic_path(args.out) as tmp:
        np.savez_compressed(tmp, **arrays)
    print(f"errors of {len(arrays['sd'])} stills in {args.out}")


if __name__ == "__main__":
    main()
