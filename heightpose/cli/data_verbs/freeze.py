"""``heightpose data freeze``: a folder becomes a test set. The work is in heightpose.data.testset."""

from __future__ import annotations

from pathlib import Path

import click

from heightpose.cli._params import FilePath
from heightpose.words import plural

EPILOG = """\b
Writes:
  FOLDER/
    testset.yaml    name, version and the SHA-256 of every file that the set uses

\b
Examples:
  heightpose data freeze eval/testsets/winter --name winter
  heightpose data freeze eval/testsets/winter --name winter --version 2
  heightpose data freeze eval/testsets/winter --check

\b
FOLDER holds annotations.json (labelled pictures), clips.json (clips of children of known length) or both. Any
later change is refused when the set is loaded, until it is frozen again as a later version. What is not given
stays as it was frozen.
"""


@click.command("freeze", epilog=EPILOG)
@click.argument("folder", type=FilePath())
@click.option("--name", help="The set's name; by default the one it is frozen under, else the folder's.")
@click.option(
    "--version", help="The set's version, a later one if it changed; by default the frozen one, else 1."
)
@click.option("--check", is_flag=True, help="Only check an already frozen set (a name will do for FOLDER).")
def freeze(folder: Path, name: str | None, version: str | None, check: bool) -> None:
    """Freeze the test set in FOLDER by hash, or check it."""
    from heightpose.data.testset import TestSet
    from heightpose.data.testset import freeze as freeze_set

    if check:
        testset = TestSet.load(folder)
    else:
        number = int(version) if version is not None and version.isdecimal() else version
        testset = freeze_set(folder, name, number)
    pictures = 0 if testset.annotations is None else len(testset.annotations.items)
    click.echo(
        f"{testset.name} version {testset.version}: {plural(len(testset.children()), 'child')}, "
        f"{plural(pictures, 'labelled picture')}, {plural(len(testset.clips), 'clip')}, "
        f"{plural(len(testset.files), 'file')} "
        + ("unchanged" if check else f"frozen in {testset.folder / 'testset.yaml'}")
    )
