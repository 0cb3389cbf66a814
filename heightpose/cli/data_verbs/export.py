"""``heightpose data export``: a data set as plain COCO. The work is in heightpose.data.export."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from heightpose.cli._params import FilePath
from heightpose.words import plural

if TYPE_CHECKING:
    from heightpose.data.coco import Dataset

EPILOG = """\b
Writes:
  OUT/
    annotations/person_keypoints_<split>.json   COCO keypoints, one file per split
    images/                                     the pictures; frames of videos as PNG

\b
Opening it:
  CVAT          upload one .json as "COCO Keypoints 1.0" to a task of its pictures with our 21-point skeleton
  FiftyOne      Dataset.from_dir(dataset_type=fo.types.COCODetectionDataset, data_path=OUT/images,
                labels_path=OUT/annotations/person_keypoints_train.json, label_types="keypoints")
  Label Studio  export with --for label-studio, then: label-studio-converter import coco -i FILE.json -o tasks.json

\b
Examples:
  heightpose data export nursery --out for-cvat
  heightpose data export nursery --out for-ls --for label-studio --split val
  heightpose data import coco for-cvat --out back-again
"""


@click.command("export", epilog=EPILOG)
@click.argument("data", type=FilePath())
@click.option("--out", type=FilePath(file_okay=False), required=True, help="Folder to fill.")
@click.option(
    "--for",
    "tool",
    type=click.Choice(["coco", "cvat", "fiftyone", "label-studio"]),
    default="coco",
    show_default=True,
    help="Label Studio cannot read the empty segmentation that CVAT insists on; the other three are one form.",
)
@click.option("--split", type=click.Choice(["train", "val", "test"]), help="Only this split.")
@click.option("--no-pictures", is_flag=True, help="Labels only.")
@click.option(
    "--pixels",
    type=click.Choice(["centre", "corner"]),
    default="centre",
    show_default=True,
    help="corner adds half a pixel, for tools whose canvas starts at the picture's corner; import it back with "
    "--pixels corner.",
)
@click.option("--skip-bad", is_flag=True, help="Name bad items and leave them out instead of stopping.")
@click.option("--overwrite", is_flag=True, help="Replace labels and pictures that are in OUT already.")
def export(
    data: Path, out: Path, tool: str, split: str | None, no_pictures: bool, pixels: str, skip_bad: bool,
    overwrite: bool,
) -> None:  # fmt: skip
    """Write a data set as plain COCO for annotation tools.

    Pictures of infants leave with it: hand it on only where that is allowed.
    """
    from heightpose.data.coco import Dataset
    from heightpose.data.export import export_coco
    from heightpose.data.importers.run import OFFSETS

    loaded = Dataset.load(data, skip_bad=skip_bad)
    chosen = loaded if split is None else loaded.subset(split)
    if not no_pictures:
        chosen = _readable(chosen, skip_bad)
    written = export_coco(
        chosen,
        out,
        pictures=not no_pictures,
        segmentation=tool != "label-studio",
        pixel_offset=OFFSETS[pixels],
        overwrite=overwrite,
    )
    click.echo(f"{plural(written.pictures, 'picture')} with {plural(written.infants, 'infant')}")
    for path in written.files:
        click.echo(f"  {path}")


def _readable(data: Dataset, skip_bad: bool) -> Dataset:
    """The data set without pictures that cannot be decoded; FileFormatError for the first one unless ``skip_bad``."""
    import dataclasses

    from heightpose.data.verify import broken_pictures
    from heightpose.errors import FileFormatError

    broken = broken_pictures(data.items)
    for number, text in broken.items():
        line = f"{data.path}: image {number}, {text}"
        if not skip_bad:
            raise FileFormatError(line, hint="Leave it out with --skip-bad")
        click.echo(f"skipped: {line}", err=True)
    return dataclasses.replace(data, items=tuple(i for i in data.items if i.id not in broken))
