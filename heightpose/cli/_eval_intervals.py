"""``heightpose eval intervals``: whether 90 % intervals hold, and what the gates cost and bring."""

from __future__ import annotations

from pathlib import Path

import click

from heightpose.cli._eval_verbs import FOLDERS, TESTSETS
from heightpose.cli._params import (
    DETECTOR,
    MODEL,
    FilePath,
    backend_option,
    require_data_for_split,
    split_option,
)
from heightpose.errors import ConfigError


@click.command("intervals")
@FOLDERS
@TESTSETS
@split_option()
@MODEL
@DETECTOR
@backend_option()
@click.option(
    "--out", type=FilePath(file_okay=False), help="Report folder; eval-results/intervals/MODEL-HASH."
)  # fmt: skip
def intervals_(
    folders: tuple[Path, ...],
    testsets: tuple[str, ...],
    split: str,
    model: str,
    detector: str,
    backend: str,
    out: Path | None,
) -> None:
    """Lengths of many nursery children: coverage of the intervals, risk over coverage.

    Every still or clip over its true plane, with what infer would say of it. The refused ones count where the geometry
    had a length: the gates of heightpose/geometry/body.py are chosen on this table.

    \b
    Writes:
      OUT/
        intervals.txt, .json, .png    coverage by stratum with binomial tests, the curve of risk over coverage
        lengths.csv                   every still or clip: truth, estimate, standard deviation, interval, why refused

    \b
    Examples:
      heightpose eval intervals --data n21 --data n41 --data n61
      heightpose eval intervals --testset clips-of-150-children
      heightpose eval intervals --model runs/pose/pose.onnx --data nursery --split test
    """
    import dataclasses

    from heightpose.evaluate.intervals import lines, measure_clips, measure_stills, summarise
    from heightpose.evaluate.result import weights_folder
    from heightpose.evaluate.subject import Subject
    from heightpose.report.risk_plot import write_risk_plot
    from heightpose.runtime.atomic import make_folder, write_csv, write_json, write_text
    from heightpose.runtime.networks import Detector, PoseModel
    from heightpose.runtime.output import plain

    if not folders and not testsets:
        raise ConfigError("nothing to measure", hint="Give --data FOLDER or --testset NAME_OR_DIR")
    if not folders:
        require_data_for_split()
    subjects = [Subject.of_testset(name) for name in testsets]
    networks = Detector.load(detector, backend), PoseModel.load(model, backend)
    lengths = measure_stills(folders, split, *networks) + measure_clips(subjects, *networks)
    if not lengths:
        raise ConfigError("no clip could be measured", where=", ".join(testsets))
    summary = plain(summarise(lengths))
    stem = networks[1].file.path.stem
    folder = Path("eval-results") / "intervals" / weights_folder(networks[1].file) if out is None else out
    make_folder(folder)
    write_text(folder / "intervals.txt", "\n".join(lines(summary)) + "\n")
    write_json(folder / "intervals.json", {"model": stem, "split": split if folders else None} | summary)
    rows = [dataclasses.asdict(one) for one in lengths]
    flat = [{k: v for k, v in row.items() if k != "strata"} | row["strata"] for row in rows]
    write_csv(folder / "lengths.csv", flat)
    write_risk_plot(folder / "intervals.png", summary)
    click.echo("\n".join(lines(summary)))
    click.echo(f"results saved to {folder}", err=True)
