"""Risk over coverage and the intervals' coverage by stratum, as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from scipy import stats

from heightpose.geometry.body import INTERVAL_LEVEL
from heightpose.runtime.atomic import atomic_path


def write_risk_plot(path: Path, summary: dict[str, Any]) -> None:
    """Draw :func:`heightpose.evaluate.intervals.summarise` as PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 4.6), layout="constrained")
    risk, strata = figure.subplots(1, 2)
    curve = [row for row in summary["risk"] if row["measured"]]
    share = [100 * row["measured"] / summary["pictures"] for row in curve]
    risk.plot(share, [row["mae_cm"] for row in curve], marker="o", label="mean error")
    risk.plot(share, [row["p95_cm"] for row in curve], marker="s", label="95th percentile")
    for x, row in zip(share, curve, strict=True):
        risk.annotate(f"{100 * row['gate']:g} %", (x, row["mae_cm"]), (0, -12), fontsize=7, ha="center",
                      textcoords="offset points")  # fmt: skip
    risk.set(xlabel="measured, % of all", ylabel="cm", xlim=(0, 100), ylim=(0, None),
             title="risk over coverage, by the gate on the standard deviation")  # fmt: skip
    risk.legend(fontsize=8)

    rows = list(summary["coverage"].items())[::-1]
    for y, (_, row) in enumerate(rows):
        around = stats.binomtest(row["held"], row["intervals"]).proportion_ci(0.9)
        colour = "C3" if row["p"] < 0.05 else "C0"
        strata.plot([100 * around.low, 100 * around.high], [y, y], color=colour, linewidth=2)
        strata.plot(100 * row["share"], y, "o", color=colour)
    strata.axvline(100 * INTERVAL_LEVEL, color="0.6", linewidth=1)
    strata.set_yticks(range(len(rows)), [f"{name} ({row['intervals']})" for name, row in rows], fontsize=8)
    strata.set(xlim=(50, 101), xlabel="true length inside, %", title="90 % intervals by stratum")
    with atomic_path(path) as tmp:
        figure.savefig(tmp, dpi=110, format="png")
