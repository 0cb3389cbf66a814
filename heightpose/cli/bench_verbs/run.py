"""``heightpose bench run``, also plain ``heightpose bench``. The work is in heightpose.bench."""

from __future__ import annotations

import json
import os
from pathlib import Path

import click

from heightpose.cli._params import FilePath, FiniteRange, backend_option
from heightpose.errors import ConfigError

EPILOG = """\b
Examples:
  heightpose bench
  heightpose bench run examples/clip.mp4 --camera examples/camera.json --sheet examples/sheet.yaml
  heightpose bench run clip.mp4 --camera c.json --plane p.json --model fast --model accurate --json --out bench.json

\b
Measures, on the machine it names:
  - every network through infer's runtime and, in turn with it, the same weights in eager PyTorch f32
  - infer on the clip as a process: frames/s, stages, peak memory; with the overlay its frames/s
  - from the start of a process to its answer on one still
The clip's first frames are played to and fro, at 1280x720 where they have that shape. Stages run beside each other:
their sum is more than a frame takes. In square brackets: the goals on two cores with AMX.
"""

_EXAMPLES = Path("examples")


@click.command("run", epilog=EPILOG)
@click.argument("clip", required=False, type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--camera", type=click.Path(path_type=Path, exists=True), help="Camera file, as for infer.")
@click.option("--sheet", type=click.Path(path_type=Path, exists=True), help="Sheet file, as for infer.")
@click.option("--plane", type=click.Path(path_type=Path, exists=True), help="Plane file, as for infer.")
@click.option(
    "--model",
    "models",
    multiple=True,
    help="fast, accurate or a path; repeat for several. All shipped by default.",
)
@backend_option()
@click.option(
    "--frames", type=click.IntRange(2), default=300, show_default=True, help="Length of the clip played."
)
@click.option(
    "--seconds",
    type=FiniteRange(0, 600),
    default=3.0,
    show_default=True,
    help="Per figure of a network.",
)
@click.option(
    "--rounds", type=click.IntRange(1), default=3, show_default=True, help="Stills for the first answer."
)
@click.option("--out", type=FilePath(dir_okay=False), help="Also write the figures as JSON.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON and nothing else.")
def run(
    clip: Path | None, camera: Path | None, sheet: Path | None, plane: Path | None, models: tuple[str, ...],
    backend: str, frames: int, seconds: float, rounds: int, out: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Measure frames per second, stages, memory and time to the first answer; CLIP is the example by default."""
    # Before torch loads: threads that spin while they wait would slow down what they are compared with.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if clip is None:
        if camera is not None or sheet is not None or plane is not None:
            raise ConfigError(
                "--camera, --sheet and --plane are of a clip, and none is named",
                hint="heightpose bench run CLIP ...",
            )
        clip, camera, sheet = (_EXAMPLES / name for name in ("clip.mp4", "camera.json", "sheet.yaml"))
        if not clip.is_file():
            raise ConfigError(
                "there is no example here", where=clip, hint="Name a clip: heightpose bench run CLIP"
            )
    from heightpose.bench.run import bench, lines
    from heightpose.runtime.atomic import make_folder, no_empty_folders, write_json
    from heightpose.runtime.modelfile import SHIPPED, shipped_path
    from heightpose.runtime.settings import Settings

    chosen = list(models) or [name for name in SHIPPED if shipped_path(name).is_file()]
    given = {"--camera": camera, "--sheet": sheet, "--plane": plane}
    options = [part for name, path in given.items() if path is not None for part in (name, str(path))]
    Settings(camera=camera, sheet=sheet, plane=plane).load_scale()  # told before minutes of measuring
    with no_empty_folders([] if out is None else [out.parent]):
        if out is not None:
            make_folder(out.parent)
        about = bench(clip, options, chosen, backend, frames=frames, seconds=seconds, rounds=rounds)
        # Minutes of measuring are not to be lost for a folder that cannot be written any more.
        click.echo(json.dumps(about, indent=2, allow_nan=False) if as_json else "\n".join(lines(about)))
        if out is not None:
            write_json(out, about)
