"""What the detector takes for an infant is one when the pose net sees its joints."""

from dataclasses import replace

import numpy as np
import pytest
from lying_figure import World

from heightpose.runtime.networks import Detector
from heightpose.runtime.presence import CANDIDATE, PRESENT, evidence, is_there, weighed
from heightpose.types import Detection, Pose

HERE = ((300.0, 300.0), 240.0, 20.0, 0.9)


def pose(score, peak, box=(0.0, 0.0, 100.0, 200.0), angle=10.0):
    return Pose(np.zeros((21, 2)), np.full(21, peak), Detection(np.array(box), angle, score))


@pytest.mark.parametrize(
    ("score", "peak", "there"),
    [(0.9, 0.9, True), (0.4, 0.85, True), (0.6, 0.15, False), (0.9, 0.05, True), (0.3, 0.3, False)],
)
def test_both_numbers_count_the_detectors_more(score, peak, there):
    assert evidence(pose(score, peak)) == pytest.approx(0.7 * score + 0.3 * peak)
    assert is_there(pose(score, peak)) == there == (evidence(pose(score, peak)) >= PRESENT)


def test_peaks_beyond_the_heatmaps_range_count_as_its_end():
    assert evidence(pose(0.5, 1.4)) == pytest.approx(0.65)
    assert evidence(pose(0.5, -0.2)) == pytest.approx(0.35)


def test_two_skeletons_of_one_infant_are_one_detection_the_better_one():
    poses = [
        pose(0.6, 0.5),
        pose(0.5, 0.9, (5.0, 5.0, 104.0, 202.0), 12.0),
        pose(0.4, 0.6, (400, 0, 500, 90)),
    ]
    found = weighed(poses)
    assert [round(one.score, 3) for one in found] == [0.62, 0.46]
    assert found[0].head_angle_deg == 12.0
    np.testing.assert_array_equal(found[0].bbox_xyxy, [5, 5, 104, 202])
    assert weighed([]) == []


@pytest.fixture
def world(monkeypatch):
    return World([HERE], monkeypatch)


def seen(world, monkeypatch, *found):
    """The result of one frame in which the detector, asked down to a candidate's score, finds these."""
    asked = []

    def detect(self, rgbs):
        asked.append(self.threshold)
        return [list(found) for _ in rgbs]

    monkeypatch.setattr(Detector, "detect", detect)
    (result,) = world.run()
    assert asked == [CANDIDATE]
    return result


def scored(world, score):
    return replace(world.boxes[0], score=score)


def arm(score):
    """Where the pose net finds nothing: its crop is far from the infant."""
    return Detection(np.array([2000.0, 2000.0, 2080.0, 2200.0]), 0.0, score)


def test_an_infant_whom_the_detector_doubts_is_found_by_its_joints(world, monkeypatch):
    result = seen(world, monkeypatch, scored(world, 0.4))
    assert result.infants == 1
    np.testing.assert_allclose(result.pose.kpts_frame, world.truth[0][0], atol=0.5)
    assert result.pose.detection.score == 0.4


def test_a_sure_detection_without_joints_is_nobody(world, monkeypatch):
    result = seen(world, monkeypatch, arm(0.65))
    assert (result.pose, result.infants) == (None, 0)


def test_the_next_candidate_is_asked_where_the_first_is_nobody(world, monkeypatch):
    result = seen(world, monkeypatch, arm(0.65), scored(world, 0.6))
    assert result.infants == 1
    np.testing.assert_allclose(result.pose.kpts_frame, world.truth[0][0], atol=0.5)


def test_an_infant_and_another_that_the_detector_is_sure_of_are_two(world, monkeypatch):
    assert seen(world, monkeypatch, scored(world, 0.8), arm(0.6)).infants == 2


def test_candidates_beside_an_infant_are_no_further_infants(world, monkeypatch):
    result = seen(world, monkeypatch, scored(world, 0.8), arm(0.5), arm(0.4))
    assert result.infants == 1
    assert result.pose is not None
