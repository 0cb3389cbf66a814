"""One self-contained page about one evaluation: figures, plots, strata and the worst cases."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from heightpose.evaluate.people import People, lengths_of
from heightpose.evaluate.records import ClipRecord, FrameRecord, require_records
from heightpose.evaluate.result import load_result
from heightpose.evaluate.text import figure as number
from heightpose.evaluate.text import of
from heightpose.metrics.height import worst
from heightpose.report.page import Html, grid, heading, paragraph, table, write_page
from heightpose.report.plots import STYLE, Bar, Plot, framed, plots, rows_svg
from heightpose.report.worst import clip_figure, person_figure, worst_people
from heightpose.skeleton import INFANT

#: How many people and clips are shown as worst cases.
_PEOPLE, _CLIPS = 12, 8


def write_report(folder: Path, data_folder: Path, *, blur: bool = True) -> Path:
    """Write ``folder/report.html`` from the result and records there; returns its path.

    Args:
        data_folder: where the judged pictures and clips lie; the worst cases are read from it.
        blur: make every infant's face unrecognisable.
    """
    result = load_result(folder)
    frames, clips = require_records(folder)
    test, models = result["testset"], result["models"]
    version = "" if test["version"] is None else f", version {test['version']}"
    parts: list[str] = [
        STYLE,
        f"{test['people']} people in {test['frames']} frames, {test['clips']} clips, {test['children']} children. "
        f"Model {models['pose']['name']} ({models['pose']['sha256'][:10]}), detector {models['detector']['name']} "
        f"({models['detector']['sha256'][:10]}), {result['backend']['pose'].get('name', '')}.",
        paragraph(
            "Brackets and whiskers are 90 % intervals, resampled by child; where fewer than two children are there is "
            "none. Joints are those that infer gives: of a person whom the detector missed all are wrong.",
            "dim",
        ),
        _headline(result),
    ]
    if result["pose"] is not None:
        parts += _pose_parts(result)
    if result["height"] is not None:
        parts += _height_parts(result["height"], clips)
    parts += _strata_parts(result)
    parts += _worst_parts(frames, clips, data_folder, blur)
    parts.append(
        paragraph(
            f"Written by heightpose {result['heightpose']}, {result['created']}. Set {test['sha256'][:16]}.",
            "dim",
        )
    )
    final = folder / "report.html"
    write_page(final, f"Evaluation on {test['name']}{version}", *parts)
    return final


def _headline(result: dict[str, Any]) -> Html:
    rows: list[Sequence[object]] = []
    if result["pose"] is not None:
        fine, coarse = result["pose"]["pckh"]["0.1"], result["pose"]["pckh"]["0.5"]
        rows += [
            (
                "MeanSmS@0.1, seen joints that carry the height",
                of(fine, "mean_sms"),
                of(fine, "hidden_mean_sms"),
            ),
            ("Mean@0.1, all joints", of(fine, "mean"), of(fine, "hidden_mean")),
            ("Mean@0.5", of(coarse, "mean"), of(coarse, "hidden_mean")),
            ("AUC, 0 to 0.5", of(result["pose"]["curve"], "auc"), of(result["pose"]["curve"], "hidden_auc")),
            ("OKS-AP (AP50)", f"{of(result['pose']['oks'], 'ap')} ({of(result['pose']['oks'], 'ap50')})", ""),
            (
                "People found, %",
                number(result["pose"]["found"]["share"], result["pose"]["found"]["interval"]),
                "",
            ),
        ]
    found = [table(["joints", "seen", "hidden"], rows)] if rows else []
    if result["truth_crops"] is not None:
        crops = result["truth_crops"]["pckh"]["0.1"]
        found.append(
            paragraph(
                f"Truth crops (the true box and head direction given, one look): MeanSmS@0.1 {of(crops, 'mean_sms')}, "
                f"Mean@0.1 {of(crops, 'mean')}."
            )
        )
    if result["height"] is not None:
        found.append(_height_table(result["height"]))
    return Html("\n".join(found))


def _height_table(h: dict[str, Any]) -> Html:
    limits = "-" if h["limit_low_cm"] is None else f"{h['limit_low_cm']:+.2f} to {h['limit_high_cm']:+.2f}"
    return table(
        ["height, cm", f"{h['measured']} of {h['clips']} clips measured, {h['children']} children"],
        [
            ("MAE", of(h, "mae_cm", 2)),
            ("null model (WHO median) on the same clips", of(h, "null_mae_cm", 2)),
            ("null model on all clips", of(h, "null_mae_all_cm", 2)),
            ("gain over the null model, paired", of(h, "gain_over_null_cm", 2)),
            ("bias (measured - true)", of(h, "bias_cm", 2)),
            ("limits of agreement", limits),
            ("median, P95 of the absolute error", f"{of(h, 'median_cm', 2)}, {of(h, 'p95_cm', 2)}"),
            ("RMSE", of(h, "rmse_cm", 2)),
            (f"TEM over {h['pairs']} pairs of clips of one child", of(h, "tem_cm", 2)),
            *((f"within {w} cm, %", of(h, f"within_{w}_cm", 0, 100)) for w in ("0.5", "1", "2")),
            ("yield, %", number(h["yield"], h["yield_binomial"], 0, 100)),
            (
                f"coverage of the {100 * h['nominal_coverage']:.0f} % intervals, %",
                number(h["coverage"], h["coverage_binomial"], 0, 100),
            ),
            ("refused", ", ".join(f"{code} {n}" for code, n in h["reasons"].items()) or "none"),
        ],
    )


def _pose_parts(result: dict[str, Any]) -> list[str]:
    pose, fine = result["pose"], result["pose"]["pckh"]["0.1"]
    curve = pose["curve"]
    drawing = Plot((0, 0.5), (0, 100), "threshold, head sizes", "PCKh, %")
    drawing.line(curve["a"], curve["mean_sms"], "one", "height joints")
    drawing.line(curve["a"], curve["mean"], "two", "all joints")
    if curve["hidden_auc"] is not None:
        drawing.line(curve["a"], curve["hidden_mean"], "four", "hidden joints", "5 4")
    if result["truth_crops"] is not None:
        drawing.line(
            curve["a"],
            result["truth_crops"]["curve"]["mean_sms"],
            "three",
            "height joints, truth crops",
            "2 3",
        )
    order = sorted(INFANT.names, key=lambda n: -1.0 if fine["per_joint"][n] is None else fine["per_joint"][n])
    sms = {INFANT.names[int(k)] for k in INFANT.height_joints}
    bars = [
        Bar(
            n.replace("_", " "), fine["per_joint"][n], fine["per_joint_interval"][n],
            f"{fine['per_joint'][n]:.0f} % of {fine['counts'][n]}", "one" if n in sms else "two",
        )
        for n in order
        if fine["per_joint"][n] is not None
    ]  # fmt: skip
    return [
        heading("Joints"),
        plots(
            [
                framed(
                    drawing.svg("PCKh over thresholds"),
                    "PCKh over the threshold; seen joints unless named hidden.",
                ),
                framed(
                    _score_plot(pose["score_reliability"]),
                    "Joint scores against how often such joints are right.",
                ),
                framed(
                    rows_svg(bars, (0, 100), "PCKh@0.1 per joint", "PCKh@0.1, %"),
                    "PCKh@0.1 per seen joint, worst first. Blue: joints that carry the height.",
                ),
            ]
        ),
    ]


def _score_plot(bins: Sequence[dict[str, Any]]) -> Html:
    drawing = Plot((0, 1), (0, 100), "joint score", "right, %", legend_left=True)
    for key, colour, name in (
        ("right_0.5", "two", "within 0.5 head sizes"),
        ("right_0.1", "one", "within 0.1"),
    ):
        full = [b for b in bins if b["joints"] > 0]
        drawing.line([b["score"] for b in full], [100 * b[key] for b in full], colour, name)
        for b in full:
            drawing.point(b["score"], 100 * b[key], colour, f"{100 * b[key]:.0f} % of {b['joints']} joints")
    return drawing.svg("Joint scores and hits")


def _height_parts(h: dict[str, Any], clips: Sequence[ClipRecord]) -> list[str]:
    return [
        heading("Heights"),
        plots(
            [
                framed(
                    _bland_altman(h, clips), "Bland-Altman: error over the mean of true and measured length."
                ),
                framed(
                    _coverage_plot(h["reliability"]),
                    "How often intervals hold the truth were they stated for other levels; whiskers binomial. On the "
                    "dashed line they mean what they say, above it they are too wide.",
                ),
            ]
        ),
    ]


def _bland_altman(h: dict[str, Any], clips: Sequence[ClipRecord]) -> Html:
    done = [(c, c.measured_cm) for c in clips if c.measured_cm is not None]
    if not done:
        return Html("<p>No clip was measured.</p>")
    middle = [(m + c.length_cm) / 2 for c, m in done]
    limits = [v for v in (h["limit_low_cm"], h["limit_high_cm"]) if v is not None]
    reach = 1.15 * max(1.0, *(abs(m - c.length_cm) for c, m in done), *(abs(v) for v in limits))
    drawing = Plot(
        (min(middle) - 1, max(middle) + 1), (-reach, reach), "mean of true and measured, cm", "error, cm"
    )
    drawing.level(0.0, "line")
    drawing.level(h["bias_cm"], "two", f"bias {h['bias_cm']:+.2f}")
    for value in limits:
        drawing.level(value, "two", f"{value:+.2f}", "5 4")
    for (clip, measured), x in zip(done, middle, strict=True):
        error = measured - clip.length_cm
        drawing.point(x, error, "one", f"{clip.id}: {error:+.2f} cm, true {clip.length_cm:.1f}")
    return drawing.svg("Bland-Altman plot")


def _coverage_plot(curve: Sequence[dict[str, Any]]) -> Html:
    drawing = Plot((40, 100), (0, 100), "stated level, %", "truth inside, %")
    drawing.line((40, 100), (40, 100), "dim", dash="5 4")
    for one in curve:
        if one["share"] is not None:
            whisker = [100 * v for v in one["share_interval"]]
            tip = f"{100 * one['share']:.0f} % inside of {100 * one['nominal']:.0f} %, {one['clips']} clips"
            drawing.point(100 * one["nominal"], 100 * one["share"], "one", tip, whisker)
    return drawing.svg("Reliability of the intervals")


def _strata_parts(result: dict[str, Any]) -> list[str]:
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


def _worst_parts(
    frames: Sequence[FrameRecord], clips: Sequence[ClipRecord], folder: Path, blur: bool
) -> list[str]:
    parts: list[str] = []
    cases = worst_people(People.of(frames), _PEOPLE)
    shown = [person_figure(case, folder, blur=blur) for case in cases]
    if any(shown):
        parts += [
            heading("Worst people"),
            paragraph(
                "Orange: the infant's left, blue: its right, white: the midline, as found. Green: the true joint (a "
                "ring where it is hidden), red: the way from it to the one found. Of a missed person the true joints "
                "are drawn.",
                "dim",
            ),
            grid([one for one in shown if one]),
        ]
    chosen = [clips[int(i)] for i in worst(lengths_of(clips), _CLIPS)] if clips else []
    chosen += [c for c in clips if c.measured_cm is None][:4]
    pictures = [clip_figure(clip, frames, folder, blur=blur) for clip in chosen]
    if any(pictures):
        parts += [heading("Worst clips, and some that were refused"), grid([p for p in pictures if p])]
    return parts
