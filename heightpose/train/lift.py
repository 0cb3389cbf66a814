"""Train the elevation model (heightpose.geometry.lift and clip_lift) on moving nursery bodies seen by random cameras.

Every step draws new cameras, bone proportions, frames and joint errors, so some thousand clips go a long way. The
proportions are spread wider than any child's (thigh and shank 5 %, trunk and head 3 %, one standard deviation), so
that the networks read lengths from the picture where they show and fall back on proportions only where they do not.
Joint errors are a pose net's: small or large, told to the network as roughly as a heatmap tells them, with outliers
that it is not told of, hidden joints and limbs, and a share that all frames of a clip have in common.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from heightpose.geometry import clip_lift
from heightpose.geometry.lift import (
    _INPUT_JOINTS,
    BONE_GROUPS,
    BONES,
    CLIP_INPUTS,
    CLIP_OUTPUTS,
    INPUTS,
    OUTPUTS,
    SD_RANGE,
    group_lengths,
)
from heightpose.runtime.atomic import atomic_path
from heightpose.skeleton import INFANT

_K = len(INFANT)
_G = len(BONE_GROUPS)
_STRETCH = {"thigh": 0.05, "shank": 0.05, "trunk": 0.03, "head": 0.03}
#: Joint errors relative to the crown's, as the shipped pose net errs on held-out nursery children.
_JOINT_NOISE = {
    "crown": 1.0, "top": 1.0, "neck": 0.9, "thorax": 1.2, "pelvis": 1.2, "shoulder": 1.2, "hip": 1.7, "knee": 1.7,
    "ankle": 1.5, "heel": 2.0, "toe": 3.0, "elbow": 2.0, "wrist": 3.0,
}  # fmt: skip
#: Weight of the difference between two views of one clip, per unit of log length.
_SAME_LENGTH = 40.0
_LIMBS = [
    INFANT.indices(*(f"{side}_{part}" for part in parts))
    for side in ("left", "right")
    for parts in (("knee", "ankle", "heel", "toe"), ("ankle", "heel", "toe"), ("elbow", "wrist"))
]
_CHILDREN_OF: dict[int, list[int]] = {k: [] for k in range(_K)}
for _k, _parent in enumerate(INFANT.parents):
    if _parent >= 0:
        _CHILDREN_OF[int(_parent)].append(_k)


def _descendants(joint: int) -> list[int]:
    below = [joint]
    for child in _CHILDREN_OF[joint]:
        below += _descendants(child)
    return below


def stretch(joints: Tensor, factors: dict[str, Tensor]) -> Tensor:
    """Lengthen bones: ``joints`` ``(B, ..., K, 3)``, factors per bone ``(B,)``; what hangs on a bone moves with it."""
    out = joints.clone()
    moves = [("trunk", "pelvis", "thorax"), ("head", "upper_neck", "crown")]
    for side in ("left", "right"):
        moves += [("thigh", f"{side}_hip", f"{side}_knee"), ("shank", f"{side}_knee", f"{side}_ankle")]
    for bone, start, end in moves:
        a, b = INFANT.index(start), INFANT.index(end)
        factor = (factors[bone] - 1.0).reshape(-1, *[1] * (joints.ndim - 2))
        shift = (joints[..., b, :] - joints[..., a, :]) * factor
        below = [b, INFANT.index("head_top")] if bone == "head" else _descendants(b)
        out[..., below, :] += shift[..., None, :]
    return out


def lengths(joints: Tensor) -> Tensor:
    """Torch twin of :func:`heightpose.geometry.lift.group_lengths`: ``(..., K, 3)`` to ``(..., 5)``."""
    groups = []
    for _, names in BONE_GROUPS:
        points = joints[..., torch.as_tensor(INFANT.indices(*names)), :]
        groups.append((points[..., 1:, :] - points[..., :-1, :]).norm(dim=-1).sum(-1))
    return torch.stack(groups, -1)


def draw_cameras(count: int) -> Tensor:
    """Camera centres ``(count, 3)``, cm: 105 to 235 above the mattress, tilted up to 38 degrees."""
    above = torch.empty(count).uniform_(105, 235)
    tilt = torch.deg2rad(38.0 * torch.rand(count).sqrt())
    azimuth = torch.rand(count) * 2 * math.pi
    target = torch.randn(count, 2) * 8
    aside = above * tilt.tan()
    return torch.stack(
        [target[:, 0] + aside * azimuth.cos(), target[:, 1] + aside * azimuth.sin(), above], -1
    )


def project(joints: Tensor, camera: Tensor) -> Tensor:
    """Where the rays through ``joints`` ``(B, T, K, 3)`` meet the mattress, ``(B, T, K, 2)``; camera ``(B, 3)``."""
    at = camera[:, None, None]
    share = joints[..., 2] / (at[..., 2] - joints[..., 2])
    return joints[..., :2] + (joints[..., :2] - at[..., :2]) * share[..., None]


def draw_errors(clips: int, frames: int) -> tuple[Tensor, Tensor]:
    """Joint errors as a pose net makes them, and what it says of them.

    Returns:
        (error, told): ``(B, T, K, 2)`` cm on the mattress and ``(B, T, K)`` the standard deviation it claims.
    """
    level = torch.exp(torch.empty(clips, 1, 1).uniform_(math.log(0.02), math.log(1.0)))
    per_joint = torch.tensor([_JOINT_NOISE[name.rpartition("_")[2]] for name in INFANT.names])
    # Better and worse clips, frames and joints.
    sd = level * per_joint * torch.exp(0.35 * torch.randn(clips, frames, _K))
    hidden = torch.zeros(clips, frames, _K, dtype=torch.bool)
    for limb in _LIMBS:  # under a blanket, behind an arm: for the whole clip or for a frame
        whole, some = torch.rand(clips, 1) < 0.03, torch.rand(clips, frames) < 0.04
        hidden[:, :, torch.as_tensor(limb)] |= (whole | some)[:, :, None]
    hidden |= torch.rand(clips, frames, _K) < 0.02
    sd = torch.where(hidden, sd + torch.empty(clips, frames, _K).uniform_(0.5, 4.0), sd)
    told = sd * torch.exp(0.3 * torch.randn(clips, frames, _K)) * torch.exp(0.2 * torch.randn(clips, 1, 1))
    common = torch.rand(clips, 1, 1, 1) * 0.9
    shared = torch.randn(clips, 1, _K, 2).expand(-1, frames, -1, -1)
    unit = common.sqrt() * shared + (1 - common).sqrt() * torch.randn(clips, frames, _K, 2)
    outlier = (torch.rand(clips, frames, _K, 1) < 0.012).float()
    error = unit * (sd[..., None] * (1.0 + 5.0 * outlier))
    for limb in _LIMBS:  # taken for something else, and nobody is told
        lost = (torch.rand(clips, frames, 1, 1) < 0.015).float()
        error[:, :, torch.as_tensor(limb)] += lost * torch.randn(clips, frames, 1, 2) * 4.0
    return error, told


def features_of(flat: Tensor, camera: Tensor, sd: Tensor) -> tuple[Tensor, Tensor]:
    """Torch twin of :func:`heightpose.geometry.lift.canonical` (a test holds the two together)."""
    pelvis, thorax, crown = (INFANT.index(n) for n in ("pelvis", "thorax", "crown"))
    size = (flat[:, crown] - flat[:, pelvis]).norm(dim=-1).clamp_min(1e-6)
    axis = nn.functional.normalize(flat[:, thorax] - flat[:, pelvis], dim=-1, eps=1e-9)
    turn = torch.stack([torch.stack([axis[:, 1], -axis[:, 0]], -1), axis], dim=-2)
    local = torch.einsum("tij,tkj->tki", turn, flat - flat[:, pelvis : pelvis + 1]) / size[:, None, None]
    aside = torch.einsum("tij,tj->ti", turn, camera[:, :2] - flat[:, pelvis])
    above = camera[:, 2:]
    kept = torch.as_tensor(_INPUT_JOINTS)
    doubt = (sd[:, kept] / size[:, None]).clamp(*SD_RANGE).log()
    return torch.cat([local[:, kept].flatten(1), aside / above, size[:, None] / above, doubt], dim=1), size


def robust_means(logs: Tensor, sds: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Torch twin of clip_lift's combination: ``(B, T, 5)`` twice to means, spreads, least sds ``(B, 3)``, shares."""
    means, spreads, least, shares = [], [], [], []
    for columns in clip_lift.SIDES:
        values, sd = logs[..., columns].flatten(1), sds[..., columns].flatten(1)
        weights = 1.0 / sd**2
        robust = weights
        mean = (robust * values).sum(1) / robust.sum(1)
        for _ in range(clip_lift.ROUNDS):
            # The weights are a decision about outliers, not something to push gradients through.
            pull = ((values - mean[:, None]).abs() / sd).detach()
            robust = weights * torch.where(
                pull <= clip_lift.HUBER, 1.0, clip_lift.HUBER / pull.clamp_min(1e-9)
            )
            mean = (robust * values).sum(1) / robust.sum(1)
        share = robust / robust.sum(1, keepdim=True)
        means.append(mean)
        spreads.append(((share * (values - mean[:, None]) ** 2).sum(1) + 1e-12).sqrt())
        least.append(sd.min(dim=1).values)
        shares.append(share.reshape(*logs.shape[:2], len(columns)).sum(2))
    return torch.stack(means, 1), torch.stack(spreads, 1), torch.stack(least, 1), torch.stack(shares, 2)


@dataclass(frozen=True)
class Answers:
    """What the networks say about a batch of clips.

    Attributes:
        elevation: ``(B, T, K)`` over the infant's size; size: ``(B, T)`` cm.
        log_lengths, log_sd: ``(B, T, 5)`` per frame; back: ``(B, T)`` logits.
        bones, bones_log_sd: ``(B, 3)`` log cm of the clip; total_log_sd: ``(B,)``.
    """

    elevation: Tensor
    size: Tensor
    log_lengths: Tensor
    log_sd: Tensor
    back: Tensor
    bones: Tensor
    bones_log_sd: Tensor
    total_log_sd: Tensor


class LiftModel(nn.Module):
    """Both networks; :meth:`arrays` are what :meth:`heightpose.geometry.lift.LiftNet.load` reads."""

    def __init__(self, width: int, clip_width: int) -> None:
        super().__init__()
        self.frame = _mlp(INPUTS, width, OUTPUTS, hidden=3)
        self.clip = _mlp(CLIP_INPUTS, clip_width, CLIP_OUTPUTS, hidden=2)
        with torch.no_grad():
            for net, sds in ((self.frame, slice(_K + _G, _K + 2 * _G)), (self.clip, slice(3, 7))):
                last = net[-1]
                assert isinstance(last, nn.Linear)
                last.weight.mul_(0.1)
                last.bias.zero_()
                last.bias[sds] = -2.5
                if net is self.frame:
                    last.bias[:_K] = 0.1

    def forward(self, flat: Tensor, camera: Tensor, sd: Tensor) -> Answers:
        """``flat`` (B, T, K, 2), ``camera`` (B, 3), ``sd`` (B, T, K), all in cm."""
        b, t = flat.shape[:2]
        each = camera[:, None].expand(b, t, 3).reshape(-1, 3)
        features, size = features_of(flat.flatten(0, 1), each, sd.flatten(0, 1))
        output = self.frame(features)
        elevation = output[:, :_K] * size[:, None]
        reached = elevation.clamp_min(0.0).minimum(0.5 * each[:, 2:])
        on_plane = nn.functional.pad(flat.flatten(0, 1), (0, 1))
        lifted = on_plane + (each[:, None] - on_plane) * (reached / each[:, 2:])[..., None]
        correction = output[:, _K : _K + _G].clamp(-0.7, 0.7)
        log_lengths = lengths(lifted).clamp_min(0.1).log() + correction
        log_sd = output[:, _K + _G : _K + 2 * _G].clamp(-6.0, 1.0)
        embedding = output[:, _K + 2 * _G + 1 :].reshape(b, t, -1)
        log_lengths, log_sd = log_lengths.reshape(b, t, _G), log_sd.reshape(b, t, _G)
        mean, spread, least, shares = robust_means(log_lengths, log_sd.exp())
        told = (embedding * shares.mean(2)[..., None]).sum(1)
        ratios = mean[:, 1:] - mean[:, :1]
        frames = torch.full((b, 1), math.log(min(t, clip_lift.MOST_FRAMES)))
        clip = self.clip(torch.cat([ratios, spread, least.log(), frames, told], 1))
        limit = clip_lift.MOST_CORRECTION
        clip_sd = clip[:, 3:].clamp(-6.0, 1.0)
        return Answers(
            output[:, :_K].reshape(b, t, _K), size.reshape(b, t), log_lengths, log_sd,
            output[:, _K + 2 * _G].reshape(b, t), mean + clip[:, :3].clamp(-limit, limit), clip_sd[:, :3],
            clip_sd[:, 3],
        )  # fmt: skip

    def arrays(self) -> dict[str, np.ndarray]:
        found = {}
        for name, net in (("frame", self.frame), ("clip", self.clip)):
            for i, layer in enumerate(layer for layer in net if isinstance(layer, nn.Linear)):
                found[f"{name}_weight{i}"] = layer.weight.detach().numpy().T.astype(np.float32)
                found[f"{name}_bias{i}"] = layer.bias.detach().numpy().astype(np.float32)
        return found


def _mlp(inputs: int, width: int, outputs: int, hidden: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for k in range(hidden):
        layers += [nn.Linear(inputs if k == 0 else width, width), nn.SiLU()]
    return nn.Sequential(*layers, nn.Linear(width, outputs))


class _Clips:
    """Moving bodies of ``heightpose synth --bodies``; an eighth of the children is held out."""

    def __init__(self, paths: list[Path], seed: int) -> None:
        loaded = []
        for path in paths:
            with np.load(path, allow_pickle=False) as data:
                loaded.append({key: data[key] for key in data.files})
        data = {key: np.concatenate([part[key] for part in loaded]) for key in loaded[0]}
        self.joints, self.rest = torch.from_numpy(data["joints_cm"]), torch.from_numpy(data["rest_cm"])
        self.on_back = torch.from_numpy((data["posture"] == 0).astype(np.float32))
        self.weights = length_weights(data["rest_cm"], data["length_cm"])
        children = np.unique(data["child"])
        held_out = np.random.default_rng(seed).permutation(children)[: max(1, len(children) // 8)]
        self.val = torch.from_numpy(np.isin(data["child"], held_out))

    def batch(self, index: Tensor, frames: int, *, vary: bool) -> tuple[Tensor, Tensor, Tensor]:
        """(joints ``(B, T, K, 3)``, true group lengths ``(B, 5)``, on back ``(B,)``)."""
        b = len(index)
        order = torch.rand(b, self.joints.shape[1]).argsort(1)[:, :frames]
        joints = torch.gather(
            self.joints[index], 1, order[:, :, None, None].expand(-1, -1, *self.joints.shape[2:])
        )
        rest = self.rest[index]
        if vary:
            factors = {k: 1.0 + s * torch.randn(b).clamp(-2.5, 2.5) for k, s in _STRETCH.items()}
            joints, rest = stretch(joints, factors), stretch(rest, factors)
            scale = torch.empty(b, 1, 1).uniform_(0.92, 1.08)
            joints, rest = joints * scale[..., None], rest * scale
            mirror = (torch.rand(b) < 0.5)[:, None, None]
            flip, sign = torch.as_tensor(INFANT.flip_map), torch.tensor([-1.0, 1.0, 1.0])
            joints = torch.where(mirror[..., None], joints[:, :, flip] * sign, joints)
            rest = torch.where(mirror, rest[:, flip] * sign, rest)
        return joints, lengths(rest), self.on_back[index]


def length_weights(rest_cm: np.ndarray, length_cm: np.ndarray) -> np.ndarray:
    """Least squares from (upper body, mean thigh, mean shank) to crown-heel length, no intercept: ``(3,)``."""
    g = group_lengths(rest_cm.astype(np.float64))
    design = np.column_stack([g[:, 0], (g[:, 1] + g[:, 3]) / 2, (g[:, 2] + g[:, 4]) / 2])
    return np.linalg.lstsq(design, length_cm.astype(np.float64), rcond=None)[0]


def train(
    bodies: list[Path], out: Path, *, steps: int, seed: int, width: int = 256, clip_width: int = 64
) -> dict[str, float]:
    """Train and write ``out`` (.npz). Returns validation figures; errors in percent of the length they are of."""
    torch.manual_seed(seed)
    torch.set_num_threads(1)  # the tensors are small: more threads only wait for each other
    data = _Clips(bodies, seed)
    model = LiftModel(width, clip_width)
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=steps, pct_start=0.05)
    pool, total_of = torch.nonzero(~data.val)[:, 0], _total_of(data.weights)
    for step in range(steps):
        frames = int(torch.randint(1, data.joints.shape[1] + 1, ()))
        index = pool[torch.randint(len(pool), (max(32, 384 // frames),))]
        # Every clip from two cameras: the first half of the batch and the second show the same.
        joints, truth, on_back = (
            part.repeat(2, *[1] * (part.ndim - 1)) for part in data.batch(index, frames, vary=True)
        )
        index = index.repeat(2)
        camera = draw_cameras(len(index))
        error, told = draw_errors(len(index), frames)
        answers = model(project(joints, camera) + error, camera, told)
        loss = _loss(answers, joints, truth, on_back, total_of)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        if step % max(1, steps // 20) == 0:
            print(f"step {step}/{steps} loss {loss.item():.3f}", flush=True)
    figures = _validate(model, data, total_of)
    arrays: dict[str, Any] = {**model.arrays(), "length_weights": data.weights}
    with atomic_path(out) as tmp:
        np.savez_compressed(tmp, **arrays)
    return figures


def _total_of(weights: np.ndarray):
    factors = torch.from_numpy(weights.astype(np.float32))
    return lambda log_bones: (factors * log_bones.exp()).sum(-1).log()


def _by_bone(truth: Tensor) -> Tensor:
    """``(B, 5)`` group lengths to ``(B, 3)`` log lengths of bones, left and right averaged."""
    return torch.stack([truth[:, columns].mean(1) for columns in clip_lift.SIDES], 1).log()


def _laplace(error: Tensor, log_sd: Tensor) -> Tensor:
    # Heavy-tailed, so that a few misread legs do not widen every interval.
    return error.abs() * torch.exp(-log_sd) * math.sqrt(2) + log_sd


def _loss(answers: Answers, joints: Tensor, truth: Tensor, on_back: Tensor, total_of) -> Tensor:
    """Of a batch whose two halves show the same clips from different cameras."""
    frame = _laplace(answers.log_lengths - truth.log()[:, None], answers.log_sd).mean()
    bones = _by_bone(truth)
    clip = _laplace(answers.bones - bones, answers.bones_log_sd)[on_back > 0].mean()
    total = total_of(answers.bones)
    whole = _laplace(total - total_of(bones), answers.total_log_sd)[on_back > 0].mean()
    # A child is as long from wherever it is seen.
    first, second = total.chunk(2)
    apart = (first - second).abs()[on_back[: len(first)] > 0].mean()
    elevation = nn.functional.smooth_l1_loss(
        answers.elevation, joints[..., 2] / answers.size[..., None], beta=0.02
    )
    back = nn.functional.binary_cross_entropy_with_logits(
        answers.back, on_back[:, None].expand_as(answers.back)
    )
    return 0.5 * frame + clip + 2.0 * whole + _SAME_LENGTH * apart + 10.0 * elevation + 0.3 * back


@torch.no_grad()
def _validate(model: LiftModel, data: _Clips, total_of) -> dict[str, float]:
    """On held-out children, each seen by four cameras, all frames: without errors, and with a pose net's."""
    index = torch.nonzero(data.val)[:, 0].repeat(4)
    figures: dict[str, float] = {}
    frames = data.joints.shape[1]
    for name in ("exact", "noisy"):
        joints, truth, on_back = data.batch(index, frames, vary=False)
        camera = draw_cameras(len(index))
        error, told = draw_errors(len(index), frames)
        if name == "exact":
            error, told = torch.zeros_like(error), torch.full_like(told, 0.02)
        answers = model(project(joints, camera) + error, camera, told)
        back, bones = on_back > 0, _by_bone(truth)
        off = (answers.bones - bones)[back].abs().mean(0) * 100
        figures |= {f"{name} {bone} error %": round(float(v), 2) for bone, v in zip(BONES, off, strict=True)}
        total = (total_of(answers.bones) - total_of(bones))[back] * 100
        sd = answers.total_log_sd.exp()[back] * 100
        figures[f"{name} length error %"] = round(float(total.abs().mean()), 2)
        figures[f"{name} length bias %"] = round(float(total.mean()), 2)
        figures[f"{name} within 1.645 sd"] = round(float((total.abs() < 1.645 * sd).float().mean()), 3)
        sure = sd < float(sd.median())
        figures[f"{name} surer half error %"] = round(float(total[sure].abs().mean()), 2)
        right = ((answers.back > 0) == back[:, None]).float().mean()
        apart = total_of(answers.bones).reshape(4, -1).std(0)[back[: len(back) // 4]] * 100
        figures[f"{name} spread over views %"] = round(float(apart.median()), 2)
        figures[f"{name} posture right"] = round(float(right), 4)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument(
        "bodies", type=Path, nargs="+", help="moving bodies, from `heightpose synth --bodies`"
    )
    parser.add_argument("--out", type=Path, required=True, help="the .npz to write")
    parser.add_argument("--steps", type=int, default=15000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    for name, value in train(args.bodies, args.out, steps=args.steps, seed=args.seed).items():
        print(f"{name}: {value}")


if __name__ == "__main__":
    main()
