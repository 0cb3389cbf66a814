"""``heightpose calibrate plane``: a clip and a camera in, a plane file out. The work is in heightpose.calibrate."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from heightpose.cli._params import FilePath, Pair, Point

EPILOG = """\b
Writes the plane file (--out): {"R": 3x3, "t_cm": [x, y, z]}, mattress frame to camera, how good it is, and the
sheet and the camera that it was found with: clips are compared with them. With --preview a frame with the mattress, a
10 cm grid and the axes (x red, y green) drawn in: look at it.

\b
Examples:
  heightpose calibrate plane empty-cot.mp4 --camera camera.json --sheet sheet.yaml --out plane.json
  heightpose calibrate plane frame.png --camera camera.json --corners 310,40 905,52 930,1010 280,998 \\
      --size 70x132 --out plane.json --preview plane.png

\b
The corners are pixels of the upright frame, in turn around the mattress, from any corner and in either sense.
Exit codes: 0 written, 2 usage or unreadable input, 3 no plane that can be trusted.
"""


@click.command("plane", epilog=EPILOG)
@click.argument("video", metavar="VIDEO")
@click.option("--camera", type=FilePath(), required=True, help="Camera file (JSON).")
@click.option("--sheet", type=FilePath(), help="Layout of the printed sheet (YAML).")
@click.option("--corners", type=Point(), nargs=4, help="Four corners of the mattress, in turn; needs --size.")
@click.option("--size", type=Pair(float, "ACROSSxALONG"), help="The mattress's size in cm, such as 70x132.")
@click.option(
    "--out", type=FilePath(dir_okay=False), default=Path("plane.json"), show_default=True,
    help="The plane file to write.",
)  # fmt: skip
@click.option("--preview", type=FilePath(dir_okay=False), help="A picture to check it by (PNG).")
def plane(
    video: str,
    camera: Path,
    sheet: Path | None,
    corners: tuple[tuple[float, float], ...] | None,
    size: tuple[float, float] | None,
    out: Path,
    preview: Path | None,
) -> int:
    """Find the mattress plane of a camera that stays in place, once, so that no sheet is needed afterwards."""
    import cv2
    import numpy as np

    from heightpose.calibrate import mattress
    from heightpose.errors import ConfigError
    from heightpose.geometry.camera import Camera
    from heightpose.geometry.corners import plane_from_corners
    from heightpose.geometry.sheet import SheetLayout
    from heightpose.runtime.atomic import make_folder, write_json
    from heightpose.runtime.given import identities, refuse_to_replace
    from heightpose.runtime.output import write_picture
    from heightpose.runtime.video import open_clip

    if (corners is None) == (sheet is None) or (corners is None) != (size is None):
        raise ConfigError(
            "the plane comes from the sheet or from four corners",
            expected="--sheet, or --corners with --size",
        )
    if preview is not None and not cv2.haveImageWriter(str(preview)):
        raise ConfigError("not a picture's name", where=preview, expected="--preview NAME.png")
    lens = Camera.load(camera)
    layout = None if sheet is None else SheetLayout.load(sheet)
    make_folder(out.parent)
    with open_clip(video) as clip:
        written = [path for path in (out, preview) if path is not None]
        hint = "Give another file with --out or --preview"
        refuse_to_replace(identities([camera, sheet, *clip.paths]), written, hint)
        lens = lens.for_frames(clip.size_wh, clip.rotation_deg)
        if layout is not None:
            found, size = mattress.plane_of_clip(clip, lens, layout), layout.size_cm
        else:
            assert corners is not None
            assert size is not None
            found = plane_from_corners(np.array(corners), size, lens)
        if preview is not None:
            make_folder(preview.parent)
            drawn = mattress.draw(next(iter(clip.frames())).rgb, found, lens, size)
            write_picture(preview, drawn)
    write_json(out, replace(found, camera=lens).to_dict())
    click.echo(mattress.summary(found))
    click.echo(f"saved to {out}")
    return 0
