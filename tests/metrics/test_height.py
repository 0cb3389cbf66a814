"""Height error: numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from heightpose.metrics.height import (
    NOMINAL,
    Lengths,
    null_length,
    pairs_of_one_child,
    reliability,
    summary,
    worst,
)

NAN = float("nan")


def lengths(truth, measured, children, half=1.0, null=None):
    measured = np.array(measured, dtype=float)
    null = [NAN] * len(truth) if null is None else null
    return Lengths(
        np.array(truth, float), measured, measured - half, measured + half, children, np.array(null)
    )


def test_the_figures_by_hand():
    # errors +1, -1, +2, rejected, 0
    s = summary(
        lengths([60, 62, 64, 66, 68], [61, 61, 66, NAN, 68], list("abcde"), null=[62, 62, 61, 66, NAN])
    )
    assert (s["clips"], s["measured"], s["children"], s["null_clips"]) == (5, 4, 5, 4)
    assert s["mae_cm"] == pytest.approx(1.0)
    assert s["bias_cm"] == pytest.approx(0.5)
    assert s["median_cm"] == pytest.approx(1.0)
    assert s["p95_cm"] == pytest.approx(np.quantile([0, 1, 1, 2], 0.95))
    assert s["rmse_cm"] == pytest.approx(np.sqrt(6 / 4))
    assert s["within_0.5_cm"] == 0.25
    assert s["within_1_cm"] == 0.75
    assert s["within_2_cm"] == 1.0
    assert s["yield"] == 0.8
    assert s["coverage"] == 0.75  # +2 lies outside its +-1
    sd = np.sqrt(((np.array([1, -1, 2, 0]) - 0.5) ** 2).sum() / 3)
    assert s["limit_low_cm"] == pytest.approx(0.5 - 1.96 * sd)
    assert s["limit_high_cm"] == pytest.approx(0.5 + 1.96 * sd)
    # Over the measured clips whose sex and age are known.
    assert s["null_mae_cm"] == pytest.approx((2 + 0 + 3) / 3)
    assert s["null_mae_all_cm"] == pytest.approx((2 + 0 + 3 + 0) / 4)
    assert s["gain_over_null_cm"] == pytest.approx((2 + 0 + 3) / 3 - (1 + 1 + 2) / 3)
    assert s["tem_cm"] is None
    assert s["pairs"] == 0
    assert [(p["nominal"], p["clips"]) for p in s["reliability"]] == [(level, 4) for level in NOMINAL]
    # 1 cm is said to hold 90 %: less than that holds the exact one alone, and no level told reaches 2 cm
    assert [p["share"] for p in s["reliability"]] == [0.25] * 4 + [0.75] * 3


def test_refused_lengths_count_in_one_figure_only():
    measured = np.array([61.0, NAN, NAN])
    given = Lengths(
        np.array([60.0, 60.0, 60.0]), measured, measured - 1, measured + 1, list("abc"), np.full(3, NAN),
        estimate=np.array([61.0, 55.0, NAN]),
    )  # fmt: skip
    s = summary(given)
    assert (s["clips"], s["measured"], s["estimated"]) == (3, 1, 2)
    assert s["mae_cm"] == pytest.approx(1.0)
    assert s["estimate_mae_cm"] == pytest.approx(3.0)
    assert s["yield"] == pytest.approx(1 / 3)
    assert summary(given.chosen(np.array([True, False, True])))["estimate_mae_cm"] == pytest.approx(1.0)


def test_bland_altman_limits_of_two_and_of_one():
    two, one = summary(lengths([60, 70], [61, 73], ["a", "b"])), summary(lengths([60], [61], ["a"]))
    assert (two["limit_low_cm"], two["limit_high_cm"]) == pytest.approx(
        (2 - 1.96 * 2**0.5, 2 + 1.96 * 2**0.5)
    )
    assert two["sd_cm"] == pytest.approx(2**0.5)
    assert one["limit_low_cm"] is one["limit_high_cm"] is one["sd_cm"] is None
    assert one["mae_cm"] == 1.0


def test_tem_over_pairs_of_one_child():
    children = ["a", "b", "a", "a", "b", "c"]
    assert pairs_of_one_child(children).tolist() == [[0, 2], [0, 3], [1, 4], [2, 3]]
    s = summary(lengths([60, 70, 60, 60, 70, 80], [61, 70, 60, NAN, 72, 80], children))
    assert s["pairs"] == 2  # a: 61 and 60; b: 70 and 72; the rejected one pairs with nobody
    assert s["tem_cm"] == pytest.approx(np.sqrt((1 + 4) / 4))


def test_growth_between_two_clips_is_no_error_of_repeatability():
    s = summary(lengths([60, 63], [60.5, 63.5], ["a", "a"]))
    assert s["tem_cm"] == pytest.approx(0.0)


@pytest.mark.parametrize("error", [0.999, 1.0, 1.001])
def test_shares_and_coverage_straddle_their_limits(error):
    s = summary(lengths([60.0, 61.0], [60.0 + error, 61.0 - error], ["a", "b"]))
    assert s["within_1_cm"] == (1.0 if error <= 1.0 else 0.0)
    assert s["coverage"] == (1.0 if error <= 1.0 else 0.0)


def test_all_rejected_is_no_accuracy_at_all():
    s = summary(lengths([60, 61], [NAN, NAN], ["a", "b"], null=[61, 61]))
    assert s["yield"] == 0.0
    for name in (
        "mae_cm",
        "bias_cm",
        "rmse_cm",
        "median_cm",
        "p95_cm",
        "coverage",
        "null_mae_cm",
        "limit_low_cm",
    ):
        assert s[name] is None, name
        assert s[f"{name}_interval"] is None, name
    assert s["null_mae_all_cm"] == pytest.approx(0.5)


def test_intervals_resample_children_not_clips():
    # ten clips of one child are right, ten of the other 2 cm off
    truth, children = [60.0] * 20, ["a"] * 10 + ["b"] * 10
    s = summary(lengths(truth, [60.0] * 10 + [62.0] * 10, children))
    assert s["mae_cm"] == pytest.approx(1.0)
    assert s["mae_cm_interval"] == pytest.approx((0.0, 2.0))
    alone = summary(lengths(truth, [60.0] * 10 + [62.0] * 10, list(range(20))))
    low, high = alone["mae_cm_interval"]
    assert 0.5 < low < 1.0 < high < 1.5


def test_normal_errors_with_true_intervals_lie_on_the_diagonal():
    rng = np.random.default_rng(0)
    sd, truth = rng.uniform(0.3, 1.5, 4000), np.full(4000, 65.0)
    measured = truth + rng.normal(size=4000) * sd
    half = 1.6449 * sd
    table = Lengths(truth, measured, measured - half, measured + half, list(range(4000)), truth)
    for point in reliability(table):
        assert point["share"] == pytest.approx(point["nominal"], abs=0.025)
        assert point["share_interval"][0] < point["share"] < point["share_interval"][1]
    wide = Lengths(truth, measured, measured - 3 * half, measured + 3 * half, list(range(4000)), truth)
    assert reliability(wide)[0]["share"] > 0.9


def test_an_uneven_interval_is_scaled_side_by_side():
    one = Lengths(
        np.array([62.0]), np.array([60.0]), np.array([59.0]), np.array([63.0]), ["a"], np.array([NAN])
    )
    assert [p["share"] for p in reliability(one, (0.7, 0.9))] == [0.0, 1.0]  # 2 of 3 cm up: the 0.727 level
    assert reliability(one, (0.73,))[0]["share"] == 1.0
    for truth, level in ((60.5, 0.218), (59.5, 0.589)):  # half of 3 cm up, half of 1 cm down
        near = Lengths(np.array([truth]), one.measured, one.low, one.high, ["a"], one.null)
        assert [p["share"] for p in reliability(near, (level - 0.01, level + 0.01))] == [0.0, 1.0]


def test_the_null_model_is_the_who_median():
    assert null_length("male", 0.0) == pytest.approx(49.9, abs=0.05)
    assert null_length("female", 12.0) == pytest.approx(74.0, abs=0.05)
    assert np.isnan(null_length("female", 30.0))
    assert np.isnan(null_length(None, 3.0))
    assert np.isnan(null_length("male", None))


def test_worst_first_and_impossible_truths_are_refused():
    table = lengths([60, 61, 62], [60.5, NAN, 60], list("abc"))
    assert worst(table, 5).tolist() == [2, 0]
    with pytest.raises(ValueError, match="truth"):
        lengths([0.0], [1.0], ["a"])


def test_figures_that_rest_on_one_child_have_no_interval():
    # of a two clips are measured, of b and c none; the null model is known of a and b
    given = lengths([60, 60, 65, 70], [61, 62, NAN, NAN], ["a", "a", "b", "c"], null=[61, 61, 64, NAN])
    found = summary(given)
    alone = [name for name in found if name.endswith("_interval") and found[name] is not None]
    assert alone == ["yield_interval", "null_mae_all_cm_interval"]
    assert found["tem_cm"] == pytest.approx(np.sqrt(1 / 2))
    two = summary(lengths([60, 60, 65, 65], [61, 62, 66, 65], ["a", "a", "b", "c"]))
    assert two["mae_cm_interval"] is not None
    assert two["tem_cm_interval"] is None  # only a has a pair
