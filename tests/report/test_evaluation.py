"""The pictures and plots of an evaluation's page."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

sys.path += [str(Path(__file__).resolve().parents[1] / name) for name in ("evaluate", "runtime")]

from evaluated import clip, frame, true_kpts

from heightpose.evaluate.people import People
from heightpose.evaluate.summary import summarise
from heightpose.report.evaluation_figures import pose_parts
from heightpose.report.plots import Bar, Plot, rows_svg, ticks
from heightpose.report.worst import blurred, clip_figure, person_figure, worst_people
from heightpose.skeleton import INFANT


@pytest.fixture
def noise():
    return np.random.default_rng(0).integers(0, 255, (120, 160, 3), dtype=np.uint8)


def changed(noise, record):
    return (blurred(noise, record) != noise).any(axis=-1)


def test_the_labelled_head_is_hidden_wherever_the_prediction_lies(noise):
    head = true_kpts()[INFANT.indices("crown", "upper_neck")].mean(axis=0)
    for off in (0.0, 3.0):
        mask = changed(noise, frame("0.jpg", "a", off=off))
        x, y = np.rint(head).astype(int)
        assert mask[y - 10 : y + 10, x - 10 : x + 10].mean() > 0.95
        assert mask.mean() < 0.8


def test_nothing_is_shown_where_the_head_is_not_labelled_or_somebody_else_lies(noise):
    record = frame("0.jpg", "a")
    visibility = [0 if n == "crown" else 2 for n in INFANT.names]
    unknown = replace(record, people=[replace(record.people[0], visibility=visibility)])
    assert changed(noise, unknown).mean() > 0.95
    beside = changed(noise, replace(record, unlabelled=True))
    assert beside[:15].mean() > 0.95  # outside the labelled infant's box
    assert changed(noise, replace(record, people=[])).mean() > 0.95


def test_scores_of_few_joints_are_not_drawn_as_if_they_were_known():
    frames = [frame(f"{i}.jpg", f"child-{i}") for i in range(2)]
    (drawn,) = re.findall(
        r"<figure>.*?Joint scores against.*?</figure>", "".join(pose_parts(summarise(frames, ()))), re.S
    )
    assert f"joints per dot, from the left: {2 * len(INFANT)}." in drawn
    assert len(re.findall(r'stroke-width="1.5"', drawn)) == 2  # a whisker at each of the two dots


def test_worst_people_are_one_per_child_missed_ones_first_but_not_only():
    frames = [frame(f"{i}.jpg", f"child-{i % 8}", off=0.1 * i, found=i < 2 or i > 7) for i in range(16)]
    cases = worst_people(People.of(frames), 6)
    assert len({c.record.people[0].child for c in cases}) == len(cases) == 6
    missed = [c.record.guess is None for c in cases]
    assert missed == [True] * 4 + [False] * 2
    assert cases[4].badness >= cases[5].badness


def test_a_worst_case_whose_picture_is_gone_is_named_all_the_same(tmp_path):
    (case,) = worst_people(People.of([frame("gone.jpg", "a", off=0.2)]), 1)
    shown = person_figure(case, tmp_path, blur=True)
    assert "not where it was" in shown
    assert "mean error 0.20 head sizes. gone.jpg" in shown
    seen = clip("c", "a", 2.0)
    assert "not where it was" in clip_figure(replace(seen, best_frame=3), (), tmp_path, blur=True)
    assert clip_figure(seen, (), tmp_path, blur=True) == ""  # no frame of it was ever looked at


def test_people_found_of_whom_no_error_is_known_are_no_worst_cases():
    known, bare, hidden = (frame(f"{i}.jpg", f"child-{i}", off=0.2) for i in range(3))
    bare = replace(bare, people=[replace(p, head_size_px=None) for p in bare.people])
    hidden = replace(hidden, people=[replace(p, visibility=[1] * len(INFANT)) for p in hidden.people])
    (case,) = worst_people(People.of([bare, known, hidden]), 6)
    assert (case.record.file, case.badness) == ("0.jpg", pytest.approx(0.2))
    assert worst_people(People.of([bare]), 6) == []


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 100, [0, 20, 40, 60, 80, 100]), (-1.2, 1.2, [-1, -0.5, 0, 0.5, 1]), (47.3, 88.1, [50, 60, 70, 80])],
)
def test_ticks_are_round(low, high, expected):
    assert ticks(low, high) == pytest.approx(expected)


def test_text_of_a_data_set_cannot_become_markup():
    plot = Plot((0, 1), (0, 1))
    plot.point(0.5, 0.5, "one", "<script>")
    plot.line([0, 1], [0, None], "one", "<b>")
    assert "<script>" not in plot.svg("<i>")
    assert "<b>" not in plot.svg("<i>")
    assert "<i>" not in rows_svg([Bar("<i>", 1.0, (0.5, 1.5), "<i>")], (0, 2), "<i>", "<i>")
