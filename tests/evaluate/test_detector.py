"""The detector's own figures: infants found, head directions, false alarms, by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from heightpose.data.items import Item, Person
from heightpose.evaluate.detector import THRESHOLDS, Looked, judge, lines, table
from heightpose.evaluate.subject import Subject
from heightpose.metrics.bootstrap import binomial_interval
from heightpose.skeleton import INFANT
from heightpose.types import Detection

BOX = np.array([100.0, 50.0, 200.0, 250.0])


def infant(box=BOX, *, child="a", posture="back", directed=True):
    """Head up in its box, or with no joint that tells the direction."""
    kpts = np.tile((box[:2] + box[2:]) / 2, (len(INFANT), 1))
    visibility = np.zeros(len(INFANT), dtype=int)
    visibility[INFANT.index("left_knee")] = 2
    if directed:
        kpts[INFANT.index("crown"), 1] = box[1]
        visibility[INFANT.indices("crown", "pelvis")] = 2
    return Person(kpts, visibility, np.zeros(len(INFANT), bool), box, child, {"posture": posture})


def looked(people, *found, in_view=None):
    """A picture; ``found``: (box, head direction, score), best first."""
    item = Item(0, Path("x.png"), None, (640, 480), "val", tuple(people), in_view)
    return Looked(item, tuple(Detection(np.asarray(box, float), angle, score) for box, angle, score in found))


PICTURES = [
    looked([infant()], (BOX, 12.0, 0.8)),
    looked([infant(child="b", posture="side")], (BOX + [0, 0, 0, 60], -150.0, 0.4), (BOX + 250.0, 0.0, 0.35)),
    looked([infant(child="c", posture="side")], (BOX + [80, 0, 80, 0], 0.0, 0.9)),
    looked([infant(child="d", directed=False)], (BOX, 90.0, 0.25)),
    looked([], (BOX, 0.0, 0.5)),
    looked([], (BOX, 0.0, 0.2)),
    looked([]),
    looked(
        [], (BOX, 0.0, 0.9), in_view=1
    ),  # somebody is there whom nobody labelled: neither empty nor an infant
]


def test_figures_by_hand():
    summary = judge(PICTURES, 0.3)
    assert (summary["infants"], summary["children"], summary["empty"]) == (4, 4, 3)
    assert summary["found"] == 0.5  # c's box overlaps by a ninth, d's score is too low
    assert summary["found_0.75"] == 0.5
    assert summary["mean_iou"] == pytest.approx((1 + 200 / 260 + 20 / 180 + 0) / 4)
    assert summary["head_median_deg"] == pytest.approx((12 + 150) / 2)
    assert (summary["head_over_20"], summary["head_over_90"]) == (0.5, 0.5)
    assert (summary["alarmed"], summary["false_alarms"]) == (1, pytest.approx(1 / 3))
    assert summary["false_alarms_interval"] == binomial_interval(1, 3)
    assert summary["strays"] == 1
    low, high = summary["found_interval"]
    assert 0 <= low < 0.5 < high <= 1
    side = summary["strata"]["posture"]["side"]
    assert (side["infants"], side["found"], side["head_median_deg"]) == (2, 0.5, 150.0)


def test_infants_without_a_name_in_one_video_are_one_child():
    def unnamed(**of):
        one = looked([infant(child=None)], (BOX, 12.0, 0.8))
        return replace(one, item=replace(one.item, **of))

    video = [unnamed(frame=n) for n in range(3)]
    others = [unnamed(), unnamed(), *(unnamed(recording="a night") for _ in range(2))]
    assert judge(video, 0.3)["children"] == 1
    assert judge([*video, *others], 0.3)["children"] == 4


def test_the_curve_holds_what_a_judgement_at_each_threshold_says():
    summary = judge(PICTURES, 0.3)
    assert [row["threshold"] for row in summary["curve"]] == list(THRESHOLDS)
    for row in summary["curve"]:
        alone = judge(PICTURES, row["threshold"])
        assert (row["found"], row["false_alarms"]) == (alone["found"], alone["false_alarms"])
    assert summary["curve"][0]["found"] == 0.75  # d is found, whichever way it lies
    assert summary["curve"][0]["false_alarms"] == pytest.approx(2 / 3)


def test_beside_an_infant_that_nobody_labelled_nothing_is_astray():
    far, near, beside = BOX + 250.0, BOX + [0, 0, 0, 60], BOX + [85.0, 0.0, 85.0, 0.0]
    for in_view, strays in ((None, 1), (1, 1), (2, 0)):
        one = looked([infant()], (near, 0.0, 0.9), (far, 0.0, 0.8), in_view=in_view)
        assert (one.strays(0.3), one.strays(0.85)) == (strays, 0)
    assert looked([], (far, 0.0, 0.8)).strays(0.3) == 0  # of an empty cot they are false alarms
    assert looked([infant()], (beside, 0.0, 0.8)).strays(0.3) == 1
    assert looked([infant(), infant(beside)], (beside, 0.0, 0.8)).strays(0.3) == 0


def test_sets_without_infants_or_without_empty_cots_say_what_they_can():
    empties = judge([p for p in PICTURES if p.empty], 0.3)
    assert (empties["infants"], empties["found"], empties["head_median_deg"]) == (0, None, None)
    assert any("1 of 3 empty cots" in line for line in lines(empties))
    infants = judge([p for p in PICTURES if not p.empty], 0.3)
    assert (infants["empty"], infants["false_alarms"], infants["false_alarms_interval"]) == (0, None, None)
    assert not any("false alarms  " in line for line in lines(infants)[:-12])


def test_the_table_has_a_row_for_every_infant_and_every_empty_cot():
    subject = Subject("set-val", None, Path("set"), "", False, tuple(p.item for p in PICTURES), (), "val")
    rows = table(subject, PICTURES, 0.3)
    assert [row["child"] for row in rows] == ["a", "b", "c", "d", "", "", ""]
    assert [row["false_alarm"] for row in rows] == ["", "", "", "", 1, 0, 0]
    assert rows[1]["head_error_deg"] == 150.0
    assert rows[3]["iou"] == 0.0


def test_the_table_tells_sets_pictures_of_one_name_and_twins_apart():
    twins = looked([infant(), infant(BOX + 250.0, child="b")], (BOX, 0.0, 0.9))
    places = [("set/a/x.png", None), ("pictures/x.png", None), ("set/x.mp4", 4)]
    twins = [Looked(replace(twins.item, path=Path(p), frame=f), twins.detections) for p, f in places]
    subject = Subject("set-val", None, Path("set"), "", False, tuple(t.item for t in twins), (), "val")
    rows = table(subject, twins, 0.3)
    names = ["a/x.png", "../pictures/x.png", "x.mp4#4"]
    assert [(r["set"], r["picture"], r["person"]) for r in rows] == [
        ("set-val", name, person) for name in names for person in (0, 1)
    ]
