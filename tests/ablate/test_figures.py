"""What a table says: intervals against scipy's own, pairs by seed, and words that claim no more than was seen."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from scipy import stats

from heightpose.ablate.figures import csv_rows, lines, rows, t_interval
from heightpose.ablate.picture import draw_ablation
from heightpose.report.run_files import read_ablation


def document(*cells, better="higher"):
    """Cells as (level, {seed: value})."""
    made = [
        {
            "labels": {"rate": level},
            "seeds": [
                {
                    "seed": s,
                    "run": f"../runs/{level}-{s}",
                    "metrics": {"M": v, "other": None if v is None else -v},
                }
                for s, v in c.items()
            ],
        }
        for level, c in cells
    ]
    return {"name": "n", "metric": "M", "better": better, "question": "Why?", "cells": made}


BASE = ("base", {1: 10.0, 2: 20.0, 3: 30.0})


def test_the_interval_is_students_t():
    values = [3.0, 5.0, 10.0, 4.0]
    expected = stats.t.interval(0.9, 3, loc=np.mean(values), scale=stats.sem(values))
    mean, interval = t_interval(values)
    assert mean == pytest.approx(5.5)
    assert interval == pytest.approx(expected)
    assert t_interval([7.0]) == (7.0, None)
    assert t_interval([]) == (None, None)


def test_pairs_show_what_the_spread_of_seeds_would_hide():
    better = ("up", {1: 11.0, 2: 21.5, 3: 30.5})
    base, up = rows(document(BASE, better))
    assert up.interval[0] < base.interval[1]  # unpaired intervals overlap widely
    expected = stats.t.interval(0.9, 2, loc=1.0, scale=stats.sem([1.0, 1.5, 0.5]))
    assert up.difference_interval == pytest.approx(expected)
    assert (base.verdict, up.verdict) == ("base", "better")


def test_lower_may_be_better():
    assert rows(document(BASE, ("up", {1: 11.0, 2: 21.5, 3: 30.5}), better="lower"))[1].verdict == "worse"
    other = rows(document(BASE, ("up", {1: 11.0, 2: 21.5, 3: 30.5})), metric="other", better="lower")
    assert other[1].verdict == "better"
    assert other[1].mean == pytest.approx(-21.0)


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ({1: 11.0, 2: 19.0, 3: 31.0}, "no difference shown"),
        ({1: 10.0, 2: 20.0, 3: 30.0}, "no difference shown"),  # the very same figures
        ({1: 12.0}, "one seed: no interval"),
        ({}, "not run"),
        ({4: 50.0, 5: 60.0}, "no pair with the base"),
        ({1: None, 2: None}, "has no such figure"),
    ],
)
def test_nothing_is_claimed_that_was_not_shown(values, verdict):
    assert rows(document(BASE, ("other", values)))[1].verdict == verdict


def test_a_figure_that_is_missing_or_no_number_does_not_count():
    made = document(BASE, ("other", {1: 11.0, 2: 21.5, 3: 30.5}))
    made["cells"][1]["seeds"][0]["metrics"]["M"] = None
    made["cells"][1]["seeds"][1]["metrics"]["M"] = float("nan")
    assert rows(made)[1].values == {3: 30.5}


def test_the_text_names_verdicts_failures_and_how_many_comparisons_there_were():
    made = document(BASE, ("up", {1: 11.0, 2: 21.5, 3: 30.5}), ("same", {1: 11.0, 2: 19.0, 3: 31.0}))
    made["cells"][2]["failed"] = [{"seed": 4, "error": "training diverged at step 7"}]
    text = "\n".join(lines(made))
    for words in (
        "no difference shown",
        "better",
        "seed 4 failed: training diverged",
        "2 comparisons",
        "about 0.2",
    ):
        assert words in text


def test_a_base_of_many_factors_has_a_line_of_its_own():
    made = document(BASE, ("up", {1: 11.0, 2: 21.5, 3: 30.5}))
    for cell in made["cells"]:
        cell["labels"] |= {f"factor {i}": "as shipped" for i in range(6)}
    text = lines(made)
    assert text[2].startswith("base: rate base, factor 0 as shipped")
    assert max(map(len, text[3:])) < 100
    assert [line.split()[0] for line in text[4:6]] == ["base", "rate"]


def test_the_csv_reads_back(tmp_path):
    made = document(BASE, ("up", {1: 11.0, 2: 21.5, 3: 30.5}))
    with (tmp_path / "t.csv").open("w", newline="") as file:
        csv.writer(file).writerows(csv_rows(made))
    with (tmp_path / "t.csv").open(newline="") as file:
        base, up = csv.DictReader(file)
    assert (base["rate"], base["verdict"], base["difference_low"]) == ("base", "base", "")
    assert float(up["difference_low"]) == pytest.approx(rows(made)[1].difference_interval[0])
    assert up["values"] == "1:11 2:21.5 3:30.5"


def test_the_picture_shows_every_cell_and_the_dashboard_reads_the_file(tmp_path):
    made = document(BASE, ("up", {1: 11.0, 2: 21.5, 3: 30.5}), ("none", {}))
    draw_ablation(made, tmp_path / "a.png", tmp_path / "a.svg")
    assert (tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"
    drawing = (tmp_path / "a.svg").read_text(encoding="utf-8")
    for words in ("rate up", "rate base", "not run", "better"):
        assert words in drawing
    (tmp_path / "ablation.json").write_text(json.dumps(made))
    read = read_ablation(tmp_path / "ablation.json")
    assert [c.labels for c in read.cells] == [{"rate": "base"}, {"rate": "up"}, {"rate": "none"}]
    assert read.cells[1].seeds[0].metrics["M"] == 11.0
