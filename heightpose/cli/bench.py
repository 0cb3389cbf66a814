"""``heightpose bench``: speed and memory. One module per verb in :mod:`heightpose.cli.bench_verbs`."""

from __future__ import annotations

import click

from heightpose.cli.lazy import LazyGroup

VERBS = {
    "models": "Parameters, FLOPs and latency of the pose networks on this machine.",
}


@click.group("bench", cls=LazyGroup, package="heightpose.cli.bench_verbs", verbs=VERBS)
def bench() -> None:
    """Measure speed and memory on this machine.

    \b
    Examples:
      heightpose bench models
      heightpose bench models resnet50 vit_small_patch16_224 --input 384x384
    """
