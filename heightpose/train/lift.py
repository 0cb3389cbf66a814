"""Train the elevation model (heightpose.geometry.lift and clip_lift) on moving nursery bodies seen by random cameras.

Every step draws new cameras, bone proportions, frames and joint errors, so some thousand clips go a long way. The
proportions are spread wider than any child's (thigh and shank 5 %, trunk and head 3 %, one standard deviation), so
that the networks read lengths from the picture where they show and fall back on proportions only where they do not.
Joint errors are a pose net's: most are its own on rendered stills (heightpose.train.lift_errors), the others drawn:
small or large, told to the network as roughly as a heatmap tells them, with outliers that it is not told of, hidden
joints and limbs, and a share that all frames of a clip have in common.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from heightpose.geometry import clip_lift
from heightpose.geometry.lift import (
    _INPUT_JOINTS,
    BONE_GROUPS,
    BONES,
    CLIP_INPUTS,
    CLIP_OUTPUTS,
    INPUTS,
    MOST_LOGIT,
    OUTPUTS,
    SD_RANGE,
    SEEN_LEAST,
    LiftNet,
)
from heightpose.runtime.atomic import atomic_path
from heightpose.runtime.output import sha256
from heightpose.skeleton import INFANT
from heightpose.train.lift_data import (
    Clips,
    Told,
    draw_cameras,
    draw_errors,
    from_pelvis,
    lengths,
    own_frame,
    project,
    to_own_frame,
)
from heightpose.train.lift_errors import NetErrors
from heightpose.train.plain_resume import Resume

_K, _PELVIS = len(INFANT), INFANT.index("pelvis")
_G = len(BONE_GROUPS)
#: Weight of the difference between two views of one clip, in standard deviations of its length.
_SAME_LENGTH = 0.3
#: Share of the clips with a pose net's own errors, where they are given.
_OWN_ERRORS = 0.7


def features_of(flat: Tensor, camera: Tensor, told: Told) -> tuple[Tensor, Tensor]:
    """Torch twin of :func:`heightpose.geometry.lift.canonical` (a test holds the two together)."""
    turn, size = own_frame(flat)
    local = to_own_frame(from_pelvis(flat), turn, size)
    aside = torch.einsum("tij,tj->ti", turn, camera[:, :2] - flat[:, _PELVIS])
    above = camera[:, 2:]
    kept = torch.as_tensor(_INPUT_JOINTS)
    doubt = (told.sd_cm[:, kept] / size[:, None]).clamp(*SD_RANGE).log()
    right = told.right[:, kept].clamp(-MOST_LOGIT, MOST_LOGIT)
    seen = told.seen.clamp(max=MOST_LOGIT).maximum(torch.as_tensor(SEEN_LEAST).to(told.seen))[:, kept]
    joints = local[:, kept].flatten(1)
    return torch.cat([joints, aside / above, size[:, None] / above, doubt, right, seen], dim=1), size


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

    def forward(self, flat: Tensor, camera: Tensor, told: Told) -> Answers:
        """``flat`` (B, T, K, 2) and ``camera`` (B, 3) in cm, ``told`` (B, T, K)."""
        b, t = flat.shape[:2]
        each = camera[:, None].expand(b, t, 3).reshape(-1, 3)
        features, size = features_of(flat.flatten(0, 1), each, told.reshape(b * t))
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
        gist = (embedding * shares.mean(2)[..., None]).sum(1)
        ratios = mean[:, 1:] - mean[:, :1]
        frames = torch.full((b, 1), math.log(min(t, clip_lift.MOST_FRAMES)))
        clip = self.clip(torch.cat([ratios, spread, least.log(), frames, gist], 1))
        limit = clip_lift.MOST_CORRECTION
        clip_sd = clip[:, 3:].clamp(-6.0, 1.0)
        return Answers(
            output[:, :_K].reshape(b, t, _K), size.reshape(b, t), log_lengths, log_sd,
            output[:, _K + 2 * _G].reshape(b, t), mean + clip[:, :3].clamp(-limit, limit), clip_sd[:, :3],
            clip_sd[:, 3],
        )  # fmt: skip

    def load(self, net: LiftNet) -> None:
        """Take over weights of the same sizes."""
        for own, layers in ((self.frame, net.frame), (self.clip, net.clip)):
            linear = [layer for layer in own if isinstance(layer, nn.Linear)]
            for layer, (weight, bias) in zip(linear, layers, strict=True):
                layer.load_state_dict({"weight": torch.from_numpy(weight.T), "bias": torch.from_numpy(bias)})

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


def train(
    bodies: list[Path], out: Path, *, steps: int, seed: int, width: int = 256, clip_width: int = 64,
    start_from: Path | None = None, errors: Sequence[Path] = (),
) -> dict[str, float]:  # fmt: skip
    """Train, from the weights in ``start_from`` where given, and write ``out`` (.npz); a stopped training goes on.

    Args:
        bodies: files of ``heightpose synth --bodies``; errors: of :mod:`heightpose.train.lift_errors`.

    Returns:
        Validation figures; errors in percent of the length they are of.
    """
    torch.manual_seed(seed)
    torch.set_num_threads(1)  # the tensors are small: more threads only wait for each other
    data = Clips(bodies, seed)
    model = LiftModel(width, clip_width)
    if start_from is not None:
        model.load(LiftNet.load(start_from))
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=steps, pct_start=0.05)
    pool, total_of = torch.nonzero(~data.val)[:, 0], _total_of(data.weights)
    own_errors = NetErrors(list(errors)) if errors else None
    told_by = [*bodies, *errors, *([] if start_from is None else [start_from])]
    settings = {
        "steps": steps,
        "seed": seed,
        "width": width,
        "clip_width": clip_width,
        "data": sha256(told_by),
    }
    resume = Resume(out, settings, {"model": model, "optimiser": optimiser, "schedule": schedule})
    begin = resume.begin()
    bar = tqdm(
        range(begin, steps), initial=begin, total=steps, unit="step", desc="elevation model", disable=None
    )
    for step in bar:
        frames = int(torch.randint(1, data.joints.shape[1] + 1, ()))
        index = pool[torch.randint(len(pool), (max(32, 384 // frames),))]
        # Every clip from two cameras: the first half of the batch and the second show the same.
        joints, truth, on_back = (
            part.repeat(2, *[1] * (part.ndim - 1)) for part in data.batch(index, frames, vary=True)
        )
        index = index.repeat(2)
        camera = draw_cameras(len(index))
        seen, told = _looked_at(project(joints, camera), own_errors, _OWN_ERRORS)
        answers = model(seen, camera, told)
        loss = _loss(answers, joints, truth, on_back, total_of)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        resume.save(step + 1)
        if step % max(1, steps // 20) == 0:
            print(f"step {step}/{steps} loss {loss.item():.3f}", flush=True)
    figures = _validate(model, data, total_of, own_errors)
    arrays: dict[str, Any] = {**model.arrays(), "length_weights": data.weights}
    with atomic_path(out) as tmp:
        np.savez_compressed(tmp, **arrays)
    resume.end()
    return figures


def _looked_at(flat: Tensor, own_errors: NetErrors | None, share: float) -> tuple[Tensor, Told]:
    """Joints ``(B, T, K, 2)`` as a pose net sees them; that share of the clips with its own errors."""
    error, sd = draw_errors(*flat.shape[:2])
    drawn = flat + error
    told = Told.usual(drawn, sd)
    if own_errors is None:
        return drawn, told
    error, said = own_errors.draw(flat)
    own = torch.rand(len(flat)) < share
    return torch.where(own[:, None, None, None], flat + error, drawn), said.where(own, told)


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
    clip = _laplace(answers.bones - bones, answers.bones_log_sd).mean()
    total = total_of(answers.bones)
    whole = _laplace(total - total_of(bones), answers.total_log_sd).mean()
    # A child is as long from wherever it is seen, as far as it is known at all.
    first, second = total.chunk(2)
    sd = torch.stack(answers.total_log_sd.detach().exp().chunk(2)).mean(0)
    apart = ((first - second).abs() / sd).mean()
    elevation = nn.functional.smooth_l1_loss(
        answers.elevation, joints[..., 2] / answers.size[..., None], beta=0.02
    )
    back = nn.functional.binary_cross_entropy_with_logits(
        answers.back, on_back[:, None].expand_as(answers.back)
    )
    return 0.5 * frame + clip + 2.0 * whole + _SAME_LENGTH * apart + 10.0 * elevation + 0.3 * back


@torch.no_grad()
def _validate(model: LiftModel, data: Clips, total_of, own_errors: NetErrors | None) -> dict[str, float]:
    """On held-out children, each seen by four cameras: without errors, with drawn ones, with a net's own."""
    index = torch.nonzero(data.val)[:, 0].repeat(4)
    figures: dict[str, float] = {}
    frames = data.joints.shape[1]
    for name in ("exact", "noisy") if own_errors is None else ("exact", "noisy", "own"):
        joints, truth, on_back = data.batch(index, frames, vary=False)
        camera = draw_cameras(len(index))
        flat = project(joints, camera)
        if name == "exact":
            seen, told = flat, Told.usual(flat, torch.full(flat.shape[:3], 0.02))
        else:
            seen, told = _looked_at(flat, own_errors, float(name == "own"))
        answers = model(seen, camera, told)
        bones = _by_bone(truth)
        total = (total_of(answers.bones) - total_of(bones)) * 100
        sd = answers.total_log_sd.exp() * 100
        right = ((answers.back > 0) == (on_back > 0)[:, None]).float().mean()
        figures[f"{name} posture right"] = round(float(right), 4)
        for posture, rows in (("back", on_back > 0), ("other", on_back <= 0)):
            if not rows.any():
                continue
            off, known = total[rows], sd[rows]
            parts = (answers.bones - bones)[rows].abs().mean(0) * 100
            told_as = f"{name} {posture}"
            figures |= {
                f"{told_as} {bone} error %": round(float(v), 2) for bone, v in zip(BONES, parts, strict=True)
            }
            figures[f"{told_as} length error %"] = round(float(off.abs().mean()), 2)
            figures[f"{told_as} length bias %"] = round(float(off.mean()), 2)
            figures[f"{told_as} within 1.645 sd"] = round(
                float((off.abs() < 1.645 * known).float().mean()), 3
            )
            sure = known <= float(known.median())
            figures[f"{told_as} surer half error %"] = round(float(off[sure].abs().mean()), 2)
            apart = total_of(answers.bones).reshape(4, -1).std(0)[rows[: len(rows) // 4]] * 100
            figures[f"{told_as} spread over views %"] = round(float(apart.median()), 2)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument(
        "bodies", type=Path, nargs="+", help="moving bodies, from `heightpose synth --bodies`"
    )
    parser.add_argument("--out", type=Path, required=True, help="the .npz to write")
    parser.add_argument("--steps", type=int, default=15000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start-from", type=Path, help="go on from these weights (.npz)")
    parser.add_argument(
        "--errors",
        type=Path,
        nargs="*",
        default=[],
        help="a pose net's own errors, from heightpose.train.lift_errors",
    )
    args = parser.parse_args()
    figures = train(
        args.bodies,
        args.out,
        steps=args.steps,
        seed=args.seed,
        start_from=args.start_from,
        errors=args.errors,
    )
    for name, value in figures.items():
        print(f"{name}: {value}")


if __name__ == "__main__":
    main()
