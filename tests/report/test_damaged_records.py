"""Damaged and odd records on the dashboard: named or left blank, and never the end of the page."""

from __future__ import annotations

import functools
import json

import pytest
import run_folders as make

from heightpose.report.dashboard import write_dashboard
from heightpose.report.dashboard_view import Options

CELL = {"labels": {"lr": "1"}, "seeds": [{"seed": 1, "run": None, "metrics": {"MeanSmS@0.1": 40.0}}]}


def test_a_training_that_diverged_is_drawn_as_far_as_it_went(tmp_path):
    run = make.training(tmp_path, "run", 0)
    (run / "log.csv").write_text("epoch,step,Mean@0.1,train Mean@0.1\n1,10,40,50\n2,20,41,52\n3,30,nan,inf\n")
    view = write_dashboard([tmp_path], tmp_path / "page.html", Options())
    assert view.runs.trainings[0].log[-1] == {
        "epoch": 3.0,
        "step": 30.0,
        "Mean@0.1": None,
        "train Mean@0.1": None,
    }
    assert "Learning curve of run" in (tmp_path / "page.html").read_text()


@pytest.mark.parametrize(
    ("where", "value"),
    [
        ("testset.split", [1]),
        ("settings.limit", {}),
        ("testset.children", "x"),
        ("models.detector", "mine.onnx"),
        ("models.cover", [1]),
        ("models.pose.calibration_sha256", 5),
        ("backend.pose", "openvino"),
        ("pose", None),
        ("height", None),
        ("height.estimate_mae_cm_interval", [1]),
        ("strata.posture.back", {"pose": None, "height": None}),
    ],
)
def test_a_result_of_wrong_parts_is_named_and_left_out(tmp_path, where, value):
    make.evaluation(tmp_path, "good", 1, frames=make.infants(("back",)), clips=make.measured([1.0, -1.0]))
    bad = make.evaluation(tmp_path, "bad", 2, frames=make.infants(("back",)), clips=make.measured([1.0, 2.0]))
    document = json.loads((bad / "result.json").read_text())
    *above, last = where.split(".")
    functools.reduce(dict.__getitem__, above, document)[last] = value
    (bad / "result.json").write_text(json.dumps(document))
    view = write_dashboard([tmp_path], tmp_path / "page.html", Options())
    ((path, why),) = [(s.path.parent.name, s.why) for s in view.runs.skipped]
    assert path == "bad"
    assert where in why
    assert len(view.runs.evaluations) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"cells": []},
        {"cells": [CELL, {"labels": {"wd": "1"}, "seeds": []}]},
        {"cells": [CELL | {"failed": "twice"}]},
        {"cells": [CELL | {"failed": [{"seed": 1}]}]},
        {"budget": [1]},
        {"budget": {"set": "all"}},
        {"question": 5},
    ],
    ids=str,
)
def test_a_damaged_ablation_is_named_and_left_out(tmp_path, wrong):
    folder = make.ablation(tmp_path, "rates", {"1": [40.0], "2": [41.0]})
    document = json.loads((folder / "ablation.json").read_text())
    (folder / "ablation.json").write_text(json.dumps(document | wrong))
    view = write_dashboard([tmp_path], tmp_path / "page.html", Options())
    assert [s.path for s in view.runs.skipped] == [folder / "ablation.json"]
    assert str(folder / "ablation.json") in (tmp_path / "page.html").read_text()
