"""Drawing: sides in their colours, states legible, faces gone when asked."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from heightpose.report.overlay import (
    LEFT_RGB,
    RIGHT_RGB,
    Caption,
    answer_text,
    blur_faces_in,
    draw_overlay,
)
from heightpose.runtime.output import height_document
from heightpose.skeleton import INFANT
from heightpose.types import Detection, FrameResult, Measurement, Pose, Reason

NAMES = INFANT.names


def lying(width, height):
    """A stick figure, head up, its left at the picture's right (seen from above, on its back)."""
    at = {
        "crown": (0, 0.2),
        "head_top": (0, 0.21),
        "upper_neck": (0, 0.35),
        "thorax": (0, 0.4),
        "pelvis": (0, 0.6),
    }
    rows = {
        "shoulder": 0.4,
        "elbow": 0.5,
        "wrist": 0.58,
        "hip": 0.6,
        "knee": 0.7,
        "ankle": 0.8,
        "heel": 0.82,
        "toe": 0.84,
    }
    for part, row in rows.items():
        at[f"left_{part}"], at[f"right_{part}"] = (0.08, row), (-0.08, row)
    kpts = np.array([(width / 2 + at[n][0] * height, at[n][1] * height) for n in NAMES])
    box = np.array([width / 2 - 0.1 * height, 0.18 * height, width / 2 + 0.1 * height, 0.86 * height])
    return Pose(kpts, np.full(21, 0.9), Detection(box, 0.0, 0.9))


@pytest.mark.parametrize(("width", "height"), [(640, 480), (1920, 1080), (97, 65)])
def test_sides_have_their_colours(width, height):
    pose = lying(width, height)
    rgb = np.full((height, width, 3), 120, np.uint8)
    before = rgb.copy()
    picture = draw_overlay(rgb, FrameResult(3, 0.4, pose, 1), Caption(True, "68.4 cm"))
    np.testing.assert_array_equal(rgb, before)  # the frame itself is untouched
    assert picture.shape == rgb.shape
    for name, colour in (("left_knee", LEFT_RGB), ("right_knee", RIGHT_RGB)):
        x, y = np.rint(pose.kpts_frame[NAMES.index(name)]).astype(int)
        assert np.abs(picture[y, x].astype(int) - colour).max() < 40, name


def test_states_look_different():
    rgb, pose = np.full((480, 640, 3), 120, np.uint8), lying(640, 480)
    seen = [
        draw_overlay(rgb, FrameResult(0, 0.0, p, n), Caption(used))[:40].tobytes()
        for p, n, used in [
            (None, 0, None),
            (pose, 1, None),
            (pose, 1, True),
            (pose, 1, False),
            (pose, 2, None),
        ]
    ]
    assert len(set(seen)) == 5


def test_wild_joints_and_long_texts_do_no_harm():
    pose = lying(640, 480)
    wild = Pose(pose.kpts_frame * 1e7, pose.scores, pose.detection)
    draw_overlay(np.zeros((480, 640, 3), np.uint8), FrameResult(0, 0.0, wild, 1), Caption(None, "x" * 400))
    draw_overlay(np.zeros((4, 4, 3), np.uint8), FrameResult(0, 0.0, None, 0), Caption(None, "grün"))


def noise(width=640, height=480):
    return np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)


def changed(a, b):
    return (a != b).any(axis=2)


def test_blur_covers_the_head_and_little_else():
    rgb, pose = noise(), lying(640, 480)
    mask = changed(blur_faces_in(rgb, FrameResult(0, 0.0, pose, 1)), rgb)
    head = (pose.kpts_frame[NAMES.index("crown")] + pose.kpts_frame[NAMES.index("upper_neck")]) / 2
    ys, xs = np.mgrid[:480, :640]
    near = np.hypot(xs - head[0], ys - head[1]) < 0.5 * 0.15 * 480
    assert mask[near].mean() > 0.97
    assert not mask[int(0.6 * 480) :].any()


def test_blur_hides_what_it_cannot_place():
    rgb, pose = noise(), lying(640, 480)
    assert changed(blur_faces_in(rgb, FrameResult(0, 0.0, None, 0)), rgb).mean() > 0.97
    twins = changed(blur_faces_in(rgb, FrameResult(0, 0.0, pose, 2)), rgb)
    assert twins[:, :200].mean() > 0.97  # the other one may be anywhere
    wide = replace(pose, bbox_xyxy=np.array([0.0, 0.0, 640.0, 480.0]))
    wide = changed(blur_faces_in(rgb, FrameResult(0, 0.0, wide, 2)), rgb)
    assert wide[:, :200].mean() > 0.97  # in the box of the one who is posed, too


def test_nobody_outside_of_the_infant_is_shown_where_faces_are_blurred():
    """An adult who leans in, or an infant whom nobody found."""
    rgb, pose = noise(), lying(640, 480)
    result = FrameResult(0, 0.0, pose, 1)
    around = changed(blur_faces_in(rgb, result, strangers=True), rgb)
    low, high = np.rint([pose.kpts_frame.min(axis=0), pose.kpts_frame.max(axis=0)]).astype(int)
    inside = np.zeros(around.shape, dtype=bool)
    inside[low[1] : high[1], low[0] : high[0]] = True
    assert around[~inside].mean() > 0.97
    assert not around[inside][-1000:].any()  # the legs still show
    shown = draw_overlay(rgb, result, Caption(), blur_faces=True)
    assert changed(shown, rgb)[~inside].mean() > 0.97
    assert changed(draw_overlay(rgb, result, Caption()), rgb)[~inside].mean() < 0.3


def test_answer_line_has_the_numbers_of_height_json():
    """What reads height.json, such as growth, must not show another length or interval than infer did."""
    measured = Measurement(59.3451, (57.6449, 60.4461), 12, 12)
    document = height_document(measured, decoded=12)
    low, high = document["interval_cm"]
    assert answer_text(measured) == f"{document['length_cm']:.1f} cm ({low:.1f}-{high:.1f})  12 of 12 frames"


def test_answer_line():
    measured = Measurement(68.44, (67.6, 69.2), 120, 41)
    assert answer_text(measured) == "68.4 cm (67.6-69.2)  41 of 120 frames"
    rejected = Measurement.rejected([Reason("a", "One."), Reason("b", "Two.")], frames_total=1)
    assert answer_text(rejected) == "rejected: One. Two."
