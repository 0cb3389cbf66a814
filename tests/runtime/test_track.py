"""The last skeleton guides the next look: few detections, the same joints, and a new look whenever it is wrong."""

from __future__ import annotations

import makers
import numpy as np
import pytest
from lying_figure import World, joints

from heightpose.runtime import pipeline
from heightpose.runtime.clip import Frame
from heightpose.runtime.networks import Detector, PoseModel
from heightpose.runtime.refine import detection_around
from heightpose.runtime.track import KEY_FRAMES, Guide, KeyFrames, guides_of
from heightpose.types import Detection, Pose


def still(count, strength=0.9):
    return [((400.0, 300.0), 400.0, 30.0, strength)] * count


def test_few_detections_one_look_each_and_the_same_joints(monkeypatch):
    rng = np.random.default_rng(1)
    places = [(rng.normal((400, 300), 2), rng.normal(400, 2), rng.normal(30, 1), 0.9) for _ in range(24)]
    world = World(places, monkeypatch)
    results = world.run(track=True)
    assert world.detected == [0, 8, 16]
    assert len(world.looked) == 24 + 3  # the key frames twice
    plain = world.run()
    assert world.detected == list(range(24))
    assert len(world.looked) == 48
    for one, other in zip(results, plain, strict=True):
        truth = world.truth[one.index][0]
        error, before = (np.abs(r.pose.kpts_frame - truth).max() for r in (one, other))
        assert error < max(1.2 * before, 0.2)
        assert one.infants == other.infants == 1


def test_groups_for_the_networks_change_nothing(monkeypatch):
    places = [((400.0 + 9 * i, 300.0), 400.0, 30.0 + 2 * i, 0.9) for i in range(20)]
    places[5] = places[13] = None
    world = World(places, monkeypatch)
    runs = [world.run(track=True, batch=batch) for batch in (1, 3, 8, 16)]
    for run in runs[1:]:
        for one, other in zip(run, runs[0], strict=True):
            assert (one.pose is None) == (other.pose is None)
            if one.pose is not None:
                np.testing.assert_allclose(one.pose.kpts_frame, other.pose.kpts_frame, atol=1e-6)


def test_an_infant_that_moved_is_looked_at_on_its_own_crop_without_the_detector(monkeypatch):
    places = still(3) + [((460.0, 330.0), 400.0, 50.0, 0.9)] * 3
    world = World(places, monkeypatch)
    results = world.run(track=True)
    assert world.detected == [0]
    assert sorted(world.looked) == [0, 0, 1, 2, 3, 3, 4, 4, 5, 5]
    for result in results[3:]:
        truth = world.truth[result.index][0]
        own = detection_around(results[5].pose)
        assert np.abs(result.pose.kpts_frame - truth).max() < 0.6
        assert abs(result.pose.detection.head_angle_deg - own.head_angle_deg) < 3


def test_a_lost_infant_is_sought_again(monkeypatch):
    away = ((900.0, 700.0), 380.0, 120.0, 0.9)
    world = World([*still(2), away, away, *still(1, strength=0.3), None, *still(2)], monkeypatch)
    results = world.run(track=True)
    assert world.detected == [0, 2, 3, 4, 5]
    for i in (2, 3):
        assert np.abs(results[i].pose.kpts_frame - world.truth[i][0]).max() < 0.6
    assert results[5].pose is None
    assert results[5].infants == 0
    assert results[7].pose is not None


def test_an_empty_cot_is_watched_by_the_detector_in_every_frame(monkeypatch):
    world = World([None] * 5 + still(5), monkeypatch)
    results = world.run(track=True)
    assert [r.pose is not None for r in results] == [False] * 5 + [True] * 5
    assert world.detected == [0, 1, 2, 3, 4, 5, 6, 7, 8]  # only a key frame gives a guide: 8 is the next


def test_frames_far_apart_are_all_key_frames(monkeypatch):
    world = World(still(6), monkeypatch, step_s=1.0)
    world.run(track=True)
    assert world.detected == list(range(6))


def test_without_tracking_every_frame_is_detected(monkeypatch):
    world = World(still(4), monkeypatch)
    world.run(track=True, refine=False)
    assert world.detected == list(range(4))


@pytest.mark.parametrize(
    ("fps", "keys"), [(25, [0, 5, 10]), (5, [0, 1, 2]), (60, [0, 8, 16]), (2, list(range(6)))]
)
def test_key_frames_by_number_and_by_time(fps, keys):
    clock = KeyFrames()
    rgb = np.zeros((1, 1, 3), np.uint8)
    got = [i for i in range(keys[-1] + 1) if clock.is_key(Frame(i, i / fps, rgb))]
    assert got == keys
    assert KEY_FRAMES == 8


def test_a_clock_that_jumps_back_makes_a_key_frame():
    clock, rgb = KeyFrames(), np.zeros((1, 1, 3), np.uint8)
    assert [clock.is_key(Frame(i, t, rgb)) for i, t in enumerate([5.0, 5.04, 0.0, 0.04])] == [
        True,
        False,
        True,
        False,
    ]


def lying(xy=(400.0, 300.0), length=400.0, angle_deg=0.0, strength=0.9):
    kpts = joints(xy, length, angle_deg)
    box = np.concatenate([kpts.min(axis=0), kpts.max(axis=0)])
    return Pose(kpts, np.full(21, strength), Detection(box, angle_deg, 0.9))


@pytest.mark.parametrize(
    ("found", "fits"),
    [
        ({}, True),
        ({"angle_deg": 9.0, "length": 396.0}, True),
        ({"angle_deg": 11.0}, False),
        ({"angle_deg": -11.0}, False),
        ({"xy": (412.0, 300.0)}, True),  # its box is some 200 px wide
        ({"xy": (424.0, 300.0)}, False),
        ({"length": 440.0}, False),
    ],
)
def test_a_guides_crop_fits_where_the_joints_moved_and_turned_little(found, fits):
    guide = Guide.after(lying(), 1)
    assert guide.fits(lying(**found)) == fits


def test_a_skeleton_is_lost_once_it_is_unsure_or_much_less_sure_than_its_key_frames():
    assert [Guide.after(lying(), 1).lost(lying(strength=s)) for s in (0.81, 0.79)] == [False, True]
    assert [Guide.after(lying(strength=0.5), 1).lost(lying(strength=s)) for s in (0.46, 0.44)] == [
        False,
        True,
    ]
    assert Guide.after(lying(strength=0.46), 2).infants == 2
    assert Guide.after(lying(strength=0.44), 1) is Guide.after(None, 1) is None


def test_each_frame_follows_the_latest_key_frame():
    before, first, third = (Guide.after(lying(strength=s), 1) for s in (0.7, 0.8, 0.9))
    keys = [False, True, False, True, False, True]
    assert guides_of(keys, [first, None, third], before) == [before, first, first, None, None, third]


def test_real_networks_track_a_spot(tmp_path):
    networks = (
        Detector.load(str(makers.tiny_detector(tmp_path / "d.onnx"))),
        PoseModel.load(str(makers.tiny_pose(tmp_path / "p.onnx"))),
    )
    frames = [Frame(i, 0.04 * i, makers.scene((160, 120), (50 + i, 48))) for i in range(10)]
    for result, _ in pipeline.estimate_poses(frames, *networks, track=True):
        np.testing.assert_allclose(result.pose.kpts_frame[0], (50 + result.index, 48), atol=0.4)


def test_a_model_file_of_the_infants_joints_gets_its_second_look(tmp_path, monkeypatch):
    """Its skeleton is built from names alone, without the training's weights: it is an infant's all the same."""
    networks = (
        Detector.load(str(makers.tiny_detector(tmp_path / "d.onnx"))),
        PoseModel.load(str(makers.tiny_pose(tmp_path / "p.onnx"))),
    )
    looks, look = [], PoseModel.look
    monkeypatch.setattr(
        PoseModel, "look", lambda self, rgbs, *a, **k: looks.append(len(rgbs)) or look(self, rgbs, *a, **k)
    )
    frames = [Frame(i, 0.02 * i, makers.scene((160, 120), (60, 48))) for i in range(3)]
    list(pipeline.estimate_poses(frames, *networks))
    assert sum(looks) >= 6
