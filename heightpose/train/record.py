"""``run.json``: who a training run is, written when it starts. heightpose.report.runs reads it back."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from heightpose.config import DataConfig, TrainConfig
from heightpose.data.items import Item
from heightpose.data.iterations import labels_hash, manifests, picture_hashes
from heightpose.data.strata import strata_table
from heightpose.report.run_files import SCHEMA, read_identity
from heightpose.report.run_model import RUN
from heightpose.runtime.atomic import write_json
from heightpose.runtime.code import code_version
from heightpose.runtime.output import sha256

SPLITS = ("train", "val")


def describe_data(items: Sequence[Item], data: DataConfig) -> dict[str, Any]:
    """What identifies some data and what they show.

    Returns:
        "hash" (SHA-256 over labels and pictures of both splits, wherever they lie and in whatever order), "strata"
        (split -> stratum -> value -> children and items), and of a data iteration "iteration" with its place in the
        chain.
    """
    used = [item for item in items if item.split in SPLITS]
    pictures = picture_hashes(used)
    # Pictures by their bare names: the same data hash alike as folders and as an iteration.
    # Schema 1: what it leaves out teaches nothing, and older runs on the same data have the same hash.
    lines = sorted(f"{labels_hash(i, i.path.parent, 1)} {pictures[i.path]}" for i in used)
    strata = {
        split: {
            stratum: {value: {"children": c, "items": n} for value, (c, n) in row.items()}
            for stratum, row in strata_table(i for i in used if i.split == split).items()
        }
        for split in SPLITS
    }
    found: dict[str, Any] = {"hash": hashlib.sha256("\n".join(lines).encode()).hexdigest(), "strata": strata}
    if data.iteration is not None:
        own = next(m for m in manifests(data.iterations_root) if m.name == data.iteration)
        found["iteration"] = {
            "name": own.name, "hash": own.hash, "order": own.order, "parent": own.parent, "created": own.created,
            "aim": {"share": own.share, "where": {k: list(v) for k, v in own.where.items()}}
            | ({"weights": own.weights} if own.weights else {}),
        }  # fmt: skip
    return found


def begin(
    out: Path, config: TrainConfig, data: dict[str, Any], *, note: str | None, labels: dict[str, str] | None,
    resume: bool,
) -> dict[str, Any]:  # fmt: skip
    """Write ``out/run.json`` and return it. A resumed run keeps its id, its time and what was said of it."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    path = out / RUN
    before = read_identity(path) if resume else {}
    record = {
        "schema": SCHEMA,
        "kind": "training",
        "id": before.get("id", secrets.token_hex(8)),
        "created": before.get("created", now),
        "task": config.task,
        "note": note if note is not None else before.get("note", ""),
        "labels": labels if labels is not None else before.get("labels", {}),
        "seed": config.seed,
        "code": code_version(),
        "data": data,
        "parent": before["parent"] if "parent" in before else parent_of(config.start_from),
    }
    if before:
        # The code or the data may be others than those it began with.
        was = {"code": before.get("code"), "data_hash": (before.get("data") or {}).get("hash")}
        record["resumed"] = [*before.get("resumed", []), {"at": now, "before": was}]
    if os.environ.get("LOCAL_RANK", "0") == "0":
        write_json(path, record)
    return record


def parent_of(start_from: str | None) -> dict[str, Any] | None:
    """The weights that a run starts from, and the run that made them where its record lies beside them."""
    if start_from is None:
        return None
    path = Path(start_from)
    return {"name": path.name, "sha256": sha256([path]), "run": read_identity(path.parent / RUN).get("id")}
