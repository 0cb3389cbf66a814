"""Errors split by what had to be inferred: a known body, a known camera, a plane file wrong by a known amount."""

from __future__ import annotations

import json
import shutil

import pytest
from click.testing import CliRunner
from evaluated import known_clip, plane_at

from heightpose.cli.eval import eval_
from heightpose.data.testset import freeze
from heightpose.errors import FileFormatError
from heightpose.evaluate.geometry import Split, read_truth, summarise


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("split")
    known_clip(folder)
    return folder


def test_each_row_shows_the_error_that_was_put_in(folder):
    done = CliRunner().invoke(eval_, ["geometry", "--testset", str(folder), "--json"])
    assert done.exit_code == 0, done.output
    rows = json.loads(done.stdout[done.stdout.index("{") :])["rows"]
    assert rows["joints"] == {"mae_cm": None, "bias_cm": None, "p95_cm": None, "measured": 0, "clips": 1}
    bones, elevation, plane = (rows[name]["bias_cm"] for name in ("bones", "elevation", "plane"))
    assert abs(bones) < 1.5
    # The same picture over a plane 5 % farther away is an infant 5 % longer.
    assert (plane + 68.0) / (elevation + 68.0) == pytest.approx(1.05, abs=1e-3)
    table = CliRunner().invoke(eval_, ["geometry", "--testset", str(folder), "--noise", "2"])
    assert "true 3D joints" in table.output
    assert "2 px noise" in table.output


def test_parts_are_differences_of_rows_over_clips_that_have_all():
    a = Split("a", 60.0, {"bones": 0.1, "elevation": 0.6, "plane": 0.4, "joints": -0.6}, {}, 2.0)
    b = Split("b", 60.0, {"bones": -0.1, "elevation": -0.4, "plane": None, "joints": None}, {}, -1.0)
    found = summarise([a, b], 0.0)
    assert found["rows"]["bones"]["mae_cm"] == pytest.approx(0.1)
    assert found["rows"]["elevation"]["bias_cm"] == pytest.approx(0.1)
    assert (found["rows"]["joints"]["measured"], found["rows"]["joints"]["clips"]) == (1, 2)
    assert found["null"]["mae_cm"] == pytest.approx(1.5)
    assert found["parts_clips"] == 1
    assert [found["parts"][r]["bias_cm"] for r in ("bones", "elevation", "plane", "joints")] == pytest.approx(
        [0.1, 0.5, -0.2, -1.0]
    )


def test_children_whom_the_growth_tables_leave_out_are_left_out_of_the_null_model(folder, tmp_path):
    """One of 30 months made the whole row nan."""
    shutil.copytree(folder, tmp_path / "set")
    clips = json.loads((folder / "clips.json").read_text())
    (tmp_path / "set/clips.json").write_text(
        json.dumps([*clips, {**clips[0], "id": "old", "age_months": 30}])
    )
    freeze(tmp_path / "set", "split", 2)
    files = ["--testset", str(tmp_path / "set"), "--out", str(tmp_path / "split.json")]
    done = CliRunner().invoke(eval_, ["geometry", *files])
    assert "the WHO median is over 1: 1 clip without sex and an age of 0 to 24 months" in done.output
    assert "nan" not in done.output
    found = json.loads((tmp_path / "split.json").read_text())
    assert (found["null"]["known"], found["null"]["clips"]) == (1, 2)
    assert found["null"]["mae_cm"] == abs(found["clips"][0]["null_cm"])
    assert found["clips"][1]["null_cm"] is None


def test_a_truth_file_without_joints_is_named(tmp_path):
    plane = plane_at(150.0)
    path = tmp_path / "truth.json"
    for joints in (None, [[1, 2]], "x"):
        path.write_text(json.dumps({"R": plane.R.tolist(), "t_cm": plane.t_cm.tolist(), "joints_cm": joints}))
        with pytest.raises(FileFormatError, match=r"truth\.json: joints_cm"):
            read_truth(path)
