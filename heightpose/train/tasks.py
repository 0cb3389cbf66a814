"""The two things that are trained, pose and detector, and which of them a configuration names.

Both offer the same methods, so the training module does not know which one it runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from heightpose.config import TrainConfig
from heightpose.data.batches import Samples
from heightpose.train.detector_task import DetectorTask
from heightpose.train.pose_task import PoseTask
from heightpose.train.task_parts import Batch

Task = PoseTask | DetectorTask


def make_task(config: TrainConfig) -> Task:
    """The task that the configuration names."""
    return PoseTask(config) if config.task == "pose" else DetectorTask(config)


def batches_of(
    task: Task, samples: Samples, order: Sequence[int] | np.ndarray, size: int, rng: np.random.Generator
) -> Iterator[Batch]:
    """Batches of up to ``size`` of the samples, in this order, made one after the other in this thread.

    Args:
        samples: of ``task``; order: their indices.
        rng: what varied samples draw from.
    """
    for start in range(0, len(order), size):
        part = [samples.sample(int(i), rng) for i in order[start : start + size]]
        yield task.collate(part)


def without_weights(config: TrainConfig) -> TrainConfig:
    """The same task, its network with initial weights of its own."""
    return replace(
        config,
        start_from=None,
        pose=replace(config.pose, pretrained=False),
        detector=replace(config.detector, pretrained=False),
    )
