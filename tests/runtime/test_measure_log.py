"""From what a log holds to a length: how sure its plane is widens the interval, and which frames take part."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from straight import body

from heightpose.geometry.body import measure
from heightpose.geometry.camera import Camera
from heightpose.geometry.plane import Plane, plane_from_height
from heightpose.geometry.plane_track import PlaneTrack, Stretch
from heightpose.runtime.clip import Frame
from heightpose.runtime.length import measure_log
from heightpose.runtime.poselog import MEASURE_FRAMES, PoseLog
from heightpose.runtime.solve import Solved, checked
from heightpose.types import Detection, FrameResult, Pose, Reason

CAMERA = Camera("pinhole", (960, 540), np.array([[700.0, 0, 479.5], [0, 700, 269.5], [0, 0, 1]]), np.zeros(5))
ABOVE = replace(plane_from_height(160.0), source="file")


def lying(plane: Plane = ABOVE) -> Pose:
    """An infant whose joints are well seen."""
    sure = np.full(21, 0.95)
    kpts = plane.to_frame(CAMERA, body()[:, [1, 0, 2]] * [1, -1, 1])  # across the picture
    return Pose(
        kpts, sure, Detection(np.array([0.0, 0.0, 9.0, 9.0]), 90.0, 1.0),
        cov_frame=np.tile([1.0, 0.0, 1.0], (21, 1)), probabilities=sure, seen=sure,
    )  # fmt: skip


def logged(poses: list[Pose | None]) -> PoseLog:
    log, rgb = PoseLog(21), np.zeros((1, 1, 3), np.uint8)
    for frame in log.note(Frame(i, i / 25, rgb) for i in range(len(poses))):
        log.add(FrameResult(frame.index, frame.t_s, poses[frame.index], 1))
    return log


def halves(measurement) -> tuple[float, float]:
    """How far the interval reaches down and up, relative."""
    low, high = measurement.interval_cm
    return 1.0 - low / measurement.length_cm, high / measurement.length_cm - 1.0


@pytest.mark.parametrize(
    ("plane", "below", "above"),
    [
        (ABOVE, 0.0, 0.0),
        (replace(ABOVE, length_sd=0.02), 0.02, 0.02),
        (replace(ABOVE, source="tags", length_sd=0.01, height_sd_cm=9.0), 0.01, 0.01),
        (replace(ABOVE, source="height"), 0.03, 0.06),  # a tilt only shortens
        (replace(ABOVE, source="corners", height_sd_cm=0.1), 0.01, 0.01),
        (replace(ABOVE, source="corners", height_sd_cm=1.6), 0.02, 0.02),
    ],
)
def test_how_sure_the_plane_is_adds_to_the_interval(plane: Plane, below: float, above: float) -> None:
    log = logged([lying()] * 3)
    alone = measure([log[i] for i in range(3)], CAMERA, plane)
    found = measure_log(log, CAMERA, plane)
    assert found.length_cm == alone.length_cm
    own = halves(alone)
    for side, sd, was in zip(halves(found), (below, above), own, strict=True):
        assert side == pytest.approx(np.hypot(was, 1.6449 * sd), rel=1e-9)


def test_of_a_track_the_frames_with_a_plane_count_and_the_least_sure_of_their_planes() -> None:
    first, second, unseen = (replace(ABOVE, length_sd=sd) for sd in (0.01, 0.02, 0.05))
    stretches = (
        Stretch(0, 3, first, 4, True),
        Stretch(6, 9, second, 4, True),
        Stretch(12, 14, unseen, 3, False),
    )
    log = logged([lying()] * 10 + [None] * 5)
    found = measure_log(log, CAMERA, PlaneTrack(stretches, 1))
    assert found.details["camera_moved"] == {"stretches": 3, "frames_left_out": 4}
    assert "frames_sampled" not in found.details
    assert (found.frames_total, found.details["frames"]["usable"]) == (15, 8)
    alone = measure([log[i] for i in (*range(4), *range(6, 10))], CAMERA, first)
    assert halves(found)[0] == pytest.approx(np.hypot(halves(alone)[0], 1.6449 * 0.02), rel=1e-6)

    jump = PlaneTrack((Stretch(12, 14, first, 3, False),), 1)
    assert [r.code for r in measure_log(log, CAMERA, jump).reasons] == ["camera_moved"]


def test_a_long_clip_is_measured_from_frames_spread_evenly_over_it() -> None:
    log = logged([lying()] * (MEASURE_FRAMES + 100))
    found = measure_log(log, CAMERA, ABOVE)
    assert (found.frames_total, found.details["frames_sampled"]) == (MEASURE_FRAMES + 100, MEASURE_FRAMES)
    used = found.details["used_frames"]
    assert (len(used), used[0], used[-1]) == (MEASURE_FRAMES, 0, MEASURE_FRAMES + 99)
    assert set(np.diff(used)) == {1, 2}
    few = measure_log(log, CAMERA, ABOVE, before=5)
    assert (few.frames_total, few.details["used_frames"]) == (5, list(range(5)))
    assert "frames_sampled" not in few.details


def test_an_infant_that_a_black_bar_cuts_off_is_out_of_view() -> None:
    log = logged([lying()] * 3)
    crown_x = lying().kpts_frame[16, 0]
    for edge, codes in ((crown_x + 30.0, []), (crown_x, ["out_of_view"])):
        log.shown_xyxy = (-0.5, -0.5, edge, 539.5)
        assert [r.code for r in measure_log(log, CAMERA, ABOVE).reasons] == codes


def test_without_a_scale_or_an_infant_there_is_no_length_but_every_reason() -> None:
    trouble = Reason("no_scale", "Nothing says how large the picture is.")
    seen, empty = logged([lying()] * 2), logged([None] * 2)
    for log, plane, given, codes in (
        (seen, None, trouble, ["no_scale"]),
        (empty, None, trouble, ["no_scale", "no_infant"]),
        (empty, ABOVE, None, ["no_infant"]),
        (seen, ABOVE, trouble, ["no_scale"]),
    ):
        found = measure_log(log, CAMERA, plane, given)
        assert [r.code for r in found.reasons] == codes
        assert (found.length_cm, found.frames_total) == (None, 2)


@pytest.mark.parametrize("sign", [-1, 1])
def test_a_measured_height_that_contradicts_the_plane_leaves_none(sign: int) -> None:
    solved = Solved(CAMERA, ABOVE)
    assert checked(solved, None) is solved
    assert checked(solved, 160.0 + sign * 7.9).plane is ABOVE
    refused = checked(solved, 160.0 + sign * 8.1)
    assert refused.plane is None
    assert refused.trouble.code == "height_contradicted"
