"""Train the network that tells whether something lies over crown or heels (heightpose.runtime.cover).

    python -m heightpose.train.cover nursery.npz photographs.npz --val held-out.npz --out cover.onnx

It learns from files of :mod:`heightpose.train.cover_data`; patches are varied in colour, noise, sharpness, turn and
size as they are drawn. The weights written are an average over the last steps. Hits and false alarms on the
validation files are printed as it learns.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim.swa_utils import AveragedModel
from tqdm import tqdm

from heightpose.models.cover_net import CoverNet
from heightpose.models.description import cover_meta
from heightpose.models.onnx_graph import export_onnx
from heightpose.runtime.cover import ANSWERS, CHANNELS, PATCH
from heightpose.train.cover_data import COVERED, UNKNOWN, Patches
from heightpose.train.plain_resume import Part, Resume

_BATCH, _LEARNING_RATE, _WEIGHT_DECAY, _AVERAGE = 256, 2e-3, 0.02, 0.98
#: Share of the negatives that the printed threshold lets through.
_FALSE_ALARMS = 0.01


class Examples:
    """Patches one by one, those of unknown label left out.

    Attributes:
        images: ``(N, 3, PATCH, PATCH)`` uint8.
        covered: ``(N,)`` float 0 or 1; channel: ``(N,)`` which of the network's answers is asked for.
    """

    def __init__(self, patches: Sequence[Patches]) -> None:
        images = np.concatenate([p.images.reshape(-1, PATCH, PATCH, 3) for p in patches])
        labels = np.concatenate([p.labels.reshape(-1) for p in patches])
        channel = np.tile(CHANNELS, len(labels) // len(CHANNELS))
        known = labels != UNKNOWN
        self.images = torch.from_numpy(images[known].transpose(0, 3, 1, 2).copy())
        self.covered = torch.from_numpy((labels[known] == COVERED).astype(np.float32))
        self.channel = torch.from_numpy(channel[known])

    def __len__(self) -> int:
        return len(self.covered)

    def sha256(self) -> str:
        """Of all that is learned from."""
        digest = hashlib.sha256()
        for part in (self.images, self.covered, self.channel):
            digest.update(part.numpy().tobytes())
        return digest.hexdigest()


def train(
    examples: Examples,
    held_out: dict[str, Examples],
    out: Path,
    *,
    epochs: int,
    seed: int = 0,
    about: Mapping[str, object] | None = None,
) -> tuple[CoverNet, dict[str, float]]:
    """Train and write ``out`` (.onnx); a stopped training goes on.

    Args:
        about: what the file says of its data beside the figures.

    Returns:
        The network, in evaluation mode, and its figures on each held-out set.
    """
    torch.manual_seed(seed)
    rng = torch.Generator().manual_seed(seed)
    net = CoverNet()
    steps = max(1, len(examples) // _BATCH)
    optimiser = torch.optim.AdamW(net.parameters(), _LEARNING_RATE, weight_decay=_WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, _LEARNING_RATE, epochs * steps, pct_start=0.1)
    average = AveragedModel(net, avg_fn=_blend, use_buffers=True)
    settings = {"epochs": epochs, "seed": seed, "data": examples.sha256()}
    parts: dict[str, Part] = {"net": net, "average": average, "optimiser": optimiser, "schedule": schedule}
    resume = Resume(out, settings, parts, rng)
    begin = resume.begin()
    bar = tqdm(range(begin, epochs), initial=begin, total=epochs, unit="epoch", desc="cover", disable=None)
    for epoch in bar:
        net.train()
        for chosen in torch.randperm(len(examples), generator=rng).split(_BATCH)[:steps]:
            answers = net(varied(examples.images[chosen], rng))
            own = answers.gather(1, examples.channel[chosen, None])[:, 0]
            loss = F.binary_cross_entropy_with_logits(own, examples.covered[chosen])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            average.update_parameters(net)
        resume.save(epoch + 1)
        if epoch % 4 == 3:
            bar.write(f"epoch {epoch + 1}: loss {loss.item():.3f} {judge(average.module, held_out)}")
    figures = judge(average.module, held_out)
    trained = average.module.eval()
    assert isinstance(trained, CoverNet)
    export_onnx(trained, out, cover_meta(**{**(about or {}), "figures": figures}))
    resume.end()
    return trained, figures


def _blend(average: Tensor, latest: Tensor, steps: Tensor | int) -> Tensor:
    """An exponential average that forgets the untrained weights sooner."""
    share = max(1.0 - _AVERAGE, 9.0 / (10.0 + float(steps)))
    return average + share * (latest - average)


def varied(images: Tensor, rng: torch.Generator) -> Tensor:
    """``(N, 3, h, w)`` uint8 -> float32 0..255: turned, zoomed, shifted, mirrored, blurred, lit and noisy."""
    count, out = len(images), images.float()

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(*(shape or (count,)), generator=rng)

    turn, zoom = uniform(-0.26, 0.26), torch.exp(uniform(-0.18, 0.18))
    mirror = torch.where(uniform(0, 1) < 0.5, -1.0, 1.0)
    cos, sin = zoom * torch.cos(turn), zoom * torch.sin(turn)
    shift = uniform(-0.1, 0.1, count, 2)
    matrix = torch.stack([mirror * cos, -sin, shift[:, 0], mirror * sin, cos, shift[:, 1]], 1).view(-1, 2, 3)
    grid = F.affine_grid(matrix, list(out.shape), align_corners=False)
    out = F.grid_sample(out, grid, padding_mode="border", align_corners=False)
    coarse = uniform(0, 1) < 0.35
    if coarse.any():
        small = F.interpolate(out[coarse], scale_factor=float(uniform(0.4, 0.9, 1)), mode="area")
        out[coarse] = F.interpolate(small, size=out.shape[2:], mode="bilinear")
    grey = (uniform(0, 1) < 0.2)[:, None, None, None]
    out = torch.where(grey, out.mean(1, keepdim=True), out)
    mean = out.mean((2, 3), keepdim=True)
    tint = torch.exp(uniform(-0.2, 0.2, count, 3, 1, 1) * ~grey)
    light, contrast = (torch.exp(uniform(-0.5, 0.5, count, 1, 1, 1)) for _ in range(2))
    out = (out - mean) * contrast + mean * tint * light
    noise = 14.0 * uniform(0, 1, count, 1, 1, 1) ** 2
    return (out + noise * torch.randn(out.shape, generator=rng)).clamp(0, 255)


@torch.no_grad()
def judge(net: torch.nn.Module, held_out: dict[str, Examples]) -> dict[str, float]:
    """Per set and kind of joint: share of the covered above 0.5, of the bare above 0.5, and of the covered above what
    one bare joint in a hundred exceeds."""
    net.eval()
    figures = {}
    for name, examples in held_out.items():
        answers = torch.cat([net(part.float()) for part in examples.images.split(512)])
        chance = answers.gather(1, examples.channel[:, None])[:, 0].sigmoid().numpy()
        for channel, kind in enumerate(ANSWERS):
            own = (examples.channel == channel).numpy()
            bare, covered = (chance[own & (examples.covered.numpy() == value)] for value in (0, 1))
            if not len(bare) or not len(covered):
                continue
            told = f"{name} {kind}"
            figures[f"{told} hit"] = float((covered > 0.5).mean())
            figures[f"{told} false"] = float((bare > 0.5).mean())
            rare = np.quantile(bare, 1 - _FALSE_ALARMS)
            figures[f"{told} hit at 1 % false"] = float((covered > rare).mean())
    return {name: round(value, 3) for name, value in figures.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument(
        "patches", type=Path, nargs="+", help="to learn from, files of heightpose.train.cover_data"
    )
    parser.add_argument("--val", type=Path, nargs="*", default=[], help="to judge on")
    parser.add_argument("--epochs", type=int, default=36)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True, help="the .onnx to write")
    args = parser.parse_args()
    learnt = Examples([Patches.load(path) for path in args.patches])
    held_out = {path.stem: Examples([Patches.load(path)]) for path in args.val}
    about = {"patches": [path.name for path in args.patches]}
    _, figures = train(learnt, held_out, args.out, epochs=args.epochs, seed=args.seed, about=about)
    for name, value in figures.items():
        print(f"{name}: {value}")


if __name__ == "__main__":
    main()
