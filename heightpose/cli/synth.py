"""``heightpose synth``: options in, a rendered data set out. The work is in heightpose.synth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from heightpose.cli._params import FilePath, FiniteRange
from heightpose.cores import usable_cores
from heightpose.errors import ConfigError, MissingExtraError
from heightpose.synth.outfits import OUTFITS
from heightpose.words import plural

EPILOG = """\b
Writes:
  OUT/
    annotations.json          COCO keypoints with child, strata and split
    images/NNNNNN.jpg         stills, or
    clips/NNNNNN.mp4          clips (--clips), each with NNNNNN.camera.json, and one sheet.yaml
    clips.json, testset.yaml  lengths, strata and file hashes of the clips
    items/NNNNNN.json         every item's full truth: joints in 3D, camera, plane, child
    contact_sheet.png         random samples with their joints drawn: look at it

\b
Examples:
  heightpose synth --out nursery --count 2000 --seed 1
  heightpose synth --out testclips --count 10 --seed 7 --clips --easy --frames 10
  heightpose synth --out bodies --count 1500 --seed 77 --bodies --frames 8
  heightpose synth --fit --count 200 --seed 1
  heightpose synth --out photo --count 500 --seed 3 --textures swatches
  heightpose synth --out bags --count 300 --seed 4 --near --outfit "sleeping bag"
  heightpose synth --out big --count 4 --seed 2 --clips --size 1280x720 --samples 16

\b
The same seed gives the same items. Run it again to go on after an interruption. Give every test set a seed that
no training set has: a child is drawn from its seed.
"""


def _size(_ctx: click.Context, _param: click.Parameter, value: str | None) -> tuple[int, int] | None:
    if value is None:
        return None
    parts = value.lower().split("x")
    if len(parts) != 2 or not all(p.isdigit() and 64 <= int(p) <= 4096 for p in parts):
        raise click.BadParameter("expected WIDTHxHEIGHT between 64 and 4096, such as 1280x720")
    return int(parts[0]), int(parts[1])


@click.command("synth", epilog=EPILOG)
@click.option("--out", type=FilePath(file_okay=False), help="Folder to fill.")
@click.option(
    "--count", type=click.IntRange(min=1), help="How many stills, clips or children; 200 children with --fit."
)
@click.option("--seed", type=click.IntRange(min=0), help="Seed of the children and scenes; 0 with --fit.")
@click.option(
    "--fit",
    is_flag=True,
    help="No pictures: print how COUNT drawn children fit WHO length-for-age, and how their proportions spread.",
)
@click.option("--clips", is_flag=True, help="Short H.264 clips with moving limbs instead of stills.")
@click.option(
    "--bodies",
    is_flag=True,
    help="No pictures: OUT/bodies.npz with the 3D joints of COUNT moving children in --frames frames each, which "
    "the elevation model learns from (python -m heightpose.train.lift).",
)
@click.option(
    "--frames", type=click.IntRange(1, 2000), default=10, show_default=True, help="Frames per clip."
)
@click.option("--fps", type=FiniteRange(1, 60), default=5.0, show_default=True, help="Frame rate of clips.")
@click.option(
    "--size",
    callback=_size,
    help="Picture size, WIDTHxHEIGHT; by default small and varied for stills, 960x540 for clips.",
)
@click.option(
    "--samples",
    type=click.IntRange(1, 1024),
    help="Light paths per pixel; 4 for stills, 12 for clips by default.",
)
@click.option("--easy", is_flag=True, help="On the back, legs mostly extended, uncovered, whole cot in view.")
@click.option(
    "--posture", type=click.Choice(["back", "side", "front", "loose"]),
    help="Only this posture; loose: on the back, legs held anywhere instead of resting on the mattress.",
)  # fmt: skip
@click.option(
    "--near", is_flag=True,
    help="The infant fills most of the picture, at any turn: twice the detail at the same cost, for pose nets.",
)  # fmt: skip
@click.option("--legs", type=click.Choice(["extended", "mixed", "tucked"]), help="Only these legs.")
@click.option("--outfit", type=click.Choice(list(OUTFITS)), help="Only this outfit.")
@click.option("--empty", type=FiniteRange(0, 1), help="Share of empty cots (stills: 0.07 by default).")
@click.option("--twins", type=FiniteRange(0, 1), help="Share of cots with twins (stills: 0.04 by default).")
@click.option("--arm", type=FiniteRange(0, 1), help="Share with an adult's arm in view (0.1 by default).")
@click.option("--blanket", type=FiniteRange(0, 1), help="Share with a blanket (0.2 by default).")
@click.option("--infrared", type=FiniteRange(0, 1), help="Share of infrared nights (0.25 by default).")
@click.option("--fisheye", type=FiniteRange(0, 1), help="Share of fisheye lenses (0.15 by default).")
@click.option(
    "--sheet",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Sheet layout; the shipped 70x132 one by default.",
)
@click.option(
    "--textures",
    type=FilePath(),
    help="Folder of photographed swatches for cloth and floors; procedural ones by default.",
)
@click.option(
    "--split",
    type=click.Choice(["train", "val", "test"]),
    help="Put all items in one split; by default 7 % of the children are val.",
)
@click.option(
    "--per-child", type=click.IntRange(min=1), default=1, show_default=True,
    help="Stills or clips of each child, for repeatability.",
)  # fmt: skip
@click.option("--jobs", type=click.IntRange(min=1), help="Processes; all cores by default.")
def synth(
    out: Path | None, count: int | None, seed: int | None, fit: bool, clips: bool, bodies: bool, frames: int,
    fps: float, size: tuple[int, int] | None,
    samples: int | None, easy: bool, posture: str | None, near: bool, legs: str | None,
    outfit: str | None, empty: float | None, twins: float | None, arm: float | None, blanket: float | None,
    infrared: float | None, fisheye: float | None, sheet: Path | None, textures: Path | None,
    split: str | None, per_child: int, jobs: int | None,
) -> None:  # fmt: skip
    """Render a synthetic nursery with exact joints, camera and crown-heel length.

    Infants (Anny bodies) lie on a tagged sheet in a cot and are path-traced by Mitsuba.
    """
    pictures = {
        "clips": clips or None, "size": size, "samples": samples, "easy": easy or None, "near": near or None,
        "posture": posture, "legs": legs, "outfit": outfit, "empty": empty, "twins": twins, "arm": arm,
        "blanket": blanket, "infrared": infrared, "fisheye": fisheye, "sheet": sheet, "textures": textures,
        "split": split,
    }  # fmt: skip
    if fit:
        _require_no_pictures("--fit", pictures)
    elif bodies:
        _require_no_pictures("--bodies", pictures | {"posture": None})
    else:
        _require_no_contradiction(easy, near, posture, legs)
    for package in ("torch", "anny", "mitsuba"):
        if not _installed(package):
            raise MissingExtraError(package, "synth", "heightpose synth")
    if fit:
        click.echo(_fit_text(seed if seed is not None else 0, count if count is not None else 200))
        return
    if out is None or count is None or seed is None:
        missing = next(n for n, v in (("out", out), ("count", count), ("seed", seed)) if v is None)
        raise click.UsageError(f"Missing option '--{missing}'.")
    jobs = jobs if jobs is not None else usable_cores()
    if bodies:
        from heightpose.synth.bodies import simulate

        path = simulate(out, seed=seed, children=count, frames=frames, jobs=jobs, posture=posture)
        click.echo(f"{plural(count, 'child')} in {plural(frames, 'frame')} each in {path}")
        return
    from heightpose.geometry.sheet import shipped_sheet
    from heightpose.synth.generate import generate
    from heightpose.synth.nursery import Recipe
    from heightpose.synth.scenario import Options

    kind = "clips" if clips else "stills"
    given: dict[str, Any] = {
        "near": near or None, "size_wh": size, "samples": samples, "posture": posture, "legs": legs, "outfit": outfit,
        "empty": empty, "twins": twins, "arm": arm, "blanket": blanket, "infrared": infrared, "fisheye": fisheye,
    }  # fmt: skip
    options = replace(
        Options.usual(kind, easy=easy), **{name: value for name, value in given.items() if value is not None}
    )
    recipe = Recipe(
        seed=seed,
        kind=kind,
        options=options,
        frames=frames if clips else 1,
        fps=fps,
        split=split if split is not None else ("test" if clips else None),
        per_child=per_child,
        sheet=str(sheet if sheet is not None else shipped_sheet()),
        textures=None if textures is None else str(textures),
    )
    generate(recipe, out, count, jobs)
    click.echo(f"{count} {kind} in {out}. Look at {out / 'contact_sheet.png'}")


def _require_no_contradiction(easy: bool, near: bool, posture: str | None, legs: str | None) -> None:
    if easy and (posture or legs):
        raise ConfigError(
            "--easy already sets posture and legs", hint="Give either --easy or --posture/--legs"
        )
    if posture == "loose" and legs:
        raise ConfigError("--posture loose draws the legs itself", hint="Leave --legs out")
    if easy and near:
        raise ConfigError("--easy keeps the whole cot in view", hint="Leave out either --easy or --near")


def _require_no_pictures(mode: str, options: Mapping[str, object]) -> None:
    """Without pictures an option about them would be passed over in silence."""
    idle = [f"--{name}" for name, value in options.items() if value is not None]
    if idle:
        raise ConfigError(
            f"{mode} makes no pictures, so {', '.join(idle)} would change nothing", hint="Leave out either"
        )


def _fit_text(seed: int, count: int) -> str:
    from tqdm import tqdm

    from heightpose.synth.body import BodyModel
    from heightpose.synth.fit import draw, fit_text, measure
    from heightpose.synth.nursery import child_seed

    seeds = tqdm((child_seed(seed, k) for k in range(count)), total=count, unit="child", disable=None)
    return fit_text(measure(draw(BodyModel(), seeds)))


def _installed(package: str) -> bool:
    from importlib.util import find_spec

    return find_spec(package) is not None
