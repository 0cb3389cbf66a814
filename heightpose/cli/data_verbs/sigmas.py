"""``heightpose data sigmas``: how far two labellings of the same pictures lie apart, joint by joint."""

from __future__ import annotations

from pathlib import Path

import click

from heightpose.cli._params import FilePath

EPILOG = """\b
Writes:
  OUT               {"sigmas": {"crown": 0.021, ...}, "pairs": {"crown": 212, ...}, "people": 212}

\b
Examples:
  heightpose data sigmas labels-by-anna labels-by-ben --out sigmas.json
  heightpose train run.yaml --data labels     with  loss: {kind: oks, oks_sigmas: file, oks_file: sigmas.json}

\b
COCO's definition: the root mean square distance of two labels of one joint, per axis and labeller, in units of the root
of the box's area. The same pictures must have been labelled twice, each time afresh; left and right count together.
Pictures are the same where their names are, or where several have one name, their folders' names too.
"""


@click.command("sigmas", epilog=EPILOG)
@click.argument("first", type=click.Path(path_type=Path, exists=True))
@click.argument("second", type=click.Path(path_type=Path, exists=True))
@click.option(
    "--out", type=FilePath(dir_okay=False), default=Path("sigmas.json"), show_default=True,
    help="The file to write.",
)  # fmt: skip
def sigmas(first: Path, second: Path, out: Path) -> None:
    """Sigmas of the OKS loss, measured on two labellings FIRST and SECOND of the same pictures."""
    from heightpose.data.coco import Dataset
    from heightpose.runtime.atomic import write_json
    from heightpose.train.oks_sigmas import measure

    found = measure(Dataset.load(first), Dataset.load(second))
    write_json(out, found)
    for name, sigma in found["sigmas"].items():
        click.echo(f"{name:<15} {sigma:.4f}  of {found['pairs'][name]} pairs")
    click.echo(f"Saved to {out}")
