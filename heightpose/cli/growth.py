"""``heightpose growth``: measurements of one child in, a chart on the WHO curves out."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import click

from heightpose.cli._params import FilePath

EPILOG = """\b
Writes:
  OUT/
    growth.html   chart and table in one file, for light and dark screens
    growth.svg    the chart
    growth.png    the chart as pixels
    growth.csv    the table, rejected measurements included

\b
Examples:
  heightpose growth may/height.json july/height.json
  heightpose growth may/height.json july/height.json --sex female --age-months 4.5,6.5
  heightpose growth --visits visits.csv --born 2025-01-14 --out anna

\b
visits.csv has one line per measurement: file,age_months,sex or, with --born, file,date,sex (files relative to it);
other columns are refused, and with --born so is a line with neither date nor age_months.
Age and sex are read from each height.json where `heightpose infer --sex --age-months` stored them; what is given here
goes first. They place a length on the curves and never change it. Rejected measurements, and those after 24 months
(730 days), where the WHO standard for length ends, are listed, not plotted. Lengths beyond the z-scores that the WHO
takes for plausible (-6 to +6) are plotted and called doubtful.

\b
Exit codes: 0 plotted, 2 usage or unreadable input, 3 every measurement was rejected.
"""


class _Ages(click.ParamType):
    """``4.5,6.5``: one age per file."""

    name = "MONTHS,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, tuple):
            return value
        try:
            return tuple(float(part) for part in str(value).split(","))
        except ValueError:
            self.fail(f"expected ages in months, such as 4.5,6.5, got {value}", param, ctx)


@click.command("growth", epilog=EPILOG)
@click.argument("measurements", metavar="HEIGHT.JSON...", nargs=-1, type=FilePath())
@click.option("--visits", type=FilePath(), help="List of measurements (CSV), in their place.")
@click.option("--sex", type=click.Choice(["female", "male"]), help="Of the child; for the WHO curves only.")
@click.option("--age-months", type=_Ages(), help="Age at each measurement, in the order they are named.")
@click.option(
    "--born",
    type=click.DateTime(["%Y-%m-%d"]),
    metavar="YYYY-MM-DD",
    help="Day of birth, where --visits gives dates.",
)
@click.option(
    "--out", type=FilePath(file_okay=False), default=Path("heightpose-growth"),
    show_default=True, help="Folder for the chart.",
)  # fmt: skip
def growth(
    measurements: tuple[Path, ...],
    visits: Path | None,
    sex: str | None,
    age_months: tuple[float, ...] | None,
    born: datetime | None,
    out: Path,
) -> int:
    """Plot the lengths of one child on the WHO curves, with intervals and what changed between visits.

    Each HEIGHT.JSON is what `heightpose infer` wrote, or the folder that holds it.
    """
    from heightpose.errors import EXIT_MEASURED, EXIT_REJECTED, ConfigError
    from heightpose.report import growth as report
    from heightpose.report.growth_visits import Request, load_visits, requests_from_csv
    from heightpose.runtime.atomic import make_folder
    from heightpose.runtime.given import identities, refuse_to_replace

    if bool(measurements) == (visits is not None):
        raise ConfigError("what to plot is not said", expected="height.json files, or --visits with a CSV")
    if visits is not None:
        if age_months is not None:
            raise ConfigError("--age-months goes with files; with --visits the CSV gives the ages")
        requests = requests_from_csv(visits, None if born is None else born.date())
    else:
        if born is not None:
            raise ConfigError("--born goes with the dates of --visits; with files give --age-months")
        if age_months is not None and len(age_months) != len(measurements):
            raise ConfigError(
                "one age per measurement is needed", expected=len(measurements), got=len(age_months)
            )
        ages = age_months if age_months is not None else (None,) * len(measurements)
        requests = [Request(path, age) for path, age in zip(measurements, ages, strict=True)]
    plotted, refused, files = load_visits(requests, sex)
    if plotted:
        given = identities([visits, *files, *(item.path for item in refused)])
        refuse_to_replace(given, (out / name for name in report.FILES), "Choose another folder with --out")
        make_folder(out)
        report.write_growth(out, plotted, refused, files)
        click.echo(report.text_table(plotted))
    for doubt in report.doubts(plotted):
        click.echo(f"doubtful: {doubt}")
    for item in refused:
        click.echo(report.refused_text(item))
    if not plotted:
        click.echo("nothing to plot: no measurement gave a length", err=True)
        return EXIT_REJECTED
    click.echo(f"saved to {out / 'growth.html'} (and .svg, .png, .csv)", err=True)
    return EXIT_MEASURED
