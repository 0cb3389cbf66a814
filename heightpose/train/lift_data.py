"""What the elevation model is trained on: moving bodies, random cameras, and joint errors as a pose net makes them."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from heightpose.arrays import read_arrays
from heightpose.codec.confidence import RIGHT_HEADS
from heightpose.geometry.lift import BONE_GROUPS, USUAL_SEEN, group_lengths
from heightpose.skeleton import INFANT

_K = len(INFANT)
_PELVIS, _THORAX, _NECK, _CROWN = (INFANT.index(n) for n in ("pelvis", "thorax", "upper_neck", "crown"))
_STRETCH = {"thigh": 0.05, "shank": 0.05, "trunk": 0.03, "head": 0.03}
#: Joint errors relative to the crown's, as the shipped pose net errs on held-out nursery children.
_JOINT_NOISE = {
    "crown": 1.0, "top": 1.0, "neck": 0.9, "thorax": 1.2, "pelvis": 1.2, "shoulder": 1.2, "hip": 1.7, "knee": 1.7,
    "ankle": 1.5, "heel": 2.0, "toe": 3.0, "elbow": 2.0, "wrist": 3.0,
}  # fmt: skip
_LIMBS = [
    INFANT.indices(*(f"{side}_{part}" for part in parts))
    for side in ("left", "right")
    for parts in (("knee", "ankle", "heel", "toe"), ("ankle", "heel", "toe"), ("elbow", "wrist"))
]
#: How much of the scatter that a net owns up to shows in its answers: range over clips.
_CALM = (0.2, 1.0)


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
        below = [b, INFANT.index("head_top")] if bone == "head" else INFANT.below(b)
        out[..., below, :] += shift[..., None, :]
    return out


def lengths(joints: Tensor) -> Tensor:
    """Torch twin of :func:`heightpose.geometry.lift.group_lengths`: ``(..., K, 3)`` to ``(..., 5)``."""
    groups = []
    for _, names in BONE_GROUPS:
        points = joints[..., torch.as_tensor(INFANT.indices(*names)), :]
        groups.append((points[..., 1:, :] - points[..., :-1, :]).norm(dim=-1).sum(-1))
    return torch.stack(groups, -1)


def own_frame(flat: Tensor) -> tuple[Tensor, Tensor]:
    """Of joints ``(N, K, 2)`` on the mattress: rotation into the infant's frame ``(N, 2, 2)`` and its size ``(N,)``."""
    size = (flat[:, _CROWN] - flat[:, _PELVIS]).norm(dim=-1).clamp_min(1e-6)
    axis = nn.functional.normalize(flat[:, _THORAX] - flat[:, _PELVIS], dim=-1, eps=1e-9)
    return torch.stack([torch.stack([axis[:, 1], -axis[:, 0]], -1), axis], dim=-2), size


def to_own_frame(vectors: Tensor, turn: Tensor, size: Tensor) -> Tensor:
    """``(N, K, 2)`` cm in the frame and size of :func:`own_frame`."""
    return torch.einsum("tij,tkj->tki", turn, vectors) / size[:, None, None]


def from_pelvis(flat: Tensor) -> Tensor:
    return flat - flat[:, _PELVIS : _PELVIS + 1]


def odds_from_wrong(log_wrong: Tensor) -> Tensor:
    """Log odds to be right, from the log of the probability to be wrong."""
    return torch.log(torch.expm1((-log_wrong).clamp(1e-3, 50.0)))


@dataclass(frozen=True)
class Told:
    """Torch twin of :class:`heightpose.geometry.lift.Told`, with log odds: all of one shape ``(..., K)``."""

    sd_cm: Tensor
    right: Tensor
    seen: Tensor

    @classmethod
    def usual(cls, flat: Tensor, sd_cm: Tensor) -> Told:
        """Of a net that says no more than standard deviations, of joints ``flat`` ``(..., K, 2)`` cm."""
        head = (flat[..., _CROWN, :] - flat[..., _NECK, :]).norm(dim=-1, keepdim=True)
        # Rayleigh's distribution.
        log_wrong = -0.5 * (RIGHT_HEADS * head / sd_cm) ** 2
        return cls(sd_cm, odds_from_wrong(log_wrong), torch.full_like(sd_cm, USUAL_SEEN))

    def where(self, chosen: Tensor, other: Told) -> Told:
        """The clips ``chosen`` ``(B,)`` of this one, the rest of the other."""
        pick = chosen[:, None, None]
        return Told(*(torch.where(pick, getattr(self, f.name), getattr(other, f.name)) for f in fields(Told)))

    def reshape(self, *leading: int) -> Told:
        return Told(*(getattr(self, f.name).reshape(*leading, -1) for f in fields(Told)))


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


def _student_scale(*shape: int) -> Tensor:
    """Factors that make a normal error one of Student's t with 3 degrees of freedom, median kept, at most 6."""
    scale = (3.0 / torch.distributions.Chi2(3.0).sample(torch.Size(shape))).sqrt()
    return (0.88 * scale).clamp(0.5, 6.0)


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
    # Heavy tails: Student's t with 3 degrees of freedom, as held-out children show. Which limb of a clip is misread is
    # the same in all its frames, and nobody is told.
    tail = torch.ones(clips, 1, _K) * _student_scale(clips, 1, _K)
    for side in ("left", "right"):
        leg = torch.as_tensor(INFANT.indices(*(f"{side}_{p}" for p in ("knee", "ankle", "heel", "toe"))))
        tail[:, :, leg] = _student_scale(clips, 1, 1)
    sd = sd * tail
    common = torch.rand(clips, 1, 1, 1) * 0.9
    shared = torch.randn(clips, 1, _K, 2).expand(-1, frames, -1, -1)
    unit = common.sqrt() * shared + (1 - common).sqrt() * torch.randn(clips, frames, _K, 2)
    outlier = (torch.rand(clips, frames, _K, 1) < 0.012).float()
    error = unit * (sd[..., None] * (1.0 + 5.0 * outlier))
    # What a net answers where it is unsure is about the mean of what it thinks possible, not a draw from it: of such
    # errors bones look as long as they are, while scattered joints make them look longer. Between the two.
    error = error * torch.empty(clips, 1, 1, 1).uniform_(*_CALM)
    for limb in _LIMBS:  # taken for something else, and nobody is told
        lost = (torch.rand(clips, frames, 1, 1) < 0.015).float()
        error[:, :, torch.as_tensor(limb)] += lost * torch.randn(clips, frames, 1, 2) * 4.0
    return error, told


class Clips:
    """Moving bodies of ``heightpose synth --bodies``; an eighth of the children is held out."""

    def __init__(self, paths: list[Path], seed: int) -> None:
        loaded = [read_arrays(path) for path in paths]
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
