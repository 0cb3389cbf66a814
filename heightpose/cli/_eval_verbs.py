"""``heightpose eval confidence`` and ``heightpose eval tta``: what held-out pictures say about one pose model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from heightpose.cli._params import DETECTOR, MODEL, FilePath, backend_option, split_option

DATA = click.option(
    "--data", "folders", type=click.Path(path_type=Path, exists=True, file_okay=False), multiple=True, required=True,
    help="Data set folder; repeat for several.",
)  # fmt: skip
FOLDERS = click.option(
    "--data", "folders", type=click.Path(path_type=Path, exists=True, file_okay=False), multiple=True,
    help="Folder of labelled pictures; repeat for several.",
)  # fmt: skip
TESTSETS = click.option(
    "--testset", "testsets", multiple=True, metavar="NAME_OR_DIR", help="A frozen test set; repeat for several."
)  # fmt: skip


@click.command("confidence")
@DATA
@split_option()
@MODEL
@DETECTOR
@backend_option()
@click.option(
    "--tta", "views", multiple=True, default=("flip", "none"), show_default=True,
    help="Views to calibrate, as infer's --tta; repeat for several. Others take that of flip where they "
    "mirror, else that of none.",
)  # fmt: skip
@click.option(
    "--out",
    type=FilePath(file_okay=False),
    help="Report folder; eval-results/confidence/MODEL-HASH.",
)
@click.option(
    "--report-only", is_flag=True, help="Leave the calibration in the report folder, not beside the weights."
)
@click.option("--replace-shipped", is_flag=True, help="Also replace the calibration of a shipped model.")
def confidence_(
    folders: tuple[Path, ...], split: str, model: str, detector: str, backend: str, views: tuple[str, ...],
    out: Path | None, report_only: bool, replace_shipped: bool,
) -> None:  # fmt: skip
    """Calibrate joint scores, covariances and visibility of a pose model's weights.

    \b
    Half of the children are fitted to, the other half reported on, along the path of infer.
    Writes:
      WEIGHTS.calibration.json   beside the weights: what infer applies from then on (of a shipped model
                                 only with --replace-shipped, else in OUT)
      OUT/
        reliability.txt, .json, .png   on the children not used for the fit
        before-HASH.calibration.json   what was beside the weights, where it was replaced

    \b
    Examples:
      heightpose eval confidence --model runs/pose/pose.onnx --data n21 --data n41
      heightpose eval confidence --model fast --data nursery
    """
    from heightpose.codec.confidence import FINE, calibration_path
    from heightpose.evaluate.result import weights_folder
    from heightpose.report.reliability import lines, write_plot
    from heightpose.runtime.atomic import make_folder, write_json, write_text
    from heightpose.runtime.modelfile import WEIGHTS_DIR
    from heightpose.runtime.networks import Detector, PoseModel
    from heightpose.runtime.output import plain, sha256
    from heightpose.runtime.tta import Tta
    from heightpose.train import confidence, evidence

    sets = [Tta.parse(text) for text in views]
    items = evidence.labelled(folders, split)
    # The file may be broken or of other weights: it is about to be replaced.
    pose_model = PoseModel.load(model, backend, calibrated=False)
    samples = evidence.collect(items, Detector.load(detector, backend), pose_model, sets, finely=True)
    found: dict[str, Any] = {}
    for name, one in samples.items():
        own = confidence.halves(one.children)
        if name.endswith(FINE) and not confidence.enough(one.of(own)):
            coarser = name.removesuffix(FINE)
            click.echo(
                f"{name}: too few children are seen in detail to calibrate it apart from {coarser}", err=True
            )
            continue
        calibration = confidence.fit(one.of(own))
        report = {"fitted_to_children": len(set(one.children[own]))} | confidence.judge(
            calibration, one.of(~own)
        )
        found[name] = {"parameters": calibration.as_dict(), "report": report}
    path = pose_model.file.path
    folder = Path("eval-results") / "confidence" / weights_folder(pose_model.file) if out is None else out
    make_folder(folder)
    data = [confidence.read_from(f) | {"split": split} for f in folders]
    document = plain(confidence.document(pose_model.file, found, data))
    reports = {name: value["report"] for name, value in document["views"].items()}
    text = lines(reports)
    write_text(folder / "reliability.txt", "\n".join(text) + "\n")
    write_json(
        folder / "reliability.json", {k: v for k, v in document.items() if k != "views"} | {"views": reports}
    )
    write_plot(folder / "reliability.png", reports)
    installed = calibration_path(path)
    shipped = path.resolve().parent == WEIGHTS_DIR.resolve()
    if report_only or (shipped and not replace_shipped):
        installed = folder / installed.name
    elif installed.is_file():
        # By its hash: a run after this one must not replace it by what this one installs.
        before = f"before-{sha256([installed])[:6]}.calibration.json"
        write_text(folder / before, installed.read_text(encoding="utf-8", errors="replace"))
    write_json(installed, document)
    click.echo("\n".join(text))
    click.echo(f"calibration in {installed}, report in {folder}", err=True)


@click.command("tta")
@DATA
@split_option()
@MODEL
@backend_option()
@click.option("--limit", type=click.IntRange(min=1), help="Only the first N pictures.")
@click.option("--out", type=FilePath(dir_okay=False), help="Also write the table as JSON.")
def tta_(
    folders: tuple[Path, ...], split: str, model: str, backend: str, limit: int | None, out: Path | None
) -> None:
    """What each kind of test-time augmentation gains and costs, in the crops of the true boxes.

    \b
    Example:
      heightpose eval tta --model fast --data n41
    """
    from heightpose.evaluate.tta import TABLE, lines, table
    from heightpose.runtime.atomic import make_folder, write_json
    from heightpose.runtime.networks import PoseModel
    from heightpose.runtime.output import plain
    from heightpose.runtime.tta import Tta
    from heightpose.train import evidence

    if out is not None:
        make_folder(out.parent)  # before the work
    pose_model = PoseModel.load(model, backend)
    costs: dict[str, evidence.Cost] = {}
    items = evidence.labelled(folders, split)[:limit]
    samples = evidence.collect(items, None, pose_model, [Tta.parse(name) for name in TABLE], costs)
    rows = table(samples, costs)
    if out is not None:
        write_json(
            out,
            plain(
                {"model": pose_model.file.path.name, "backend": str(pose_model.backend.active), "rows": rows}
            ),
        )
    click.echo("\n".join(lines(rows)))
