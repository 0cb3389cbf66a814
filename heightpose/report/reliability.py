"""The reliability of joint scores, as text and as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from heightpose.runtime.atomic import atomic_path
from heightpose.words import plural


def lines(views: dict[str, dict[str, Any]]) -> list[str]:
    """What a person reads of the reports of :func:`heightpose.train.confidence.judge`, by views."""
    text: list[str] = []
    for name, figures in views.items():
        error = figures["error"]
        text += [
            f"views {name}: {plural(figures['people'], 'person')}, {plural(figures['children'], 'child')} "
            "not used for the fit",
            f"{'':24}{'joints':>8}{'happens':>9}{'ECE':>8}{'Brier':>8}{'AUC':>7}",
        ]
        for key in ("right", "right, seen joints", "right, hidden joints", "raw peak", "seen"):
            text.append(_line(key, figures[key]))
        text += [
            "  within 0.1 head sizes:  said " + _tenths(figures["right"], "said"),
            "                      happened " + _tenths(figures["right"], "happened"),
            "                        joints " + "".join(f"{b['n']:6d}" for b in figures["right"]["bins"]),
            f"  covariance: a Gaussian's median squared distance {error['median_squared_expected']:.2f}, here "
            f"{error['median_squared']:.2f}; robust sd per axis "
            + ", ".join(f"{v:.2f}" for v in error["robust_sd_per_axis"]),
            f"    within 1 sd {error['within_1_sd']:.3f} ({error['within_1_sd_expected']}), within 2 sd "
            f"{error['within_2_sd']:.3f} ({error['within_2_sd_expected']}); the map's own sd times "
            f"{error['scale_of_moments']:.2f} would be the error's",
            "    quantiles per axis: "
            + "  ".join(f"{q}: {a:+z.2f} {b:+z.2f}" for q, (a, b) in error["quantiles_per_axis"].items()),
            "    sd said, found (px of the crop), by fifths: "
            + "  ".join(f"{f['said_sd_px']:.1f} {f['robust_sd_px']:.1f}" for f in error["fifths"]),
        ]
    return text


def write_plot(path: Path, views: dict[str, dict[str, Any]]) -> None:
    """Reliability curves, a panel per question, a line per set of views, with how many joints each tenth holds."""
    from matplotlib.figure import Figure

    panels = (
        ("right", "within 0.1 head sizes"),
        ("raw peak", "raw peak, uncalibrated"),
        ("seen", "seen, not hidden"),
    )
    figure = Figure(figsize=(12, 4.4), layout="constrained")
    for axes, (key, title) in zip(figure.subplots(1, len(panels)), panels, strict=True):
        axes.plot([0, 1], [0, 1], color="0.7", linewidth=1)
        for name, figures in views.items():
            bins = figures[key]["bins"]
            said, happened, n = (np.array([b[k] for b in bins]) for k in ("said", "happened", "n"))
            # The standard error of a share; joints of one child are not independent, so it is the least there is.
            spread = np.sqrt(happened * (1 - happened) / np.maximum(n, 1))
            axes.errorbar(
                said,
                happened,
                spread,
                marker="o",
                markersize=4,
                capsize=2,
                label=f"{name}, ECE {figures[key]['ece']:.3f}",
            )
        axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="said", ylabel="happened", title=title)
        axes.legend(loc="best", fontsize=8)
    with atomic_path(path) as tmp:
        figure.savefig(tmp, dpi=110, format="png")


def _line(name: str, figures: dict[str, Any]) -> str:
    cells = (figures["base_rate"], figures["ece"], figures["brier"], figures["auc"])
    text = [("-" if v is None else f"{v:.3f}") for v in cells]
    return f"  {name:22}{figures['n']:8d}{text[0]:>9}{text[1]:>8}{text[2]:>8}{text[3]:>7}"


def _tenths(figures: dict[str, Any], key: str) -> str:
    return "".join(f"{b[key]:6.2f}" for b in figures["bins"])
