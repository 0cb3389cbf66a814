"""Errors split by what had to be inferred: a known body, a known camera, a plane file wrong by a known amount."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import makers
import numpy as np
import pytest
from click.testing import CliRunner
from evaluated import known_clip, plane_at

from heightpose.cli.eval import eval_
from heightpose.data.items import Item, Person
from heightpose.data.testset import freeze
from heightpose.errors import FileFormatError
from heightpose.evaluate.geometry import Split, read_truth, summarise, true_frames
from heightpose.skeleton import INFANT


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("split")
    known_clip(folder)
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A small pose net: in the empty frames here it is not asked."""
    return ["--model", str(makers.tiny_pose(tmp_path_factory.mktemp("model") / "pose.onnx"))]


def test_each_row_shows_the_error_that_was_put_in(folder, model):
    done = CliRunner().invoke(eval_, ["geometry", "--testset", str(folder), *model, "--json"])
    assert done.exit_code == 0, done.output
    rows = json.loads(done.stdout[done.stdout.index("{") :])["rows"]
    assert rows["joints"] == {"mae_cm": None, "bias_cm": None, "p95_cm": None, "measured": 0, "clips": 1}
    bones, elevation, plane = (rows[name]["bias_cm"] for name in ("bones", "elevation", "plane"))
    assert abs(bones) < 1.5
    # The same picture over a plane 5 % farther away is an infant 5 % longer.
    assert (plane + 68.0) / (elevation + 68.0) == pytest.approx(1.05, abs=1e-3)
    table = CliRunner().invoke(eval_, ["geometry", "--testset", str(folder), *model, "--noise", "2"])
    assert "true 3D joints" in table.output
    assert "2 px noise" in table.output


def test_frames_with_an_unlabelled_joint_are_no_true_joints(folder, model, tmp_path, caplog):
    """An unlabelled joint lies at the picture's corner: taken for true it made other lengths."""

    def rows(lacking):
        """The figures where the frames lack a joint each, by frame."""
        labels = json.loads((folder / "annotations.json").read_text())
        for label in labels["annotations"]:
            for joint in lacking.get(label["image_id"], ()):
                k = INFANT.index(joint)
                label["keypoints"][3 * k : 3 * k + 3] = [0, 0, 0]
        (tmp_path / "set/annotations.json").write_text(json.dumps(labels))
        freeze(tmp_path / "set", "split", replace=True)
        done = CliRunner().invoke(eval_, ["geometry", "--testset", str(tmp_path / "set"), *model, "--json"])
        return json.loads(done.stdout[done.stdout.index("{") :])["rows"]

    shutil.copytree(folder, tmp_path / "set")
    whole = rows({})
    some = rows({0: ["left_wrist"], 2: ["left_toe"], 3: ["crown"]})
    for row in ("elevation", "plane"):  # one frame of the four is left, as good as all of them
        assert some[row]["bias_cm"] == pytest.approx(whole[row]["bias_cm"], abs=0.1)
    assert rows({frame: ["head_top"] for frame in range(4)}) == whole
    assert not caplog.records
    none = rows({frame: ["left_wrist", "left_toe"] for frame in range(4)})
    assert [none[row]["measured"] for row in ("bones", "elevation", "plane")] == [1, 0, 0]
    assert "clip one is left out of the rows of true joints" in caplog.text
    assert "the first lacks left_wrist, left_toe" in caplog.text


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


def test_labels_become_frames_as_sure_as_the_noise_put_into_them():
    head = np.zeros((len(INFANT), 2))
    head[INFANT.index("crown")] = [0.0, -40.0]
    people = Person(
        head, np.full(len(INFANT), 2), np.zeros(len(INFANT), bool), np.array([0.0, 0.0, 9.0, 9.0])
    )
    items = [Item(i, Path("x.mp4"), 7 - i, (64, 64), "test", (people,) * i) for i in range(3)]
    two, one, none = true_frames(items, 2.0, np.random.default_rng(0))
    assert [(f.index, f.t_s, f.infants) for f in (two, one, none)] == [(5, 5.0, 2), (6, 6.0, 1), (7, 7.0, 0)]
    assert two.pose is none.pose is None  # of several nobody says which
    np.testing.assert_array_equal(one.pose.cov_frame, [[4.0, 0.0, 4.0]] * len(INFANT))
    assert one.pose.probabilities == pytest.approx(1.0 - np.exp(-(4.0**2) / (2 * 2.0**2)))
    assert (one.pose.kpts_frame - head).std() == pytest.approx(2.0, rel=0.25)
    exact = true_frames(items[1:2], 0.0, np.random.default_rng(0))[0].pose
    np.testing.assert_array_equal(exact.kpts_frame, head)
    assert exact.cov_frame[0].tolist() == [0.25**2, 0.0, 0.25**2]


def test_children_whom_the_growth_tables_leave_out_are_left_out_of_the_null_model(folder, model, tmp_path):
    """One of 30 months made the whole row nan."""
    shutil.copytree(folder, tmp_path / "set")
    clips = json.loads((folder / "clips.json").read_text())
    (tmp_path / "set/clips.json").write_text(
        json.dumps([*clips, {**clips[0], "id": "old", "age_months": 30}])
    )
    freeze(tmp_path / "set", "split", 2)
    files = ["--testset", str(tmp_path / "set"), "--out", str(tmp_path / "split.json")]
    done = CliRunner().invoke(eval_, ["geometry", *files, *model])
    assert "the WHO median is over 1: 1 clip without sex and an age of 0 to 24 months" in done.output
    assert "nan" not in done.output
    found = json.loads((tmp_path / "split.json").read_text())
    assert (found["null"]["known"], found["null"]["clips"]) == (1, 2)
    assert found["null"]["mae_cm"] == abs(found["clips"][0]["null_cm"])
    assert found["clips"][1]["null_cm"] is None


def test_a_truth_file_without_joints_is_named(tmp_path):
    plane = plane_at(150.0)
    path = tmp_path / "truth.json"
    whole = np.zeros((2, len(INFANT), 3))
    unknown = whole.copy()
    unknown[1, 4, 2] = np.nan
    wrong = whole[0], whole[:, :-1], whole[..., :2], unknown
    for joints in (None, [[1, 2]], "x", *(array.tolist() for array in wrong)):
        path.write_text(json.dumps({"R": plane.R.tolist(), "t_cm": plane.t_cm.tolist(), "joints_cm": joints}))
        with pytest.raises(FileFormatError, match=r"truth\.json: joints_cm"):
            read_truth(path)
    path.write_text(
        json.dumps({"R": plane.R.tolist(), "t_cm": plane.t_cm.tolist(), "joints_cm": whole.tolist()})
    )
    assert read_truth(path).joints_cm.shape == whole.shape
