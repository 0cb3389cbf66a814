"""``heightpose bench models``: what every network costs here. The work is in heightpose.models.cost."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import click

from heightpose.cli._params import FilePath, FiniteRange, Pair
from heightpose.errors import MissingExtraError

EPILOG = """\b
Writes, with --csv: one row per network and input size.

\b
Examples:
  heightpose bench models
  heightpose bench models hrnet_w32 resnet50 resnet50:regression --input 256x256 --input 384x384
  heightpose bench models lite_hrnet_18 --batch 1 --threads 1 --json
  heightpose bench models --csv models.csv

\b
A network is a value of pose.backbone, with one of pose.head after a colon where it is not the default.
Weights are random: they do not change the time. A GFLOP counts a multiply-add as two operations; published
tables mostly count it as one. Times are medians per call in f32, torch eager beside OpenVINO.
"""


@click.command("models", epilog=EPILOG)
@click.argument("networks", nargs=-1)
@click.option(
    "--input", "inputs", type=Pair(int, "WIDTHxHEIGHT"), multiple=True, default=("256x256",), show_default=True,
    help="Size of the crop in px; repeat for several.",
)  # fmt: skip
@click.option(
    "--batch", "batches", type=click.IntRange(1, 1024), multiple=True, default=(1, 8), show_default=True,
    help="Pictures per call; repeat for several.",
)  # fmt: skip
@click.option(
    "--runtime", "runtimes", type=click.Choice(["torch", "openvino"]), multiple=True, default=("torch", "openvino"),
    show_default=True, help="Repeat for both.",
)  # fmt: skip
@click.option("--threads", type=click.IntRange(min=1), help="Processor threads; one per core by default.")
@click.option(
    "--seconds", type=FiniteRange(0, 600), default=2.0, show_default=True, help="Time spent on each figure."
)  # fmt: skip
@click.option("--csv", "csv_file", type=FilePath(dir_okay=False), help="Also write CSV here.")
@click.option("--json", "as_json", is_flag=True, help="JSON instead of text.")
def models(
    networks: tuple[str, ...], inputs: tuple[tuple[int, int], ...], batches: tuple[int, ...],
    runtimes: tuple[str, ...], threads: int | None, seconds: float, csv_file: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Parameters, FLOPs and latency of NETWORKS (one of every kind by default) on this machine."""
    for package in ("torch", "timm", *(("onnx",) if "openvino" in runtimes else ())):
        if find_spec(package) is None:
            raise MissingExtraError(package, "train", "heightpose bench models")
    from tqdm import tqdm

    from heightpose.cores import usable_cores
    from heightpose.models import cost
    from heightpose.runtime.atomic import make_folder, write_text

    count = threads if threads is not None else usable_cores()
    chosen = networks if networks else cost.NETWORKS
    if csv_file is not None:
        make_folder(csv_file.resolve().parent)
    about = cost.machine(count)
    found = cost.measure(chosen, inputs, batches, runtimes, threads=count, seconds=seconds)
    rows = list(tqdm(found, total=len(chosen) * len(inputs), desc="networks", disable=None))
    if csv_file is not None:
        write_text(csv_file, cost.csv_table(rows, batches, runtimes))
    if as_json:
        click.echo(json.dumps({"machine": about, "networks": [row.to_dict() for row in rows]}, indent=2))
        return
    click.echo(
        f"{about['processor']}, {about['cores']} cores, {count} threads, load {about['load']}; torch {about['torch']}"
        + (f", OpenVINO {about['openvino']}" if "openvino" in about else "")
    )
    click.echo("\n".join(cost.text_table(rows, batches, runtimes)))
