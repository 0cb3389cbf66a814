"""The figures by stratum of an evaluation's page."""

from __future__ import annotations

import html
from typing import Any

from heightpose.evaluate.text import figure as number
from heightpose.evaluate.text import of
from heightpose.report.page import Html, heading, table
from heightpose.report.plots import Bar, framed, plots, rows_svg


def strata_parts(result: dict[str, Any]) -> list[str]:
    """Joints and heights of every stratum's values, drawn and in tables; nothing where there are no strata."""
    poses: list[Bar] = []
    heights: list[Bar] = []
    blocks: list[tuple[str, Any, Any]] = []
    for name, values in result["strata"].items():
        for value, both in values.items():
            pose, h = both["pose"], both["height"]
            fine = None if pose is None else pose["pckh"]["0.1"]
            label = f"{name}: {value}"
            if fine is not None and fine["mean_sms"] is not None:
                note = f"{fine['mean_sms']:.0f}, n {pose['children']}"
                poses.append(Bar(label, fine["mean_sms"], fine["mean_sms_interval"], note))
            if h is not None and h["mae_cm"] is not None:
                heights.append(
                    Bar(
                        label,
                        h["mae_cm"],
                        h["mae_cm_interval"],
                        f"{h['mae_cm']:.2f}, n {h['measured']}",
                        "two",
                    )
                )
            blocks.append((label, pose, h))
    if not blocks:
        return []
    figures = []
    if poses:
        figures.append(
            framed(
                rows_svg(poses, (0, 100), "MeanSmS by stratum", "MeanSmS@0.1"),
                "Joints by stratum; n children.",
            )
        )
    if heights:
        most = 1.1 * max(max([b.value or 0.0, *(b.interval or ())]) for b in heights)
        figures.append(
            framed(
                rows_svg(heights, (0, most), "Height error by stratum", "MAE, cm"),
                "Height error by stratum; n clips.",
            )
        )
    tables = []
    if any(pose for _, pose, _ in blocks):
        columns = [
            "stratum",
            "people",
            "children",
            "found %",
            "MeanSmS@0.1",
            "Mean@0.1",
            "Mean@0.5",
            "OKS-AP",
        ]
        tables.append(
            table(columns, [_pose_row(label, pose) for label, pose, _ in blocks if pose is not None])
        )
    if any(h for _, _, h in blocks):
        columns = [
            "stratum",
            "clips",
            "children",
            "yield %",
            "MAE cm",
            "null cm",
            "gain cm",
            "bias cm",
            "coverage %",
        ]
        tables.append(table(columns, [_height_row(label, h) for label, _, h in blocks if h is not None]))
    return [heading("Strata"), plots(figures), *tables]


def _pose_row(label: str, pose: dict[str, Any]) -> list[object]:
    fine, coarse = pose["pckh"]["0.1"], pose["pckh"]["0.5"]
    values = [of(fine, "mean_sms"), of(fine, "mean"), of(coarse, "mean"), of(pose["oks"], "ap")]
    found = number(pose["found"]["share"], None, 0)
    return [_whole(label), pose["people"], pose["children"], found, *map(_whole, values)]


def _height_row(label: str, h: dict[str, Any]) -> list[object]:
    values = [of(h, f"{name}_cm", 2) for name in ("mae", "null_mae", "gain_over_null", "bias")]
    share, coverage = number(h["yield"], None, 0, 100), number(h["coverage"], None, 0, 100)
    return [_whole(label), h["clips"], h["children"], share, *map(_whole, values), coverage]


def _whole(text: str) -> Html:
    """Kept on one line: an interval broken in two is hard to read in a column."""
    return Html(f'<span style="white-space: nowrap">{html.escape(text)}</span>')
