"""The two things that are trained, pose and detector, and which of them a configuration names.

Both offer the same methods, so the training module does not know which one it runs.
"""

from __future__ import annotations

from heightpose.config import TrainConfig
from heightpose.train.detector_task import DetectorTask
from heightpose.train.pose_task import PoseTask

Task = PoseTask | DetectorTask


def make_task(config: TrainConfig) -> Task:
    """The task that the configuration names."""
    return PoseTask(config) if config.task == "pose" else DetectorTask(config)
