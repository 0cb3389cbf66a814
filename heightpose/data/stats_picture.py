"""The statistics of data sets or iterations as one picture."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from heightpose.data.stats import IMAGENET_MEAN, IMAGENET_STD, VISIBILITY
from heightpose.data.strata import STRATA, in_order
from heightpose.errors import MissingExtraError
from heightpose.runtime.atomic import atomic_path
from heightpose.words import plural

_COLOURS = ("#4c72b0", "#dd8452", "#55a868", "#8172b3", "#937860", "#da8bc3")
_KINDS = {"seen": "#55a868", "hidden": "#e3b23c", "out_of_frame": "#c44e52", "unlabelled": "#cccccc"}


def draw_statistics(path: Path, columns: dict[str, dict[str, Any]]) -> None:
    """Write a PNG: channels, sizes, head directions, joints of the last column, strata of all columns.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("matplotlib", "train", "heightpose data stats --out") from error
    colours = {title: _COLOURS[i % len(_COLOURS)] for i, title in enumerate(columns)}
    figure = Figure(figsize=(15, 12), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    grid = figure.add_gridspec(3, 6, height_ratios=(1, 1.3, 1.3))
    _channels(figure.add_subplot(grid[0, :2]), columns, colours)
    _sizes(figure.add_subplot(grid[0, 2:4]), columns, colours, "size_px", "infant's longer box side, px")
    _sizes(
        figure.add_subplot(grid[0, 4:]),
        columns,
        colours,
        "share_of_frame",
        "box area as a share of the frame",
    )
    _angles(figure.add_subplot(grid[1, :2], projection="polar"), columns, colours)
    _joints(figure.add_subplot(grid[1, 2:]), columns)
    _strata(figure.add_subplot(grid[2, :]), columns, colours)
    with atomic_path(path) as tmp:
        canvas.print_png(str(tmp))


def _channels(axes: Any, columns: dict[str, dict[str, Any]], colours: dict[str, str]) -> None:
    bars = [("ImageNet", "#999999", IMAGENET_MEAN, IMAGENET_STD)]
    for title, column in columns.items():
        if column["channels"]["mean"] is not None:
            bars.append((title, colours[title], column["channels"]["mean"], column["channels"]["std"]))
    width = 0.8 / len(bars)
    for i, (title, colour, mean, std) in enumerate(bars):
        at = np.arange(3) + (i - (len(bars) - 1) / 2) * width
        axes.bar(
            at, mean, width, yerr=std, color=colour, capsize=2, label=title, error_kw={"elinewidth": 0.8}
        )
    axes.set_xticks(range(3), ["R", "G", "B"])
    axes.set_title("channel mean and standard deviation, 0..1")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.1), fontsize=8, ncols=4)


def _sizes(
    axes: Any, columns: dict[str, dict[str, Any]], colours: dict[str, str], key: str, title: str
) -> None:
    for name, column in columns.items():
        spread = column[key]
        if spread["counts"]:
            counts = np.array(spread["counts"]) / max(sum(spread["counts"]), 1)
            axes.stairs(
                counts, spread["edges"], color=colours[name], linewidth=1.6,
                label=f"{name}: median {spread['median']:.3g}",
            )  # fmt: skip
            axes.legend(fontsize=8)
    axes.set_title(title)
    axes.set_ylabel("share of infants")


def _angles(axes: Any, columns: dict[str, dict[str, Any]], colours: dict[str, str]) -> None:
    axes.set_theta_zero_location("N")
    axes.set_theta_direction(-1)
    for name, column in columns.items():
        angles = column["head_angle_deg"]
        counts = np.array(angles["counts"]) / max(sum(angles["counts"]), 1)
        edges = np.deg2rad(angles["edges"])
        axes.stairs(counts, edges, color=colours[name], linewidth=1.6, fill=len(columns) == 1, alpha=0.8)
    axes.set_yticklabels([])
    axes.set_title("head direction in the picture")


def _joints(axes: Any, columns: dict[str, dict[str, Any]]) -> None:
    title, column = list(columns.items())[-1]
    names = list(column["joints"])
    rows = np.array([[column["joints"][name][kind] for kind in VISIBILITY] for name in names], dtype=float)
    rows /= np.maximum(rows.sum(axis=1, keepdims=True), 1.0)
    left = np.zeros(len(names))
    for k, kind in enumerate(VISIBILITY):
        axes.barh(names, rows[:, k], left=left, color=_KINDS[kind], label=kind.replace("_", " "))
        left += rows[:, k]
    axes.invert_yaxis()
    axes.tick_params(axis="y", labelsize=8)
    axes.set_xlim(0, 1)
    axes.set_title(f"joints in {title}")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, -0.17), fontsize=8, ncols=4)


def _strata(axes: Any, columns: dict[str, dict[str, Any]], colours: dict[str, str]) -> None:
    strata = [s for c in columns.values() for s in c["strata"]]
    shown = [s for s in STRATA if s in strata]  # the seven that every item should carry; more are in the text
    places: list[tuple[str, str]] = []
    for stratum in shown:
        values = sorted({v for c in columns.values() for v in c["strata"].get(stratum, {})}, key=in_order)
        places += [(stratum, value) for value in values]
    gaps = np.cumsum([0.0] + [1.0 if a[0] == b[0] else 1.8 for a, b in pairwise(places)])
    width = 0.8 / len(columns)
    for i, (title, column) in enumerate(columns.items()):
        total = max(column["counts"]["labelled"], 1)
        cells = [column["strata"].get(s, {}).get(v, {"children": 0, "items": 0}) for s, v in places]
        at = gaps[: len(places)] + (i - (len(columns) - 1) / 2) * width
        label = f"{title}: {plural(column['counts']['children'], 'child')}, {plural(column['counts']['items'], 'item')}"
        axes.bar(at, [c["items"] / total for c in cells], width, color=colours[title], label=label)
        for x, cell in zip(at, cells, strict=True):
            axes.text(x, cell["items"] / total, str(cell["children"]), ha="center", va="bottom", fontsize=7)
    axes.set_xticks(gaps[: len(places)], [v for _, v in places], rotation=35, ha="right", fontsize=8)
    for stratum in shown:
        inside = [g for g, (s, _) in zip(gaps, places, strict=False) if s == stratum]
        if inside:
            axes.text(np.mean(inside), 1.12, stratum, ha="center", fontsize=9, fontweight="bold")
    axes.set_ylim(0, 1.22)
    axes.set_ylabel("share of labelled items")
    axes.set_title("strata; the number of children stands on each bar")
    if places:
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.22), fontsize=8, ncols=4)
