"""The unambiguous repairs: swaps that model and shapes agree on, and byte-identical copies."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from heightpose.data.checks.finding import Finding, Fix
from heightpose.errors import HeightposeError
from heightpose.runtime.atomic import cannot_write, write_json
from heightpose.skeleton import mirror_name
from heightpose.textfile import read_json


def apply_fixes(annotations: Path, findings: Iterable[Finding], out: Path | None) -> list[Finding]:
    """Write the repaired ``annotations.json``; everything that is not repaired stays as the file has it.

    Args:
        annotations: the checked file; left alone when ``out`` is given.
        out: folder for the corrected copy, whose entries point at the original pictures; None repairs in place and
            keeps the original as ``annotations.json.bak``.

    Returns:
        The findings that were repaired.

    Raises:
        HeightposeError: a backup exists already, or the file cannot be written.
    """
    document = read_json(annotations, "data set")
    repaired = []
    for finding in findings:
        if finding.fix is not None and _apply(document, finding.fix):
            repaired.append(finding)
    if out is not None:
        _point_back(document, annotations.parent, out)
        write_json(out / "annotations.json", document)
    elif repaired:
        _back_up(annotations)
        write_json(annotations, document)
    return repaired


def _apply(document: dict[str, Any], fix: Fix) -> bool:
    if not fix.joints:
        document["images"] = [i for i in document["images"] if _field(i, "id") != fix.item_id]
        document["annotations"] = [a for a in document["annotations"] if _field(a, "image_id") != fix.item_id]
        return True
    names = document["categories"][0]["keypoints"]
    order = [names.index(mirror_name(n) if n in fix.joints else n) for n in names]
    for entry in document["annotations"]:
        if _field(entry, "image_id") != fix.item_id or entry.get("id", 0) != fix.person_id:
            continue
        old = entry["keypoints"]
        entry["keypoints"] = [v for k in order for v in old[3 * k : 3 * k + 3]]
        if entry.get("out_of_frame") is not None:
            entry["out_of_frame"] = [entry["out_of_frame"][k] for k in order]
        return True
    return False


def _field(entry: Any, name: str) -> Any:
    """None where a broken entry, which ``--skip-bad`` leaves out of the checks, lacks it."""
    return entry.get(name) if isinstance(entry, dict) else None


def _point_back(document: dict[str, Any], source: Path, out: Path) -> None:
    for image in document["images"]:
        for key in ("file_name", "video"):
            if isinstance(_field(image, key), str):
                relative = os.path.relpath((source / image[key]).resolve(), out.resolve())
                image[key] = Path(relative).as_posix()


def _back_up(annotations: Path) -> None:
    backup = annotations.with_name(annotations.name + ".bak")
    if backup.exists():
        raise HeightposeError(
            "a backup of an earlier repair is there",
            where=backup,
            hint="Move it away, or write a copy with --out",
        )
    try:
        shutil.copy2(annotations, backup)
    except OSError as error:
        raise cannot_write(backup, error) from error
