"""Covariances and probabilities on their way from the heatmap to poses.json."""

from __future__ import annotations

import json

import numpy as np
import pytest

from heightpose.geometry.crop import crop_from_box
from heightpose.geometry.in_view import seen_of
from heightpose.runtime import output
from heightpose.runtime.clip import Frame
from heightpose.runtime.poselog import PoseLog
from heightpose.skeleton import INFANT
from heightpose.types import Detection, FrameResult, Pose

BOX = Detection(np.array([1.5, 2.5, 300.25, 400.0]), 30.0, 0.9)


def a_pose(seed=0, **changes):
    rng = np.random.default_rng(seed)
    half = rng.normal(size=(21, 2, 2)) * np.exp(rng.uniform(-2, 4, (21, 1, 1)))
    full = half @ half.swapaxes(1, 2) + 1e-3 * np.eye(2)
    fields = {
        "cov_frame": np.stack([full[:, 0, 0], full[:, 0, 1], full[:, 1, 1]], -1),
        "probabilities": rng.uniform(0, 1, 21),
        "seen": rng.uniform(0, 1, 21),
        "covered": rng.uniform(0, 1, 21),
    }
    return Pose(rng.uniform(0, 400, (21, 2)), rng.uniform(0, 1, 21), BOX, **(fields | changes))


def logged(*poses):
    log = PoseLog(21)
    for _ in log.note(Frame(i, 0.1 * i, np.zeros((2, 2, 3), np.uint8)) for i in range(len(poses))):
        pass
    for i, pose in enumerate(poses):
        log.add(FrameResult(i, 0.1 * i, pose, 1))
    return log


def test_the_log_keeps_them_to_a_few_thousandths():
    given = [
        a_pose(0),
        a_pose(1, probabilities=None, seen=None, covered=None),
        a_pose(2, cov_frame=None),
        None,
    ]
    log = logged(*given)
    for i, pose in enumerate(given[:3]):
        found = log[i].pose
        for name in ("cov_frame", "probabilities", "seen", "covered"):
            want, got = getattr(pose, name), getattr(found, name)
            if want is None:
                assert got is None
            elif name == "cov_frame":
                scale = np.sqrt(want[:, 0] * want[:, 2])
                np.testing.assert_allclose(got[:, [0, 2]], want[:, [0, 2]], rtol=3e-3)
                np.testing.assert_allclose(got[:, 1] / scale, want[:, 1] / scale, atol=4e-3)
            else:
                np.testing.assert_allclose(got, want, atol=6e-4)
        np.testing.assert_array_equal(found.scores, pose.scores.astype(np.float32))
    assert log[3].pose is None


def test_the_most_elongated_covariance_survives_the_log():
    line = np.tile([100.0, 99.9999, 100.0], (21, 1))
    found = logged(a_pose(cov_frame=line))[0].pose.cov_frame
    assert (found[:, 0] * found[:, 2] > found[:, 1] ** 2).all()


def document_of(tmp_path, log):
    output.write_poses(tmp_path / "poses.json", log, INFANT)
    return json.loads((tmp_path / "poses.json").read_text())


def test_poses_json_tells_probabilities_covariances_and_what_is_seen(tmp_path):
    pose = a_pose(5)
    document = document_of(tmp_path, logged(None, pose))
    assert document["score"] == "probability"
    empty, frame = document["frames"]
    assert "cov" not in empty
    np.testing.assert_allclose(np.array(frame["keypoints"])[:, 2], pose.probabilities, atol=1e-3)
    np.testing.assert_allclose(frame["seen"], seen_of(pose), atol=1e-3)
    np.testing.assert_allclose(np.array(frame["cov"])[:, [0, 2]], pose.cov_frame[:, [0, 2]], rtol=4e-3)
    cov = np.array(frame["cov"])
    assert (cov[:, 0] * cov[:, 2] > cov[:, 1] ** 2).all()


def test_without_a_calibration_the_score_is_the_peak_and_the_file_says_so(tmp_path):
    pose = a_pose(5, probabilities=None, seen=None)
    document = document_of(tmp_path, logged(pose))
    assert document["score"] == "peak"
    (frame,) = document["frames"]
    np.testing.assert_allclose(np.array(frame["keypoints"])[:, 2], pose.scores, atol=1e-3)
    assert "seen" not in frame
    assert document_of(tmp_path, logged(None))["score"] == "peak"


@pytest.mark.parametrize(
    "changes",
    [
        {"cov_frame": np.tile([1.0, 2.0, 1.0], (21, 1))}, {"cov_frame": np.zeros((21, 3))},
        {"cov_frame": np.ones((20, 3))}, {"cov_frame": np.full((21, 3), np.nan)}, {"seen": np.full(21, 1.1)},
        {"covered": np.full(21, 1.1)}, {"covered": np.zeros(3)},
        {"probabilities": np.full(21, -0.1)}, {"probabilities": np.zeros(20)},
    ],
)  # fmt: skip
def test_impossible_values_are_refused(changes):
    with pytest.raises(ValueError, match=next(iter(changes))):
        a_pose(**changes)


def test_covariances_reach_the_frame_turned_and_scaled():
    """Long along the body in a head-up crop is long along the infant's own axis in the frame."""
    crop = crop_from_box(np.array([100.0, 100.0, 500.0, 500.0]), 30.0, (250, 250))
    assert crop.scale == pytest.approx(0.5)
    cov = crop.cov_to_frame(np.array([[1.0, 0.0, 9.0]]))[0]
    values, vectors = np.linalg.eigh([[cov[0], cov[1]], [cov[1], cov[2]]])
    np.testing.assert_allclose(values, [4.0, 36.0])
    along = vectors[:, 1] * np.sign(-vectors[1, 1])
    np.testing.assert_allclose(along, [np.sin(np.radians(30)), -np.cos(np.radians(30))], atol=1e-9)
