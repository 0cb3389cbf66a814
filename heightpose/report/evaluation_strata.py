"""The figures by stratum of an evaluation's page."""

from __future__ import annotations

import html
from typing import Any

from heightpose.evaluate.text import TORSO, joints_right, of
from heightpose.evaluate.text import figure as number
from heightpose.report.page import Html, heading, named, table
from heightpose.report.plots import Bar, framed, plots, rows_svg

#: A stratum's value ("posture: side") and one part of what :func:`heightpose.evaluate.summary.summarise` says of it.
_Labelled = tuple[str, dict[str, Any]]


def strata_parts(result: dict[str, Any]) -> list[str]:
    """Joints and heights of every stratum's values, drawn and in tables; nothing where there are no strata.

    Where no head size is labelled (LSP's photographs) torso PCK stands in for MeanSmS, by its own name.
    """
    blocks = [
        (f"{name}: {value}", both)
        for name, values in result["strata"].items()
        for value, both in values.items()
    ]
    if not blocks:
        return []
    poses, crops, heights = (
        [(label, both[part]) for label, both in blocks if both.get(part) is not None]
        for part in ("pose", "truth_crops", "height")
    )
    tables = [_pose_table(poses, dict(crops))] if poses else []
    tables += [_height_table(heights)] if heights else []
    return [heading("Strata"), plots([*_pose_figure(poses), *_height_figure(heights)]), *tables]


def _pose_figure(poses: list[_Labelled]) -> list[Html]:
    """Bars of the first figure that any value has; none where none has."""
    for title, of_pose in (("MeanSmS@0.1", _mean_sms), (TORSO, _torso)):
        bars = [
            Bar(label, mean, interval, f"{mean:.0f}, n {pose['children']}")
            for label, pose in poses
            for mean, interval in [of_pose(pose)]
            if mean is not None
        ]
        if bars:
            drawn = rows_svg(bars, (0, 100), f"{title.partition('@')[0]} by stratum", title)
            return [framed(drawn, "Joints by stratum; n children.")]
    return []


def _height_figure(heights: list[_Labelled]) -> list[Html]:
    bars = [
        Bar(label, h["mae_cm"], h["mae_cm_interval"], f"{h['mae_cm']:.2f}, n {h['measured']}", "two")
        for label, h in heights
        if h["mae_cm"] is not None
    ]
    if not bars:
        return []
    most = 1.1 * max(max([b.value or 0.0, *(b.interval or ())]) for b in bars)
    drawn = rows_svg(bars, (0, most), "Height error by stratum", "MAE, cm")
    return [framed(drawn, "Height error by stratum; n clips.")]


def _pose_table(poses: list[_Labelled], crops: dict[str, dict[str, Any]]) -> Html:
    columns = ["stratum", "people", "children", "found %", "MeanSmS@0.1", "Mean@0.1", "Mean@0.5", "OKS-AP"]
    torso = any(pose["pckh"]["0.1"]["without_head_size"] for _, pose in poses)
    rows = [
        [
            *_pose_row(label, pose),
            *([_whole(number(*_torso(pose)))] if torso else []),
            *([_whole(joints_right(crops.get(label)))] if crops else []),
        ]
        for label, pose in poses
    ]
    return table(columns + [TORSO] * torso + ["on true boxes"] * bool(crops), rows)


def _height_table(heights: list[_Labelled]) -> Html:
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
    return table(columns, [_height_row(label, h) for label, h in heights])


def _mean_sms(pose: dict[str, Any]) -> tuple[float | None, Any]:
    return pose["pckh"]["0.1"]["mean_sms"], pose["pckh"]["0.1"]["mean_sms_interval"]


def _torso(pose: dict[str, Any]) -> tuple[float | None, Any]:
    return pose["pck_torso_0.2"]["mean"], pose["pck_torso_0.2"]["interval"]


def _pose_row(label: str, pose: dict[str, Any]) -> list[object]:
    fine, coarse = pose["pckh"]["0.1"], pose["pckh"]["0.5"]
    values = [of(fine, "mean_sms"), of(fine, "mean"), of(coarse, "mean"), of(pose["oks"], "ap")]
    found = number(pose["found"]["share"], None, 0)
    return [named(label), pose["people"], pose["children"], found, *map(_whole, values)]


def _height_row(label: str, h: dict[str, Any]) -> list[object]:
    values = [of(h, f"{name}_cm", 2) for name in ("mae", "null_mae", "gain_over_null", "bias")]
    share, coverage = number(h["yield"], None, 0, 100), number(h["coverage"], None, 0, 100)
    return [named(label), h["clips"], h["children"], share, *map(_whole, values), coverage]


def _whole(text: str) -> Html:
    """Kept on one line: an interval broken in two is hard to read in a column."""
    return Html(f'<span style="white-space: nowrap">{html.escape(text)}</span>')
