"""``heightpose data preview``: a grid of augmented samples, for a person to judge."""

from __future__ import annotations

from pathlib import Path

import click

from heightpose.cli._params import FilePath
from heightpose.words import plural

EPILOG = """\b
Writes:
  preview.png    a grid of samples as training sees them; below each what varied it

\b
Joints: the infant's left orange, its right blue, the midline white; a hidden one is a ring.
With --detector: whole frames with boxes, a line from the middle towards the head.

\b
Examples:
  heightpose data preview nursery --config configs/pose-fast.yaml --out preview.png
  heightpose data preview nursery --config configs/detector.yaml --detector --count 12 --seed 3
"""


@click.command("preview", epilog=EPILOG)
@click.argument("directory", metavar="DIR", type=FilePath())
@click.option(
    "--config",
    required=True,
    type=FilePath(),
    help="Training configuration whose 'augment' to show.",
)
@click.option("--out", type=FilePath(dir_okay=False), default="preview.png", show_default=True)
@click.option("--count", type=click.IntRange(1, 400), default=24, show_default=True, help="Samples to draw.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the variations.")
@click.option("--detector", is_flag=True, help="Whole frames as the detector learns from, not head-up crops.")
def preview(directory: Path, config: Path, out: Path, count: int, seed: int, detector: bool) -> None:
    """Draw augmented samples of the data set in DIR, to judge whether they look real."""
    from heightpose.config import TrainConfig
    from heightpose.data.coco import Dataset
    from heightpose.report.samples import write_preview

    settings = TrainConfig.load(config)
    dataset = Dataset.load(directory, settings.data.skip_bad)
    drawn = write_preview(dataset, settings, out, count=count, seed=seed, detector=detector)
    click.echo(f"{plural(drawn, 'sample')} drawn. Picture in {out}")
