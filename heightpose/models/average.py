"""Weights between those that a training started from and those that it ended with.

A net that was tuned on few new pictures forgets some of what it knew of the old ones. Between the two sets of weights
lie nets that are good at both (Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022): each weight is
``(1 - share) * before + share * after``, normalisation statistics included. The share is chosen on validation data.

    python -m heightpose.models.average before.safetensors after.safetensors --share 0.7 --out pose.safetensors
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from heightpose.codec.heatmap import DARK
from heightpose.errors import FileFormatError, HeightposeError
from heightpose.models.checkpoint import load_weights, save_weights
from heightpose.models.onnx_graph import export_onnx
from heightpose.runtime.output import sha256


def average(before: Path, after: Path, share: float, out: Path) -> None:
    """Write ``out`` (.safetensors), and the same as .onnx beside it, described as ``after`` is.

    Raises:
        FileFormatError: no weights of ours, or those of another network or of another form.
        HeightposeError: a file that cannot be read or written.
    """
    (old, old_meta), (new, meta) = load_weights(before), load_weights(after)
    if old_meta.get("decoder", DARK) != meta.get("decoder", DARK):
        raise FileFormatError(
            "these weights answer with maps of another kind", where=before, expected=meta.get("decoder", DARK),
            got=old_meta.get("decoder", DARK), hint="Average weights that were trained with the same loss.kind",
        )  # fmt: skip
    if any(old_meta.get(key) != meta.get(key) for key in ("kind", "arch", "joints")):
        raise FileFormatError(
            "these are weights of another network", where=before, expected=meta.get("arch"), got=old_meta.get("arch"),
            hint="Average weights with those that their training started from",
        )  # fmt: skip
    start, end = old.state_dict(), new.state_dict()
    _require_one_form(before, after, start, end)
    state = {
        name: start[name].lerp(value, share) if value.is_floating_point() else value
        for name, value in end.items()
    }
    new.load_state_dict(state)
    # What was validated were other weights.
    about = {key: value for key, value in meta.items() if key != "validation"}
    about["averaged"] = {"before": sha256([before]), "after": sha256([after]), "share": share}
    save_weights(out, state, about)
    export_onnx(new, out.with_suffix(".onnx"), about)


def _require_one_form(
    before: Path, after: Path, start: Mapping[str, Tensor], end: Mapping[str, Tensor]
) -> None:
    """Raises FileFormatError where one of two nets was read from a graph, whose convolutions hold their normalisations,
    and the other one's normalisations have statistics of data: no layer of the two means the same."""
    means = [name for name in end if name.endswith(".running_mean")]
    other = [name for name in means if bool(start[name].any()) != bool(end[name].any())]
    if other:
        raise FileFormatError(
            "one of the two has its normalisations folded into its convolutions, the other has not", where=before,
            got=f"{len(other)} of {len(means)} normalisations differ so from those of {after}",
            hint="Name the .safetensors of both, or the .onnx that the training started from as the first",
        )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("before", type=Path, help="weights that the training started from")
    parser.add_argument("after", type=Path, help="weights that it ended with")
    parser.add_argument("--share", type=float, default=0.5, help="of the weights after, 0 to 1 [0.5]")
    parser.add_argument("--out", type=Path, required=True, help="the .safetensors to write")
    args = parser.parse_args()
    if not 0.0 <= args.share <= 1.0:
        parser.error(f"--share is between 0 and 1, not {args.share:g}")
    if args.out.suffix != ".safetensors":
        parser.error(f"--out ends in .safetensors: {args.out}")
    try:
        average(args.before, args.after, args.share, args.out)
    except HeightposeError as error:
        parser.exit(2, f"error: {error}\n")
    print(f"saved to {args.out} and {args.out.with_suffix('.onnx').name}")


if __name__ == "__main__":
    main()
