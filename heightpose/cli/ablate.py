"""``heightpose ablate``: a matrix of trainings, compared over seeds. The work is in heightpose.ablate."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import click

from heightpose.cli._params import FilePath, wandb_option
from heightpose.errors import EXIT_INTERRUPTED, MissingExtraError
from heightpose.words import plural

EPILOG = """\b
Writes:
  OUT/
    NAME/
      ablation.json            every cell and seed with its figures; what the dashboard shows
      table.txt, table.csv     means, intervals over seeds, differences to the base cell, verdicts
      ablation.png, .svg       the same as a picture
      wandb/                   the same for 'wandb sync'; nothing is contacted unless --wandb online
    runs/TASK-HASH-seedN/      a training: as of heightpose train, without the checkpoint;
      measured-HASH.json       its last averaged weights on the validation split

\b
Examples:
  heightpose ablate configs/ablations/learning-rate.yaml --data nursery
  heightpose ablate configs/ablations/learning-rate.yaml --data nursery --jobs 8
  heightpose ablate configs/ablations/networks.yaml --data nursery --devices 0,1
  heightpose ablate configs/ablations/losses.yaml --data nursery --epochs 8 --limit 600 --set pose.input_wh=[128,128]
  heightpose ablate configs/ablations/losses.yaml --data nursery --list

\b
The same command goes on after an interruption: what is finished stays, a training that was stopped goes on from its
last checkpoint. Matrices with the same --out share trainings with equal settings. A budget of fewer epochs or pictures
is written into the results; an answer at a small budget holds for that budget. "No difference shown" is said where the
90 % interval of the difference, paired by seed, holds 0: it does not say that there is none.
Exit codes: 0 done, 1 a cell failed, 2 usage or unreadable input, 130 interrupted.
"""


def _changes(_ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]) -> dict[str, Any]:
    import yaml

    found: dict[str, Any] = {}
    for text in values:
        name, sign, value = text.partition("=")
        if not sign or not name.strip():
            raise click.BadParameter(f"expected SETTING=VALUE such as optim.lr=1.0e-3, got '{text}'")
        try:
            found[name.strip()] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise click.BadParameter(f"'{value}' is no YAML value") from error
    return found


def _seeds(_ctx: click.Context, _param: click.Parameter, value: str | None) -> tuple[int, ...]:
    parts = [] if value is None else [p.strip() for p in value.split(",")]
    if not all(p.isdecimal() for p in parts) or len(set(parts)) != len(parts):
        raise click.BadParameter("expected different whole numbers such as 1,2,3")
    return tuple(int(p) for p in parts)


def _devices(_ctx: click.Context, _param: click.Parameter, value: str | None) -> tuple[str, ...]:
    return () if value is None else tuple(p.strip() for p in value.split(",") if p.strip())


@click.command("ablate", epilog=EPILOG)
@click.argument("matrix", type=FilePath())
@click.option(
    "--data", type=click.Path(path_type=Path, exists=True), multiple=True,
    help="Data set folder; repeat for several. Without it the base configuration's own data.",
)  # fmt: skip
@click.option(
    "--pretrain-data", type=click.Path(path_type=Path, exists=True), multiple=True,
    help="Data set folder of the matrix's pre-training stages; those of --data by default.",
)  # fmt: skip
@click.option(
    "--out", type=FilePath(file_okay=False), default=Path("ablations"), show_default=True,
    help="Folder of all matrices' results and of the trainings that they share.",
)  # fmt: skip
@click.option(
    "--epochs", type=click.IntRange(min=1),
    help="Budget: epochs of the base cell; cells that set their own keep their ratio to it.",
)  # fmt: skip
@click.option("--limit", type=click.IntRange(min=1), help="Budget: only the first N training pictures.")
@click.option("--seeds", callback=_seeds, metavar="1,2,3", help="Instead of the matrix's seeds.")
@click.option(
    "--set", "changes", callback=_changes, multiple=True, metavar="SETTING=VALUE",
    help="Replace a setting of the base configuration in all cells; repeat for several.",
)  # fmt: skip
@click.option(
    "--only", multiple=True, metavar="TEXT", help="Only cells whose name contains TEXT, and the base cell."
)
@click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Trainings at a time.")
@click.option("--devices", callback=_devices, metavar="0,1", help="GPUs, one training at a time on each.")
@wandb_option
@click.option(
    "--list", "only_list", is_flag=True, help="Print the cells and what is left to do; train nothing."
)
@click.option("--json", "as_json", is_flag=True, help="Print ablation.json on stdout and nothing else.")
def ablate(
    matrix: Path, data: tuple[Path, ...], pretrain_data: tuple[Path, ...], out: Path, epochs: int | None,
    limit: int | None, seeds: tuple[int, ...], changes: dict[str, Any], only: tuple[str, ...], jobs: int,
    devices: tuple[str, ...], only_list: bool, as_json: bool, wandb_mode: str | None,
) -> int:  # fmt: skip
    """Train a matrix of settings with several seeds each and say what made a difference.

    MATRIX is a YAML file such as those of configs/ablations.
    """
    from heightpose.ablate import figures
    from heightpose.ablate.jobs import plan
    from heightpose.ablate.matrix import Budget, Matrix

    read = Matrix.load(matrix)
    budget = Budget(
        epochs, limit, seeds, changes, tuple(str(d) for d in data), tuple(str(d) for d in pretrain_data)
    )
    todo = plan(read, budget, out, only)
    folder = out / read.name
    if only_list:
        click.echo("\n".join(_listed(todo)))
        return 0
    _require_packages()
    from heightpose.ablate.work import work

    interrupted = False
    failed: dict[Path, str] = {}
    try:
        failed = work(todo, jobs, devices)
    except KeyboardInterrupt:
        interrupted = True
    document = figures.write_ablation(read, todo, budget, failed, folder)
    write_tables(document, folder)
    click.echo(json.dumps(document, indent=2) if as_json else "\n".join(figures.lines(document)))
    click.echo(f"results saved to {folder}", err=True)
    if interrupted:
        click.echo("interrupted; the same command goes on", err=True)
        return EXIT_INTERRUPTED
    _log(folder, document, wandb_mode)
    return 1 if failed else 0


def _log(folder: Path, document: dict[str, Any], asked: str | None) -> None:
    from heightpose.report.wandb_log import resolve_mode

    mode = resolve_mode(asked)
    if mode != "off":
        from heightpose.report.wandb_ablation import log_ablation

        log_ablation(folder, document, mode)


def write_tables(document: dict[str, Any], folder: Path) -> None:
    """The result as text, CSV and picture."""
    from heightpose.ablate import figures
    from heightpose.ablate.picture import draw_ablation
    from heightpose.runtime.atomic import write_text

    write_text(folder / "table.txt", "\n".join(figures.lines(document)) + "\n")
    table = io.StringIO()
    csv.writer(table, lineterminator="\n").writerows(figures.csv_rows(document))
    write_text(folder / "table.csv", table.getvalue())
    draw_ablation(document, folder / "ablation.png", folder / "ablation.svg")


def _listed(todo: Any) -> list[str]:
    """A line per cell, named as --only reads it, with its overrides; then how much is left."""
    from heightpose.ablate.jobs import FINAL
    from heightpose.ablate.matrix import short_name

    base = todo.measurements[0].cell.labels
    cells = {m.cell.name: m.cell for m in todo.measurements}
    lines = []
    for full_name, cell in cells.items():
        own = [m for m in todo.measurements if m.cell.name == full_name]
        done = sum(m.file.is_file() for m in own)
        changes = ", ".join(f"{k}: {v}" for k, v in cell.overrides.items())
        name = short_name(cell.labels, base)
        lines.append(f"{done}/{plural(len(own), 'seed')}  {name}  ({changes or 'the base configuration'})")
    left = sum(not (t.folder / FINAL).is_file() for t in todo.trainings)
    lines.append(
        f"{plural(len(cells), 'cell')}, {plural(len(todo.trainings), 'training')}, {left} of them left to do"
    )
    return lines


def _require_packages() -> None:
    from importlib.util import find_spec

    for package in ("torch", "timm", "lightning", "safetensors", "onnx", "albumentations", "matplotlib"):
        if find_spec(package) is None:
            raise MissingExtraError(package, "train", "heightpose ablate")
