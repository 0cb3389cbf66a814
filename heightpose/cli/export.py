"""``heightpose export``: weights in, a file for another runtime out. The work is in heightpose.export."""

from __future__ import annotations

import os
from pathlib import Path

import click

from heightpose.cli._params import FilePath, FiniteRange
from heightpose.errors import EXIT_REJECTED, ConfigError, MissingExtraError

EPILOG = """\b
Writes, only where it agrees with the source:
  NAME.onnx              --to onnx
  NAME.xml, NAME.bin     --to openvino
  NAME.pt                --to torchscript

\b
Examples:
  heightpose export --to onnx runs/pose/pose.safetensors --out pose.onnx
  heightpose export --to openvino --fp16 fast --out fast.xml
  heightpose export --to openvino --int8 --calibration nursery fast --out fast-int8.xml
  heightpose export --to openvino --int8 --calibration nursery accurate --out accurate-int8.xml
  heightpose export --to openvino --prune 0.25 --calibration nursery fast --out fast-pruned.xml

\b
The exported file runs beside its source (PyTorch; ONNX Runtime for ONNX alone; both f32) on the same pictures: of the
data set's split 'val', or drawn ones. Coordinates must be within 0.3 px at 256 and scores within 0.03: 99 % of joints
in floating point, half of them in INT8, whose cost is what the held-out pictures say. What agrees in floating point
keeps the source's calibration of joint scores. Exit codes: 0 kept, 2 usage or unreadable input, 3 refused.
"""


@click.command("export", epilog=EPILOG)
@click.argument("weights")
@click.option(
    "--to", type=click.Choice(["onnx", "openvino", "torchscript"]), required=True, help="What to write."
)
@click.option("--out", type=FilePath(dir_okay=False), required=True, help="The file.")
@click.option("--fp16", is_flag=True, help="Weights in half precision (TorchScript: computed in it too).")
@click.option("--int8", is_flag=True, help="Weights and activations in INT8; needs --calibration.")
@click.option(
    "--calibration", type=click.Path(path_type=Path, exists=True),
    help="Data set: 'train' calibrates INT8, 'val' is compared and, unless --heldout, gives the accuracy.",
)  # fmt: skip
@click.option(
    "--heldout", type=click.Path(path_type=Path, exists=True), help="Data set whose 'val' gives the accuracy."
)
@click.option(
    "--prune", type=FiniteRange(0.0, 0.9), default=0.0, show_default=True,
    help="Cut this share of the channels inside residual blocks, weakest L1 norm first.",
)  # fmt: skip
@click.option("--fixed-size", is_flag=True, help="Fix the input's height and width; the batch stays free.")
@click.option("--force", is_flag=True, help="Keep a file that does not agree.")
def export(
    weights: str, to: str, out: Path, fp16: bool, int8: bool, calibration: Path | None, heldout: Path | None,
    prune: float, fixed_size: bool, force: bool,
) -> int:  # fmt: skip
    """Write WEIGHTS (fast, accurate, detector, or a .safetensors or .onnx file) for another runtime."""
    from importlib.util import find_spec

    for package in ("torch", "onnx", "safetensors", "timm"):
        if find_spec(package) is None:
            raise MissingExtraError(package, "export", "heightpose export")
    if fp16 and int8:
        raise ConfigError("two precisions", hint="Give --fp16 or --int8")
    # Before torch loads: threads that spin while they wait are what makes it slow on a busy machine.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from heightpose.export.run import Request
    from heightpose.export.run import export as run_export
    from heightpose.export.source import with_network
    from heightpose.runtime.modelfile import find_model

    path = with_network(find_model(weights))
    precision = "fp16" if fp16 else "int8" if int8 else "f32"
    report = run_export(Request(path, to, out, precision, calibration, heldout, prune, fixed_size, force))
    for line in report.lines():
        click.echo(line)
    if not report.kept:
        click.echo(f"error: {report.why_not}", err=True)
    return 0 if report.kept else EXIT_REJECTED
