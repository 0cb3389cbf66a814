"""A detector's figures as a picture: found and false alarms over the threshold, and how head directions err."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from heightpose.runtime.atomic import atomic_path
from heightpose.words import plural


def write_detector_plot(path: Path, summary: dict[str, Any], turns_deg: Sequence[float]) -> None:
    """Draw :func:`heightpose.evaluate.detector.judge` as PNG.

    Args:
        turns_deg: errors of the head directions of all infants found.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.2), layout="constrained")
    curve, heads = figure.subplots(1, 2)
    at = [row["threshold"] for row in summary["curve"]]
    for key, label, marker in (
        ("found", "infants found (IoU 0.5)", "o"),
        ("false_alarms", "empty cots with an alarm", "s"),
    ):
        values = [row[key] for row in summary["curve"]]
        if None not in values:
            curve.plot(at, [100 * v for v in values], marker=marker, label=label)
    curve.axvline(summary["threshold"], color="0.6", linewidth=1)
    curve.set(
        xlabel="threshold of the score", ylabel="%", ylim=(0, 101), title="what a threshold finds and costs"
    )
    if curve.get_legend_handles_labels()[0]:
        curve.legend(fontsize=8)
    if len(turns_deg):
        ordered = np.sort(np.asarray(turns_deg, dtype=float))
        heads.step(ordered, 100 * np.arange(1, len(ordered) + 1) / len(ordered), where="post")
    heads.set(xlabel="error of the head direction, degrees", ylabel="% of the infants found", xlim=(0, 180),
              ylim=(0, 101), title=f"head directions of {plural(len(turns_deg), 'infant')}")  # fmt: skip
    with atomic_path(path) as tmp:
        figure.savefig(tmp, dpi=110, format="png")
