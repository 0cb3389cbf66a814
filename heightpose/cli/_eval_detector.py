"""``heightpose eval detector``: boxes, head directions and false alarms, of the detector alone or with a pose net."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import click

from heightpose.cli._eval_verbs import FOLDERS, TESTSETS
from heightpose.cli._params import FilePath, FiniteRange, backend_option, require_data_for_split, split_option
from heightpose.errors import ConfigError


@click.command("detector")
@FOLDERS
@TESTSETS
@split_option()
@click.option("--detector", default="detector", help="Path to another detector than the shipped one.")
@click.option(
    "--model",
    help="fast, accurate, or a path: also ask this pose net, as infer does.  [default: the detector alone]",
)
@click.option(
    "--threshold",
    type=FiniteRange(0.2, 1.0),
    help="Lowest score of a detection; infer's own by default.",
)
@backend_option()
@click.option(
    "--out",
    type=FilePath(file_okay=False),
    help="Report folder; eval-results/detector/SET/MODELS-HASHES.",
)
def detector_(
    folders: tuple[Path, ...], testsets: tuple[str, ...], split: str, detector: str, model: str | None,
    threshold: float | None, backend: str, out: Path | None,
) -> None:  # fmt: skip
    """What the detector finds: infants and their head direction, false alarms in empty cots.

    --split all takes every picture of --data. With --model, what infer makes of it: the pose net is asked about
    every candidate, boxes and directions are those that its joints ask for, and the score is the evidence of both.

    \b
    Writes:
      OUT/
        detector.txt, .json, .png   figures at the threshold, by stratum, and over all thresholds
        detections.csv              every labelled infant and every empty cot

    \b
    Examples:
      heightpose eval detector --data nursery --split val
      heightpose eval detector --testset nursery-stills
      heightpose eval detector --testset nursery-stills --model fast
      heightpose eval detector --data nursery --data empty-cots --split all --detector runs/detector/detector.onnx
    """
    from heightpose.evaluate.detector import judge, lines, look, table
    from heightpose.evaluate.result import identity, weights_folder
    from heightpose.evaluate.subject import Subject
    from heightpose.report.detector_plot import write_detector_plot
    from heightpose.runtime.atomic import folder_name, make_folder, write_csv, write_json, write_text
    from heightpose.runtime.networks import Detector, PoseModel
    from heightpose.runtime.output import plain
    from heightpose.runtime.presence import PRESENT

    if not folders and not testsets:
        raise ConfigError("nothing to look at", hint="Give --data FOLDER or --testset NAME_OR_DIR")
    if not folders:
        require_data_for_split()
    subjects = [Subject.of_testset(name) for name in testsets]
    subjects += [Subject.of_data(folder, split) for folder in folders]
    finder = Detector.load(detector, backend)
    pose_model = None if model is None else PoseModel.load(model, backend)
    at = threshold if threshold is not None else finder.threshold if pose_model is None else PRESENT
    looked = look([item for subject in subjects for item in subject.items], finder, pose_model)
    summary = plain(judge(looked, at))
    text = lines(summary)
    name = "+".join(folder_name(subject.name) for subject in subjects)
    judged = weights_folder(finder.file, *([] if pose_model is None else [pose_model.file]))
    folder = Path("eval-results") / "detector" / name / judged if out is None else out
    make_folder(folder)
    about = {
        "detector": identity(finder),
        "pose": None if pose_model is None else identity(pose_model),
        "data": [{"name": s.name, "sha256": s.sha256, "split": s.split} for s in subjects],
    }
    write_text(folder / "detector.txt", "\n".join(text) + "\n")
    write_json(folder / "detector.json", about | summary)
    turns = [a.turn_deg for one in looked for a in one.answers(at) if a.turn_deg is not None]
    write_detector_plot(folder / "detector.png", summary, turns)
    rest = iter(looked)
    rows = [row for s in subjects for row in table(s, list(islice(rest, len(s.items))), at)]
    write_csv(folder / "detections.csv", rows)
    click.echo("\n".join(text))
    click.echo(f"results saved to {folder}", err=True)
