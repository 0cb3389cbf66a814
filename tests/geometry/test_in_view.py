"""Which frames are taken for whole: straddling each limit."""

from __future__ import annotations

import numpy as np
import pytest

from heightpose.geometry.in_view import bare_headed, wholly_in_view
from heightpose.skeleton import INFANT
from heightpose.types import Detection, FrameResult, Pose

SIZE_WH = (640, 480)
CROWN, PELVIS, HEEL, WRIST = (INFANT.index(n) for n in ("crown", "pelvis", "left_heel", "left_wrist"))


def frame(index: int, whole: bool = True, per_s: float = 5.0, crown_seen: float | None = None) -> FrameResult:
    """Crown and pelvis lie 100 px apart, so 5 px from the edge are asked for."""
    kpts = np.full((len(INFANT), 2), [320.0, 240.0])
    kpts[CROWN, 1] = 140.0
    if not whole:
        kpts[HEEL, 1] = 480.0
    seen = None
    if crown_seen is not None:
        seen = np.full(len(INFANT), 0.9)
        seen[CROWN] = crown_seen
    box = Detection(np.array([0.0, 0.0, 9.0, 9.0]), 0.0, 1.0)
    return FrameResult(index, index / per_s, Pose(kpts, np.ones(len(INFANT)), box, seen=seen), 1)


def taken(whole: list[bool], per_s: float = 5.0) -> list[int]:
    return [f.index for f in wholly_in_view([frame(i, w, per_s) for i, w in enumerate(whole)], SIZE_WH)]


@pytest.mark.parametrize(
    ("at", "inside"),
    [
        ((4.5, 240.0), True), ((4.4, 240.0), False), ((634.5, 240.0), True), ((634.6, 240.0), False),
        ((320.0, 4.5), True), ((320.0, 4.4), False), ((320.0, 474.5), True), ((320.0, 474.6), False),
    ],
)  # fmt: skip
def test_a_height_joint_lies_five_hundredths_of_the_trunk_inside(
    at: tuple[float, float], inside: bool
) -> None:
    one = frame(0)
    assert one.pose is not None
    one.pose.kpts_frame[HEEL] = at
    assert bool(wholly_in_view([one], SIZE_WH)) == inside
    one.pose.kpts_frame[HEEL], one.pose.kpts_frame[WRIST] = (320.0, 240.0), at
    assert wholly_in_view([one], SIZE_WH)  # the length does not rest on it


def test_three_of_four_frames_around_must_be_whole() -> None:
    """At 5 frames/s two seconds both ways are 21 frames, of which 16 make three quarters."""
    clip = [True] * 31
    for cut in (5, 9, 19, 21, 25):
        clip[cut] = False
    assert 15 in taken(clip)
    clip[24] = False
    assert 15 not in taken(clip)
    assert not set(taken(clip)) & {5, 9, 19, 21, 24, 25}


def test_exactly_three_quarters_are_enough() -> None:
    assert taken([True, False, True, True]) == [0, 2, 3]
    assert taken([True, False, True]) == []


def test_of_few_frames_a_second_eight_both_ways_count() -> None:
    clip = [True] * 25
    clip[4:9] = [False] * 5  # of the 17 around the twelfth these are five: 12 are no three quarters
    assert 12 not in taken(clip, per_s=0.5)
    assert 13 in taken(clip, per_s=0.5)


def test_a_crown_is_bare_from_three_tenths_on() -> None:
    for chance, bare in ((0.29, False), (0.3, True), (None, True)):
        assert bool(bare_headed([frame(i, crown_seen=chance) for i in range(4)])) == bare
    assert bare_headed([]) == []
