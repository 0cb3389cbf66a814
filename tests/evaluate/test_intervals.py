"""Coverage and risk of single stills: figures that can be counted by hand, and a folder of known bodies."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import cv2
import makers
import numpy as np
import pytest
from click.testing import CliRunner
from evaluated import known_clip
from scipy import stats
from straight import body

from heightpose.cli.eval import eval_
from heightpose.errors import ConfigError, FileFormatError
from heightpose.evaluate import intervals
from heightpose.evaluate.geometry import true_frames
from heightpose.evaluate.intervals import Length, lines, summarise
from heightpose.geometry.camera import Camera
from heightpose.geometry.plane import Plane
from heightpose.report.risk_plot import write_risk_plot
from heightpose.runtime import session
from heightpose.runtime.length import widened
from heightpose.runtime.networks import Detector, PoseModel
from heightpose.runtime.output import sha256
from heightpose.skeleton import INFANT
from heightpose.types import Measurement, Reason

SIZE = (640, 480)
CAMERA = Camera("pinhole", SIZE, np.array([[520.0, 0, 319.5], [0, 520.0, 239.5], [0, 0, 1]]), np.zeros(5))
PLANE = Plane(np.diag([1.0, -1.0, -1.0]), np.array([0.0, 0.0, 150.0]))


def length(error, sd=0.02, code=None, legs="extended", truth=70.0, child="a"):
    strata = {"posture": "back", "legs": legs, "occlusion": "none"}
    estimate = None if error is None else truth + error
    return Length("n/0", child, truth, strata, estimate, None if error is None else sd, code)


def test_a_length_given_out_is_held_by_the_interval_that_was_given_out():
    """A bent sheet or marked corners widen it: judged by the joints' surety alone, such intervals failed wrongly."""
    measured = widened(Measurement(67.0, (65.0, 69.0), 1, 1, details={"relative_sd": 0.018}), (0.03, 0.03))
    low, high = measured.interval_cm
    for truth, held in ((70.5, True), (low, True), (low - 0.01, False), (high + 0.01, False)):
        assert Length.of("n/0", "a", truth, {}, measured).held == held
    refused = Measurement.rejected(
        [Reason("uncertain", "unsure")], frames_total=1, unreported_cm=67.0, relative_sd=0.05
    )
    assert Length.of("n/0", "a", 72.0, {}, refused).held
    assert not Length.of("n/0", "a", 73.0, {}, refused).held


def test_figures_counted_by_hand():
    # 1.645 x 2 % of some 70 cm is 2.3 cm.
    rows = [
        length(1.0), length(-2.0, child="b"), length(2.6, sd=0.0227), length(-5.0, sd=0.024, legs="tucked"),
        length(6.0, sd=0.06, code="legs_not_seen", legs="tucked"), length(None, code="no_infant"),
    ]  # fmt: skip
    found = summarise(rows)
    assert (found["pictures"], found["children"]) == (6, 2)
    reported = found["reported"]
    assert (reported["measured"], reported["gross"], reported["held"]) == (4, 1, 3)
    assert reported["mae_cm"] == pytest.approx((1 + 2 + 2.6 + 5) / 4)
    assert reported["bias_cm"] == pytest.approx((1 - 2 + 2.6 - 5) / 4)
    assert found["refused"] == {"legs_not_seen": 1, "no_infant": 1}
    everything = found["coverage"]["all"]
    assert (everything["intervals"], everything["held"]) == (5, 4)  # 6 cm within 1.645 x 6 % of 76 cm
    assert everything["p"] == pytest.approx(stats.binomtest(4, 5, 0.9).pvalue)
    assert found["coverage"]["legs tucked"]["intervals"] == 2
    risk = {row["gate"]: row["measured"] for row in found["risk"]}
    assert (risk[0.015], risk[0.02], risk[0.0225], risk[0.025], risk[0.05], risk[0.07]) == (0, 2, 2, 4, 4, 5)
    assert "legs_not_seen 1" in "\n".join(lines(found))


def test_the_picture_is_drawn(tmp_path):
    write_risk_plot(tmp_path / "p.png", summarise([length(1.0), length(2.0, sd=0.03)]))
    assert cv2.imread(str(tmp_path / "p.png")).std() > 5


def test_a_refused_length_keeps_what_the_geometry_had():
    refused = Measurement.rejected(
        [Reason("uncertain", "x")], frames_total=1, frames_used=1, unreported_cm=71.2, relative_sd=0.04
    )
    one = Length.of("n/1", "a", 70.0, {}, refused)
    assert (one.code, one.estimate_cm, one.error_cm) == ("uncertain", 71.2, pytest.approx(1.2))
    assert one.held


@pytest.fixture(scope="module")
def nets(tmp_path_factory):
    """Small networks: what they would see is put in their place, or not looked at."""
    folder = tmp_path_factory.mktemp("models")
    return {
        "model": str(makers.tiny_pose(folder / "pose.onnx")),
        "detector": str(makers.tiny_detector(folder / "detector.onnx")),
    }


@pytest.fixture
def folder(tmp_path):
    """Two stills of bodies that differ by 5 %, and their records as the nursery writes them."""
    images, labels = [], []
    for name in ("images", "items"):
        (tmp_path / name).mkdir()
    for i, scale in enumerate((1.0, 1.05)):
        kpts = PLANE.to_frame(CAMERA, body(scale=scale))
        cv2.imwrite(str(tmp_path / "images" / f"{i:06d}.png"), np.zeros((*SIZE[::-1], 3), np.uint8))
        low, high = kpts.min(axis=0), kpts.max(axis=0)
        images.append({"id": i, "file_name": f"images/{i:06d}.png", "width": SIZE[0], "height": SIZE[1],
                       "split": "val"})  # fmt: skip
        labels.append({"id": i, "image_id": i, "category_id": 1, "child": f"c{i}",
                       "bbox": [*low.tolist(), *(high - low).tolist()],
                       "keypoints": [v for x, y in kpts.tolist() for v in (x, y, 2)]})  # fmt: skip
        record = {
            "camera": CAMERA.to_dict(), "plane": {"R": PLANE.R.tolist(), "t_cm": PLANE.t_cm.tolist()},
            "strata": {"posture": "back", "legs": "extended", "occlusion": "none"},
            "infants": [{"child": f"c{i}", "length_cm": 67.2 * scale}],
        }  # fmt: skip
        (tmp_path / "items" / f"{i:06d}.json").write_text(json.dumps([record]))
    (tmp_path / "annotations.json").write_text(json.dumps({
        "heightpose": {"schema": 1}, "images": images, "annotations": labels,
        "categories": [{"id": 1, "name": "infant", "keypoints": list(INFANT.names)}]}))  # fmt: skip
    return tmp_path


def test_stills_are_measured_over_their_own_plane_and_camera(folder, nets, monkeypatch, tmp_path):
    """With a perfect pose net in the networks' place: the rest is the real thing."""
    from heightpose.data.coco import Dataset

    items = Dataset.load(folder).items
    rng = np.random.default_rng(0)
    monkeypatch.setattr(
        intervals, "estimate_poses",
        lambda frames, *_: ((true_frames([items[f.index]], 0.0, rng)[0], f.rgb) for f in frames),
    )  # fmt: skip
    monkeypatch.chdir(tmp_path)
    args = ["--data", str(folder), "--model", nets["model"], "--detector", nets["detector"]]
    done = CliRunner().invoke(eval_, ["intervals", *args])
    assert done.exit_code == 0, done.output
    (out,) = (tmp_path / "eval-results" / "intervals").iterdir()
    assert out.name == f"{Path(nets['model']).stem}-{sha256([Path(nets['model'])])[:6]}"
    rows = list(csv.DictReader((out / "lengths.csv").open()))
    first, second = (float(row["estimate_cm"]) for row in rows)
    assert abs(first - 67.2) < 2.0
    assert second / first == pytest.approx(1.05, abs=0.005)
    summary = json.loads((out / "intervals.json").read_text())
    assert (summary["pictures"], summary["children"]) == (2, 2)
    assert (out / "intervals.png").stat().st_size > 10_000


def test_clips_are_measured_over_the_true_plane(nets, tmp_path, monkeypatch):
    """The clip's own plane file is 5 % too high: the true one is taken."""
    from heightpose.evaluate.subject import Subject

    known_clip(tmp_path)
    subject = Subject.of_testset(str(tmp_path))
    poses = true_frames(subject.items, 0.0, np.random.default_rng(0))
    monkeypatch.setattr(
        session, "estimate_poses", lambda frames, *_, **__: ((poses[f.index], f.rgb) for f in frames)
    )
    (one,) = intervals.measure_clips(
        [subject], Detector.load(nets["detector"]), PoseModel.load(nets["model"])
    )
    assert (one.id, one.child, one.truth_cm) == (f"{subject.name}/one", "a", 68.0)
    assert abs(one.error_cm) < 2.0  # 3.4 cm more over the other plane


def test_nothing_to_measure_is_said():
    done = CliRunner().invoke(eval_, ["intervals"])
    assert isinstance(done.exception, ConfigError)
    assert "--testset" in str(done.exception)


def test_pictures_of_unknown_length_are_refused_by_name(folder, nets):
    networks = Detector.load(nets["detector"]), PoseModel.load(nets["model"])
    (folder / "items" / "000000.json").write_text("[{}]")
    with pytest.raises(FileFormatError, match=r"000000.*not a still's record"):
        intervals.measure_stills([folder], "val", *networks)
    for path in (folder / "items").iterdir():
        path.unlink()
    with pytest.raises(ConfigError, match="no still of known"):
        intervals.measure_stills([folder], "val", *networks)
