"""The fit finds odds and sizes that are known, on people it never saw, and the command installs what it found."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from heightpose.cli.eval import eval_
from heightpose.codec.confidence import Evidence, calibration_path
from heightpose.errors import ConfigError
from heightpose.evaluate.records import read_records
from heightpose.evaluate.result import Choice, evaluate
from heightpose.evaluate.subject import Subject
from heightpose.runtime import modelfile
from heightpose.runtime.clip import Frame
from heightpose.runtime.networks import Detector, PoseModel
from heightpose.runtime.pipeline import estimate_poses
from heightpose.runtime.tta import FLIP
from heightpose.skeleton import INFANT
from heightpose.train import confidence, evidence
from heightpose.train.evidence import Samples

sys.path.append(str(Path(__file__).resolve().parents[1] / "runtime"))

import makers

K = 6
SIGMA = 8.0


def drawn(people=1500, seed=0, per_child=2):
    """Evidence without end, and errors drawn from it: odds and sizes depend on peak and width, by joint."""
    rng = np.random.default_rng(seed)
    logit = rng.normal(0.5, 1.5, (people, 1)) * 0.5 + rng.normal(0.5, 1.0, (people, K))
    peak = 1 / (1 + np.exp(-logit))
    width = np.exp(rng.normal(0.3, 0.4, (people, K)))
    tilt, long = rng.uniform(0, np.pi, (people, K)), np.exp(rng.uniform(0, 0.8, (people, K)))
    axes = np.stack([np.cos(tilt), np.sin(tilt), -np.sin(tilt), np.cos(tilt)], -1).reshape(people, K, 2, 2)
    size = np.stack([long, 1 / long], -1)
    full = np.einsum("nkji,nkj,nkjl->nkil", axes, size, axes) * (width * SIGMA)[..., None, None] ** 2
    cov = np.stack([full[..., 0, 0], full[..., 0, 1], full[..., 1, 1]], -1)
    sd = 0.25 * width * SIGMA * np.exp(-0.4 * logit + np.linspace(-0.3, 0.3, K))
    error = np.einsum("nkji,nkj->nki", axes, rng.normal(size=(people, K, 2)) * np.sqrt(size)) * sd[..., None]
    seen = rng.random((people, K)) < 1 / (1 + np.exp(-(0.8 * logit + np.linspace(-1, 2, K))))
    children = np.array([f"child-{i // per_child}" for i in range(people)])
    evidence = Evidence(peak, cov, SIGMA, peak)
    return Samples(evidence, error, np.linalg.norm(error, axis=-1) / 40.0, np.where(seen, 2, 1), children), sd


@pytest.fixture(scope="module")
def fitted():
    samples, sd = drawn()
    own = confidence.halves(samples.children)
    return confidence.fit(samples.of(own)), samples.of(~own), sd[~own]


def test_all_of_a_child_is_on_one_side_and_others_do_not_matter():
    children = np.array([f"c{i // 3}" for i in range(300)])
    side = confidence.halves(children)
    assert (side.reshape(-1, 3) == side.reshape(-1, 3)[:, :1]).all()
    assert 30 < side[::3].sum() < 70
    np.testing.assert_array_equal(confidence.halves(children[:90]), side[:90])
    assert (confidence.halves(children, seed=1) != side).any()


def test_probabilities_are_right_as_often_as_they_say(fitted):
    calibration, others, _ = fitted
    figures = confidence.judge(calibration, others)
    assert figures["right"]["ece"] < 0.03
    assert figures["right"]["ece"] < figures["raw peak"]["ece"] / 3
    assert figures["seen"]["ece"] < 0.03
    assert figures["right"]["brier"] < 0.9 * (
        figures["right"]["base_rate"] * (1 - figures["right"]["base_rate"])
    )
    assert sum(b["n"] for b in figures["right"]["bins"]) == figures["right"]["n"] == others.known.sum()


def test_labels_that_tell_no_head_size_are_not_calibrated_on():
    samples, _ = drawn(40)
    half = np.arange(40) < 16  # eight children
    told = replace(samples, error_heads=np.where(half[:, None], samples.error_heads, np.nan))
    assert not confidence.enough(told)
    with pytest.raises(ConfigError, match=r"got 8, and 24 infants without a head size.*crown and upper_neck"):
        confidence.fit(told)


def test_covariances_have_the_size_and_direction_of_the_errors(fitted):
    calibration, others, sd = fitted
    cov = calibration.cov_crop(others.evidence)
    said = (cov[..., 0] * cov[..., 2] - cov[..., 1] ** 2) ** 0.25
    assert np.abs(np.log(said / sd)).mean() < 0.08
    assert calibration.shape == 1.0
    assert calibration.stretch == pytest.approx(1.0, abs=0.1)
    full = np.stack([cov[..., [0, 1]], cov[..., [1, 2]]], axis=-2)
    squared = np.einsum("nki,nkij,nkj->nk", others.error_crop, np.linalg.inv(full), others.error_crop)
    figures = confidence.judge(calibration, others)["error"]
    assert np.median(squared) == pytest.approx(figures["median_squared"], rel=1e-6)
    assert figures["median_squared"] == pytest.approx(2 * np.log(2), rel=0.07)
    assert figures["within_2_sd"] == pytest.approx(0.8647, abs=0.02)
    assert figures["robust_sd_per_axis"] == pytest.approx([1.0, 1.0], abs=0.05)


def test_a_stretch_along_the_body_is_found():
    samples, _ = drawn(800)
    longer = replace(samples, error_crop=samples.error_crop * [1 / np.sqrt(1.8), np.sqrt(1.8)])
    assert confidence.fit(longer).stretch == pytest.approx(1.8, rel=0.2)


def test_unlabelled_joints_do_not_take_part():
    samples, _ = drawn(200)
    heads = samples.error_heads.copy()
    heads[:, 2] = np.nan
    hidden = replace(
        samples, error_heads=heads, error_crop=np.where(np.isnan(heads)[..., None], 1e6, samples.error_crop)
    )
    figures = confidence.judge(confidence.fit(hidden), hidden)
    assert figures["right"]["n"] == 200 * (K - 1)
    assert figures["error"]["median_squared"] == pytest.approx(2 * np.log(2), rel=0.1)


def test_few_children_are_not_calibrated_on():
    samples, _ = drawn(60, per_child=20)
    with pytest.raises(ConfigError, match="too few children"):
        confidence.fit(samples)


def test_reliability_by_hand():
    said = np.array([0.05, 0.05, 0.95, 0.95, 0.95, 0.95])
    happened = np.array([False, True, True, True, True, False])
    figures = confidence.reliability(said, happened)
    assert figures["ece"] == pytest.approx((2 * 0.45 + 4 * 0.2) / 6)
    assert figures["auc"] == pytest.approx((3 * (1 + 0.5) + 1 * (0.5 + 0)) / 8)
    assert figures["brier"] == pytest.approx((0.05**2 + 0.95**2 + 3 * 0.05**2 + 0.95**2) / 6)
    assert confidence.reliability(said[:0], happened[:0])["ece"] is None


def spots(folder, number=36, times=1):
    """Pictures of one white spot, on which the tiny net puts every joint; some joints' labels are off it.

    ``times`` as large and far apart as usual.
    """
    (folder / "images").mkdir(parents=True)
    rng = np.random.default_rng(3)
    images, annotations = [], []
    for i in range(number):
        spot = times * rng.uniform([55, 45], [105, 75])
        width, height = 160 * times, 120 * times
        cv2.imwrite(str(folder / "images" / f"{i}.png"), makers.scene((width, height), spot))
        images.append(
            {"id": i, "file_name": f"images/{i}.png", "width": width, "height": height, "split": "val"}
        )
        off = rng.normal(size=(len(INFANT), 2)) * rng.choice([0.5, 6.0], (len(INFANT), 1))
        kpts = spot + off
        kpts[INFANT.index("crown")], kpts[INFANT.index("upper_neck")] = spot, spot + [0, 24 * times]
        flat = [v for x, y in kpts for v in (float(x), float(y), int(rng.choice([1, 2])))]
        annotations.append({"id": i, "image_id": i, "category_id": 1, "child": f"c{i}", "keypoints": flat,
                            "bbox": [*(spot - 38 * times), 76 * times, 76 * times]})  # fmt: skip
    document = {"heightpose": {"schema": 1}, "images": images, "annotations": annotations,
                "categories": [{"id": 1, "name": "infant", "keypoints": list(INFANT.names)}]}  # fmt: skip
    (folder / "annotations.json").write_text(json.dumps(document))


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory):
    """A tiny pose net calibrated by the command, and the folder of its report."""
    folder = tmp_path_factory.mktemp("calibrated")
    spots(folder / "data")
    detector, pose = makers.tiny_detector(folder / "d.onnx"), makers.tiny_pose(folder / "p.onnx")
    calibration_path(pose).write_text("what was there")
    done = CliRunner().invoke(
        eval_,
        ["confidence", "--data", str(folder / "data"), "--model", str(pose), "--detector", str(detector),
         "--out", str(folder / "report")],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    return folder, done


def test_the_command_writes_report_and_calibration(calibrated):
    folder, done = calibrated
    assert "children not used for the fit" in done.output
    document = json.loads(calibration_path(folder / "p.onnx").read_text())
    assert list(document["views"]) == ["flip", "none"]
    kept = f"before-{hashlib.sha256(b'what was there').hexdigest()[:6]}.calibration.json"
    assert (folder / "report" / kept).read_text() == "what was there"
    report = json.loads((folder / "report" / "reliability.json").read_text())["views"]["flip"]
    assert report["fitted_to_children"] + report["children"] == 36
    assert (folder / "report" / "reliability.png").read_bytes().startswith(b"\x89PNG")
    assert "ECE" in (folder / "report" / "reliability.txt").read_text()


def test_what_the_command_installed_is_applied_and_its_raw_peaks_are_kept(calibrated):
    folder, _ = calibrated
    detector, model = Detector.load(str(folder / "d.onnx")), PoseModel.load(str(folder / "p.onnx"))
    assert "probabilities" in model.score_meaning
    frame = Frame(0, 0.0, makers.scene((160, 120), (70, 60)))
    ((result, _),) = estimate_poses([frame], detector, model)
    raw = PoseModel.load(str(folder / "p.onnx"), calibrated=False)
    ((bare, _),) = estimate_poses([frame], detector, raw)
    np.testing.assert_array_equal(result.pose.scores, bare.pose.scores)
    np.testing.assert_array_equal(bare.pose.reported_scores, bare.pose.scores)
    assert bare.pose.probabilities is None
    assert "raw peaks" in raw.score_meaning
    np.testing.assert_array_equal(result.pose.reported_scores, result.pose.probabilities)
    assert ((result.pose.seen > 0) & (result.pose.seen < 1)).all()
    assert (result.pose.cov_frame[:, 0] > 0).all()
    turned = PoseModel.load(str(folder / "p.onnx"), tta="rotate")
    assert turned.calibration is turned.calibrations["none"]
    assert "--tta none" in turned.score_meaning
    mirrored = PoseModel.load(str(folder / "p.onnx"), tta="flip,rotate")
    assert mirrored.calibration is mirrored.calibrations["flip"]


def test_the_finer_look_is_calibrated_on_those_who_are_seen_in_detail(tmp_path):
    model = PoseModel.load(str(makers.tiny_pose(tmp_path / "p.onnx", fine_wh=(320, 320))))
    for times, names in ((1, ["flip"]), (4, ["flip", "flip fine"])):
        spots(tmp_path / str(times), number=3, times=times)
        items = evidence.labelled([tmp_path / str(times)], "val")
        found = evidence.collect(items, None, model, [FLIP], finely=True)
        assert list(found) == names
        for samples in found.values():
            crown = samples.error_crop[:, INFANT.index("crown")]
            assert len(samples) == 3
            assert np.abs(crown).max() < 1.5  # crop px
        assert list(evidence.collect(items, None, model, [FLIP])) == ["flip"]


def test_few_children_seen_in_detail_do_not_cost_the_calibration_of_all(calibrated, tmp_path, monkeypatch):
    folder, _ = calibrated
    samples = {"none": drawn(60)[0], "none fine": drawn(6)[0]}
    monkeypatch.setattr(evidence, "collect", lambda *_, **__: samples)
    done = CliRunner().invoke(
        eval_,
        ["confidence", "--data", str(folder / "data"), "--model", str(folder / "p.onnx"), "--tta", "none",
         "--detector", str(folder / "d.onnx"), "--out", str(tmp_path), "--report-only"],
    )  # fmt: skip
    assert done.exit_code == 0, done.exception
    assert json.loads((tmp_path / "p.calibration.json").read_text())["views"].keys() == {"none"}
    assert "none fine: too few children are seen in detail" in done.output


def test_what_was_judged_with_another_calibration_is_judged_anew(calibrated, tmp_path):
    folder, _ = calibrated
    for name in ("p.onnx", "d.onnx", "p.calibration.json"):
        shutil.copy(folder / name, tmp_path / name)
    choice = Choice(model=str(tmp_path / "p.onnx"), detector=str(tmp_path / "d.onnx"), limit=6)

    def probabilities():
        result, out, _ = evaluate(Subject.of_data(folder / "data", "val"), choice, tmp_path / "judged")
        return result["models"]["pose"], [f.guess.scores for f in read_records(out / "records")[0] if f.guess]

    before, first = probabilities()
    path = tmp_path / "p.calibration.json"
    document = json.loads(path.read_text())
    right = document["views"]["flip"]["parameters"]["right"]
    right["bias"] = [value - 3.0 for value in right["bias"]]
    path.write_text(json.dumps(document))
    after, second = probabilities()
    assert len(first) == len(second) > 0
    assert np.mean(second) < np.mean(first) - 0.05
    assert before["sha256"] == after["sha256"]
    assert before["calibration_sha256"] != after["calibration_sha256"]


def test_a_shipped_calibration_stays_as_it_is_unless_asked(calibrated, tmp_path, monkeypatch):
    folder, _ = calibrated
    shutil.copy(folder / "p.onnx", tmp_path / "p.onnx")
    (tmp_path / "p.calibration.json").write_text("shipped")
    monkeypatch.setattr(modelfile, "WEIGHTS_DIR", tmp_path)
    done = CliRunner().invoke(
        eval_,
        ["confidence", "--data", str(folder / "data"), "--model", str(tmp_path / "p.onnx"), "--tta", "none",
         "--detector", str(folder / "d.onnx"), "--out", str(tmp_path / "report")],
    )  # fmt: skip
    assert done.exit_code == 0
    assert (tmp_path / "p.calibration.json").read_text() == "shipped"
    assert json.loads((tmp_path / "report/p.calibration.json").read_text())["views"].keys() == {"none"}


def test_the_table_of_views_is_a_command(calibrated):
    folder, _ = calibrated
    done = CliRunner().invoke(
        eval_, ["tta", "--data", str(folder / "data"), "--model", str(folder / "p.onnx"), "--limit", "3",
                "--out", str(folder / "tta.json")],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    rows = json.loads((folder / "tta.json").read_text())["rows"]
    assert [row["tta"] for row in rows][:2] == ["none", "flip"]
    assert len(rows) == 8
    assert rows[0]["mean_0.1_gain"] == 0.0
    assert all(row["people"] == 3 and row["ms"] > 0 for row in rows)
    assert done.output.count("\n| ") == 8
