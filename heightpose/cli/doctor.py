"""``heightpose doctor``: what is wrong. One module per verb in :mod:`heightpose.cli.doctor_verbs`."""

from __future__ import annotations

import click

from heightpose.cli.lazy import LazyGroup

VERBS = {
    "fuzz": "Feed infer damaged videos, pictures and settings files and report what it cannot take.",
    "train": "Read a training run and say what is wrong with it.",
}


@click.group("doctor", cls=LazyGroup, package="heightpose.cli.doctor_verbs", verbs=VERBS)
def doctor() -> None:
    """Look for what is wrong with a training run, or what infer cannot take.

    \b
    Examples:
      heightpose doctor fuzz --minutes 2 --seed 0
      heightpose doctor train runs/pose
    """
