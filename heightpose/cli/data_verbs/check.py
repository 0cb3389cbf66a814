"""``heightpose data check``: the labels most likely to be wrong, ranked. The work is in heightpose.data.checks."""

from __future__ import annotations

from pathlib import Path

import click

from heightpose.cli._params import FilePath
from heightpose.words import plural

EPILOG = """\b
With --out DIR it writes:
  DIR/
    findings.html      pictures of the first rows, labels drawn, infants' faces blurred
    findings.json      all findings
    findings.csv       the same as a table
    annotations.json   only with --fix: the corrected copy

\b
Examples:
  heightpose data check nursery
  heightpose data check nursery --out report --rows 100
  heightpose data check nursery --no-model
  heightpose data check nursery --fix --out corrected
"""


@click.command("check", epilog=EPILOG)
@click.argument("data", type=FilePath())
@click.option("--out", type=FilePath(), help="Folder for the report (and, with --fix, the copy).")
@click.option(
    "--rows", type=click.IntRange(min=1), default=40, show_default=True, help="Rows to print and picture."
)
@click.option("--model", default="fast", show_default=True, help="Whom to ask: fast, accurate or a path.")
@click.option("--no-model", is_flag=True, help="Judge the labels by themselves.")
@click.option("--no-blur", is_flag=True, help="Leave infants' faces recognisable in findings.html.")
@click.option("--skip-bad", is_flag=True, help="Leave broken entries out instead of stopping at the first.")
@click.option(
    "--fix", is_flag=True,
    help="Repair what is beyond doubt (swaps that model and shapes agree on, byte-identical copies with the same "
    "labels): into --out, or in place with annotations.json.bak kept.",
)  # fmt: skip
def check(
    data: Path,
    out: Path | None,
    rows: int,
    model: str,
    no_model: bool,
    no_blur: bool,
    skip_bad: bool,
    fix: bool,
) -> None:
    """Rank the labels of the data set DATA that are most likely wrong. Nothing is altered without --fix."""
    from heightpose.data.checks import check as find
    from heightpose.data.checks.fix import apply_fixes
    from heightpose.data.coco import Dataset
    from heightpose.errors import ConfigError
    from heightpose.report.label_checks import write_findings
    from heightpose.runtime.atomic import make_folder

    dataset = Dataset.load(data, skip_bad)
    if out is not None:
        if fix and out.resolve() == dataset.path.parent.resolve():
            raise ConfigError(
                "--out is the data set itself", where=out, hint="Leave --out away to repair in place"
            )
        make_folder(out)
    asked = None if no_model else model
    findings = find(dataset, asked)
    click.echo(f"{'rank':>4}  {'sigma':>6}  {'kind':<10}  picture: why")
    for rank, one in enumerate(findings[:rows], 1):
        where = one.place(dataset.path.parent)
        click.echo(f"{rank:>4}  {one.severity:>6.1f}  {one.kind:<10}  {where}: {one.text}")
    more = f", the first {rows} shown" if len(findings) > rows else ""
    click.echo(f"{plural(len(findings), 'finding')} in {plural(len(dataset.items), 'picture')}{more}")
    if out is not None:
        write_findings(out, dataset, findings, rows, model=asked, blur=not no_blur)
        click.echo(f"report in {out}")
    if fix:
        repaired = apply_fixes(dataset.path, findings, out)
        click.echo(f"{len(repaired)} repaired in {out if out is not None else dataset.path}")
