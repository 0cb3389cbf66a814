"""Errors split by what had to be inferred: a known body, a known camera, a plane file wrong by a known amount."""

from __future__ import annotations

import json

import makers
import numpy as np
import pytest
from click.testing import CliRunner
from straight import body

from heightpose.cli.eval import eval_
from heightpose.data.testset import freeze
from heightpose.errors import FileFormatError
from heightpose.evaluate.geometry import Split, read_truth, summarise
from heightpose.geometry.camera import Camera
from heightpose.geometry.plane import Plane
from heightpose.skeleton import INFANT

SIZE = (640, 480)
K = [[520.0, 0.0, 319.5], [0.0, 520.0, 239.5], [0.0, 0.0, 1.0]]


def plane_at(height_cm: float) -> Plane:
    R = np.diag([1.0, -1.0, -1.0])
    return Plane(R=R, t_cm=-R @ np.array([0.0, 0.0, height_cm]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One clip of four empty frames, its labels exact, its plane file 5 % too high."""
    folder = tmp_path_factory.mktemp("split")
    camera, plane, joints = Camera("pinhole", SIZE, np.array(K), np.zeros(5)), plane_at(150.0), body()
    kpts = plane.to_frame(camera, joints)
    makers.write_video(folder / "clip.mp4", [np.zeros((*SIZE[::-1], 3), np.uint8)] * 4)
    (folder / "camera.json").write_text(json.dumps(camera.to_dict()))
    for name, height in (("plane", 157.5), ("truth", 150.0)):
        wrong = plane_at(height)
        extra = {"joints_cm": [joints.tolist()] * 4} if name == "truth" else {}
        document = {"R": wrong.R.tolist(), "t_cm": wrong.t_cm.tolist()} | extra
        (folder / f"{name}.json").write_text(json.dumps(document))
    low, high = kpts.min(axis=0) - 5, kpts.max(axis=0) + 5
    images = [{"id": i, "video": "clip.mp4", "frame": i, "width": SIZE[0], "height": SIZE[1], "split": "test"}
              for i in range(4)]  # fmt: skip
    labels = [
        {"id": i, "image_id": i, "category_id": 1, "child": "a", "bbox": [*low.tolist(), *(high - low).tolist()],
         "keypoints": [v for x, y in kpts.tolist() for v in (x, y, 2)]}
        for i in range(4)
    ]  # fmt: skip
    (folder / "annotations.json").write_text(json.dumps({
        "heightpose": {"schema": 1}, "images": images, "annotations": labels,
        "categories": [{"id": 1, "name": "infant", "keypoints": list(INFANT.names)}]}))  # fmt: skip
    clip = {"id": "one", "child": "a", "video": "clip.mp4", "camera": "camera.json", "plane": "plane.json",
            "truth": "truth.json", "length_cm": 68.0, "sex": "female", "age_months": 6, "strata": {}}  # fmt: skip
    (folder / "clips.json").write_text(json.dumps([clip]))
    assert "truth.json" in freeze(folder, "split", 1).files
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


def test_a_truth_file_without_joints_is_named(tmp_path):
    plane = plane_at(150.0)
    path = tmp_path / "truth.json"
    for joints in (None, [[1, 2]], "x"):
        path.write_text(json.dumps({"R": plane.R.tolist(), "t_cm": plane.t_cm.tolist(), "joints_cm": joints}))
        with pytest.raises(FileFormatError, match=r"truth\.json: joints_cm"):
            read_truth(path)
