"""The figures of a trained cell: its last averaged weights on the validation split, chosen by nothing on that split."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from heightpose.codec.heatmap import merge_flip
from heightpose.config import DataConfig, PoseConfig, TrainConfig
from heightpose.data.pictures import Pictures
from heightpose.data.samples import PoseSamples
from heightpose.errors import FileFormatError
from heightpose.geometry.crop import CropTransform
from heightpose.metrics.pckh import summary
from heightpose.models.checkpoint import load_weights, save_weights
from heightpose.runtime.tta import Tta, merge_views
from heightpose.skeleton import EDGE_JOINTS
from heightpose.train.pose_task import PoseTask
from heightpose.train.task_parts import to_tensor
from heightpose.train.tasks import batches_of, make_task
from heightpose.train.training_data import load_items

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
    order, size, results = range(len(samples)), min(config.optim.batch_size, 32), []
    for number, batch in enumerate(batches_of(task, samples, order, size, np.random.default_rng(0))):
        if isinstance(task, PoseTask):
            assert isinstance(samples, PoseSamples)
            chosen = order[number * size : (number + 1) * size]
            frames = [samples.pictures.picture(samples.entries[i][0]) for i in chosen]
            raw = _looked_at(task, model, batch, frames, Tta.parse(config.validation.tta, "validation.tta"))
        else:
            raw = model(batch["image"].float())
        results += task.validate(raw, batch)
    figures = task.metrics(results)
    if isinstance(task, PoseTask):
        figures |= _at_more_thresholds(results, task)
    return json.loads(json.dumps(figures))


def _at_more_thresholds(results: list[Any], task: PoseTask) -> dict[str, float]:
    """Edge joints apart, and everything at 0.5 too: small budgets leave little to see at 0.1."""
    pred, truth, seen = (np.stack(column) for column in zip(*results, strict=True))
    found: dict[str, float] = {}
    for a in (0.1, 0.5):
        scores = summary(pred, truth, seen, a, skeleton=task.skeleton)
        edges = [v for k, v in scores["per_joint"].items() if k in EDGE_JOINTS and v is not None]
        figures = {"Mean": scores["mean"], "MeanSmS": scores["mean_sms"]}
        figures |= {"Edge": float(np.mean(edges))} if edges else {}
        found |= {f"{name}@{a:g}": value for name, value in figures.items()}
    return found


def _looked_at(
    task: PoseTask, model: torch.nn.Module, batch: dict[str, Any], frames: list[np.ndarray], tta: Tta
) -> torch.Tensor:
    """The answer for a batch of crops, merged from all views of the test-time augmentation."""
    codec = task.codec
    if str(tta) == "none":
        return model(batch["image"].float())
    crops = [CropTransform(matrix, codec.input_wh) for matrix in batch["matrices"]]
    merged = []
    for number in range(len(tta.views(codec.input_wh))):
        seen = [tta.crops(crop)[number].warp(frame) for crop, frame in zip(crops, frames, strict=True)]
        image = to_tensor(seen).float()
        maps = model(image).float().numpy()
        if tta.flip:
            mirrored = model(image.flip(3)).float().numpy()
            maps = merge_flip(maps, mirrored, task.skeleton.flip_map)
        merged.append(maps)
    return torch.from_numpy(merge_views(np.stack(merged), tta, codec.input_wh, codec.heatmap_wh, codec.sigma))


@lru_cache(maxsize=2)
def _validation(data: DataConfig, task: str, joints: str) -> Pictures:
    """The validation split's pictures, read once for all cells of a process."""
    own = make_task(TrainConfig(task=task, pose=PoseConfig(joints=joints)))
    items = [own.relabel(item) for item in load_items(data)[0] if item.split == "val"]
    return Pictures(items, data.memory_mb, data.skip_bad)
