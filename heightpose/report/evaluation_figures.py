"""The figures over everything of an evaluation's page: headline tables, plots of joints and of heights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from heightpose.evaluate.records import ClipRecord
from heightpose.evaluate.text import TORSO, false_alarms, joints_right, null_left_out, of
from heightpose.evaluate.text import figure as number
from heightpose.metrics.bootstrap import binomial_interval
from heightpose.report.page import Html, heading, paragraph, table
from heightpose.report.plots import Bar, Plot, framed, plots, rows_svg
from heightpose.skeleton import INFANT
from heightpose.words import plural


def headline(result: dict[str, Any]) -> Html:
    """The tables of figures over everything."""
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
        if fine["without_head_size"]:
            torso = result["pose"]["pck_torso_0.2"]
            rows.append(
                (
                    f"{TORSO}, {plural(torso['people'], 'person')}",
                    number(torso["mean"], torso["interval"]),
                    "",
                )
            )
    found = [table(["joints", "seen", "hidden"], rows)] if rows else []
    if result["truth_crops"] is not None:
        crops = result["truth_crops"]["pckh"]["0.1"]
        figures = f"MeanSmS@0.1 {of(crops, 'mean_sms')}, Mean@0.1 {of(crops, 'mean')}"
        if crops["mean_sms"] is None:
            figures = joints_right(result["truth_crops"])
        found.append(paragraph(f"Truth crops (the true box and head direction given, one look): {figures}."))
    if result["empty_frames"]["frames"]:
        found.append(paragraph(f"Empty cots: {false_alarms(result['empty_frames'])}."))
    if result["height"] is not None:
        found.append(_height_table(result["height"]))
        without = null_left_out(result["height"])
        found += [paragraph(f"{without[0].upper()}{without[1:]}.", "dim")] if without else []
    return Html("\n".join(found))


def _height_table(h: dict[str, Any]) -> Html:
    limits = "-" if h["limit_low_cm"] is None else f"{h['limit_low_cm']:+z.2f} to {h['limit_high_cm']:+z.2f}"
    return table(
        [
            "height, cm",
            f"{h['measured']} of {plural(h['clips'], 'clip')} measured, {plural(h['children'], 'child')}",
        ],
        [
            ("MAE", of(h, "mae_cm", 2)),
            (f"MAE, refused lengths too ({plural(h['estimated'], 'clip')})", of(h, "estimate_mae_cm", 2)),
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


def pose_parts(result: dict[str, Any]) -> list[str]:
    """How right the joints are: over the threshold, by score, by joint."""
    pose, fine = result["pose"], result["pose"]["pckh"]["0.1"]
    if not fine["people"]:
        return [heading("Joints"), plots([_torso_plot(pose["pck_torso_0.2"]["per_joint"])])]
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
                    _score_words(pose["score_reliability"]),
                ),
                framed(
                    rows_svg(bars, (0, 100), "PCKh@0.1 per joint", "PCKh@0.1, %"),
                    "PCKh@0.1 per seen joint, worst first. Blue: joints that carry the height.",
                ),
            ]
        ),
    ]


def _torso_plot(per_joint: dict[str, float | None]) -> Html:
    known = sorted((share, name) for name, share in per_joint.items() if share is not None)
    bars = [Bar(name.replace("_", " "), share, None, f"{share:.0f} %") for share, name in known]
    return framed(
        rows_svg(bars, (0, 100), f"{TORSO} per joint", f"{TORSO}, %"),
        "No head size is labelled: joints within a fifth of the torso, worst first.",
    )


def _score_plot(bins: Sequence[dict[str, Any]]) -> Html:
    drawing = Plot((0, 1), (0, 100), "joint score", "right, %")
    for key, colour, name in (
        ("right_0.5", "two", "within 0.5 head sizes"),
        ("right_0.1", "one", "within 0.1"),
    ):
        full = [b for b in bins if b["joints"] > 0]
        drawing.line([b["score"] for b in full], [100 * b[key] for b in full], colour, name)
        for b in full:
            around = binomial_interval(round(b[key] * b["joints"]), b["joints"])
            whisker = None if around is None else [100 * v for v in around]
            tip = f"{100 * b[key]:.0f} % of {plural(b['joints'], 'joint')}"
            drawing.point(b["score"], 100 * b[key], colour, tip, whisker)
    return drawing.svg("Joint scores and hits")


def _score_words(bins: Sequence[dict[str, Any]]) -> str:
    counts = ", ".join(str(b["joints"]) for b in bins if b["joints"] > 0)
    return (
        f"Joint scores against how often such joints are right; joints per dot, from the left: {counts}. Whiskers "
        "binomial, as if every joint were a child of its own: rather too short."
    )


def height_parts(h: dict[str, Any], clips: Sequence[ClipRecord]) -> list[str]:
    """How far lengths are off, clip by clip, and what their intervals hold."""
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
    drawing.level(h["bias_cm"], "two", f"bias {h['bias_cm']:+z.2f}")
    for value in limits:
        drawing.level(value, "two", f"{value:+z.2f}", "5 4")
    for (clip, measured), x in zip(done, middle, strict=True):
        error = measured - clip.length_cm
        drawing.point(x, error, "one", f"{clip.id}: {error:+z.2f} cm, true {clip.length_cm:.1f}")
    return drawing.svg("Bland-Altman plot")


def _coverage_plot(curve: Sequence[dict[str, Any]]) -> Html:
    drawing = Plot((40, 100), (0, 100), "stated level, %", "truth inside, %")
    drawing.line((40, 100), (40, 100), "dim", dash="5 4")
    for one in curve:
        if one["share"] is not None:
            whisker = [100 * v for v in one["share_interval"]]
            tip = f"{100 * one['share']:.0f} % inside of {100 * one['nominal']:.0f} %, {plural(one['clips'], 'clip')}"
            drawing.point(100 * one["nominal"], 100 * one["share"], "one", tip, whisker)
    return drawing.svg("Reliability of the intervals")
