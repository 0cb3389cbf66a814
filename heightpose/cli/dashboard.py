"""``heightpose dashboard``: the development on one page. The work is in heightpose.report.dashboard.

Verbs below it are one module each in :mod:`heightpose.cli.dashboard_verbs`.
"""

from __future__ import annotations

from pathlib import Path

import click

from heightpose.cli._params import FilePath, require_none_before_verb
from heightpose.cli.lazy import LazyGroup
from heightpose.words import plural

#: Listed only where the module is there.
VERBS = {"wandb": "Build the W&B workspace and report of every data iteration."}

#: Where the other verbs leave their records by default.
_DEFAULTS = ("runs", "eval-results", "ablations")

EPILOG = """\b
Writes:
  dashboard.html   the page: everything inside, nothing fetched, infants' faces blurred
  ADVICE.json      with --advice: the ranked strata, for data iteration new and data suggest

\b
Reads, below every --runs folder:
  run.json, config.yaml, metrics.json, log.csv    trainings
  result.json, records/                           evaluations
  ablation.json                                   ablations

\b
Examples:
  heightpose dashboard
  heightpose dashboard --runs runs --runs eval-results --out report.html
  heightpose dashboard --checks report/findings.json --pictures eval/testsets/nursery-stills
  heightpose dashboard --target home.yaml --advice next.json

\b
A record that is corrupted or half-written is named and left out. Every figure on the page names the record that it is
from, and the page's last table has each record's file and the command that makes it again.
"""


@click.group(
    "dashboard", cls=LazyGroup, package="heightpose.cli.dashboard_verbs", verbs=VERBS, epilog=EPILOG,
    invoke_without_command=True,
)  # fmt: skip
@click.option(
    "--runs", "roots", type=FilePath(), multiple=True,
    help=f"Folder with run records, at any depth; repeat for several. By default those of {', '.join(_DEFAULTS)} that "
    "are there.",
)  # fmt: skip
@click.option(
    "--out", type=FilePath(dir_okay=False), default=Path("dashboard.html"), show_default=True,
    help="The page.",
)  # fmt: skip
@click.option(
    "--checks", type=click.Path(path_type=Path, exists=True, dir_okay=False), multiple=True,
    help="findings.json of heightpose data check; repeat for several.",
)  # fmt: skip
@click.option(
    "--pictures", type=click.Path(path_type=Path, exists=True, file_okay=False), multiple=True,
    help="Folder of a test set, for its worst cases; those under eval/testsets are found by themselves.",
)  # fmt: skip
@click.option(
    "--target", type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="YAML, stratum: {value: share}: what the product will see. By default the test set's own shares.",
)  # fmt: skip
@click.option(
    "--advice", type=FilePath(dir_okay=False),
    help="Also write the ranked strata as JSON.",
)  # fmt: skip
@click.option("--title", default="How the models develop", show_default=True, help="The page's heading.")
@click.option("--no-blur", is_flag=True, help="Leave infants' faces recognisable.")
@click.pass_context
def dashboard(
    ctx: click.Context, roots: tuple[Path, ...], out: Path, checks: tuple[Path, ...], pictures: tuple[Path, ...],
    target: Path | None, advice: Path | None, title: str, no_blur: bool,
) -> None:  # fmt: skip
    """One static page: timeline, overfit, strata, what to annotate next, worst cases, ablations."""
    if ctx.invoked_subcommand is not None:
        require_none_before_verb(ctx)
        return
    from heightpose.errors import InputError
    from heightpose.report.advice_target import read_target, unknown_to
    from heightpose.report.dashboard import write_dashboard
    from heightpose.report.dashboard_view import Options
    from heightpose.runtime.atomic import make_folder, write_json

    found = roots if roots else tuple(p for d in _DEFAULTS if (p := Path(d)).is_dir())
    if not found:
        raise InputError(
            "no folder with runs is here", expected=", ".join(_DEFAULTS), hint="Name it: --runs DIR"
        )
    shares = None if target is None else read_target(target)
    for path in (out, advice):
        if path is not None:
            make_folder(path.parent)
    view = write_dashboard(found, out, Options(checks, pictures, shares, not no_blur, title))
    for one in view.runs.skipped:
        click.echo(f"skipped {one.path}: {one.why}", err=True)
    if view.behind:
        click.echo(view.behind, err=True)
    for key in () if shares is None else unknown_to(view.ranking, shares):
        click.echo(f"--target: the test set has nobody with {key}, so that it cannot be ranked", err=True)
    if advice is not None:
        write_json(advice, view.ranking.document())
        click.echo(f"advice saved to {advice}", err=True)
    if view.ranking.advice:
        first = [a for a in view.ranking.advice[:3] if a.weight > 0]
        told = (f"{a.key} {100 * a.weight:.0f} %" + (f" ({a.caveat})" if a.caveat else "") for a in first)
        click.echo(f"annotate next: {', '.join(told)}")
    runs = view.runs
    click.echo(
        f"{plural(len(view.line.steps), 'step')} from {plural(len(runs.trainings), 'training')}, "
        f"{plural(len(runs.evaluations), 'evaluation')}, {plural(len(runs.ablations), 'ablation')}; "
        f"{plural(len(runs.skipped), 'record')} skipped. Page in {out}"
    )
