"""Smoothing for the eye: less trembling, little lag, no invented frames, and nothing but drawing."""

from __future__ import annotations

import numpy as np
from lying_figure import joints

from heightpose.report.overlay import Caption, blur_faces_in
from heightpose.runtime.results import _Artist
from heightpose.runtime.smooth import OneEuro, SmoothPoses
from heightpose.types import Detection, FrameResult, Pose

BOX = Detection(np.array([100.0, 100.0, 300.0, 500.0]), 0.0, 0.9)


def result(index, t_s, xy):
    pose = None if xy is None else Pose(np.tile(xy, (21, 1)).astype(float), np.full(21, 0.8), BOX)
    return FrameResult(index, t_s, pose, int(xy is not None))


def run(times, places):
    smooth = SmoothPoses()
    return [smooth(result(i, t, xy)) for i, (t, xy) in enumerate(zip(times, places, strict=True))]


def test_a_resting_joint_trembles_less_at_any_frame_rate():
    rng = np.random.default_rng(0)
    for times in (np.arange(200) / 25, np.arange(200) / 60, np.cumsum(rng.uniform(0.01, 0.1, 200))):
        places = rng.normal((200, 300), 1.5, (200, 2))
        drawn = np.array([r.pose.kpts_frame[0] for r in run(times, places)])[50:]
        assert drawn.std(axis=0).max() < 0.75 * 1.5
        np.testing.assert_allclose(drawn.mean(axis=0), (200, 300), atol=0.5)


def test_a_fast_joint_hardly_lags():
    times = np.arange(50) / 25
    places = np.column_stack([100 + 400 * times, np.full(50, 300.0)])  # a box length a second
    lag = places[-1, 0] - run(times, places)[-1].pose.kpts_frame[0, 0]
    assert 0 <= lag < 16


def test_neither_its_size_nor_its_place_in_the_picture_changes_how_an_infant_is_smoothed():
    rng = np.random.default_rng(0)
    steps = rng.normal(0, 4.0, (12, 2)).cumsum(axis=0)

    def drawn(scale, shift):
        smooth, out = SmoothPoses(), []
        for i, step in enumerate(steps):
            box = np.array([10.0, 20.0, 110.0, 220.0 + 5 * i]) * scale + [*shift, *shift]
            kpts = np.tile((60.0, 120.0) + step, (21, 1)) * scale + shift
            pose = Pose(kpts, np.full(21, 0.8), Detection(box, 0.0, 0.9))
            out.append(smooth(FrameResult(i, i / 25, pose, 1)).pose.kpts_frame[0])
        return np.array(out)

    plain = drawn(1.0, (0.0, 0.0))
    np.testing.assert_allclose(drawn(3.0, (0.0, 0.0)), 3.0 * plain)
    np.testing.assert_allclose(drawn(1.0, (500.0, 300.0)), plain + (500.0, 300.0))


def test_no_frame_is_invented_and_a_gap_is_a_new_beginning():
    places = [(200, 300), (200, 301), None, (260, 380), (261, 380)]
    out = run([0.0, 0.04, 0.08, 0.12, 0.16], places)
    assert [r.pose is None for r in out] == [p is None for p in places]
    np.testing.assert_array_equal(out[3].pose.kpts_frame[0], (260, 380))
    late = run([0.0, 0.04, 2.0], [(200, 300), (200, 300), (280, 300)])
    np.testing.assert_array_equal(late[2].pose.kpts_frame[0], (280, 300))


def test_what_was_measured_stays_as_it_is():
    given = result(1, 0.04, (210.0, 310.0))
    before = given.pose.kpts_frame.copy()
    smooth = SmoothPoses()
    smooth(result(0, 0.0, (200.0, 300.0)))
    drawn = smooth(given)
    assert not np.array_equal(drawn.pose.kpts_frame, before)
    np.testing.assert_array_equal(given.pose.kpts_frame, before)
    np.testing.assert_array_equal(drawn.pose.scores, given.pose.scores)
    assert (drawn.index, drawn.t_s, drawn.infants) == (given.index, given.t_s, given.infants)


def test_the_filter_is_that_of_the_paper():
    """Two steps by hand: Casiez et al., algorithm 1, with a cut-off of 1 Hz, beta 0.5, speed cut-off 1 Hz."""
    euro = OneEuro(1.0, 0.5, 1.0)
    euro(np.zeros((1, 2)), 0.0)
    got = euro(np.array([[1.0, 0.0]]), 0.1)

    def alpha(cutoff):
        return 1 / (1 + 1 / (2 * np.pi * cutoff) / 0.1)

    speed = alpha(1.0) * 10.0
    np.testing.assert_allclose(got, [[alpha(1.0 + 0.5 * speed), 0.0]])


def test_a_face_is_blurred_where_it_is_and_not_where_the_smoothed_head_lags():
    rng = np.random.default_rng(0)
    artist, left = _Artist(True, True), []
    for i in range(8):
        pose = Pose(joints((200 + 25 * i, 200), 240, 0), np.full(21, 0.8), BOX)
        seen = FrameResult(i, i / 60, pose, 1)
        rgb = rng.integers(0, 255, (400, 600, 3), dtype=np.uint8)
        face = (blur_faces_in(rgb, seen, strangers=True) != rgb).any(axis=2)
        shown = (artist.draw(rgb, seen, Caption()) == rgb).all(axis=2)
        left.append((shown & face).sum() / face.sum())
    assert max(left) < 0.01
