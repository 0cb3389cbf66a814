"""``heightpose data stats``: a data set in numbers and as a picture. The work is in heightpose.data.stats."""

from __future__ import annotations

import json
from pathlib import Path

import click

from heightpose.cli._params import FilePath
from heightpose.errors import ConfigError

EPILOG = """\b
Writes, with --out:
  OUT/
    stats.json    every number
    stats.png     channels, sizes, head directions, joints and strata: look at it

\b
Examples:
  heightpose data stats nursery
  heightpose data stats nursery lspet-set --out report
  heightpose data stats --iteration tucked --out report
  heightpose data stats nursery --json | jq '.columns.nursery.channels'

\b
With --iteration there is a column for every iteration up to that one, each with all it holds.
"""


@click.command("stats", epilog=EPILOG)
@click.argument("data", type=FilePath(), nargs=-1)
@click.option("--iteration", help="The data iteration of this name and those before it, instead of DATA.")
@click.option(
    "--root", type=FilePath(file_okay=False), default=Path("iterations"),
    show_default=True, help="Folder of the iterations.",
)  # fmt: skip
@click.option("--out", type=FilePath(file_okay=False), help="Folder for JSON and picture.")
@click.option("--skip-bad", is_flag=True, help="Leave out damaged pictures and labels with a warning.")
@click.option("--json", "as_json", is_flag=True, help="JSON instead of text.")
def stats(
    data: tuple[Path, ...], iteration: str | None, root: Path, out: Path | None, skip_bad: bool, as_json: bool
) -> None:
    """Channels beside ImageNet's, sizes, head directions, visibility and strata of the data sets DATA."""
    from heightpose.data.stats import channel_sums, document, report_lines, statistics
    from heightpose.runtime.atomic import make_folder, write_json

    if bool(data) == (iteration is not None):
        raise ConfigError("which data?", expected="data set folders or --iteration NAME")
    if out is not None:
        make_folder(out)
    sources = _iterations(iteration, root) if iteration is not None else _datasets(data, skip_bad)
    sums = channel_sums([item for items in sources.values() for item in items], skip_bad)
    columns = {title: statistics(items, sums) for title, items in sources.items()}
    click.echo(json.dumps(document(columns), indent=2) if as_json else "\n".join(report_lines(columns)))
    if out is not None:
        from heightpose.data.stats_picture import draw_statistics

        write_json(out / "stats.json", document(columns))
        draw_statistics(out / "stats.png", columns)
        click.echo(f"Saved to {out / 'stats.json'} and {out / 'stats.png'}", err=as_json)


def _datasets(data: tuple[Path, ...], skip_bad: bool) -> dict:
    """Title -> items; a folder's title is its name, with as much of its path as tells it from the others."""
    from heightpose.data.coco import Dataset

    sources = {}
    for path in data:
        folder = (path if path.is_dir() else path.parent).resolve()
        title = folder.name if folder.name not in sources else "/".join(folder.parts[-2:])
        sources[str(path) if title in sources else title] = Dataset.load(path, skip_bad).items
    return sources


def _iterations(name: str, root: Path) -> dict:
    from heightpose.data.iterations import chain, load

    return {m.name: load(m.name, root, pictures=False).items for m in chain(name, root)}
