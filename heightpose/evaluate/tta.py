"""What each kind of test-time augmentation gains and costs, on held-out pictures."""

from __future__ import annotations

from typing import Any

import numpy as np

from heightpose.metrics.bootstrap import Draws
from heightpose.metrics.pckh import JointHits
from heightpose.runtime.tta import Tta
from heightpose.skeleton import INFANT
from heightpose.train.evidence import Cost, Samples

#: The kinds of the table, in its order; gains are over the first.
TABLE = ("none", "flip", "rotate", "scale", "flip,rotate", "flip,scale", "rotate,scale", "flip,rotate,scale")
_AT_HEADS = 0.1


def table(samples: dict[str, Samples], costs: dict[str, Cost]) -> list[dict[str, Any]]:
    """A row per set of views: MeanSmS@0.1 and Mean@0.1 of seen joints, median error, their paired gain over the
    first row with its 90 % interval (by child), how often the network runs, and the median milliseconds per picture
    from crop to joints, by the clock and of all processors together (which other work disturbs less)."""
    first = next(iter(samples.values()))
    draws = Draws.by_child(list(first.children))
    base = _hits(first)
    rows = []
    for name, one in samples.items():
        hits, tta = _hits(one), Tta.parse(name)
        seen = one.known & (one.visibility == 2)
        row: dict[str, Any] = {
            "tta": name,
            "people": len(one),
            "median_error_heads": float(np.median(one.error_heads[seen])) if seen.any() else None,
        }
        for key, joints in (("mean_sms_0.1", INFANT.height_joints), ("mean_0.1", None)):
            value, zero = hits.mean(joints), base.mean(joints)
            drawn = hits.drawn_means(draws, joints) - base.drawn_means(draws, joints)
            row[key] = value
            row[f"{key}_gain"] = None if value is None or zero is None else value - zero
            row[f"{key}_gain_interval"] = draws.interval(drawn, counted=hits.people(joints))
        row["runs"] = len(tta.views((2, 2))) * (1 + tta.flip)
        row["ms"], row["cpu_ms"] = (float(np.median(v)) for v in (costs[name].wall_ms, costs[name].cpu_ms))
        rows.append(row)
    return rows


def lines(rows: list[dict[str, Any]]) -> list[str]:
    """The table for a terminal or a page (Markdown)."""
    text = [
        "| views | MeanSmS@0.1 | gain (90 %) | Mean@0.1 | gain (90 %) | median error | runs | ms | processor ms |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = [row["tta"]]
        for key in ("mean_sms_0.1", "mean_0.1"):
            cells += [_number(row[key]), _gain(row[f"{key}_gain"], row[f"{key}_gain_interval"])]
        cells += [
            _number(row["median_error_heads"], 4),
            str(row["runs"]),
            f"{row['ms']:.1f}",
            f"{row['cpu_ms']:.1f}",
        ]
        text.append("| " + " | ".join(cells) + " |")
    if all(row["median_error_heads"] is None for row in rows):
        text += [
            "",
            "gains not measured: no label has a joint in sight and a head size, which crown and upper_neck give",
        ]
    return text


def _hits(samples: Samples) -> JointHits:
    counted = samples.known & (samples.visibility == 2)
    return JointHits(counted & (samples.error_heads <= _AT_HEADS), counted)


def _number(value: float | None, digits: int = 1) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _gain(value: float | None, interval: tuple[float, float] | None) -> str:
    if value is None or interval is None:
        return "-"
    return f"{value:+z.1f} ({interval[0]:+z.1f} to {interval[1]:+z.1f})"
