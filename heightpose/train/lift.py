"""Train the elevation model (heightpose.geometry.lift) on posed nursery bodies seen by random cameras.

Every step draws new cameras, bone proportions and joint noise, so a few thousand postures go a long way. The
proportions are spread wider than any child's (thigh and shank 5 %, trunk and head 3 %, one standard deviation),
so that the network reads lengths from the picture where they show and falls back on proportions only where they do
not.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from heightpose.geometry.lift import _INPUT_JOINTS, BONE_GROUPS, INPUTS, OUTPUTS, group_lengths
from heightpose.runtime.atomic import atomic_path
from heightpose.skeleton import INFANT

_K = len(INFANT)
_G = len(BONE_GROUPS)
_STRETCH = {"thigh": 0.05, "shank": 0.05, "trunk": 0.03, "head": 0.03}
#: Joint noise relative to the crown's, as the first shipped pose net errs on held-out nursery children.
_JOINT_NOISE = {
    "crown": 1.0,
    "top": 1.0,
    "neck": 0.9,
    "thorax": 1.2,
    "pelvis": 1.2,
    "shoulder": 1.2,
    "hip": 1.7,
}
_JOINT_NOISE |= {"knee": 1.7, "ankle": 1.5, "heel": 2.0, "toe": 3.0, "elbow": 2.0, "wrist": 3.0}
_CHILDREN_OF: dict[int, list[int]] = {k: [] for k in range(_K)}
for _k, _parent in enumerate(INFANT.parents):
    if _parent >= 0:
        _CHILDREN_OF[int(_parent)].append(_k)


def _descendants(joint: int) -> list[int]:
    below = [joint]
    for child in _CHILDREN_OF[joint]:
        below += _descendants(child)
    return below


def stretch(joints: torch.Tensor, factors: dict[str, torch.Tensor]) -> torch.Tensor:
    """Lengthen bones: ``joints`` ``(B, K, 3)``, factors per bone name ``(B,)``; what hangs on a bone moves with it."""
    out = joints.clone()
    moves = [("trunk", "pelvis", "thorax"), ("head", "upper_neck", "crown")]
    for side in ("left", "right"):
        moves += [("thigh", f"{side}_hip", f"{side}_knee"), ("shank", f"{side}_knee", f"{side}_ankle")]
    for bone, start, end in moves:
        a, b = INFANT.index(start), INFANT.index(end)
        shift = (joints[:, b] - joints[:, a]) * (factors[bone] - 1.0)[:, None]
        below = _descendants(b)
        if bone == "head":
            below = [b, INFANT.index("head_top")]
        out[:, below] += shift[:, None]
    return out


def lengths(joints: torch.Tensor) -> torch.Tensor:
    """Torch twin of :func:`heightpose.geometry.lift.group_lengths`: ``(B, K, 3)`` to ``(B, 5)``."""
    groups = []
    for _, names in BONE_GROUPS:
        points = joints[:, torch.as_tensor(INFANT.indices(*names))]
        groups.append((points[:, 1:] - points[:, :-1]).norm(dim=-1).sum(-1))
    return torch.stack(groups, -1)


def draw_views(joints: torch.Tensor, noise: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Random cameras and joint noise: ``(flat (B, K, 2), camera (B, 3))`` in cm."""
    b = len(joints)
    above = torch.empty(b).uniform_(105, 235)
    tilt = torch.deg2rad(38.0 * torch.rand(b).sqrt())
    azimuth = torch.rand(b) * 2 * math.pi
    target = torch.randn(b, 2) * 8
    aside = above * tilt.tan()
    camera = torch.stack(
        [target[:, 0] + aside * azimuth.cos(), target[:, 1] + aside * azimuth.sin(), above], -1
    )
    share = joints[..., 2] / (camera[:, None, 2] - joints[..., 2])
    flat = joints[..., :2] + (joints[..., :2] - camera[:, None, :2]) * share[..., None]
    if noise:
        level = torch.exp(torch.empty(b, 1, 1).uniform_(math.log(0.1), math.log(1.0)))
        per_joint = torch.tensor([_JOINT_NOISE[name.rpartition("_")[2]] for name in INFANT.names])
        error = torch.randn(b, _K, 2) * level * per_joint[None, :, None]
        outlier = (torch.rand(b, _K, 1) < 0.015).float()
        flat = flat + error * (1.0 + 5.0 * outlier)
    return flat, camera


def features_of(flat: torch.Tensor, camera: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Torch twin of :func:`heightpose.geometry.lift.canonical` (a test holds the two together)."""
    pelvis, thorax, crown = (INFANT.index(n) for n in ("pelvis", "thorax", "crown"))
    size = (flat[:, crown] - flat[:, pelvis]).norm(dim=-1).clamp_min(1e-6)
    axis = nn.functional.normalize(flat[:, thorax] - flat[:, pelvis], dim=-1, eps=1e-9)
    turn = torch.stack([torch.stack([axis[:, 1], -axis[:, 0]], -1), axis], dim=-2)
    local = torch.einsum("tij,tkj->tki", turn, flat - flat[:, pelvis : pelvis + 1]) / size[:, None, None]
    aside = torch.einsum("tij,tj->ti", turn, camera[:, :2] - flat[:, pelvis])
    above = camera[:, 2:]
    joints = local[:, torch.as_tensor(_INPUT_JOINTS)].flatten(1)
    return torch.cat([joints, aside / above, size[:, None] / above], dim=1), size


def _lifted(
    output: torch.Tensor, flat: torch.Tensor, camera: torch.Tensor, size: torch.Tensor
) -> torch.Tensor:
    elevation = (output[:, :_K] * size[:, None]).clamp_min(0.0).minimum(0.5 * camera[:, 2:])
    flat3 = torch.cat([flat, torch.zeros_like(flat[..., :1])], -1)
    return flat3 + (camera[:, None] - flat3) * (elevation / camera[:, 2:])[..., None]


class _Bodies:
    def __init__(self, path: Path, seed: int) -> None:
        with np.load(path, allow_pickle=False) as data:
            data_joints, data_rest = data["joints_cm"], data["rest_cm"]
            self.joints, self.rest = torch.from_numpy(data_joints), torch.from_numpy(data_rest)
            self.length = torch.from_numpy(data["length_cm"])
            self.on_back = torch.from_numpy((data["posture"] == 0).astype(np.float32))
            child = data["child"]
        # where a limb was flattened against the mattress its bones have no length to learn from
        posed, true = group_lengths(data_joints), group_lengths(data_rest)
        self.intact = torch.from_numpy((np.abs(np.log(posed / true)) < 0.02).all(-1))
        held_out = np.random.default_rng(seed).permutation(np.unique(child))[
            : max(1, len(np.unique(child)) // 8)
        ]
        self.val = torch.from_numpy(np.isin(child, held_out))

    def batch(self, index: torch.Tensor, *, vary: bool) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        joints, rest = self.joints[index], self.rest[index]
        b = len(index)
        if vary:
            factors = {k: 1.0 + s * torch.randn(b).clamp(-2.5, 2.5) for k, s in _STRETCH.items()}
            joints, rest = stretch(joints, factors), stretch(rest, factors)
            scale = torch.empty(b, 1, 1).uniform_(0.92, 1.08)
            joints, rest = joints * scale, rest * scale
            mirror = torch.rand(b) < 0.5
            flip = torch.as_tensor(INFANT.flip_map)
            sign = torch.tensor([-1.0, 1.0, 1.0])
            joints = torch.where(mirror[:, None, None], joints[:, flip] * sign, joints)
            rest = torch.where(mirror[:, None, None], rest[:, flip] * sign, rest)
        return joints, lengths(rest), self.on_back[index]


def length_weights(rest_cm: np.ndarray, length_cm: np.ndarray) -> np.ndarray:
    """Least squares from (upper body, mean thigh, mean shank) to crown-heel length, no intercept: ``(3,)``."""
    g = group_lengths(rest_cm.astype(np.float64))
    design = np.column_stack([g[:, 0], (g[:, 1] + g[:, 3]) / 2, (g[:, 2] + g[:, 4]) / 2])
    return np.linalg.lstsq(design, length_cm.astype(np.float64), rcond=None)[0]


def train(bodies: Path, out: Path, *, steps: int, seed: int, width: int = 160) -> dict[str, float]:
    """Train and write ``out`` (.npz). Returns validation figures in percent of each bone group's length."""
    torch.manual_seed(seed)
    torch.set_num_threads(1)  # the tensors are small: more threads only wait for each other
    data = _Bodies(bodies, seed)
    last = nn.Linear(width, OUTPUTS)
    net = nn.Sequential(nn.Linear(INPUTS, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), last)
    with torch.no_grad():
        last.weight.mul_(0.1)
        last.bias.zero_()
        last.bias[:_K] = 0.1
        last.bias[_K + _G : _K + 2 * _G] = -2.5
    optimiser = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=steps, pct_start=0.05)
    pool = torch.nonzero(~data.val)[:, 0]
    for step in range(steps):
        index = pool[torch.randint(len(pool), (512,))]
        joints, truth, on_back = data.batch(index, vary=True)
        flat, camera = draw_views(joints, noise=True)
        loss = _loss(net, flat, camera, joints, truth, on_back, data.intact[index])
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        if step % max(1, steps // 20) == 0:
            print(f"step {step}/{steps} loss {loss.item():.3f}", flush=True)
    figures = _validate(net, data)
    with np.load(bodies, allow_pickle=False) as stored:
        weights = length_weights(stored["rest_cm"], stored["length_cm"])
    linear = [layer for layer in net if isinstance(layer, nn.Linear)]
    arrays: dict[str, Any] = {
        f"weight{i}": layer.weight.detach().numpy().T.astype(np.float32) for i, layer in enumerate(linear)
    }
    arrays |= {f"bias{i}": layer.bias.detach().numpy().astype(np.float32) for i, layer in enumerate(linear)}
    with atomic_path(out) as tmp:
        np.savez_compressed(tmp, **arrays, length_weights=weights)
    return figures


def _loss(net, flat, camera, joints, truth, on_back, intact) -> torch.Tensor:
    features, size = features_of(flat, camera)
    output = net(features)
    lifted = _lifted(output, flat, camera, size)
    correction = output[:, _K : _K + _G].clamp(-0.7, 0.7)
    log_sd = output[:, _K + _G : _K + 2 * _G].clamp(-6.0, 1.0)
    relative = (lengths(lifted).clamp_min(1e-3) / truth).log() + correction
    # Laplace likelihood: heavy-tailed, so that a few misread legs do not widen every interval
    nll = (relative.abs() * torch.exp(-log_sd) * math.sqrt(2) + log_sd)[intact].mean()
    height = nn.functional.smooth_l1_loss(output[:, :_K], joints[..., 2] / size[:, None], beta=0.02)
    back = nn.functional.binary_cross_entropy_with_logits(output[:, -1], on_back)
    return nll + 10.0 * height + 0.3 * back + 0.2 * (correction**2).mean()


@torch.no_grad()
def _validate(net: nn.Module, data: _Bodies) -> dict[str, float]:
    index = torch.nonzero(data.val & data.intact)[:, 0].repeat(4)
    figures = {}
    for name, noise in (("clean", False), ("noisy", True)):
        joints, truth, on_back = data.batch(index, vary=False)
        flat, camera = draw_views(joints, noise=noise)
        features, size = features_of(flat, camera)
        output = net(features)
        correction = output[:, _K : _K + _G].clamp(-0.7, 0.7)
        log = (lengths(_lifted(output, flat, camera, size)) / truth).log() + correction
        back = on_back > 0
        error = log[back].abs().mean(0) * 100
        for (group, _), value in zip(BONE_GROUPS, error, strict=True):
            figures[f"{name} {group} error %"] = round(float(value), 2)
        sd = torch.exp(output[:, _K + _G : _K + 2 * _G])[back]
        sure = sd[:, 1:] < 0.04
        figures[f"{name} leg bones sure share"] = round(float(sure.float().mean()), 3)
        figures[f"{name} leg bones sure error %"] = round(float(log[back][:, 1:][sure].abs().mean() * 100), 2)
        figures[f"{name} leg bones sure bias %"] = round(float(log[back][:, 1:][sure].mean() * 100), 2)
        figures[f"{name} posture right"] = round(float(((output[:, -1] > 0) == back).float().mean()), 4)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("bodies", type=Path, help="posed bodies, from `heightpose synth --bodies`")
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=8000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    for name, value in train(args.bodies, args.out, steps=args.steps, seed=args.seed).items():
        print(f"{name}: {value}")


if __name__ == "__main__":
    main()
