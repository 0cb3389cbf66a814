"""Records of a run that are not as they were written: 'doctor train' leaves them out or names the file."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from heightpose.errors import FileFormatError
from heightpose.train.checkup import check, with_metrics
from heightpose.train.observed import DIAGNOSTICS, Evidence, read_evidence

GOOD = {"best": {"step": 3}, "overfit": 4.0, "steps": 12, "on train": {"Mean@0.1": 50.0}}
DEEP = "[" * 100_000


def test_the_final_verdict_is_the_last_look():
    look = with_metrics(Evidence(), GOOD).looks[-1]
    assert (look.step, look.train_mean, look.overfit) == (12, 50.0, 4.0)


@pytest.mark.parametrize("change", [{"best": 5}, {"overfit": "x"}, {"overfit": 10**400}, {"overfit": None}])
def test_without_a_verdict_there_is_no_look(change):
    assert with_metrics(Evidence(), GOOD | change).looks == ()


@pytest.mark.parametrize(
    ("change", "step", "mean"),
    [
        ({"steps": "many"}, 0, 50.0),
        ({"steps": 10**400}, 0, 50.0),
        ({"on train": [1]}, 12, None),
        ({"on train": {"Mean@0.1": "x"}}, 12, None),
        ({"on train": None}, 12, None),
    ],
)
def test_figures_that_are_none_are_left_out(change, step, mean):
    look = with_metrics(Evidence(), GOOD | change).looks[-1]
    assert (look.step, look.train_mean, look.overfit) == (step, mean, 4.0)


def test_files_that_cannot_be_read_are_named(tmp_path):
    (tmp_path / "config.yaml").write_text("task: pose\n")
    (tmp_path / "metrics.json").write_text(DEEP)
    with pytest.raises(FileFormatError, match=r"metrics\.json"):
        check(tmp_path, look=False)
    path = tmp_path / DIAGNOSTICS
    huge = json.dumps({"schema": 1, "evidence": asdict(Evidence()) | {"lr": 10**400}})
    for text in (DEEP, huge, '{"schema": 1, "evidence": 5}'):
        path.write_text(text)
        with pytest.raises(FileFormatError, match=r"diagnostics\.json"):
            read_evidence(path)
