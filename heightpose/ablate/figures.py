"""What a matrix shows: means over seeds with t-intervals, and each cell against the base cell, paired by seed.

Seeds pair: the same seed draws the same order of pictures and mostly the same first weights, and what is common to both
cells cancels out of the difference. An interval of a difference that leaves 0 out is called better or worse; the
others are "no difference shown", which is not "no difference".
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from heightpose.ablate.jobs import Plan
from heightpose.ablate.matrix import HIGHER, Budget, Matrix, short_name
from heightpose.metrics.bootstrap import LEVEL, Interval
from heightpose.report.run_files import read_identity
from heightpose.report.run_model import RUN
from heightpose.runtime.atomic import make_folder, write_json

BETTER, WORSE, NOTHING = "better", "worse", "no difference shown"
#: Characters of a name that the first column of a table still holds.
_LONG = 40

BASE, ONE_SEED = "base", "one seed: no interval"
#: Why a cell is not compared: nothing of it is done; it lacks the metric, as a detector that finds nobody lacks their
#: head directions; or it has the metric of other seeds than the base cell.
NOT_RUN, NO_FIGURE, NO_PAIR = "not run", "has no such figure", "no pair with the base"
FILE = "ablation.json"


@dataclass(frozen=True)
class Row:
    """One cell's figures.

    Attributes:
        values: seed -> the metric, of seeds that ran and have it.
        mean, interval: over seeds; the interval is Student's t, None of fewer than two seeds.
        difference, difference_interval: to the base cell over the seeds that both have.
        verdict: one of the words above.
        failed: seed -> why there is no figure.
    """

    labels: dict[str, str]
    values: dict[int, float]
    mean: float | None
    interval: Interval | None
    difference: float | None
    difference_interval: Interval | None
    verdict: str
    failed: dict[int, str]

    @property
    def name(self) -> str:
        return ", ".join(f"{factor} {level}" for factor, level in self.labels.items())


def write_ablation(
    matrix: Matrix, plan: Plan, budget: Budget, failed: Mapping[Path, str], out: Path
) -> dict[str, Any]:
    """Write ``ablation.json`` of what is measured so far and return it; paths in it are relative to it."""
    cells: dict[str, dict[str, Any]] = {}
    for m in plan.measurements:
        cell = cells.setdefault(
            m.cell.name, {"labels": m.cell.labels, "overrides": m.cell.overrides, "seeds": []}
        )
        if m.file.is_file():
            figures = json.loads(m.file.read_text(encoding="utf-8"))
            run = Path(os.path.relpath(m.training.folder, out)).as_posix()
            code = (read_identity(m.training.folder / RUN).get("code") or {}).get("sha256")
            cell["seeds"].append({"seed": m.seed, "run": run, "code": code, "metrics": figures})
        elif m.training.folder in failed:
            cell.setdefault("failed", []).append({"seed": m.seed, "error": failed[m.training.folder]})
    document = {
        "schema": 1,
        "name": matrix.name,
        "question": matrix.question,
        "metric": matrix.metric,
        "better": matrix.better,
        "combine": matrix.combine,
        "budget": budget.as_dict(),
        "cells": list(cells.values()),
    }
    make_folder(out)
    write_json(out / FILE, document)
    return document


def rows(document: Mapping[str, Any], metric: str | None = None, better: str | None = None) -> list[Row]:
    """A row per cell of an ``ablation.json``, the base cell first.

    Args:
        metric: another figure than the one that the document names, and its good end.
    """
    metric = document["metric"] if metric is None else metric
    sign = 1.0 if (document.get("better", HIGHER) if better is None else better) == HIGHER else -1.0
    found: list[Row] = []
    for cell in document["cells"]:
        values = {
            s["seed"]: float(s["metrics"][metric])
            for s in cell["seeds"]
            if isinstance(s["metrics"].get(metric), (int, float)) and math.isfinite(s["metrics"][metric])
        }
        base = found[0].values if found else values
        pairs = [values[s] - base[s] for s in sorted(values.keys() & base.keys())]
        difference, around = t_interval(pairs) if found else (None, None)
        mean, interval = t_interval(values.values())
        if not found:
            verdict = BASE
        elif not values:
            verdict = NO_FIGURE if cell["seeds"] else NOT_RUN
        else:
            verdict = _verdict(difference, around, sign)
        failed = {f["seed"]: f["error"] for f in cell.get("failed", [])}
        found.append(Row(cell["labels"], values, mean, interval, difference, around, verdict, failed))
    return found


def t_interval(values: Iterable[float]) -> tuple[float | None, Interval | None]:
    """Mean and Student's 90 % t-interval of its expectation; no interval of fewer than two values.

    Seeds that all give the same value to the last digit have no spread, and an interval of no width says so.
    """
    kept = np.asarray(list(values), dtype=np.float64)
    if not len(kept):
        return None, None
    mean = float(kept.mean())
    if len(kept) < 2:
        return mean, None
    half = float(stats.t.ppf(0.5 + LEVEL / 2, len(kept) - 1) * kept.std(ddof=1) / math.sqrt(len(kept)))
    return mean, (mean - half, mean + half)


def _verdict(difference: float | None, around: Interval | None, sign: float) -> str:
    if difference is None:
        return NO_PAIR
    if around is None:
        return ONE_SEED
    # Touching 0 is not leaving it out: two cells with the very same figures differ by nothing.
    if around[0] <= 0.0 <= around[1]:
        return NOTHING
    return BETTER if difference * sign > 0 else WORSE


def cell_names(table: Sequence[Row]) -> list[str]:
    """Every cell by what it changes; the base cell by all its levels, or "base" where those would fill a line."""
    names = [short_name(row.labels, table[0].labels) for row in table]
    if len(names[0]) > max([_LONG, *map(len, names[1:])]):
        names[0] = BASE
    return names


def lines(document: Mapping[str, Any]) -> list[str]:
    """The table as text: a line per cell."""
    table = rows(document)
    names, base = cell_names(table), table[0].name
    width = max(map(len, names))
    percent = f"{LEVEL:.0%}"
    result = [
        f"{document['name']}: {document['metric']}, {document['better']} is better; {percent} intervals over seeds"
    ]
    if document.get("question"):
        result.append(str(document["question"]))
    if names[0] != base:
        result.append(f"base: {base}")
    result.append(f"{'':<{width}}  seeds    mean  {'interval':^17}  {'to the base, paired':^27}  verdict")
    for name, row in zip(names, table, strict=True):
        mean = "      -" if row.mean is None else f"{row.mean:7.2f}"
        change = (
            ""
            if row.difference is None
            else f"{row.difference:+7.2f}  {_span(row.difference_interval, '+'):<18}"
        )
        result.append(
            f"{name:<{width}}  {len(row.values):>5} {mean}  {_span(row.interval):<17}  {change:<27}  "
            f"{row.verdict}"
        )
        result += [f"{'':<{width}}  seed {seed} failed: {why}" for seed, why in row.failed.items()]
    tried = sum(row.difference_interval is not None for row in table)
    codes = {seed.get("code") for cell in document["cells"] for seed in cell["seeds"]}
    if len(codes) > 1:
        result.append(
            f"trained by {len(codes)} versions of the code: a difference may be theirs; another --out trains all anew"
        )
    if tried > 1:
        by_chance = (1 - LEVEL) * tried
        result.append(
            f"{tried} comparisons: at {percent} about {by_chance:.1f} of them would look different by chance alone"
        )
    return result


def csv_rows(document: Mapping[str, Any]) -> list[list[object]]:
    """The table for a spreadsheet: a heading, then a line per cell."""
    table = rows(document)
    factors = list(table[0].labels)
    head = [
        *factors,
        "metric",
        "seeds",
        "mean",
        "low",
        "high",
        "difference",
        "difference_low",
        "difference_high",
    ]
    written: list[list[object]] = [[*head, "level", "verdict", "values", "failed"]]
    for row in table:
        low, high = row.interval if row.interval is not None else ("", "")
        d_low, d_high = row.difference_interval if row.difference_interval is not None else ("", "")
        values = " ".join(f"{seed}:{value:.6g}" for seed, value in row.values.items())
        written.append(
            [
                *(row.labels[f] for f in factors), document["metric"], len(row.values),
                "" if row.mean is None else row.mean, low, high,
                "" if row.difference is None else row.difference, d_low, d_high, LEVEL, row.verdict, values,
                "; ".join(f"{seed}: {why}" for seed, why in row.failed.items()),
            ]
        )  # fmt: skip
    return written


def _span(interval: Interval | None, sign: str = "") -> str:
    return "" if interval is None else f"[{interval[0]:{sign}.2f}, {interval[1]:{sign}.2f}]"
