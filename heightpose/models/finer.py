"""Weights with a finer look: the same network with a larger input, for infants who are seen in detail.

A fully convolutional net takes any input. At its own size the crop of an infant 500 px long throws half of what the
camera saw away; the second look of ``infer`` (:mod:`heightpose.runtime.refine`) can keep it. Whether that helps is a
matter of how the net was trained, so its file says so; ``pose.fine_wh`` does for new trainings.

    python -m heightpose.models.finer pose.safetensors --size 320 --out finer/pose.safetensors
"""

from __future__ import annotations

import argparse
from pathlib import Path

from heightpose.errors import FileFormatError, HeightposeError
from heightpose.models.checkpoint import load_weights, save_weights
from heightpose.models.onnx_graph import export_onnx
from heightpose.models.pose_net import PoseNet
from heightpose.runtime.modelfile import FINE_WH, read_model_file, require_fine_size


def add_finer(weights: Path, size: int, out: Path) -> None:
    """Write ``out`` (.safetensors), and the same as .onnx beside it, with a finer look of ``size`` on its shorter side.

    Raises:
        FileFormatError: no pose net of ours. ConfigError: no finer size, or one that the network does not take.
    """
    file = read_model_file(weights)
    net, meta = load_weights(weights)
    if not isinstance(net, PoseNet):
        raise FileFormatError(
            "this is another kind of model", where=weights, expected="a pose net", got=meta["kind"]
        )
    wanted = [size * side // min(file.input_wh) for side in file.input_wh]
    fine = require_fine_size(wanted, file.input_wh, file.heatmap_wh, "--size")
    net.require_fine(fine)
    about = {**meta, FINE_WH: list(fine)}
    save_weights(out, net.state_dict(), about)
    export_onnx(net, out.with_suffix(".onnx"), about)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("weights", type=Path, help=".safetensors or .onnx of a pose net")
    parser.add_argument("--size", type=int, required=True, help="of the finer input's shorter side, px")
    parser.add_argument("--out", type=Path, required=True, help="the .safetensors to write")
    args = parser.parse_args()
    if args.out.suffix != ".safetensors":
        parser.error(f"--out ends in .safetensors: {args.out}")
    try:
        add_finer(args.weights, args.size, args.out)
    except HeightposeError as error:
        parser.exit(2, f"error: {error}\n")
    print(f"saved to {args.out} and {args.out.with_suffix('.onnx').name}")


if __name__ == "__main__":
    main()
