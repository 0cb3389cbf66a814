"""What joint scores of an exported file mean: the calibration that goes with its source, or none."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from heightpose.codec.confidence import calibration_path, load_calibrations, weights_hash
from heightpose.errors import HeightposeError
from heightpose.runtime.atomic import write_json
from heightpose.runtime.modelfile import ModelFile
from heightpose.textfile import read_json

log = logging.getLogger("heightpose")


def carry_over(file: ModelFile, out: Path, alike: bool) -> str:
    """What the joint scores of an exported file mean; one that answers alike gets its source's calibration.

    Args:
        file: the source, a pose net that gives heatmaps; out: the exported file.
        alike: whether that answers as its source does.
    """
    if not alike or not load_calibrations(file.path, file.joints):
        return _uncalibrated(out)
    source, target = calibration_path(file.path), calibration_path(out)
    document = read_json(source, "calibration")
    there = _calibration_there(target)
    others = [entry for entry in there.get("weights", []) if entry["name"] != out.name]
    if source.resolve() != target.resolve():
        others = [entry for entry in others if _is_there(entry, out.parent)]
    if others and _without_weights(there) != _without_weights(document):
        names = ", ".join(entry["name"] for entry in others)
        log.warning(
            "%s stays: it is another calibration, of %s. Choose another name with --out", target, names
        )
        return _uncalibrated(out)
    document["weights"] = [*others, {"name": out.name, "sha256": weights_hash(out)}]
    write_json(target, document)
    return f"joint scores are calibrated as those of {file.path.name}: {target}"


def _uncalibrated(out: Path) -> str:
    return (
        "joint scores of this file are raw peaks, not probabilities, until it is calibrated: "
        f"heightpose eval confidence --model {out} --data HELD_OUT"
    )


def _calibration_there(target: Path) -> dict[str, Any]:
    """The calibration under the exported file's name, which all files of one stem share; empty where none is usable."""
    try:
        document = read_json(target, "calibration") if target.is_file() else {}
    except HeightposeError:
        return {}
    entries = document.get("weights", []) if isinstance(document, dict) else None
    usable = isinstance(entries, list) and all(
        isinstance(entry, dict) and {"name", "sha256"} <= entry.keys() for entry in entries
    )
    return document if usable else {}


def _is_there(entry: dict[str, Any], folder: Path) -> bool:
    """Whether the file that a calibration's entry is of still lies in the folder."""
    path = folder / Path(str(entry["name"])).name
    return path.is_file() and weights_hash(path) == entry["sha256"]


def _without_weights(calibration: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in calibration.items() if key != "weights"}
