"""``heightpose bench``: speed and memory. One module per verb in :mod:`heightpose.cli.bench_verbs`."""

from __future__ import annotations

import click

from heightpose.cli.lazy import LazyGroup

VERBS = {
    "run": "Frames per second, stages, memory and time to the first answer (the default).",
    "models": "Parameters, FLOPs and latency of the pose networks on this machine.",
}


@click.group(
    "bench", cls=LazyGroup, package="heightpose.cli.bench_verbs", verbs=VERBS, invoke_without_command=True
)
@click.pass_context
def bench(ctx: click.Context) -> None:
    """Measure speed and memory on this machine.

    \b
    Examples:
      heightpose bench
      heightpose bench models
      heightpose bench models resnet50 vit_small_patch16_224 --input 384x384
    """
    if ctx.invoked_subcommand is None:
        from heightpose.cli.bench_verbs.run import run

        ctx.invoke(run)
