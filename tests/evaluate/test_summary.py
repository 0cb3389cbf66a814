"""Figures from records: the whole way from frames and clips to numbers known by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from evaluated import BOX, HEAD, K, clip, frame, true_kpts

from heightpose.evaluate.people import People, ranked
from heightpose.evaluate.records import FrameRecord, Guess
from heightpose.evaluate.summary import summarise
from heightpose.evaluate.text import lines, set_words, strata_lines
from heightpose.metrics.oks import sigmas
from heightpose.report.evaluation_figures import headline, pose_parts
from heightpose.report.evaluation_strata import strata_parts
from heightpose.skeleton import INFANT


def test_a_perfect_set_is_perfect_everywhere():
    frames = [frame(f"{i}.jpg", f"child-{i}", seed=i, crop=0.0) for i in range(4)]
    result = summarise(frames, [clip(f"c{i}", f"child-{i}", 0.0) for i in range(4)])
    for part in ("pose", "truth_crops"):
        at = result[part]["pckh"]
        assert at["0.1"]["mean"] == at["0.1"]["mean_sms"] == at["0.5"]["mean"] == 100.0
        assert at["0.1"]["mean_interval"] == (100.0, 100.0)
        assert result[part]["curve"]["auc"] == pytest.approx(100.0)
        for name in ("auc_interval", "auc_sms_interval"):
            assert result[part]["curve"][name] == pytest.approx((100.0, 100.0))
        assert result[part]["pck_torso_0.2"]["mean"] == 100.0
    assert result["pose"]["oks"]["ap"] == pytest.approx(100.0)
    assert result["pose"]["found"] == {"share": 100.0, "interval": (100.0, 100.0), "missed": 0}
    assert result["height"]["mae_cm"] == 0.0
    assert result["height"]["coverage"] == result["height"]["yield"] == 1.0
    assert result["height"]["gain_over_null_cm"] == pytest.approx(result["height"]["null_mae_cm"])


def test_the_missed_one_counts_all_its_joints_wrong_but_not_in_truth_crops():
    frames = [frame(f"{i}.jpg", f"child-{i}", found=i != 2, crop=0.0) for i in range(4)]
    result = summarise(frames, [])
    assert result["pose"]["pckh"]["0.1"]["mean"] == 75.0
    assert set(result["pose"]["pckh"]["0.5"]["per_joint"].values()) == {75.0}
    assert result["pose"]["found"]["share"] == 75.0
    assert result["pose"]["oks"]["ar"] == pytest.approx(75.0)
    assert result["truth_crops"]["pckh"]["0.1"]["mean"] == 100.0
    assert result["height"] is None
    assert result["headline"]["found"] == 75.0


@pytest.mark.parametrize(("off", "at_01", "reference"), [(0.095, 100, 100), (0.105, 0, 100), (0.115, 0, 0)])
def test_thresholds_are_straddled(off, at_01, reference):
    pose = summarise([frame(f"{i}.jpg", f"child-{i}", off=off) for i in range(3)], [])["pose"]
    assert pose["pckh"]["0.1"]["mean"] == pose["pckh"]["0.1"]["mean_sms"] == at_01
    assert pose["reference_0.11"]["mean"] == reference
    place = pose["curve"]["a"].index(0.1)
    assert pose["curve"]["mean"][place] == at_01
    assert pose["curve"]["auc"] == pytest.approx(100 * (0.5 - (np.ceil(off * 100) / 100) + 0.005) / 0.5)


def test_hidden_joints_are_reported_apart():
    hidden = ("left_knee", "left_wrist")
    frames = [frame("0.jpg", "a", hidden=hidden), frame("1.jpg", "b", hidden=hidden, off=1.0)]
    at = summarise(frames, [])["pose"]["pckh"]["0.1"]
    assert at["counts"]["left_knee"] == 0
    assert at["per_joint"]["left_knee"] is None
    assert at["hidden_counts"]["left_knee"] == 2
    assert at["hidden_mean"] == at["hidden_mean_sms"] == 50.0
    assert at["hidden_counts"]["right_knee"] == 0


def test_strata_hold_their_own_people_and_clips():
    frames = [
        frame(f"{i}.jpg", f"child-{i}", off=i % 2, strata={"legs": ("straight", "tucked")[i % 2]})
        for i in range(6)
    ]
    clips = [clip(f"c{i}", f"child-{i}", 0.5 if i % 2 else None, strata={"legs": "tucked"}) for i in range(6)]
    legs = summarise(frames, clips)["strata"]["legs"]
    assert legs["straight"]["pose"]["pckh"]["0.1"]["mean"] == 100.0
    assert legs["tucked"]["pose"]["pckh"]["0.1"]["mean"] == 0.0
    assert legs["straight"]["pose"]["people"] == legs["tucked"]["pose"]["people"] == 3
    assert legs["straight"]["height"] is None
    assert legs["tucked"]["height"]["yield"] == 0.5
    assert legs["tucked"]["height"]["mae_cm"] == pytest.approx(0.5)
    assert legs["tucked"]["height"]["reasons"] == {"legs_not_seen": 3}


def test_of_two_infants_in_a_picture_the_one_not_posed_is_missed():
    result = summarise([frame("0.jpg", "a", people=2), frame("1.jpg", "b", people=2)], [])
    assert result["pose"]["people"] == 4
    assert result["pose"]["pckh"]["0.1"]["mean"] == 50.0
    assert result["pose"]["oks"]["ar"] == pytest.approx(50.0)


def test_empty_cots_count_false_alarms_and_cost_precision():
    alarm = FrameRecord(
        "e.jpg", None, "test", [], Guess(BOX, 0.0, 0.99, [[0.0, 0.0]] * K, [0.9] * K, None, 0.0), 1
    )
    quiet = FrameRecord("q.jpg", None, "test", [], None, 0)
    result = summarise([frame("0.jpg", "a"), frame("1.jpg", "b"), alarm, quiet], [])
    assert result["empty_frames"] == {"frames": 2, "false_alarms": 1}
    assert result["pose"]["oks"]["ap"] == pytest.approx(100 * 2 / 3)
    assert result["pose"]["pckh"]["0.1"]["mean"] == 100.0


@pytest.mark.parametrize("labelled", [0, 2])
def test_false_alarms_are_told_wherever_there_are_empty_cots(labelled):
    guess = Guess(BOX, 0.0, 0.99, [[0.0, 0.0]] * K, [0.9] * K, None, 0.0)
    empty = [FrameRecord(f"e{i}.jpg", None, "test", [], guess if i else None, i) for i in range(3)]
    frames = [frame(f"{i}.jpg", f"child-{i}") for i in range(labelled)]
    test = {"name": "t", "version": None, "people": labelled, "frames": 3, "clips": 0, "children": labelled}
    model = {"name": "m", "sha256": "0"}
    about = {"testset": test, "models": {"pose": model, "detector": model}, "settings": {}}
    result = about | summarise([*empty, *frames], ())
    assert "  empty cots         2 false alarms in 3 frames" in lines(result)
    assert "Empty cots: 2 false alarms in 3 frames." in headline(result)
    if labelled:
        none = about | summarise(frames, ())
        assert not any("empty cots" in line.lower() for line in (*lines(none), headline(none)))


@pytest.mark.parametrize(("limit", "words"), [(None, "t version 3"), (6, "t version 3, the first 6 only")])
def test_a_part_of_a_set_is_not_called_the_set(limit, words):
    assert set_words({"testset": {"name": "t", "version": 3}, "settings": {"limit": limit}}) == words


def test_a_prediction_on_an_infant_that_nobody_labelled_is_no_false_alarm():
    guess = Guess(BOX, 0.0, 0.99, [[0.0, 0.0]] * K, [0.9] * K, None, 0.0)
    other = FrameRecord("o.jpg", None, "test", [], guess, 1, unlabelled=True)
    frames = [frame("0.jpg", "a"), other]
    assert summarise(frames, [])["empty_frames"] == {"frames": 0, "false_alarms": 0}
    assert len(ranked(People.of(frames)).score) == 1


def test_a_prediction_is_ranked_by_its_likeness_to_the_one_it_resembles_most():
    """Joints 8 px off in a box of 100 x 80 px; the other infant's labels lie elsewhere, or in a box of another size."""
    one = frame("0.jpg", "a", off=0.2)
    expected = np.exp(-64.0 / (2 * 8000.0 * (2 * sigmas()) ** 2)).mean()
    assert ranked(People.of([one])).best == pytest.approx([expected])
    far = replace(one.people[0], kpts=(true_kpts() + 300.0).tolist())
    small = replace(one.people[0], bbox_xyxy=[20.0, 20.0, 70.0, 60.0])
    for other in (far, small):
        for both in ([one.people[0], other], [other, one.people[0]]):
            found = ranked(People.of([replace(one, people=both)]))
            assert found.best == pytest.approx([expected])
            assert (found.score.tolist(), len(found.person_child)) == ([pytest.approx(0.9 * 0.8)], 2)


def test_an_infant_without_a_labelled_joint_is_not_among_those_to_find():
    whole, boxed = frame("0.jpg", "a"), frame("1.jpg", "b")
    boxed = replace(boxed, people=[replace(boxed.people[0], visibility=[0] * K)])
    found = ranked(People.of([whole, boxed]))
    assert (found.person_child, found.prediction_child) == (["a"], ["a"])


def test_people_without_a_head_size_are_counted_and_left_out():
    whole = frame("0.jpg", "a")
    bare = frame("1.jpg", "b", off=3.0)
    bare.people[0].__dict__["head_size_px"] = None  # frozen records; only this test needs a broken one
    result = summarise([whole, bare], [])["pose"]
    assert result["pckh"]["0.1"]["without_head_size"] == 1
    assert result["pckh"]["0.1"]["mean"] == 100.0
    assert result["pck_torso_0.2"]["people"] == 2
    (scores,) = [b for b in result["score_reliability"] if b["joints"]]
    assert (scores["joints"], scores["right_0.1"]) == (K, 1.0)


def test_a_refused_length_counts_in_the_estimates_error_alone():
    clips = [clip("c0", "a", 1.0), clip("c1", "b", None, refused=-3.0), clip("c2", "c", None)]
    result = summarise([], clips)
    assert (result["height"]["measured"], result["height"]["estimated"]) == (1, 2)
    assert (result["headline"]["height_mae_cm"], result["headline"]["height_estimate_mae_cm"]) == (1.0, 2.0)


@pytest.mark.parametrize(
    ("level", "shares"), [(0.8, [1.0] * 7), (0.9, [0.0] + [1.0] * 6), (0.99, [0.0] * 4 + [1.0] * 3)]
)
def test_coverage_is_told_beside_the_level_that_the_intervals_were_given_at(level, shares):
    """Lengths that are off by half of what the interval allows: inside narrower ones, too, the lower its level is."""
    clips = [replace(clip(f"c{i}", f"child-{i}", 0.5), interval_level=level) for i in range(3)]
    height = summarise([], clips)["height"]
    assert (height["nominal_coverage"], height["coverage"]) == (level, 1.0)
    assert [p["share"] for p in height["reliability"]] == shares


def test_clips_that_the_null_model_leaves_out_are_told_beside_it():
    """Its error stood there as if of the same clips, though children over two years have none."""
    clips = [clip("a", "a", 0.5), clip("b", "b", 1.0, age=30.0), clip("c", "c", None, age=25.0)]
    head = {"testset": {"name": "set", "version": 1, "people": 0, "frames": 0, "clips": 3, "children": 3},
            "models": {k: {"name": k, "sha256": k * 9} for k in ("pose", "detector")}, "settings": {}}  # fmt: skip
    for chosen, told in ((clips, True), (clips[:1], False)):
        result = summarise([], chosen)
        words = "ull model and gain without 2 clips whose sex or age of 0 to 24 months is not known"
        assert (f"  n{words}" in lines(head | result)) == told
        assert (f"N{words}." in headline(result)) == told


def test_intervals_that_are_not_resampled_by_child_say_so():
    test = {"name": "t", "version": None, "people": 0, "frames": 0, "clips": 2, "children": 1}
    model = {"name": "m", "sha256": "0"}
    about = {"testset": test, "models": {"pose": model, "detector": model}, "settings": {}}
    told = lines(about | summarise([], [clip("c0", "a", 1.0), clip("c1", "a", 1.0)]))
    rows = {line.split()[0]: line for line in told if line.startswith("  ")}
    assert "MAE" in rows
    assert "binomial" not in rows["MAE"]
    assert all("binomial" in rows[name] for name in ("yield", "coverage"))


def test_scores_are_set_against_hits():
    frames = [frame("0.jpg", "a"), frame("1.jpg", "b", off=0.3)]
    full = [b for b in summarise(frames, [])["pose"]["score_reliability"] if b["joints"]]
    assert len(full) == 1
    assert full[0]["joints"] == 2 * K
    assert full[0]["right_0.1"] == 0.5
    assert full[0]["right_0.5"] == 1.0


def test_errors_are_in_head_sizes():
    sides = frame("2.jpg", "c", off=0.5, hidden=("left_knee",))
    sides.people[0].visibility[0] = 0
    people = People.of([frame("0.jpg", "a", off=0.25), frame("1.jpg", "b", found=False), sides])
    assert people.error[0] == pytest.approx(0.25)
    assert np.isinf(people.error[1]).all()
    assert people.error[2, 1:] == pytest.approx(0.5)  # hidden ones too
    assert np.isnan(people.error[2, 0])
    assert HEAD == 40.0
    assert len(INFANT) == K


def test_strata_of_photographs_without_head_sizes_show_torso_pck():
    def told(known: int) -> str:
        records = []
        for i in range(4):
            record = frame(f"{i}.jpg", f"child-{i}", strata={"posture": "front"})
            head = HEAD if i < known else None
            records.append(replace(record, people=[replace(p, head_size_px=head) for p in record.people]))
        return strata_lines(summarise(records, [])["strata"])[1]

    assert told(2).startswith("posture: front")
    assert "PCK" not in told(2)  # of the two whose heads are labelled
    assert "PCK 100 (" in told(0)


def test_strata_tell_joints_on_true_boxes_too_where_those_were_looked_at():
    for crop, title in ((0.05, True), (None, False)):
        records = [
            frame(f"{i}.jpg", f"child-{i}", off=0.3, crop=crop, strata={"way_up": "sideways"})
            for i in range(3)
        ]
        strata = summarise(records, [])["strata"]
        assert strata["way_up"]["sideways"]["pose"]["pckh"]["0.1"]["mean_sms"] == 0.0
        crops = strata["way_up"]["sideways"]["truth_crops"]
        assert (crops is not None) == title
        head, line = strata_lines(strata)
        assert ("on true boxes" in head) == ("100 (" in line) == title
        page = "".join(strata_parts({"strata": strata}))
        assert ("on true boxes" in page) == title
        assert "PCK@0.2" not in page


def test_the_page_shows_torso_pck_where_head_sizes_are_missing():
    records = [frame(f"{i}.jpg", f"child-{i}", crop=0.0, strata={"way_up": "upright"}) for i in range(3)]
    for record in records:
        record.people[0] = replace(record.people[0], head_size_px=None)
    page = "".join(strata_parts({"strata": summarise(records, [])["strata"]}))
    assert page.count("PCK@0.2 (torso)") >= 2  # the plot's axis and the table's column
    assert "100.0 (100.0-100.0)" in page
    assert "PCK 100 (" in page  # on true boxes


def test_the_pages_joints_are_those_of_the_torso_where_head_sizes_are_missing():
    records = [frame(f"{i}.jpg", f"child-{i}", crop=0.0) for i in range(3)]
    whole = summarise(records, [])
    for record in records:
        record.people[0] = replace(record.people[0], head_size_px=None)
    without = summarise(records, [])
    for result, torso in ((whole, False), (without, True)):
        assert ("PCK@0.2 (torso), 3 people" in headline(result)) == torso
        assert ("PCK 100 (" in headline(result)) == torso  # on truth crops
        drawn = "".join(pose_parts(result))
        assert ("PCK@0.2 (torso) per joint" in drawn) == torso
        assert ("PCKh over thresholds" in drawn) != torso
