"""``heightpose data suggest``: unlabelled videos in, the frames worth a label out. The work is in data.suggest."""

from __future__ import annotations

from pathlib import Path

import click

from heightpose.cli._params import MODEL, FilePath, FiniteRange, backend_option
from heightpose.words import plural

EPILOG = """\b
Writes:
  OUT/
    images/CLIP/FRAME.png                          the frames
    annotations/person_keypoints_default.json      the model's joints, COCO keypoints, for CVAT
    label-studio.json, label-studio-config.xml     the same as Label Studio tasks, and the interface for them
    suggestions.csv, suggestions.json              what was picked, how much it is doubted, and why
    contact-sheet.html                             the same with pictures, infants' faces blurred

\b
Examples:
  heightpose data suggest --unlabelled videos/ --budget 200 --out next
  heightpose data suggest --unlabelled videos/ --budget 200 --out next --advice advice.json --labelled nursery
  heightpose data suggest --unlabelled stills/ --stills --budget 50 --out next --model runs/pose/pose.onnx

\b
And back, once corrected (docs/suggest.md):
  heightpose data import coco next/annotations --suggested next --out iteration2
  heightpose data iteration new plus200 --data nursery --data iteration2 --share 1

\b
A frame is worth a label where the model doubts it (its mirror image, the picture turned a little or the frames around
it say otherwise, or a bone is longer than the child's) and where it is unlike what is picked or labelled already.
"""


@click.command("suggest", epilog=EPILOG)
@click.option(
    "--unlabelled", type=click.Path(path_type=Path, exists=True), multiple=True, required=True,
    help="A video, a folder of videos, or a folder of pictures (one clip); repeat for several.",
)  # fmt: skip
@click.option("--budget", type=click.IntRange(min=1), required=True, help="How many frames to pick.")
@click.option("--out", type=FilePath(file_okay=False), required=True, help="Folder to fill.")
@click.option(
    "--advice", type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Strata to aim at: the file of heightpose dashboard --advice.",
)  # fmt: skip
@click.option(
    "--strata", type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="CSV, file and a column per stratum, where known; else posture, legs and infrared are guessed.",
)  # fmt: skip
@click.option(
    "--labelled", type=click.Path(path_type=Path, exists=True), multiple=True,
    help="Data set that is labelled already: what is like it is not picked.",
)  # fmt: skip
@MODEL
@click.option("--detector", default="detector", help="Path to another detector.")
@backend_option()
@click.option(
    "--step", "step_s", type=FiniteRange(min=0), default=0.5, show_default=True,
    help="Look at a frame every so many seconds; 0 looks at all.",
)  # fmt: skip
@click.option("--stills", is_flag=True, help="The pictures of a folder are no clip: each stands alone.")
@click.option("--jpeg", is_flag=True, help="Write JPEG pictures: smaller, not exactly the video's.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the choice.")
@click.option("--no-blur", is_flag=True, help="Leave infants' faces recognisable on the contact sheet.")
def suggest(
    unlabelled: tuple[Path, ...], budget: int, out: Path, advice: Path | None, strata: Path | None,
    labelled: tuple[Path, ...], model: str, detector: str, backend: str, step_s: float, stills: bool, jpeg: bool,
    seed: int, no_blur: bool,
) -> None:  # fmt: skip
    """Pick the frames worth a label and write them with the model's joints, for an annotator to correct.

    The pictures themselves show faces: hand them on only where that is allowed.
    """
    from collections import Counter

    from heightpose.data.coco import Dataset
    from heightpose.data.suggest import run
    from heightpose.data.suggest.advice import read_advice
    from heightpose.data.suggest.guess import read_strata
    from heightpose.data.suggest.write import write_picks
    from heightpose.errors import ConfigError
    from heightpose.report.suggestions import write_sheet
    from heightpose.runtime.networks import Detector, PoseModel

    if (out / "suggestions.json").exists():
        raise ConfigError("there are suggestions already", where=out, hint="Choose another --out")
    wishes = [] if advice is None else read_advice(advice)
    known = None if strata is None else read_strata(strata)
    pose_model, infants = PoseModel.load(model, backend), Detector.load(detector, backend)
    pool = run.look_through(unlabelled, pose_model, infants, step_s=step_s, stills=stills)
    old = [one for folder in labelled for one in run.looks_of_labelled(Dataset.load(folder), pose_model)]
    picks = run.suggest(pool, budget, wishes=wishes, strata=known, labelled=old, seed=seed)
    about = {
        "model": pose_model.file.path.name, "model_sha256": pose_model.file.sha256, "seed": seed,
        "budget": budget, "step_s": step_s, "frames": len(pool.looks), "clips": len(pool.clips),
        "labelled": len(old), "advice": {w.key: w.weight for w in wishes},
    }  # fmt: skip
    items = write_picks(out, picks, about, jpeg=jpeg)
    write_sheet(out / "contact-sheet.html", picks, items, len(pool.looks), blur=not no_blur)
    if len(picks) < budget:
        click.echo(f"no more than {plural(len(picks), 'frame')} to pick from", err=True)
    clips = len({pick.clip for pick in picks})
    click.echo(
        f"{len(picks)} of {plural(len(pool.looks), 'frame')} from {clips} of {plural(len(pool.clips), 'clip')} in {out}"
    )
    for reason, count in Counter(reason for pick in picks for reason in pick.why).most_common(4):
        click.echo(f"  {count:4d}  {reason}")
