"""``heightpose calibrate camera``: options in, camera file and report out. The work is in heightpose.calibrate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from heightpose.cli._params import FilePath
from heightpose.cli.calibrate_verbs._boards import board_options

EPILOG = """\b
Writes:
  camera.json          the camera file (--out)
  camera.report.json   every picture's fate and error, standard errors, lenses tried, advice
  camera.report.png    where the corners were, what is left over, error per view

\b
Examples:
  heightpose calibrate board --out board.pdf                        print one, glue it to something flat
  heightpose calibrate camera pictures/ --board charuco --out camera.json
  heightpose calibrate camera board.mp4 --board chessboard --squares 10x7 --model fisheye --out camera.json
  heightpose calibrate camera left*.jpg --board chessboard --out left.json
  heightpose calibrate camera sheet.mp4 --sheet sheet.yaml --out camera.json

\b
Take 15 to 25 pictures (or a slow video): board in the middle, in every corner, near and far, tilted 20 to 45 degrees
each way; focus and zoom fixed, at the size the cot videos will have.
"""


@click.command("camera", epilog=EPILOG)
@click.argument("inputs", metavar="IMAGES_OR_VIDEO...", nargs=-1, required=True)
@board_options
@click.option(
    "--model", type=click.Choice(["auto", "pinhole", "fisheye"]), default="auto", show_default=True,
    help="Lens model; auto takes what predicts held-out views best.",
)  # fmt: skip
@click.option(
    "--max-views", type=click.IntRange(5, 200), default=40, show_default=True, help="Views to use at most."
)
@click.option(
    "--out", type=FilePath(dir_okay=False), default=Path("camera.json"), show_default=True,
    help="The camera file to write.",
)  # fmt: skip
def camera(inputs: tuple[str, ...], model: str, max_views: int, out: Path, **board_given: Any) -> int:
    """Find a camera's lens from pictures or a video of a printed board."""
    from heightpose.calibrate.picture import draw
    from heightpose.calibrate.run import calibrate, open_pictures
    from heightpose.cli.calibrate_verbs._boards import make_board
    from heightpose.runtime.atomic import make_folder, write_json
    from heightpose.runtime.given import identities, refuse_to_replace
    from heightpose.runtime.output import write_picture

    make_folder(out.parent)
    picture, report = out.with_suffix(".report.png"), out.with_suffix(".report.json")
    models = ("pinhole", "fisheye") if model == "auto" else (model,)
    with open_pictures(inputs) as clip:
        given = identities([board_given["sheet"], *clip.paths])
        refuse_to_replace(given, (out, picture, report), "Give another file with --out")
        found = calibrate(clip, make_board(clip, board_given), models, max_views)
    write_picture(picture, draw(found))
    write_json(report, found.report())
    write_json(out, found.solution.camera.to_dict())
    for line in found.summary():
        click.echo(line)
    click.echo(f"saved to {out}, report in {picture.name}")
    return 0
