"""What views gain: the table's figures by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from heightpose.codec.confidence import Evidence
from heightpose.evaluate.tta import lines, table
from heightpose.skeleton import INFANT

evidence = pytest.importorskip("heightpose.train.evidence")
K = len(INFANT)
WRIST, KNEE, TOE = (INFANT.index(name) for name in ("left_wrist", "left_knee", "left_toe"))


def samples(errors):
    """Four infants, each joint as far off as its infant's; a hidden knee and an unlabelled toe are far off."""
    error = np.repeat(np.array(errors, float)[:, None], K, axis=1)
    visibility = np.full((4, K), 2)
    visibility[:, KNEE], visibility[:, TOE] = 1, 0
    error[:, KNEE], error[:, TOE] = 3.0, np.nan
    error[0, WRIST] = 0.3  # no height joint
    nothing = Evidence(np.zeros((4, K)), np.zeros((4, K, 3)), 8.0, np.zeros((4, K)))
    return evidence.Samples(nothing, np.zeros((4, K, 2)), error, visibility, np.array(list("abcd")))


def test_gains_are_over_the_first_row_of_seen_joints_and_by_child():
    cost = evidence.Cost([3.0, 1.0, 2.0], [4.0, 6.0, 5.0])
    names = ("none", "flip", "flip,rotate,scale")
    errors = ([0.05, 0.1, 0.101, 0.2], [0.05, 0.05, 0.05, 0.2], [0.05, 0.3, 0.3, 0.4])
    rows = table(
        {name: samples(e) for name, e in zip(names, errors, strict=True)}, dict.fromkeys(names, cost)
    )
    assert [row["tta"] for row in rows] == list(names)
    assert [row["mean_sms_0.1"] for row in rows] == [50.0, 75.0, 25.0]
    wrong_wrist = 25.0 / (K - 2)  # one in four, of the joints that somebody shows
    assert [row["mean_0.1"] for row in rows] == pytest.approx(
        [50.0 - wrong_wrist, 75.0 - wrong_wrist, 25.0 - wrong_wrist]
    )
    for key in ("mean_sms_0.1", "mean_0.1"):
        assert [row[f"{key}_gain"] for row in rows] == pytest.approx([0.0, 25.0, -25.0])
        first, more, less = (row[f"{key}_gain_interval"] for row in rows)
        assert first == (0.0, 0.0)
        assert more[0] == -less[1] == 0.0
        assert 25.0 < more[1] <= 75.0  # the one child that differs, drawn twice or thrice of four
        assert -75.0 <= less[0] < -25.0
    assert [row["median_error_heads"] for row in rows] == pytest.approx([0.1005, 0.05, 0.3], abs=6e-4)
    assert [row["runs"] for row in rows] == [1, 2, 10]
    assert [(row["ms"], row["cpu_ms"]) for row in rows] == [(2.0, 5.0)] * 3
    assert "| flip | 75.0 | +25.0 (+0.0 to +50.0) |" in lines(rows)[3]


@pytest.mark.filterwarnings("error")
def test_labels_without_head_sizes_tell_no_gain_and_the_table_says_why():
    unknown = replace(samples([0.1] * 4), error_heads=np.full((4, K), np.nan))
    (row,) = rows = table({"none": unknown}, {"none": evidence.Cost([2.0], [5.0])})
    assert (row["median_error_heads"], row["mean_sms_0.1"]) == (None, None)
    *_, line, _, why = lines(rows)
    assert line == "| none | - | - | - | - | - | 1 | 2.0 | 5.0 |"
    assert why.startswith("gains not measured")
