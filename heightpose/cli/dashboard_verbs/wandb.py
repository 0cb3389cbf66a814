"""``heightpose dashboard wandb``: W&B views of every data iteration. The work is in heightpose.report.wandb_views."""

from __future__ import annotations

from pathlib import Path

import click

from heightpose.cli._params import FilePath
from heightpose.words import plural

EPILOG = """\b
Writes:
  wandb-dashboard.json   the views' specification: an overview, a workspace of each iteration, the report

\b
Examples:
  heightpose dashboard wandb --runs runs --runs eval-results
  wandb login && wandb sync runs/*/wandb/offline-run-*
  heightpose dashboard wandb --runs runs --entity our-team --publish

\b
Nothing is contacted without --publish, which needs 'wandb login' before. The runs themselves are logged by heightpose
train and eval; upload offline ones with 'wandb sync'.
"""


@click.command("wandb", epilog=EPILOG)
@click.option(
    "--runs", "roots", type=click.Path(path_type=Path, exists=True, file_okay=False), multiple=True,
    help="Folder with run records, at any depth; repeat for several. By default runs and eval-results, where there.",
)  # fmt: skip
@click.option(
    "--out", type=FilePath(dir_okay=False), default=Path("wandb-dashboard.json"), show_default=True,
    help="The specification.",
)  # fmt: skip
@click.option("--entity", envvar="WANDB_ENTITY", help="W&B team or user; WANDB_ENTITY says the same.")
@click.option(
    "--project",
    envvar="WANDB_PROJECT",
    default="heightpose",
    show_default=True,
    help="W&B project of the runs.",
)
@click.option("--publish", is_flag=True, help="Also save the views in W&B.")
def wandb(roots: tuple[Path, ...], out: Path, entity: str | None, project: str, publish: bool) -> None:
    """Build the W&B workspaces and the report of the data iterations from code."""
    from heightpose.errors import ConfigError, InputError
    from heightpose.report import wandb_views as views
    from heightpose.report.runs import read_runs
    from heightpose.report.wandb_log import logged_in
    from heightpose.runtime.atomic import make_folder, write_json

    found = roots if roots else tuple(p for name in ("runs", "eval-results") if (p := Path(name)).is_dir())
    if not found:
        raise InputError(
            "no folder with runs is here", expected="runs, eval-results", hint="Name it: --runs DIR"
        )
    if publish and entity is None:
        raise ConfigError("whose account?", where="--publish", hint="Add --entity TEAM-OR-USER")
    runs = read_runs(found)
    for one in runs.skipped:
        click.echo(f"skipped {one.path}: {one.why}", err=True)
    built = views.build(runs, entity if entity is not None else "ENTITY", project)
    make_folder(out.parent)
    write_json(out, views.specification(built))
    names = ", ".join(w.name for w in built.workspaces)
    click.echo(f"{plural(len(built.workspaces), 'workspace')} ({names}) and a report in {out}")
    if not publish:
        click.echo(
            "nothing was sent; after 'wandb login' add --entity NAME --publish to save them in W&B", err=True
        )
    elif not logged_in():
        raise ConfigError(
            "W&B: not logged in, nothing was sent",
            where="--publish",
            hint="Run 'wandb login' and the same command again",
        )
    else:
        for address in _published(built):
            click.echo(address)


def _published(built: object) -> list[str]:
    from heightpose.errors import HeightposeError
    from heightpose.report import wandb_views as views

    try:
        return views.publish(built)  # type: ignore[arg-type]
    except Exception as error:  # whatever W&B's client raises: no account, no such team, no network
        raise HeightposeError(
            "W&B did not take the views", got=f"{type(error).__name__}: {error}",
            hint="Check --entity and the network; the specification is saved",
        ) from error  # fmt: skip
