"""``heightpose data validate``: every bad item of a data set by name. The work is in heightpose.data.verify."""

from __future__ import annotations

from pathlib import Path

import click

from heightpose.cli._params import FilePath
from heightpose.errors import EXIT_USAGE, HeightposeError
from heightpose.words import plural

EPILOG = """\b
Prints one line per bad item (file, item, field) and a count per data set. Exit code 2 when anything is bad; with
--skip-bad only when nothing can be used of a set, as the bad items are then what loading leaves out.

\b
Examples:
  heightpose data validate nursery
  heightpose data validate nursery lspet-set --skip-bad
"""


@click.command("validate", epilog=EPILOG)
@click.argument("folders", metavar="DIR...", nargs=-1, required=True, type=FilePath())
@click.option("--skip-bad", is_flag=True, help="Bad items are allowed: say what is left without them.")
def validate(folders: tuple[Path, ...], skip_bad: bool) -> int:
    """Read data sets strictly, decode every picture, and name every broken item."""
    from heightpose.data.verify import verify

    failed = False
    for folder in folders:
        try:
            verdict = verify(folder)
        except HeightposeError as error:  # the file as a whole; other sets are still looked at
            click.echo(f"bad: {error}")
            failed = True
            continue
        for line in verdict.bad:
            click.echo(f"bad: {line}")
        infants = sum(len(item.people) for item in verdict.good)
        rest = "left out" if skip_bad else "bad"
        click.echo(
            f"{folder}: {plural(len(verdict.good), 'picture')} with {plural(infants, 'infant')} load, "
            f"{len(verdict.bad)} {rest}"
        )
        failed |= not verdict.good if skip_bad else bool(verdict.bad)
    return EXIT_USAGE if failed else 0
