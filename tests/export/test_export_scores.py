"""The calibration of joint scores goes with an export only where that answers as its source does."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("timm")
pytest.importorskip("onnx")

from heightpose.codec.confidence import (  # noqa: E402
    FEATURES,
    SCHEMA,
    Calibration,
    Linear,
    calibration_path,
    load_calibrations,
    weights_hash,
)
from heightpose.codec.heatmap import HeatmapCodec  # noqa: E402
from heightpose.export import run  # noqa: E402
from heightpose.export.scores import carry_over  # noqa: E402
from heightpose.models.checkpoint import save_weights  # noqa: E402
from heightpose.models.description import pose_meta  # noqa: E402
from heightpose.models.pose_net import PoseNet  # noqa: E402
from heightpose.runtime.modelfile import read_model_file  # noqa: E402
from heightpose.skeleton import INFANT  # noqa: E402

WH = (64, 64)


def exported(*what, **options):
    return run.export(run.Request(*what, **options, fixed_size=True))


def calibrated(weights, folder):
    """(a copy of the weights with a calibration beside it, that calibration)."""
    source = folder / "pose.safetensors"
    source.parent.mkdir()
    shutil.copy(weights, source)
    flat = Linear(np.zeros(len(FEATURES)), np.zeros(len(INFANT)))
    neutral = Calibration(right=flat, seen=flat, error=flat, shape=0.0, stretch=1.25)
    entry = {"name": source.name, "sha256": weights_hash(source)}
    document = {
        "schema": SCHEMA, "kind": "calibration", "joints": list(INFANT.names), "features": list(FEATURES),
        "weights": [entry], "views": {"flip": {"parameters": neutral.as_dict()}},
    }  # fmt: skip
    calibration_path(source).write_text(json.dumps(document))
    return source, neutral


def test_a_calibration_goes_with_what_answers_alike_only(weights, tmp_path):
    source, neutral = calibrated(weights, tmp_path / "in")
    beside = exported(source, "onnx", source.with_suffix(".onnx"))
    assert "calibrated as those of pose.safetensors" in beside.scores
    for file in (source, source.with_suffix(".onnx")):  # one calibration, of both forms
        assert load_calibrations(file, INFANT.names)["flip"].as_dict() == neutral.as_dict()
    elsewhere = exported(source, "openvino", tmp_path / "other.xml")
    assert elsewhere.kept
    assert list(load_calibrations(tmp_path / "other.xml", INFANT.names)) == ["flip"]
    # The same graph with other weights.
    (tmp_path / "other.bin").write_bytes((tmp_path / "other.bin").read_bytes() + b"0")
    assert load_calibrations(tmp_path / "other.xml", INFANT.names) == {}

    pruned = exported(source, "openvino", tmp_path / "pruned.xml", prune=0.5)
    assert pruned.kept
    assert "heightpose eval confidence" in pruned.scores
    assert not calibration_path(tmp_path / "pruned.xml").exists()


def test_exports_of_one_stem_share_a_calibration(weights, tmp_path, caplog):
    source, _ = calibrated(weights, tmp_path / "in")
    onnx, openvino = tmp_path / "m.onnx", tmp_path / "m.xml"
    exported(source, "onnx", onnx)
    exported(source, "openvino", openvino)
    for file in (onnx, openvino):
        assert list(load_calibrations(file, INFANT.names)) == ["flip"]
    document = json.loads(calibration_path(onnx).read_text())
    assert [entry["name"] for entry in document["weights"]] == ["m.onnx", "m.xml"]

    onnx.rename(tmp_path / "kept")  # what is gone is no longer named
    file = read_model_file(source)
    assert carry_over(file, openvino, True).startswith("joint scores are calibrated")
    document = json.loads(calibration_path(onnx).read_text())
    assert [entry["name"] for entry in document["weights"]] == ["m.xml"]

    document["views"]["flip"]["parameters"]["stretch"] = 2.0  # fitted again, by its owner
    calibration_path(onnx).write_text(json.dumps(document))
    (tmp_path / "kept").rename(onnx)
    assert "raw peaks" in carry_over(file, onnx, True)
    assert "another calibration, of m.xml" in caplog.text
    assert json.loads(calibration_path(onnx).read_text()) == document


def test_a_net_that_gives_coordinates_has_no_scores_to_calibrate(tmp_path):
    net = PoseNet("test_resnet", head="regression", input_wh=WH).eval()
    meta = pose_meta(net, INFANT.names, HeatmapCodec(WH, (16, 16)))
    save_weights(tmp_path / "in.safetensors", net.state_dict(), meta)
    report = exported(tmp_path / "in.safetensors", "onnx", tmp_path / "out.onnx")
    assert report.kept
    assert report.scores is None
