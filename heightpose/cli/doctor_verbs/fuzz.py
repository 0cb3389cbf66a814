"""``heightpose doctor fuzz``: options in, a verdict out. The work is in heightpose.doctor."""

from __future__ import annotations

from pathlib import Path

import click

from heightpose.cli._params import DETECTOR, FilePath, FiniteRange
from heightpose.errors import EXIT_INTERRUPTED, EXIT_REJECTED, ConfigError

EPILOG = """\b
Writes only where something was found:
  OUT/
    SEED-NUMBER/
      video.mp4, camera.json, ...   the damaged input and the files beside it
      report.txt                    what was wrong, how to run it alone, what was printed

\b
Examples:
  heightpose doctor fuzz --minutes 2 --seed 0
  heightpose doctor fuzz --minutes 30 --seed 7 --clip examples/clip.mp4
  heightpose doctor fuzz --seed 7 --case 1234          one case again, its files kept

\b
Wrong are: a traceback, an unexpected error, more or less than one line of error, an exit code other than 0, 2 and 3, a
crash, more than --time-limit seconds, a temporary or broken file among the results.
Exit codes: 0 nothing found, 2 usage, or a model that infer refuses, 3 something found, 130 interrupted (what was found
so far is printed).
"""


@click.command("fuzz", epilog=EPILOG)
@click.option(
    "--minutes", type=FiniteRange(min=0, min_open=True), default=2.0, show_default=True, help="How long."
)
@click.option("--count", type=click.IntRange(min=1), help="So many cases instead of a time.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Decides every case.")
@click.option("--case", type=click.IntRange(min=0), help="Only this case of the seed; its files are kept.")
@click.option(
    "--clip", type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Video to damage; its first frames are stored small in every container. A drawn scene by default.",
)  # fmt: skip
@click.option("--model", default="fast", show_default=True, help="Pose model to run.")
@DETECTOR
@click.option(
    "--time-limit", type=FiniteRange(min=1), default=30.0, show_default=True, help="Seconds per case."
)
@click.option(
    "--out", type=FilePath(file_okay=False), default=Path("fuzz-results"), show_default=True,
    help="Folder for what is found.",
)  # fmt: skip
def fuzz(
    minutes: float, count: int | None, seed: int, case: int | None, clip: Path | None, model: str, detector: str,
    time_limit: float, out: Path,
) -> int:  # fmt: skip
    """Run infer on inputs damaged at random, each in a process with a time limit, and report what goes wrong."""
    from heightpose.doctor.fuzz import Fuzzer, Plan

    if case is not None and count is not None:
        raise ConfigError("both one case and a number of cases", hint="Give --case or --count")
    plan = Plan(
        seed=seed,
        first=0 if case is None else case,
        count=1 if case is not None else count,
        seconds=None if case is not None or count is not None else 60.0 * minutes,
        time_limit_s=time_limit,
        models=("--model", _anywhere(model), "--detector", _anywhere(detector)),
        keep=case is not None,
    )
    summary = Fuzzer(plan, clip, out).run()
    for line in summary.lines():
        click.echo(line)
    if summary.interrupted:
        return EXIT_INTERRUPTED
    return EXIT_REJECTED if summary.found else 0


def _anywhere(model: str) -> str:
    """A model's name, or its path from the root: infer runs in a folder of its own."""
    from heightpose.runtime.modelfile import SHIPPED, find_model

    path = find_model(model)
    return model if model in (*SHIPPED, "detector") else str(path.absolute())
