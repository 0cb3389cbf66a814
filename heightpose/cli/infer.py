"""``heightpose infer``: options in, results out. The work is in heightpose.runtime."""

from __future__ import annotations

import json
import math
from contextlib import closing
from pathlib import Path
from typing import Any

import click

from heightpose.cli._params import DETECTOR, MODEL, FilePath, FiniteRange, Pair, Point, backend_option
from heightpose.cli._streams import tell
from heightpose.errors import EXIT_INTERRUPTED

EPILOG = """\b
Writes, for each input:
  OUT/
    <name of the input>/
      height.json      the answer, or why there is none
      poses.json       joints of every frame, in the frame's pixels
      overlay.mp4      the video with skeleton, state and length drawn in
      preview.png      the clearest frame of it
      provenance.json  hashes, versions and settings

\b
Examples:
  heightpose infer clip.mp4 --camera camera.json --sheet sheet.yaml
  heightpose infer clip.mp4 --sheet sheet.yaml --camera-height-cm 150     no camera file
  heightpose infer clips/ --camera camera.json --plane plane.json --out results --json
  heightpose infer clips/ --jobs 4 --camera camera.json --sheet sheet.yaml --no-overlay
  heightpose infer clips/ --jobs 4 --camera camera.json --sheet sheet.yaml --resume     goes on with the rest
  heightpose infer night.mp4 --start 2:10:00 --end 2:15:00 --fps 5 --camera camera.json --plane plane.json
  heightpose infer rtsp://camera/stream --end 60 --camera camera.json --plane plane.json
  heightpose infer clip.mp4 --camera camera.json --corners 310,40 905,52 930,1010 280,998 --size 70x132
  heightpose infer clip.mp4 --camera camera.json --sheet sheet.yaml --sex female --age-months 6.5

Frames that are not looked at are listed in poses.json, marked "skipped". A stream that drops is
tried again three times, with growing pauses, and then measured from what was seen. Ctrl-C, SIGTERM or SIGHUP ends the
clips at work in the same way, marks their height.json "interrupted" and exits with 130; a second Ctrl-C ends at once,
writing nothing.

\b
Exit codes: 0 measured, 2 usage or unreadable input, 3 rejected, 130 interrupted;
with several inputs the worst of them.
"""


class Moment(click.ParamType):
    """A time in the clip: seconds, or hours, minutes and seconds joined by colons."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        parts = str(value).split(":")
        try:
            seconds = sum(float(part) * 60.0**power for power, part in enumerate(reversed(parts)))
        except ValueError:
            seconds = math.nan
        if not (0 <= seconds < 1e8 and len(parts) <= 3 and all(float(part) >= 0 for part in parts)):
            self.fail(f"expected seconds, or minutes and seconds such as 1:30, got {value}", param, ctx)
        return seconds


@click.command("infer", epilog=EPILOG)
@click.argument("inputs", metavar="VIDEO...", nargs=-1, required=True)
@click.option(
    "--camera", type=FilePath(),
    help="Camera file (JSON). Without it the plane file's is taken, or a sheet seen from a tilted camera tells "
    "the lens; the interval is wider then.",
)  # fmt: skip
@click.option("--sheet", type=FilePath(), help="Layout of the printed sheet (YAML).")
@click.option(
    "--plane", type=FilePath(),
    help="Stored mattress plane of a fixed camera (JSON). Where the clip shows the sheet (--sheet, or the one stored "
    "with the plane), its tags tell whether the camera has moved since.",
)  # fmt: skip
@click.option(
    "--corners", type=Point(), nargs=4,
    help="Four corners of the mattress in the frame's pixels, in turn, instead of a plane file; needs --size.",
)  # fmt: skip
@click.option("--size", type=Pair(float, "ACROSSxALONG"), help="The mattress's size in cm, such as 70x132.")
@click.option(
    "--camera-height-cm",
    type=FiniteRange(min=15, max=1000),
    help="Height of the camera above the mattress. With --camera and a sheet, plane or corners: checks them, such as a "
    "sheet that was not printed at its true size. With --sheet and no --camera: helps to find the lens, and is checked "
    "as far as the sheet tells the height (seen from straight above it does not). With --camera alone: a camera that "
    "looks straight down; coarse.",
)
@click.option(
    "--out", type=FilePath(), default=Path("heightpose-results"), show_default=True,
    help="Folder for the results; each input gets a folder of its own in it.",
)  # fmt: skip
@click.option(
    "--resume", is_flag=True,
    help="Keep what an earlier run finished in --out: the same recordings, measured with the same code, weights and "
    "settings. The others are measured.",
)  # fmt: skip
@MODEL
@DETECTOR
@backend_option("What runs the networks; what is really active is printed.")
@click.option(
    "--tta", default="flip", show_default=True, metavar="KINDS",
    help="Views each crop is looked at in besides itself: none, or some of flip, rotate, scale joined by commas. "
    "docs/tta.md has what each gains and costs.",
)  # fmt: skip
@click.option(
    "--sex", type=click.Choice(["female", "male"]), help="For the WHO z-score; never used to measure."
)
@click.option("--age-months", type=FiniteRange(min=0), help="For the WHO z-score; never used to measure.")
@click.option(
    "--json", "as_json", is_flag=True,
    help="Print height.json on stdout and nothing else; for several inputs a JSON list of them.",
)  # fmt: skip
@click.option(
    "--blur-faces", is_flag=True,
    help="Pixelate the infant's head in overlay and preview, and all outside of its joints, where others may be; the "
    "whole frame where no infant is found. A face right over the infant's body still shows: where there may be one, "
    "give --no-overlay and do not share the preview.",
)  # fmt: skip
@click.option("--no-overlay", is_flag=True, help="Write no overlay.mp4.")
@click.option(
    "--smooth", is_flag=True, help="Draw the skeleton smoothed over time; the numbers stay as they are."
)
@click.option(
    "--every", type=click.IntRange(min=1), default=1, show_default=True, help="Look at every n-th frame only."
)
@click.option(
    "--fps", type=FiniteRange(min=0, min_open=True, max=1000),
    help="Look at no more than so many frames per second, evenly by their own times; instead of --every.",
)  # fmt: skip
@click.option("--start", type=Moment(), help="Look from this time of the clip on: seconds, or 1:02:03.5.")
@click.option("--end", type=Moment(), help="Stop after this time; later frames are not even decoded.")
@click.option(
    "--jobs", type=click.IntRange(min=1, max=256), default=1, show_default=True,
    help="Measure so many inputs at once, each in a process of its own with its share of the cores. One uses two "
    "cores well; with more cores, one job for every two.",
)  # fmt: skip
@click.option(
    "--threads", type=click.IntRange(min=1, max=256),
    help="Processor threads of the networks, per job; by default the cores this process may use, shared by the jobs.",
)  # fmt: skip
def infer(inputs: tuple[str, ...], as_json: bool, **options: Any) -> int:
    """Measure the infant in each VIDEO: a file, a picture, a folder of pictures (one clip), a stream address,
    or a folder of videos (one clip each).

    The last line on stdout is the answer: 68.4 cm (67.6-69.2)  41 of 120 frames
    """
    from heightpose.runtime.batch import Settings, run_all, worst
    from heightpose.runtime.inputs import expand_inputs

    settings = Settings(**options)
    named, is_batch = expand_inputs(inputs)
    items = []
    with closing(run_all(named, settings)) as run:
        for item in run:
            if item.error is not None:
                if not is_batch and item.code != EXIT_INTERRUPTED:
                    raise item.error
                tell(f"error: {item.error}")
            if not as_json and (is_batch or item.error is None):
                click.echo(f"{item.name}: {item.answer}" if is_batch else item.answer)
            items.append(item)
    if as_json:  # at the end, so that stdout holds whole JSON or nothing
        documents = [item.document for item in items]
        click.echo(json.dumps(documents if is_batch else documents[0], indent=2, allow_nan=False))
    return worst(item.code for item in items)
