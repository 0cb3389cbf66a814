"""The published pose HRNet's forward pass on a state dict with its key names, written from the paper and the layout of
its files, with nothing but torch's functions: what a checkpoint must give in any other implementation.

Sun et al., "Deep High-Resolution Representation Learning for Human Pose Estimation", CVPR 2019: a stem of two strided
convolutions, four bottlenecks, then 1, 4 and 3 exchange modules of 2, 3 and 4 branches; the last module gives the
finest branch alone.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F

MODULES = {2: 1, 3: 4, 4: 3}
BLOCKS = 4
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def random_state(width, joints, seed=0):
    """Weights and normalisation statistics, none of them at its initial value."""
    rng, state = torch.Generator().manual_seed(seed), {}

    def conv(name, c_in, c_out, kernel, bias=False):
        scale = (2.0 / (c_in * kernel * kernel)) ** 0.5
        state[f"{name}.weight"] = scale * torch.randn(c_out, c_in, kernel, kernel, generator=rng)
        if bias:
            state[f"{name}.bias"] = torch.randn(c_out, generator=rng)

    def norm(name, c, gain=1.0):
        state[f"{name}.weight"] = gain * (0.5 + torch.rand(c, generator=rng))
        state[f"{name}.bias"] = 0.2 * torch.randn(c, generator=rng)
        state[f"{name}.running_mean"] = 0.2 * torch.randn(c, generator=rng)
        state[f"{name}.running_var"] = 0.5 + torch.rand(c, generator=rng)
        state[f"{name}.num_batches_tracked"] = torch.tensor(1000)

    def both(name, bn, c_in, c_out, kernel, gain=1.0):
        conv(name, c_in, c_out, kernel)
        norm(bn, c_out, gain)

    both("conv1", "bn1", 3, 64, 3)
    both("conv2", "bn2", 64, 64, 3)
    for i in range(BLOCKS):
        at = f"layer1.{i}"
        for n, (c_in, c_out, kernel) in enumerate(((256 if i else 64, 64, 1), (64, 64, 3), (64, 256, 1)), 1):
            both(f"{at}.conv{n}", f"{at}.bn{n}", c_in, c_out, kernel, 0.3 if n == 3 else 1.0)
    both("layer1.0.downsample.0", "layer1.0.downsample.1", 64, 256, 1)
    widths = [width << b for b in range(4)]
    both("transition1.0.0", "transition1.0.1", 256, widths[0], 3)
    both("transition1.1.0.0", "transition1.1.0.1", 256, widths[1], 3)
    both("transition2.2.0.0", "transition2.2.0.1", widths[1], widths[2], 3)
    both("transition3.3.0.0", "transition3.3.0.1", widths[2], widths[3], 3)
    for stage, modules in MODULES.items():
        for m in range(modules):
            at = f"stage{stage}.{m}"
            for b in range(stage):
                for k in range(BLOCKS):
                    for n in (1, 2):
                        block = f"{at}.branches.{b}.{k}"
                        both(
                            f"{block}.conv{n}",
                            f"{block}.bn{n}",
                            widths[b],
                            widths[b],
                            3,
                            0.3 if n == 2 else 1.0,
                        )
            for i in range(1 if (stage, m) == (4, 2) else stage):
                for j in range(stage):
                    fuse = f"{at}.fuse_layers.{i}.{j}"
                    if j > i:
                        both(f"{fuse}.0", f"{fuse}.1", widths[j], widths[i], 1, 0.3)
                    for k in range(i - j):
                        out = widths[i if k == i - j - 1 else j]
                        both(f"{fuse}.{k}.0", f"{fuse}.{k}.1", widths[j], out, 3, 0.3)
    conv("final_layer", width, joints, 1, bias=True)
    return state


def forward(state, image):
    """Heatmaps ``(N, K, H/4, W/4)`` of RGB pictures 0..255, as the published code prepares and reads them."""

    def conv(name, x, stride=1):
        weight = state[f"{name}.weight"]
        return F.conv2d(x, weight, state.get(f"{name}.bias"), stride, weight.shape[-1] // 2)

    def norm(name, x):
        mean, var = (state[f"{name}.{k}"] for k in ("running_mean", "running_var"))
        return F.batch_norm(x, mean, var, state[f"{name}.weight"], state[f"{name}.bias"], False, 0.0, 1e-5)

    def basic(at, x):
        y = F.relu(norm(f"{at}.bn1", conv(f"{at}.conv1", x)))
        return F.relu(norm(f"{at}.bn2", conv(f"{at}.conv2", y)) + x)

    def bottleneck(at, x):
        y = F.relu(norm(f"{at}.bn1", conv(f"{at}.conv1", x)))
        y = F.relu(norm(f"{at}.bn2", conv(f"{at}.conv2", y)))
        y = norm(f"{at}.bn3", conv(f"{at}.conv3", y))
        if f"{at}.downsample.0.weight" in state:
            x = norm(f"{at}.downsample.1", conv(f"{at}.downsample.0", x))
        return F.relu(y + x)

    def path(at, x, i, j):
        """Branch j as branch i takes it."""
        if j > i:
            x = norm(f"{at}.1", conv(f"{at}.0", x))
            return x.repeat_interleave(2 ** (j - i), dim=2).repeat_interleave(2 ** (j - i), dim=3)
        for k in range(i - j):
            x = norm(f"{at}.{k}.1", conv(f"{at}.{k}.0", x, 2))
            x = F.relu(x) if k < i - j - 1 else x
        return x

    def module(at, branches):
        for b, x in enumerate(branches):
            for k in range(BLOCKS):
                x = basic(f"{at}.branches.{b}.{k}", x)
            branches[b] = x
        rows = range(len(branches))
        there = [i for i in rows if i == 0 or f"{at}.fuse_layers.{i}.0.0.0.weight" in state]
        return [
            F.relu(sum(path(f"{at}.fuse_layers.{i}.{j}", branches[j], i, j) for j in rows)) for i in there
        ]

    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (MEAN, STD))
    x = (image / 255.0 - mean) / std
    x = F.relu(norm("bn1", conv("conv1", x, 2)))
    x = F.relu(norm("bn2", conv("conv2", x, 2)))
    for i in range(BLOCKS):
        x = bottleneck(f"layer1.{i}", x)
    branches = [
        F.relu(norm("transition1.0.1", conv("transition1.0.0", x))),
        F.relu(norm("transition1.1.0.1", conv("transition1.1.0.0", x, 2))),
    ]
    for stage, modules in MODULES.items():
        if stage > 2:
            at = f"transition{stage - 1}.{stage - 1}.0"
            branches.append(F.relu(norm(f"{at}.1", conv(f"{at}.0", branches[-1], 2))))
        for m in range(modules):
            branches = module(f"stage{stage}.{m}", branches)
    return conv("final_layer", branches[0])
