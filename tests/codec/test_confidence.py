"""The calibration is plain arithmetic: known matrices, known odds, and files of strangers refused by name."""

from __future__ import annotations

import json

import numpy as np
import pytest

from heightpose.codec import confidence as c
from heightpose.codec.confidence import (
    Calibration,
    Evidence,
    Linear,
    calibration_path,
    load_calibrations,
    unit_shape,
)
from heightpose.codec.heatmap import HeatmapCodec
from heightpose.errors import FileFormatError

JOINTS = ("a", "b", "c")


def matrices(cov):
    return np.stack([cov[..., [0, 1]], cov[..., [1, 2]]], axis=-2)


def some_covariances(n=200):
    rng = np.random.default_rng(0)
    half = rng.normal(size=(n, 2, 2)) * 3
    full = half @ half.swapaxes(1, 2) + 0.1 * np.eye(2)
    return full, np.stack([full[:, 0, 0], full[:, 0, 1], full[:, 1, 1]], axis=-1)


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("stretch", [1.0, 1.7])
def test_unit_shape_is_the_matrix_power(power, stretch):
    full, cov = some_covariances()
    values, vectors = np.linalg.eigh(full)
    values = values / np.sqrt(values.prod(axis=1, keepdims=True))
    expected = vectors * (values**power)[:, None, :] @ vectors.swapaxes(1, 2)
    grow = np.diag([stretch**-0.5, stretch**0.5])
    found = matrices(unit_shape(cov, power, stretch))
    np.testing.assert_allclose(found, grow @ expected @ grow, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(np.linalg.det(found), 1.0, rtol=1e-6)


def evidence(peak, cov_scale=1.0, view_peak=None, sigma=8.0):
    peak = np.asarray(peak, dtype=float)
    cov = np.broadcast_to(np.array([cov_scale, 0.0, cov_scale]) * sigma**2, (*peak.shape, 3))
    return Evidence(peak, cov, sigma, peak if view_peak is None else np.asarray(view_peak, dtype=float))


def test_features_of_a_perfect_map_are_near_zero_but_for_the_peak():
    codec = HeatmapCodec()
    kpts = np.array([[[100.0, 120.0], [60.0, 80.0], [128.3, 33.1]]])
    maps, _ = codec.encode(kpts, np.ones((1, 3), bool))
    found, peak = codec.decode(0.9 * maps)
    cov = codec.covariance(0.9 * maps, found)
    features = Evidence(peak, cov, codec.sigma_crop, peak).features()
    assert features.shape == (1, 3, len(c.FEATURES))
    np.testing.assert_allclose(features[..., 1:3], 0.0, atol=0.03)
    assert (features[..., 0] > 1.5).all()


def test_features_stay_finite_at_the_ends():
    features = evidence([[0.0, 1.0, 0.5]], cov_scale=1e-9, view_peak=[[1.0, 0.0, 0.0]]).features()
    assert np.isfinite(features).all()


def calibration(**changes):
    flat = Linear(np.zeros(4), np.zeros(3))
    parts = {"right": flat, "seen": flat, "error": flat, "shape": 0.0, "stretch": 1.0} | changes
    return Calibration(**parts)


def test_log_odds_become_probabilities():
    right = Linear(np.array([1.0, 0.0, 0.0, 0.0]), np.array([0.0, 1.0, 0.0]))
    found = calibration(right=right).probabilities(evidence([[0.25, 0.25, 0.9]]))
    odds = np.array([1 / 3, np.e / 3, 9.0])
    np.testing.assert_allclose(found, [odds / (1 + odds)], rtol=1e-9)
    assert (calibration().seen_probabilities(evidence([[0.1, 0.5, 0.9]])) == 0.5).all()


def test_covariance_has_the_fitted_size():
    error = Linear(np.zeros(4), np.log([0.5, 1.0, 2.0]))
    cov = calibration(error=error).cov_crop(evidence([[0.5, 0.5, 0.5]], cov_scale=7.0))
    np.testing.assert_allclose(cov[0, :, 0], [16.0, 64.0, 256.0])
    np.testing.assert_allclose(cov[0, :, 1], 0.0, atol=1e-9)
    stretched = calibration(error=error, stretch=4.0).cov_crop(evidence([[0.5, 0.5, 0.5]]))
    np.testing.assert_allclose(stretched[0, 1], [16.0, 0.0, 256.0], atol=1e-9)


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "net.onnx"
    path.write_bytes(b"weights")
    return path


ENDLESS = {"weights": [1e999] * 4, "bias": [0] * 3}


def written(path, changes=None):
    document = {
        "schema": c.SCHEMA, "kind": "calibration", "joints": list(JOINTS), "features": list(c.FEATURES),
        "weights": [{"name": "net.onnx", "sha256": c.weights_hash(path)}],
        "views": {"flip": {"parameters": calibration(stretch=1.25).as_dict()}},
    } | (changes or {})  # fmt: skip
    calibration_path(path).write_text(json.dumps(document))
    return document


def test_files_round_trip(weights):
    assert load_calibrations(weights, JOINTS) == {}
    written(weights)
    found = load_calibrations(weights, JOINTS)
    assert list(found) == ["flip"]
    assert found["flip"].stretch == 1.25
    assert found["flip"].as_dict() == calibration(stretch=1.25).as_dict()


def test_one_file_serves_both_forms_of_the_weights(weights):
    assert calibration_path(weights) == calibration_path(weights.with_suffix(".safetensors"))


def test_the_calibration_of_other_weights_is_left_aside(weights, caplog):
    written(weights)
    weights.write_bytes(b"trained again")
    assert load_calibrations(weights, JOINTS) == {}
    assert "belongs to other weights" in caplog.text


@pytest.mark.parametrize(
    "changes",
    [
        {"joints": ["a", "b"]}, {"features": ["peak"]}, {"schema": 99}, {"kind": "pose"}, {"views": [1]},
        {"weights": "x"}, {"views": {"flip": {"parameters": {}}}},
        {"views": {"flip": {"parameters": calibration().as_dict() | {"shape": 3.0}}}},
        {"views": {"flip": {"parameters": calibration().as_dict() | {"right": ENDLESS}}}},
    ],
)  # fmt: skip
def test_other_contents_are_refused_by_name(weights, changes):
    written(weights, changes)
    with pytest.raises(FileFormatError, match=r"net\.calibration\.json"):
        load_calibrations(weights, JOINTS)


@pytest.mark.parametrize("text", ["", "[]", "{", "null", "[" * 5000])
def test_damaged_files_are_refused(weights, text):
    calibration_path(weights).write_text(text)
    with pytest.raises(FileFormatError, match="cannot be used"):
        load_calibrations(weights, JOINTS)
