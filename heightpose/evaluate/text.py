"""A result in a terminal's width."""

from __future__ import annotations

from typing import Any

from heightpose.words import plural

#: PCK for photographs without head sizes, as tables and plots name it.
TORSO = "PCK@0.2 (torso)"


def figure(value: float | None, interval: Any = None, digits: int = 1, scale: float = 1.0) -> str:
    """``63.2 (58.1-67.9)``, or ``-`` for nothing."""
    if value is None:
        return "-"
    text = f"{scale * value:.{digits}f}"
    if interval is None:
        return text
    low, high = (scale * v for v in interval)
    joiner = " to " if low < 0 else "-"
    return f"{text} ({low:.{digits}f}{joiner}{high:.{digits}f})"


def of(block: dict[str, Any] | None, name: str, digits: int = 1, scale: float = 1.0) -> str:
    """A figure of a block with its interval, by name."""
    if block is None:
        return "-"
    return figure(block[name], block.get(f"{name}_interval"), digits, scale)


def set_words(result: dict[str, Any]) -> str:
    """``nursery-easy version 5``, and how much of it was judged where ``--limit`` left the rest out."""
    test, limit = result["testset"], result["settings"].get("limit")
    version = "" if test["version"] is None else f" version {test['version']}"
    return f"{test['name']}{version}" + ("" if limit is None else f", the first {limit} only")


def lines(result: dict[str, Any]) -> list[str]:
    """The result's main figures; brackets are 90 % intervals resampled by child, binomial where they say so."""
    test, pose, height = result["testset"], result["pose"], result["height"]
    out = [
        f"{set_words(result)}: {plural(test['people'], 'person')} in {plural(test['frames'], 'frame')}, "
        f"{plural(test['clips'], 'clip')}, {plural(test['children'], 'child')}",
        f"model {result['models']['pose']['name']} {result['models']['pose']['sha256'][:10]}, "
        f"detector {result['models']['detector']['name']} {result['models']['detector']['sha256'][:10]}",
    ]
    if pose is not None:
        out += _pose_lines(pose, "as infer sees it, missed people wrong throughout")
    if result["empty_frames"]["frames"]:
        out.append(f"  empty cots         {false_alarms(result['empty_frames'])}")
    if result["truth_crops"] is not None:
        out += _pose_lines(result["truth_crops"], "truth crops: the true box is given")
    if height is not None:
        out += _height_lines(height)
    out += strata_lines(result["strata"])
    return out


def _pose_lines(pose: dict[str, Any], title: str) -> list[str]:
    fine, coarse, curve = pose["pckh"]["0.1"], pose["pckh"]["0.5"], pose["curve"]
    out = [
        f"joints ({title}; {plural(pose['people'], 'person')}, {plural(pose['children'], 'child')})",
        f"  MeanSmS@0.1        {of(fine, 'mean_sms')}   hidden {of(fine, 'hidden_mean_sms')}",
        f"  Mean@0.1           {of(fine, 'mean')}   hidden {of(fine, 'hidden_mean')}",
        f"  Mean@0.5           {of(coarse, 'mean')}   MeanSmS@0.5 {of(coarse, 'mean_sms')}",
        f"  AUC 0-0.5          {of(curve, 'auc')}   of height joints {of(curve, 'auc_sms')}",
    ]
    if pose["oks"] is not None:
        out.append(f"  OKS-AP             {of(pose['oks'], 'ap')}   AP50 {of(pose['oks'], 'ap50')}")
    if pose.get("found") is not None:
        found = pose["found"]
        out.append(
            f"  found              {figure(found['share'], found['interval'])} %, {found['missed']} missed"
        )
    if fine["without_head_size"]:
        out.append(
            f"  without head size  {plural(fine['without_head_size'], 'person')}, left out of PCKh; "
            f"PCK@0.2 (torso) {figure(pose['pck_torso_0.2']['mean'], pose['pck_torso_0.2']['interval'])} "
            f"of {pose['pck_torso_0.2']['people']}"
        )
    return out


def _height_lines(h: dict[str, Any]) -> list[str]:
    limits = "-" if h["limit_low_cm"] is None else f"{h['limit_low_cm']:+z.2f} to {h['limit_high_cm']:+z.2f}"
    reasons = ", ".join(f"{code} {n}" for code, n in h["reasons"].items())
    without = null_left_out(h)
    return [
        f"height ({h['measured']} of {plural(h['clips'], 'clip')} measured, {plural(h['children'], 'child')}), cm",
        f"  MAE                {of(h, 'mae_cm', 2)}   null model on the same clips {of(h, 'null_mae_cm', 2)}, "
        f"on all {of(h, 'null_mae_all_cm', 2)}",
        *([f"  {without}"] if without else []),
        f"  refused ones too   {of(h, 'estimate_mae_cm', 2)} over {plural(h['estimated'], 'clip')} "
        "whose length was worked out",
        f"  gain over null     {of(h, 'gain_over_null_cm', 2)}",
        f"  bias               {of(h, 'bias_cm', 2)}   limits of agreement {limits}   RMSE {of(h, 'rmse_cm', 2)}",
        f"  median, P95        {of(h, 'median_cm', 2)}, {of(h, 'p95_cm', 2)}",
        f"  within 0.5, 1, 2   {of(h, 'within_0.5_cm', 0, 100)}, {of(h, 'within_1_cm', 0, 100)}, "
        f"{of(h, 'within_2_cm', 0, 100)} %",
        f"  TEM                {of(h, 'tem_cm', 2)} over {h['pairs']} pairs of clips of one child",
        f"  yield              {figure(h['yield'], h['yield_binomial'], 0, 100)} %, binomial"
        + (f"   refused: {reasons}" if reasons else ""),
        f"  coverage           {figure(h['coverage'], h['coverage_binomial'], 0, 100)} % "
        f"of {100 * h['nominal_coverage']:.0f} %, binomial",
    ]


def null_left_out(h: dict[str, Any]) -> str:
    """Over how many clips the null model's figures are where it has no length of all, of a result's "height"."""
    if h["null_clips"] == h["clips"]:
        return ""
    left_out = plural(h["clips"] - h["null_clips"], "clip")
    return f"null model and gain without {left_out} whose sex or age of 0 to 24 months is not known"


def false_alarms(empty: dict[str, Any]) -> str:
    """``1 false alarm in 40 frames``, of a result's "empty_frames"."""
    return f"{plural(empty['false_alarms'], 'false alarm')} in {plural(empty['frames'], 'frame')}"


def joints_right(pose: dict[str, Any] | None) -> str:
    """MeanSmS@0.1, or where no head size is labelled torso PCK, named; a dash for nobody."""
    if pose is None:
        return "-"
    torso = pose["pck_torso_0.2"]
    if pose["pckh"]["0.1"]["mean_sms"] is None and torso["mean"] is not None:
        return f"PCK {figure(torso['mean'], torso['interval'], 0)}"
    return of(pose["pckh"]["0.1"], "mean_sms", 0)


def strata_lines(strata: dict[str, Any]) -> list[str]:
    """One line per value of each stratum: joints along infer's path and on true boxes, lengths, yield."""
    if not strata:
        return []
    with_crops = any(both.get("truth_crops") for values in strata.values() for both in values.values())
    head = f"{'stratum':<34}{'people':>7}{'MeanSmS@0.1':>20}"
    head += f"{'on true boxes':>20}" if with_crops else ""
    out = [f"{head}{'clips':>7}{'MAE cm':>20}{'yield':>7}"]
    for name, values in strata.items():
        for value, both in values.items():
            pose, crops, h = both["pose"], both.get("truth_crops"), both["height"]
            line = (
                f"{name + ': ' + value:<34.34}{0 if pose is None else pose['people']:>7}"
                f"{joints_right(pose):>20}"
            )
            if with_crops:
                line += f"{joints_right(crops):>20}"
            out.append(
                f"{line}{0 if h is None else h['clips']:>7}{of(h, 'mae_cm', 2):>20}"
                f"{'-' if h is None else figure(100 * h['yield'], None, 0) + ' %':>7}"
            )
    return out
