"""``heightpose calibrate check``: pictures and a camera file in, a verdict out. The work is in heightpose.calibrate."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from heightpose.cli._params import FilePath
from heightpose.cli.calibrate_verbs._boards import board_options

EPILOG = """\b
Examples:
  heightpose calibrate check clip.mp4 --camera camera.json --sheet sheet.yaml
  heightpose calibrate check board-pictures/ --camera camera.json --board charuco

\b
Exit codes: 0 the file fits, 3 it does not, 2 usage, unreadable input, or no board seen.

A sheet that is seen squarely from above cannot tell a wrong focal length from another camera height; the verdict is
then fits_focal_unknown (exit code 0): nothing speaks against the file, but the focal length was not judged. What a
tilted sheet or a moved board shows is judged fully: fits.
"""


@click.command("check", epilog=EPILOG)
@click.argument("inputs", metavar="IMAGES_OR_VIDEO...", nargs=-1, required=True)
@click.option("--camera", type=FilePath(), required=True, help="The camera file to check (JSON).")
@board_options
@click.option(
    "--json", "as_json", is_flag=True, help="Print the verdict and its numbers as JSON and nothing else."
)
def check(inputs: tuple[str, ...], camera: Path, as_json: bool, **board_given: Any) -> int:
    """Say whether a camera file still fits its pictures, from a cot sheet or board seen in them."""
    from heightpose.calibrate import check as judging
    from heightpose.calibrate.conventions import other_convention
    from heightpose.calibrate.run import find_views, open_pictures, stored_size
    from heightpose.calibrate.views import choose
    from heightpose.cli.calibrate_verbs._boards import make_board
    from heightpose.errors import EXIT_MEASURED, EXIT_REJECTED
    from heightpose.geometry.camera import Camera

    lens = Camera.load(camera)
    with open_pictures(inputs) as clip:
        board = make_board(clip, board_given)
        views, _ = find_views(clip, board)
        size_wh = stored_size(clip)
        used, _ = choose(views, board, size_wh, judging.MAX_VIEWS)
        verdict = judging.check(used, lens, size_wh)
        if verdict.code == "board":
            hint = other_convention(clip, board)
            verdict = verdict if hint is None else replace(verdict, text=f"{verdict.text}. {hint}")
    if as_json:
        click.echo(json.dumps(verdict.to_dict(), indent=2, allow_nan=False))
    else:
        click.echo(f"{camera}: {verdict.text}")
    return EXIT_MEASURED if verdict.fits else EXIT_REJECTED
