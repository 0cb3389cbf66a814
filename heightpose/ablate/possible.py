"""Whether a plan's trainings can be begun: asked of all of them before the first, as the last may be hours away."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace

from heightpose.ablate.jobs import FINAL, Measurement, Training
from heightpose.config import AugmentConfig, DataConfig, HardwareConfig, OptimConfig, TrainConfig
from heightpose.errors import HeightposeError


def require_possible(trainings: Iterable[Training], measurements: Iterable[Measurement]) -> None:
    """Make the task and the network of each, once where seeds or rates alone differ.

    What only its data or its steps show (nothing to draw, a divergence) ends a cell in its turn, alone.

    Raises:
        HeightposeError: settings that no training can have, with the cell's name.
    """
    asked: set[TrainConfig] = set()
    judged = [(m.training, replace(m.training.config, validation=m.config.validation)) for m in measurements]
    for training, config in [*((t, t.config) for t in trainings), *judged]:
        if _network_alone(config) in asked:
            continue
        asked.add(_network_alone(config))
        try:
            _build(config, training.after is not None and not (training.after / FINAL).is_file())
        except HeightposeError as error:
            name = ", ".join(f"{factor} {level}" for factor, level in training.labels.items())
            raise error.within(name) from error


def _network_alone(config: TrainConfig) -> TrainConfig:
    """The settings that decide whether there is such a network, task and way of learning."""
    optim = config.optim
    optim = replace(
        OptimConfig(),
        freeze=optim.freeze,
        norm=optim.norm,
        schedule=optim.schedule,
        milestones=optim.milestones,
    )
    return replace(
        config, seed=0, data=DataConfig(), augment=AugmentConfig(), hardware=HardwareConfig(), optim=optim
    )


def _build(config: TrainConfig, waits: bool) -> None:
    """Args: waits: whether the weights that it starts from are still to be trained."""
    from heightpose.train.module import TrainingModule
    from heightpose.train.tasks import make_task

    pretrained = config.pose.pretrained if isinstance(config.pose.pretrained, str) else False
    offline = replace(  # a download that fails ends its own cell
        config, pose=replace(config.pose, pretrained=pretrained),
        detector=replace(config.detector, pretrained=False), start_from=None if waits else config.start_from,
    )  # fmt: skip
    task = make_task(offline)
    # Memory that does not suffice here may suffice in the cell's own process.
    with suppress(RuntimeError, MemoryError):
        TrainingModule(task.net(), task, replace(config, hardware=HardwareConfig()), total_steps=1)
