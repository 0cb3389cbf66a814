"""``heightpose doctor train``: a run's folder in, findings out. The work is in heightpose.train.checkup."""

from __future__ import annotations

import json
from pathlib import Path

import click

from heightpose.cli._params import FiniteRange

EPILOG = """\b
Reads of RUN (a run may be finished, under way or broken off):
  RUN/
    config.yaml                       the settings
    diagnostics.json                  what the run noticed of itself: steps, targets, answers, channels
    log.csv, metrics.json             losses, learning rates, overfit
    pose.safetensors or best.safetensors   run on some validation samples, if the data are there

\b
Examples:
  heightpose doctor train runs/pose
  heightpose doctor train runs/pose --json
  heightpose doctor train runs/pose --overfit-limit 8 --strict
  heightpose doctor train runs/pose --data nursery --by-heart 300

\b
It looks for: predictions that hardly vary between inputs, one batch that cannot be learned by heart, a learning rate
too high or too low, dead channels, wrong flip pairs, joints taken for others, targets off by a scale, overfit.
'heightpose train' warns of the same while it runs. Nothing found means that none of these was seen.
Exit codes: 0 examined, also with findings; 1 findings and --strict; 2 usage, or no run there.
"""


@click.command("train", epilog=EPILOG)
@click.argument("run", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option(
    "--data", type=click.Path(path_type=Path, exists=True, file_okay=False), multiple=True,
    help="Data set to look at instead of the run's own; repeat for several.",
)  # fmt: skip
@click.option("--no-look", is_flag=True, help="Read records only: no network, no pictures.")
@click.option(
    "--by-heart", type=click.IntRange(min=1), metavar="STEPS",
    help="Also train a new net of the run's settings on one batch for so many steps.",
)  # fmt: skip
@click.option(
    "--overfit-limit", type=FiniteRange(0, 100),
    help="Points of Mean@0.1 that train may be above validation. The run's diagnostics.overfit_limit by default.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON and nothing else.")
@click.option("--strict", is_flag=True, help="Exit with 1 if anything was found.")
def train(
    run: Path, data: tuple[Path, ...], no_look: bool, by_heart: int | None, overfit_limit: float | None,
    as_json: bool, strict: bool,
) -> int:  # fmt: skip
    """Read the training run in RUN and say what is wrong with it, the worst first, and what to try."""
    from heightpose.train.checkup import check

    result = check(run, data, not no_look, overfit_limit, 0 if by_heart is None else by_heart)
    if as_json:
        click.echo(json.dumps(result.document(), indent=2))
    else:
        for number, finding in enumerate(result.findings, 1):
            weight = "worth nothing as it is" if finding.severity >= 3 else "costs accuracy"
            when = f", step {finding.step}" if finding.step else ""
            click.echo(f"{number}. {finding.name} ({weight}{when}): {finding.seen}")
            for line in finding.advice:
                click.echo(f"     try: {line}")
        if not result.findings:
            click.echo("nothing found" if result.looked else "nothing to examine yet")
        click.echo(f"read: {', '.join(result.sources)}")
        for line in result.skipped:
            click.echo(f"not looked at: {line}")
    return 1 if strict and result.findings else 0
