"""``heightpose eval``: models judged on a test set, and two results compared. The work is in heightpose.evaluate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from heightpose.cli._eval_detector import detector_
from heightpose.cli._eval_intervals import intervals_
from heightpose.cli._eval_verbs import confidence_, tta_
from heightpose.cli._params import (
    MODEL,
    FilePath,
    FiniteRange,
    backend_option,
    require_data_for_split,
    require_none_before_verb,
    split_option,
    wandb_option,
)
from heightpose.errors import EXIT_INTERRUPTED, ConfigError
from heightpose.words import plural

EPILOG = """\b
Writes:
  OUT/
    result.json      every figure with counts and intervals, also per stratum
    report.html      one page with plots and the worst cases, infants' faces blurred
    people.csv       each labelled person: found or missed, every joint's error in head sizes
    clips.csv        each clip: true and measured length, interval, reasons
    records/         the raw joints and lengths, from which all of it was computed
    wandb/           the result for 'wandb sync'; nothing is contacted unless --wandb online

\b
Examples:
  heightpose eval --testset nursery-easy
  heightpose eval --testset testclips --model runs/pose/pose.onnx --out results/new
  heightpose eval --testset testclips --run runs/pose --truth-crops
  heightpose eval --data nursery --split val
  heightpose eval compare results/old results/new
  heightpose eval make nursery-easy
  heightpose eval confidence --model fast --data nursery
  heightpose eval tta --model fast --data nursery
  heightpose eval detector --testset nursery-stills

\b
The figures describe what infer does: a person that the detector missed has all joints wrong, a clip that was refused
counts against the yield. Brackets are 90 % intervals, resampled by child; those of yield and coverage are exact
binomial ones over clips. The same command goes on after an interruption. Exit codes: 0 done, 2 usage or unreadable
input, 130 interrupted.
"""


@click.group("eval", epilog=EPILOG, invoke_without_command=True)
@click.option(
    "--testset", metavar="NAME_OR_DIR", help="A frozen test set: its folder or a name under eval/testsets."
)
@click.option("--data", type=FilePath(), help="A plain data set's folder instead (joints only).")
@split_option("Which split of --data.")
@click.option("--model", default=None, help="fast (the default), accurate, or a path to a pose model.")
@click.option("--detector", default=None, help="Path to another detector.")
@click.option(
    "--run", "run_folder", type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Folder of heightpose train: judge its pose net, its detector, or both.",
)  # fmt: skip
@backend_option("What runs the networks; what is really active is printed.")
@click.option(
    "--tta", default="flip", show_default=True, metavar="KINDS",
    help="Views of each crop, as infer's --tta: none, or some of flip, rotate, scale joined by commas.",
)  # fmt: skip
@click.option(
    "--out", type=FilePath(file_okay=False),
    help="Result folder; by default eval-results/SET/MODEL-HASHES.",
)  # fmt: skip
@click.option("--truth-crops", is_flag=True, help="Also pose the crops of the true boxes; reported apart.")
@click.option("--limit", type=click.IntRange(min=1), help="Only the first N clips and the first N pictures.")
@click.option(
    "--record", metavar="NAME", help="Also keep the main figures as eval/baselines/SET/NAME.json, a baseline."
)
@click.option("--note", help="What is new about what is judged: its name on the dashboard's timeline.")
@click.option("--no-blur", is_flag=True, help="Leave infants' faces recognisable in report.html.")
@click.option("--json", "as_json", is_flag=True, help="Print result.json on stdout and nothing else.")
@wandb_option
@click.pass_context
def eval_(
    ctx: click.Context, testset: str | None, data: Path | None, split: str, model: str | None, detector: str | None,
    run_folder: Path | None, backend: str, tta: str, out: Path | None, truth_crops: bool, limit: int | None,
    record: str | None, note: str | None, no_blur: bool,
    as_json: bool, wandb_mode: str | None,
) -> int | None:  # fmt: skip
    """Judge a model on a test set: joints, heights, everything per stratum."""
    if ctx.invoked_subcommand is not None:
        require_none_before_verb(ctx)
        return None
    if (testset is None) == (data is None):
        raise click.UsageError("Give --testset NAME_OR_DIR, or --data DIR.", ctx)
    if data is None:
        require_data_for_split()
    if run_folder is not None and model is not None and detector is not None:
        raise ConfigError(
            "--run has nothing left to choose", hint="Leave out --run, or --model or --detector"
        )
    import json

    from heightpose.evaluate.result import Choice, evaluate, require_recordable, write_baseline
    from heightpose.evaluate.subject import Subject
    from heightpose.evaluate.text import lines
    from heightpose.report.evaluation import write_report

    given: dict[str, Any] = {"model": model, "detector": detector, "note": note}
    chosen = {k: v for k, v in given.items() if v is not None}
    chosen |= {"backend": backend, "tta": tta, "truth_crops": truth_crops, "limit": limit}
    choice = Choice(**chosen) if run_folder is None else Choice.of_run(run_folder, **chosen)
    if record is not None:  # before the work
        require_recordable(record, limit)
    if testset is not None:
        subject = Subject.of_testset(testset)
    else:
        assert data is not None
        subject = Subject.of_data(data, split)
    result, folder, whole = evaluate(subject, choice, out)
    if not whole:
        click.echo(f"interrupted; the same command goes on. Records so far in {folder}", err=True)
        return EXIT_INTERRUPTED
    write_report(folder, subject.folder, blur=not no_blur)
    _log(folder, result, subject.folder, wandb_mode)
    if record is not None:
        click.echo(f"recorded as {write_baseline(result, record)}", err=True)
    click.echo(json.dumps(result, indent=2, allow_nan=False) if as_json else "\n".join(lines(result)))
    click.echo(f"results saved to {folder}", err=True)
    return 0


def _log(folder: Path, result: dict[str, Any], data: Path, asked: str | None) -> None:
    """To W&B, unless that is off. What is shared has its faces blurred, whatever the report has."""
    from heightpose.report.wandb_log import resolve_mode

    mode = resolve_mode(asked)
    if mode != "off":
        from heightpose.report.wandb_eval import log_evaluation

        log_evaluation(folder, result, data, mode)


eval_.add_command(confidence_)
eval_.add_command(tta_)
eval_.add_command(intervals_)
eval_.add_command(detector_)


@eval_.command("compare")
@click.argument("a", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("b", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--out", type=FilePath(dir_okay=False), help="Also write the comparison as JSON.")
@click.option("--json", "as_json", is_flag=True, help="Print the comparison as JSON and nothing else.")
def compare_(a: Path, b: Path, out: Path | None, as_json: bool) -> None:
    """What changed from result A to result B of one test set, paired, and what got worse by name.

    \b
    Examples:
      heightpose eval compare results/old results/new
      heightpose eval compare results/old results/new --out old-new.json

    Errors are compared over the clips that both measured, joints over the people in both. "Worse" and "better" mean
    that the 90 % interval of the difference leaves out 0; fewer than five children have none.
    """
    import json

    from heightpose.evaluate.compare import compare, lines
    from heightpose.runtime.atomic import make_folder, write_json
    from heightpose.runtime.output import plain

    comparison = plain(compare(a, b))
    if out is not None:
        make_folder(out.parent)
        write_json(out, comparison)
    click.echo(json.dumps(comparison, indent=2, allow_nan=False) if as_json else "\n".join(lines(comparison)))


@eval_.command("make")
@click.argument("name")
@click.option("--jobs", type=click.IntRange(min=1), help="Processes; all cores by default.")
@click.option("--out", type=FilePath(file_okay=False), help="Make a set of your own there.")
def make_(name: str, jobs: int | None, out: Path | None) -> None:
    """Render the test set NAME from its recipe and check that it is the recorded one, file by file.

    \b
    Writes:
      eval/testsets/NAME/
        recipe.yaml      what to draw (already there)
        testset.yaml     every file's hash; checked against where it is already there
        made_with.json   the versions it was first made with
        annotations.json, clips.json, clips/ or images/

    A processor without AVX-512 draws last digits and some pixels otherwise: NAME-avx2 are the recorded sets as drawn
    there. With --out the set is your own: named NAME-own, with hashes of its own; judge models with --testset FOLDER
    and compare them with each other.

    \b
    Examples:
      heightpose eval make nursery-easy --jobs 2
      heightpose eval make nursery-easy --out my-easy
    """
    from heightpose.evaluate.recipes import Recipe, make

    recipe = Recipe.load(name)
    made, new = make(recipe if out is None else recipe.for_oneself(out), jobs)
    what = "hashes recorded for the first time" if new else "every file is the recorded one"
    click.echo(
        f"{made.name} version {made.version} in {made.folder}: {plural(len(made.files), 'file')}, {what}"
    )


@eval_.command("geometry")
@click.option(
    "--testset", metavar="NAME_OR_DIR", required=True, help="A frozen test set with labelled clips."
)
@click.option(
    "--noise", "noise_px", type=FiniteRange(0, 50), default=0.0, show_default=True,
    help="Noise on the true joints, px (1 sd of each coordinate).",
)  # fmt: skip
@MODEL
@click.option("--seed", type=int, default=0, show_default=True, help="Of the noise.")
@click.option("--out", type=FilePath(dir_okay=False), help="Also write the figures as JSON.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON and nothing else.")
def geometry_(testset: str, noise_px: float, model: str, seed: int, out: Path | None, as_json: bool) -> None:
    """Where the centimetres are lost: joints to length, elevation and posture, plane, pose net.

    The same clips are measured with the true 3D joints, with the true joints in the picture over the true plane, over
    the plane found from the tags, and as infer does. Rendered test sets have all of it, others the last two rows.

    \b
    Examples:
      heightpose eval geometry --testset testclips
      heightpose eval geometry --testset testclips --noise 2 --out split.json
    """
    import dataclasses
    import json

    from heightpose.evaluate.geometry import lines, split_errors, summarise
    from heightpose.evaluate.subject import Subject
    from heightpose.runtime.atomic import make_folder, write_json
    from heightpose.runtime.networks import Detector, PoseModel
    from heightpose.runtime.output import plain

    if out is not None:
        make_folder(out.parent)  # before the work
    subject = Subject.of_testset(testset)
    splits = split_errors(
        subject, Detector.load("detector"), PoseModel.load(model), noise_px=noise_px, seed=seed
    )
    summary = plain(summarise(splits, noise_px))
    if out is not None:
        write_json(out, summary | {"clips": plain([dataclasses.asdict(s) for s in splits])})
    click.echo(json.dumps(summary, indent=2, allow_nan=False) if as_json else "\n".join(lines(summary)))
