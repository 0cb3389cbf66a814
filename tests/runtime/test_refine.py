"""The second look: what a wrong box or direction of the detector cost is found again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from lying_figure import World

from heightpose.codec.detection import iou
from heightpose.geometry.body import surety
from heightpose.runtime.refine import (
    UNSURE,
    averaged,
    boxed,
    detection_around,
    own_look,
    second_look,
)
from heightpose.skeleton import INFANT
from heightpose.types import Detection, wrap_degrees

LENGTH, ANGLE = 400.0, 30.0


@pytest.fixture
def world(monkeypatch):
    return World([((400.0, 300.0), LENGTH, ANGLE, 0.9)], monkeypatch)


def misplaced(world, *, size=1.0, towards_feet=0.0, turn=0.0):
    """The figure's box, resized, moved along the body by a share of its length, and with a wrong direction."""
    right = world.boxes[0]
    centre = (right.bbox_xyxy[:2] + right.bbox_xyxy[2:]) / 2
    half = size * (right.bbox_xyxy[2:] - right.bbox_xyxy[:2]) / 2
    along = np.radians(ANGLE)
    centre = centre + towards_feet * LENGTH * np.array([-np.sin(along), np.cos(along)])
    box = np.concatenate([centre - half, centre + half])
    return replace(right, bbox_xyxy=box, head_angle_deg=wrap_degrees(right.head_angle_deg + turn))


def looks(world, detection):
    """The first and the second skeleton of a detection, and their largest errors in px."""
    rgb = world.frames[0].rgb
    first = world.pose_model.estimate([rgb], [detection])
    second = second_look(world.pose_model, [rgb], first)
    truth = world.truth[0][0]
    return [(p[0], np.linalg.norm(p[0].kpts_frame - truth, axis=1).max()) for p in (first, second)]


@pytest.mark.parametrize("size", [0.9, 1.0])
def test_a_box_that_cuts_the_head_off_is_made_good(size, world):
    (_, before), (pose, error) = looks(world, misplaced(world, towards_feet=0.25, size=size))
    assert before > 20
    assert error < 1.0
    assert pose.scores[INFANT.index("crown")] > 0.5


def sure_when_head_up_and_of_a_usual_size(kpts_crop):
    along = kpts_crop[INFANT.index("left_heel")] - kpts_crop[INFANT.index("crown")]
    return 0.9 if 150 < np.hypot(*along) < 260 and along[1] > 2 * abs(along[0]) else 0.3


@pytest.mark.parametrize(
    "wrong",
    [{"size": 0.72}, {"size": 1.6}, {"turn": 90.0}, {"turn": 180.0}, {"turn": -90.0}],
    ids=str,
)
def test_an_unsure_skeleton_is_looked_for_at_other_turns_and_sizes(wrong, monkeypatch):
    world = World([((400.0, 300.0), LENGTH, ANGLE, sure_when_head_up_and_of_a_usual_size)], monkeypatch)
    (first, _), (second, error) = looks(world, misplaced(world, **wrong))
    assert surety(first) < UNSURE < surety(second)
    assert abs(wrap_degrees(second.detection.head_angle_deg - ANGLE)) < 10
    assert error < 1.0


def test_a_cut_off_body_that_looks_better_upside_down_is_still_sought_larger_in_the_first_direction(
    monkeypatch,
):
    """As an infant in a sleeping bag whose box misses head and feet."""

    def misled(kpts_crop):
        usual = sure_when_head_up_and_of_a_usual_size(kpts_crop)
        upside_down = kpts_crop[INFANT.index("left_heel"), 1] < kpts_crop[INFANT.index("crown"), 1]
        return 0.4 if upside_down else usual

    world = World([((400.0, 300.0), LENGTH, ANGLE, misled)], monkeypatch)
    tried = []
    estimate = world.pose_model.estimate

    class Noting:
        skeleton = world.pose_model.skeleton

        def estimate(self, rgbs, detections, *, times=None):
            poses = estimate(rgbs, detections)
            tried.extend(
                (one.head_angle_deg, surety(pose)) for one, pose in zip(detections, poses, strict=True)
            )
            return poses

        estimate_finely = estimate

    box = misplaced(world, size=0.72)
    rgb = world.frames[0].rgb
    first = estimate([rgb], [box])
    (second,) = second_look(Noting(), [rgb], first)
    assert surety(first[0]) < 0.4
    assert surety(second) > UNSURE
    before_its_own_crop = max(tried[:-1], key=lambda one: one[1])
    assert before_its_own_crop == (box.head_angle_deg, pytest.approx(0.9, abs=0.05))


def test_a_crown_that_the_crop_cut_off_is_looked_for_beyond_the_neck(world):
    (pose, _), _ = looks(world, misplaced(world, towards_feet=0.25))
    crown = INFANT.index("crown")
    assert pose.scores[crown] < 0.1
    asked = detection_around(pose)
    x, y = world.truth[0][0][crown]
    low, high = asked.bbox_xyxy[:2], asked.bbox_xyxy[2:]
    margin = 0.1 * (high - low).max()  # crops are a quarter larger than boxes
    assert (low - margin <= [x, y]).all()
    assert ([x, y] <= high + margin).all()
    assert abs(wrap_degrees(asked.head_angle_deg - ANGLE)) < 5


def test_a_skeleton_that_tells_nothing_keeps_its_box(world):
    (pose, _), _ = looks(world, misplaced(world))
    for names in (("pelvis",), ("crown", "upper_neck", "thorax")):
        scores = pose.scores.copy()
        scores[INFANT.indices(*names)] = 0.0
        assert detection_around(replace(pose, scores=scores)) is pose.detection
    assert detection_around(replace(pose, scores=np.full(len(INFANT), 0.05))) is pose.detection


def test_a_sure_skeleton_is_looked_at_twice_and_an_unsure_one_six_times_more(world, monkeypatch):
    rgb = world.frames[0].rgb
    first = world.pose_model.estimate([rgb], [world.boxes[0]])
    world.looked.clear()
    second_look(world.pose_model, [rgb], first)
    assert surety(first[0]) >= UNSURE
    assert len(world.looked) == 1
    faint = World([((400.0, 300.0), LENGTH, ANGLE, 0.3)], monkeypatch)
    first = faint.pose_model.estimate([rgb], [faint.boxes[0]])
    faint.looked.clear()
    second_look(faint.pose_model, [rgb], first)
    assert surety(first[0]) < UNSURE
    assert len(faint.looked) == 3 + 2 + 1  # turns, sizes, its own crop


def two_looks(world, *, apart_heads=0.0, scores=(0.8, 0.4)):
    """The same skeleton twice, the second moved to the right by a share of its head."""
    (pose, _), _ = looks(world, misplaced(world))
    head = np.linalg.norm(np.subtract(*pose.kpts_frame[INFANT.indices("crown", "upper_neck")]))
    cov = np.tile([4.0, 0.0, 4.0], (len(INFANT), 1))
    one, other = (
        replace(pose, scores=same, cov_frame=cov, probabilities=same, seen=same)
        for same in (np.full(len(INFANT), score) for score in scores)
    )
    return one, replace(other, kpts_frame=other.kpts_frame + [apart_heads * head, 0.0]), head


def test_two_looks_that_agree_are_averaged_by_their_peaks(world):
    before, after, head = two_looks(world, apart_heads=0.2)
    both = averaged(before, after)
    moved = both.kpts_frame - before.kpts_frame
    np.testing.assert_allclose(moved[:, 0], 0.2 * head * 0.4**2 / (0.8**2 + 0.4**2))
    np.testing.assert_allclose(moved[:, 1], 0.0, atol=1e-9)
    np.testing.assert_allclose(both.probabilities, 0.8 * 0.8 + 0.2 * 0.4)
    np.testing.assert_allclose(both.cov_frame, before.cov_frame)
    np.testing.assert_allclose(both.seen, 0.4)  # the more doubtful of the two
    assert both.detection is after.detection


def test_where_two_looks_disagree_the_second_counts(world):
    before, after, _ = two_looks(world, apart_heads=0.6)
    knee = INFANT.index("left_knee")
    kpts = after.kpts_frame.copy()
    kpts[knee] = before.kpts_frame[knee]
    both = averaged(before, replace(after, kpts_frame=kpts))
    others = np.arange(len(INFANT)) != knee
    np.testing.assert_array_equal(both.kpts_frame[others], after.kpts_frame[others])
    np.testing.assert_array_equal(both.kpts_frame[knee], before.kpts_frame[knee])
    np.testing.assert_allclose(both.scores[others], 0.4)


@pytest.mark.parametrize(("scores", "kept"), [((0.8, 0.6), 0), ((0.6, 0.8), 1), ((0.8, 0.7), None)])
def test_of_two_looks_the_surer_one_stays_unless_both_are_as_sure(world, scores, kept):
    before, after, _ = two_looks(world, apart_heads=0.2, scores=scores)

    class Second:
        def estimate_finely(self, rgbs, detections, *, times=None):
            return [after]

    (pose,) = own_look(Second(), [world.frames[0].rgb], [before])
    if kept is None:
        assert before.kpts_frame[0, 0] < pose.kpts_frame[0, 0] < after.kpts_frame[0, 0]
    else:
        assert pose is (before, after)[kept]


def test_an_infants_box_is_the_mean_of_all_that_was_looked_at_within_the_frame(world):
    rgb = np.zeros((480, 500, 3), np.uint8)
    (pose,) = world.pose_model.estimate([world.frames[0].rgb], [world.boxes[0]])
    np.testing.assert_array_equal(pose.bbox_xyxy, pose.detection.bbox_xyxy)
    own = detection_around(pose).bbox_xyxy
    looked = [Detection(own + shift, 0.0, 0.9) for shift in (6.0, -18.0)]
    np.testing.assert_allclose(boxed(pose, rgb, *looked).bbox_xyxy, np.minimum(own - 4.0, [499.5, 479.5] * 2))
    assert (own - 4.0)[2] > 500  # the frame cut it off

    outside = replace(pose, kpts_frame=pose.kpts_frame + 1000.0)
    far = replace(pose.detection, bbox_xyxy=pose.detection.bbox_xyxy + 1000.0)
    np.testing.assert_array_equal(boxed(outside, rgb, far).bbox_xyxy, pose.bbox_xyxy)  # no box is left of it


def test_a_second_look_tells_a_better_box_than_the_detectors(world, monkeypatch):
    frame = np.zeros((600, 800, 3), np.uint8)  # shows its number
    wrong = misplaced(world, size=1.2, towards_feet=0.15)
    (first,) = world.pose_model.estimate([frame], [wrong])
    (second,) = second_look(world.pose_model, [frame], [first])
    right = world.boxes[0].bbox_xyxy
    assert iou(first.bbox_xyxy, right) < 0.65
    assert iou(second.bbox_xyxy, right) > 0.85
