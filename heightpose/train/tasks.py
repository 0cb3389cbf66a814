"""The two things that are trained, pose and detector, and which of them a configuration names.

Both offer the same methods, so the training module does not know which one it runs.
"""

from __future__ import annotations

from dataclasses import replace

from heightpose.config import TrainConfig
from heightpose.train.detector_task import DetectorTask
from heightpose.train.pose_task import PoseTask

Task = PoseTask | DetectorTask


def make_task(config: TrainConfig) -> Task:
    """The task that the configuration names."""
    return PoseTask(config) if config.task == "pose" else DetectorTask(config)


def without_weights(config: TrainConfig) -> TrainConfig:
    """The same task, its network with initial weights of its own."""
    return replace(
        config,
        start_from=None,
        pose=replace(config.pose, pretrained=False),
        detector=replace(config.detector, pretrained=False),
    )
