"""``heightpose ablate`` in W&B: one run per matrix, with its table and picture."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2

from heightpose.ablate import figures
from heightpose.report.wandb_log import Tracker


def log_ablation(folder: Path, document: Mapping[str, Any], mode: str) -> None:
    """Log a finished matrix.

    Args:
        folder: of the matrix's results, with ``ablation.png``; W&B's own folder goes there.
        document: ``ablation.json``.
        mode: of :func:`heightpose.report.wandb_log.resolve_mode`.
    """
    name = document["name"]
    tracker = Tracker(folder, mode, describe(document), name=f"ablation: {name}", group="ablations",
                      job_type="ablation", tags=["ablation", name[:64]], notes=document["question"])  # fmt: skip
    try:
        with tracker.guarded("cannot log the table"):
            if tracker.on:
                tracker.table("ablation", *table(document))
                tracker.summary(summary(document))
                picture = cv2.imread(str(folder / "ablation.png"))
                if picture is not None:
                    tracker.pictures("ablation picture", [(picture[..., ::-1], document["question"])])
    finally:
        tracker.finish()


def describe(document: Mapping[str, Any]) -> dict[str, Any]:
    """What was asked and at which budget; the folders and files that it names stay here."""
    budget = {k: v for k, v in document["budget"].items() if k not in ("data", "pretrain_data", "set")}
    changed = {k: v for k, v in document["budget"].get("set", {}).items() if not isinstance(v, str)}
    asked = {k: document[k] for k in ("name", "question", "metric", "better", "combine")}
    return asked | {"budget": budget, "set": changed, "cells": len(document["cells"])}


def table(document: Mapping[str, Any]) -> tuple[list[str], list[list[Any]]]:
    """Columns and a row per cell, None where a cell has no figure: W&B's columns hold one type."""
    rows = figures.rows(document)
    columns = [*rows[0].labels, "seeds", "mean", "low", "high", "difference", "difference low", "difference high",
               "verdict"]  # fmt: skip
    none = (None, None)
    return columns, [
        [*row.labels.values(), len(row.values), row.mean, *(row.interval or none), row.difference,
         *(row.difference_interval or none), row.verdict]
        for row in rows
    ]  # fmt: skip


def summary(document: Mapping[str, Any]) -> dict[str, Any]:
    """How many cells came to which verdict, and each cell's mean by its name."""
    rows = figures.rows(document)
    verdicts = Counter(row.verdict for row in rows)
    means = {f"mean/{', '.join(str(v) for v in row.labels.values())}": row.mean for row in rows}
    return {f"cells {verdict}": count for verdict, count in verdicts.items()} | means
