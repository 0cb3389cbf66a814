"""``heightpose data import``: options in, a data set out. The work is in heightpose.data.importers."""

from __future__ import annotations

from pathlib import Path

import click

from heightpose.cli._params import FilePath, FiniteRange
from heightpose.words import plural

EPILOG = """\b
SOURCE is
  coco     a COCO keypoints file, or a folder with annotations/*.json (CVAT's COCO export too)
  mpii     the release's .mat, or HRNet's train.json / valid.json (gt_valid.mat beside it: head boxes)
  lsp      a folder with joints.mat and images/ of LSP or LSPET
  labelme  a folder with one LabelMe .json per picture
  cvat     a "CVAT for images 1.1" export
  label-studio  Label Studio's JSON export, or a folder with it; pictures beside it or in images/
or the .zip of any of them; its pictures are then always copied.

\b
Writes:
  OUT/
    annotations.json    COCO keypoints with our fields, see docs/formats.md
    images/             the pictures, with --copy; otherwise the set points at SOURCE's

\b
A joint map (--map) is YAML, their name to ours; null leaves a joint or a box of that label out:
  r_ankle: right_ankle
  nose: null
COCO-17, MPII and LSP need none. A joint that SOURCE does not label stays unlabelled.

\b
Examples:
  heightpose data import lsp lspet/ --out lspet-set
  heightpose data import mpii mpii/annot/valid.json --out mpii-val --copy
  heightpose data import labelme labels/ --map joints.yaml --out set --skip-bad
  heightpose data import cvat task_7_annotations.zip --out corrected
  heightpose data import label-studio next/export.json --suggested next --out corrected
"""


@click.command("import", epilog=EPILOG)
@click.argument(
    "format_", metavar="FORMAT", type=click.Choice(["coco", "mpii", "lsp", "labelme", "cvat", "label-studio"])
)
@click.argument("source", type=FilePath())
@click.option("--out", type=FilePath(file_okay=False), required=True, help="Folder to fill.")
@click.option("--map", "joint_map", type=FilePath(), help="Joint names: theirs to ours (YAML).")
@click.option("--skip-bad", is_flag=True, help="Name bad items and leave them out instead of stopping.")
@click.option("--copy", is_flag=True, help="Copy the pictures into OUT/images.")
@click.option(
    "--pixels",
    type=click.Choice(["centre", "corner", "matlab"]),
    help="Where SOURCE has the first pixel's centre: at 0 (centre), 0.5 (corner) or 1 (matlab). "
    "matlab for mpii, corner for label-studio, centre for the others by default.",
)
@click.option(
    "--split",
    type=click.Choice(["train", "val", "test"]),
    help="For pictures to which SOURCE gives no split; by default train and a seeded share of val.",
)
@click.option(
    "--val-share",
    type=FiniteRange(0, 1),
    default=0.05,
    show_default=True,
    help="Share of val, by child.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of that choice.")
@click.option(
    "--empty",
    type=click.Choice(["keep", "drop"]),
    help="Pictures without labels: keep them as empty cots, or drop them. keep for coco, drop otherwise.",
)
@click.option(
    "--suggested",
    type=click.Path(path_type=Path, exists=True),
    help="Folder of heightpose data suggest that the pictures come from: whose they are, where the tool dropped it.",
)
@click.option("--overwrite", is_flag=True, help="Replace a data set that is in OUT already.")
def import_(
    format_: str, source: Path, out: Path, joint_map: Path | None, skip_bad: bool, copy: bool, pixels: str | None,
    split: str | None, val_share: float, seed: int, empty: str | None, suggested: Path | None, overwrite: bool,
) -> None:  # fmt: skip
    """Read COCO, MPII, LSP, LabelMe, CVAT or Label Studio labels into a data set.

    Every picture is decoded; a damaged or missing one, or a label that is no number, is named with its file, item and
    field. Nothing is written unless all is well or --skip-bad is given.
    """
    from heightpose.data.importers.run import Options, import_labels

    options = Options(
        joint_map=joint_map, skip_bad=skip_bad, copy=copy, pixels=pixels, split=split, val_share=val_share,
        seed=seed, keep_empty=None if empty is None else empty == "keep", overwrite=overwrite,
        suggested=suggested,
    )  # fmt: skip
    report = import_labels(format_, source, out, options)
    infants = sum(len(item.people) for item in report.items)
    splits = ", ".join(f"{name} {count}" for name, count in report.splits.items())
    click.echo(
        f"{plural(len(report.items), 'picture')} with {plural(infants, 'infant')} in {report.path} ({splits})"
    )
    if report.empty:
        click.echo(f"{plural(report.empty, 'picture')} without labels left out (kept with --empty keep)")
    if report.bad:
        click.echo(f"{plural(len(report.bad), 'bad item')} left out, named above")
