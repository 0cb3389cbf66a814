"""Several pose nets as one: an ONNX graph that runs all of them and gives the weighted mean of their heatmaps.

Nets that were trained apart err apart, so their mean errs less than each (Lakshminarayanan et al., "Simple and scalable
predictive uncertainty estimation using deep ensembles", NeurIPS 2017). To everything else the file is one net: it is
loaded, calibrated and measured like any other. The shares are chosen on validation data.

    python -m heightpose.models.ensemble large.onnx small.onnx --shares 0.65 0.35 --bytes --out both.onnx
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from heightpose.errors import FileFormatError, HeightposeError
from heightpose.models.description import META_KEY
from heightpose.models.onnx_storage import MEMBER, restore, store_bytes, store_half
from heightpose.runtime.atomic import atomic_path
from heightpose.runtime.modelfile import ModelFile, read_model_file

#: What a description says of the picture and the heatmaps, and what every member must agree on.
_SHARED = ("schema", "kind", "joints", "input_wh", "heatmap_wh", "fine_wh", "sigma", "decoder")
#: What is kept of each member's own description.
_OWN = ("arch", "data", "run", "averaged")
_INPUT, _OUTPUT = "image", "heatmaps"


def ensemble(members: Sequence[Path], shares: Sequence[float], out: Path, *, in_bytes: bool = False) -> None:
    """Write ``out``, whole or not at all.

    Args:
        members: ``.onnx`` files of pose nets that give heatmaps of the same joints at the same sizes, as trainings and
            ``heightpose.models.average`` write them.
        shares: of each in the mean; they add up to 1.
        in_bytes: store large weights as bytes (:func:`heightpose.models.onnx_storage.store_bytes`), half the size of
            half precision.

    Raises:
        FileFormatError: no ONNX file of ours, a detector, or nets that do not fit together.
        ValueError: a share is not positive, they do not add up to 1, or there is not one for each member.
    """
    import onnx
    from onnx import compose, helper, numpy_helper

    if len(shares) != len(members) or min(shares) <= 0 or not np.isclose(sum(shares), 1.0):
        raise ValueError(f"{len(members)} nets need as many shares above 0 that add up to 1, not {shares}")
    files = [read_model_file(path) for path in members]
    _require_fitting(files)
    protos = [onnx.load(str(path)) for path in members]
    _require_one_opset(members, protos)
    nodes, initializers, weighted = [], [], []
    for number, (proto, share) in enumerate(zip(protos, shares, strict=True)):
        restore(proto)
        prefix = MEMBER.format(number)
        graph = compose.add_prefix(proto, prefix).graph
        nodes.append(helper.make_node("Identity", [_INPUT], [prefix + _INPUT], name=f"{prefix}input"))
        nodes += graph.node
        initializers += graph.initializer
        initializers.append(numpy_helper.from_array(np.array(share, np.float32), f"{prefix}share"))
        weighted.append(f"{prefix}weighted")
        nodes.append(
            helper.make_node(
                "Mul", [prefix + _OUTPUT, f"{prefix}share"], weighted[-1:], name=f"{prefix}weigh"
            )
        )
    nodes.append(helper.make_node("Sum", weighted, [_OUTPUT], name="mean"))
    first = protos[0]
    merged = helper.make_graph(nodes, "ensemble", first.graph.input, first.graph.output, initializers)
    model = helper.make_model(merged, opset_imports=first.opset_import, ir_version=first.ir_version)
    (store_bytes if in_bytes else store_half)(model)
    helper.set_model_props(model, {META_KEY: json.dumps(_description(files, shares), allow_nan=False)})
    onnx.checker.check_model(model, full_check=True)
    with atomic_path(out) as tmp:
        tmp.write_bytes(model.SerializeToString())


def _require_fitting(files: Sequence[ModelFile]) -> None:
    first = files[0]
    for file in files:
        if file.path.suffix.lower() != ".onnx" or file.kind != "pose" or "output" in file.meta:
            raise FileFormatError(
                "not a pose net that can be averaged",
                where=file.path,
                expected="an .onnx that gives heatmaps",
            )
        for key in _SHARED:
            if file.meta.get(key) != first.meta.get(key):
                raise FileFormatError(
                    f"{key} differs from that of {first.path}", where=file.path, expected=first.meta.get(key),
                    got=file.meta.get(key), hint="Average nets of the same joints and sizes",
                )  # fmt: skip


def _require_one_opset(members: Sequence[Path], protos: Sequence[Any]) -> None:
    """Operators mean what their version says, and a graph has one version of each set of them."""
    opsets = [{opset.domain or "ai.onnx": opset.version for opset in proto.opset_import} for proto in protos]
    for path, found in zip(members, opsets, strict=True):
        if found != opsets[0]:
            raise FileFormatError(
                f"its operators are of other versions than those of {members[0]}", where=path, expected=opsets[0],
                got=found, hint="Export all of them with the same release",
            )  # fmt: skip


def _description(files: Sequence[ModelFile], shares: Sequence[float]) -> dict[str, Any]:
    shared = {key: files[0].meta[key] for key in _SHARED if key in files[0].meta}
    return shared | {
        "ensemble": [
            {key: file.meta[key] for key in _OWN if key in file.meta}
            | {"share": share, "sha256": file.sha256}
            for file, share in zip(files, shares, strict=True)
        ]
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("members", type=Path, nargs="+", metavar="NET", help=".onnx of a pose net")
    parser.add_argument("--shares", type=float, nargs="+", help="of each net in the mean [equal ones]")
    parser.add_argument("--bytes", action="store_true", help="store weights in bytes, not in half precision")
    parser.add_argument("--out", type=Path, required=True, help="the .onnx to write")
    args = parser.parse_args()
    if args.out.suffix != ".onnx":
        parser.error(f"--out ends in .onnx: {args.out}")
    shares = args.shares or [1.0 / len(args.members)] * len(args.members)
    try:
        ensemble(args.members, shares, args.out, in_bytes=args.bytes)
    except ValueError as error:
        parser.error(str(error))
    except HeightposeError as error:
        parser.exit(2, f"error: {error}\n")
    print(f"saved to {args.out} ({args.out.stat().st_size / 1e6:.1f} MB)")


if __name__ == "__main__":
    main()
