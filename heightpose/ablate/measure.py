"""The figures of a trained cell: its last averaged weights on the validation split, chosen by nothing on that split."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from heightpose.config import DataConfig, PoseConfig, TrainConfig
from heightpose.data.pictures import Pictures
from heightpose.errors import FileFormatError
from heightpose.models.checkpoint import load_weights, save_weights
from heightpose.skeleton import EDGE_JOINTS
from heightpose.train.loop import load_items
from heightpose.train.tasks import make_task

#: In a checkpoint, the averaged network's weights.
_AVERAGE = "ema."


def keep_last(config: TrainConfig, checkpoint: Path, final: Path) -> None:
    """Write a finished run's last averaged weights as ``final`` and remove the checkpoint, eight times as large.

    The run's own weights are those of its best validation. To compare cells by them would favour whichever was
    validated more often.

    Raises:
        FileFormatError: no such checkpoint.
    """
    if not checkpoint.is_file():
        raise FileFormatError(
            "a finished run without its checkpoint", where=checkpoint, hint="Delete this folder"
        )
    # weights_only: a checkpoint is a pickle, and this one may have come from elsewhere
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"]
    average = {k.removeprefix(_AVERAGE): v for k, v in state.items() if k.startswith(_AVERAGE)}
    _, meta = load_weights(checkpoint.parent / f"{config.task}.safetensors")
    average = {k: v.float() if v.is_floating_point() else v for k, v in average.items()}
    save_weights(final, average, meta)
    checkpoint.unlink()


@torch.no_grad()
def measure(config: TrainConfig, weights: Path) -> dict[str, Any]:
    """Validate weights as ``config`` says; plain numbers by name, with those by joint under "per joint".

    Raises:
        HeightposeError: data or weights that cannot be read.
    """
    torch.set_num_threads(config.hardware.threads)
    task = make_task(config)
    model, _ = load_weights(weights)
    model = model.eval()
    samples = task.samples(
        _validation(replace(config.data, limit=None), config.task, config.pose.joints), None
    )
    rng, results = np.random.default_rng(0), []
    size = min(config.optim.batch_size, 32)
    for start in range(0, len(samples), size):
        part = [samples.sample(i, rng) for i in range(start, min(start + size, len(samples)))]
        batch = task.collate(part)  # type: ignore[arg-type]
        results += task.validate(model(batch["image"].float()), batch)
    figures = json.loads(json.dumps(task.metrics(results)))
    edges = [v for k, v in figures.get("per joint", {}).items() if k in EDGE_JOINTS and v is not None]
    if edges:
        figures["Edge@0.1"] = float(np.mean(edges))
    return figures


@lru_cache(maxsize=2)
def _validation(data: DataConfig, task: str, joints: str) -> Pictures:
    """The validation split's pictures, read once for all cells of a process."""
    own = make_task(TrainConfig(task=task, pose=PoseConfig(joints=joints)))
    items = [own.relabel(item) for item in load_items(data)[0] if item.split == "val"]
    return Pictures(items, data.memory_mb, data.skip_bad)
