"""A matrix's result as one picture: every seed as a dot, the mean with its interval, the base cell as a band."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from heightpose.ablate.figures import BASE, BETTER, WORSE, cell_names, rows
from heightpose.errors import MissingExtraError
from heightpose.metrics.bootstrap import LEVEL
from heightpose.runtime.atomic import atomic_path

#: Colours that differ in lightness too.
_COLOURS = {BETTER: "#2c7a4b", WORSE: "#c4561a", BASE: "#1f5fa8"}
_NEUTRAL = "#777777"


def draw_ablation(document: Mapping[str, Any], *paths: Path) -> None:
    """Write the picture as PNG or SVG, as each path's suffix says.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        from matplotlib import rc_context
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("matplotlib", "train", "heightpose ablate") from error
    table = rows(document)
    with rc_context({"svg.hashsalt": "heightpose", "svg.fonttype": "none"}):
        figure = Figure(figsize=(8, 1.6 + 0.34 * len(table)), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        _draw(axes, table)
        axes.set_xlabel(f"{document['metric']} ({document['better']} is better)")
        axes.set_title(
            f"{document['name']}: mean and {LEVEL:.0%} interval over seeds", fontsize=10, loc="left"
        )
        for path in paths:
            with atomic_path(path) as tmp:
                about = {"Date": None} if path.suffix == ".svg" else {}
                figure.savefig(tmp, format=path.suffix[1:], dpi=130, metadata=about)


def _draw(axes: Any, table: list[Any]) -> None:
    base = table[0]
    if base.interval is not None:
        axes.axvspan(*base.interval, color=_COLOURS[BASE], alpha=0.1, lw=0)
    for at, row in enumerate(table):
        colour = _COLOURS.get(row.verdict, _NEUTRAL)
        values = list(row.values.values())
        # A little apart, so that equal seeds do not hide each other.
        places = at + np.linspace(-0.14, 0.14, len(values)) if len(values) > 1 else [at] * len(values)
        axes.scatter(values, places, s=14, facecolors="none", edgecolors=colour, linewidths=0.9, zorder=3)
        if row.interval is not None:
            axes.plot(row.interval, (at, at), color=colour, lw=2, zorder=2)
        if row.mean is not None:
            axes.scatter([row.mean], [at], s=42, color=colour, marker="D", zorder=4)
        axes.annotate(
            row.verdict, (1.01, at), xycoords=("axes fraction", "data"), va="center", fontsize=8, color=colour,
            annotation_clip=False,
        )  # fmt: skip
    axes.set_yticks(range(len(table)), cell_names(table), fontsize=8)
    axes.set_ylim(len(table) - 0.4, -0.6)
    axes.grid(axis="x", color="#dddddd", lw=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
