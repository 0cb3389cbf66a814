"""When there is no length, and what is said of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from straight import STRAIGHT, body

from heightpose.geometry.body import measure
from heightpose.skeleton import INFANT
from heightpose.types import FrameResult

from .child_clips import (
    BENT,
    CAMERA,
    HIDDEN_LEGS,
    above,
    blurred,
    clip,
    crowned,
    dimmed,
    seen_as,
    told,
    with_longer_shanks,
)


def test_refusals_have_codes_and_words() -> None:
    plane = above(160.0)
    empty = [FrameResult(t, t / 5, None, 0) for t in range(8)]
    cases = {
        "no_infant": empty,
        "several_infants": clip([body()] * 4, plane, infants=2),
        "out_of_view": clip([body() + [0, 60.0, 0]] * 4, plane),
    }
    for code, frames in cases.items():
        result = measure(frames, CAMERA, plane)
        assert result.status == "rejected"
        assert result.length_cm is None
        assert [r.code for r in result.reasons] == [code]
        assert len(result.reasons[0].text) > 20


@pytest.mark.parametrize("joint", ["crown", "left_heel"])
@pytest.mark.parametrize(("inside_cm", "code"), [(1.0, "out_of_view"), (3.0, None)])
def test_a_joint_beside_the_pictures_edge_may_have_been_cut_off(
    joint: str, inside_cm: float, code: str
) -> None:
    plane = above(160.0)
    k, towards = INFANT.index(joint), 1.0 if joint == "crown" else -1.0
    points = body()
    edge_px = np.array([[479.5, -0.5 if joint == "crown" else 539.5]])
    edge_cm = plane.to_mattress(CAMERA, edge_px, points[k, 2])[0, 1] - towards * inside_cm
    frames = clip([points + [0, edge_cm - points[k, 1], 0]] * 4, plane)
    result = measure(frames, CAMERA, plane)
    assert [reason.code for reason in result.reasons] == ([] if code is None else [code])


def test_a_covered_crown_is_not_measured_to() -> None:
    plane = above(160.0)
    frames = clip([body()] * 20, plane)
    covered = measure(crowned(frames, [0.1] * 20), CAMERA, plane)
    assert [reason.code for reason in covered.reasons] == ["head_covered"]
    flickering = measure(crowned(frames, [0.1, 0.9] * 10), CAMERA, plane)
    assert [reason.code for reason in flickering.reasons] == ["head_covered"]
    doubted = measure(crowned(frames, [0.4] * 20), CAMERA, plane)  # as some heatmaps have it of a bare one
    assert "head_covered" not in [reason.code for reason in doubted.reasons]
    once = measure(crowned(frames, [0.1] + [0.9] * 19), CAMERA, plane)
    assert once.status == "measured"
    assert once.details["frames"]["usable"] == 19


def test_a_head_that_is_too_long_has_its_crown_on_something_else() -> None:
    plane = above(160.0)
    ends = INFANT.indices("crown", "head_top")

    def with_head(longer_cm: float, scale: float = 1.0) -> np.ndarray:
        joints = body(scale=scale)
        joints[ends, 1] += longer_cm
        return joints

    ball = measure(clip([with_head(4.0)] * 8, plane), CAMERA, plane)
    assert [reason.code for reason in ball.reasons] == ["head_covered"]
    assert ball.details["unreported_cm"] > 68.0
    assert measure(clip([with_head(0.7)] * 8, plane), CAMERA, plane).status == "measured"
    newborn = clip([with_head(1.5, scale=0.75)] * 8, plane)  # its head may be longer for its trunk
    assert measure(newborn, CAMERA, plane).status == "measured"
    now_and_then = clip([with_head(4.0)] + [body()] * 7, plane)
    assert "head_covered" not in [reason.code for reason in measure(now_and_then, CAMERA, plane).reasons]


def test_feet_under_something_are_refused_where_heatmaps_take_them_for_seen() -> None:
    """They are then at the edge of what covers them, and the interval would not tell; hidden heels are in doubt."""
    plane = above(160.0)
    frames = told(clip([body()] * 10, plane))
    heels = list(INFANT.indices("left_heel", "right_heel"))

    def with_covered(*chances: tuple[float, float]) -> list[FrameResult]:
        out = []
        for frame, (left, right) in zip(frames, chances, strict=True):
            assert frame.pose is not None
            covered = np.zeros(len(INFANT))
            covered[heels] = left, right
            out.append(replace(frame, pose=replace(frame.pose, covered=covered)))
        return out

    both = measure(with_covered(*[(0.5, 0.3)] * 10), CAMERA, plane)
    assert [reason.code for reason in both.reasons] == ["legs_covered"]
    assert "feet" in both.reasons[0].text
    one = measure(with_covered(*[(0.95, 0.05)] * 10), CAMERA, plane)  # the other leg tells
    passing = measure(with_covered(*[(0.9, 0.9)] + [(0.05, 0.05)] * 9), CAMERA, plane)
    bare = measure(frames, CAMERA, plane)
    assert [one.status, passing.status, bare.status] == ["measured"] * 3
    frames = seen_as(frames, dict.fromkeys(("left_heel", "right_heel"), 0.5))
    plain = measure(frames, CAMERA, plane)
    hidden = measure(with_covered(*[(0.5, 0.3)] * 10), CAMERA, plane)
    assert [plain.status, hidden.status] == ["measured"] * 2
    beyond = [np.sqrt(m.details["relative_sd"] ** 2 - 0.007**2) for m in (plain, hidden)]
    assert beyond[1] / beyond[0] == pytest.approx(1.6, abs=0.05)


def test_frames_between_such_as_are_cut_off_are_not_chosen_by_their_error() -> None:
    """Of a cut-off crown some frames say that it lies well inside; of a child that leaves, the frames before tell."""
    plane = above(160.0)
    within, beyond = body(), body() + [0, 60.0, 0]
    mixed = measure(clip([within, beyond] * 8, plane), CAMERA, plane)
    assert [reason.code for reason in mixed.reasons] == ["out_of_view"]
    leaves = measure(clip([within] * 20 + [beyond] * 20, plane), CAMERA, plane)
    assert leaves.status == "measured"
    assert leaves.details["frames"]["usable"] < 20
    kicks = measure(clip(([within] * 5 + [beyond]) * 3, plane), CAMERA, plane)
    assert kicks.details["frames"]["usable"] == 15


def test_an_infant_on_its_side_is_told_to_lie_on_its_back() -> None:
    """Where its length is not known well enough: nothing is known of how well these joints are."""
    lying = body()[:, [2, 1, 0]]  # turned by a right angle about the body's axis
    lying[:, 2] -= lying[:, 2].min() - 2.0
    plane = above(160.0)
    result = measure(clip([lying] * 4, plane), CAMERA, plane)
    assert [r.code for r in result.reasons] == ["not_on_back"]
    assert result.details["on_back"] == 0.0


def test_an_unclear_infant_on_its_side_is_told_to_lie_on_its_back_too() -> None:
    """More light or less bedding alone would not help it, nor is every unclear infant on its side."""
    back = body()
    side = back[:, [2, 1, 0]]
    side[:, 2] -= side[:, 2].min() - 2.0
    plane = above(160.0)
    cases = (
        ("uncertain", lambda frames: [dimmed(f, 0.4) for f in frames]),
        ("too_few_frames", lambda frames: frames[:1] + [dimmed(f, 0.4) for f in frames[1:]]),
        ("head_covered", lambda frames: crowned(frames, [0.1] * len(frames))),
    )
    for code, made in cases:
        for points, codes in ((back, [code]), (side, [code, "not_on_back"])):
            result = measure(made(clip([points] * 20, plane)), CAMERA, plane)
            assert [reason.code for reason in result.reasons] == codes


def test_proportions_that_no_infant_has_are_refused() -> None:
    points = with_longer_shanks(18.0)
    plane = above(200.0)
    result = measure(clip([body(points)] * 6, plane), CAMERA, plane)
    assert [r.code for r in result.reasons] == ["implausible_proportions"]
    assert result.details["unreported_cm"] > 75


def test_frames_of_two_sizes_contradict_each_other() -> None:
    plane = above(170.0)
    result = measure(clip([body(), body(scale=1.3)] * 5, plane), CAMERA, plane)
    assert [r.code for r in result.reasons] == ["inconsistent_frames"]


@pytest.mark.parametrize("other", [1.08, 1.12])
def test_two_children_in_turn_give_no_length_that_fits_neither(other: float) -> None:
    plane = above(170.0)
    short, tall = (measure(told(clip([body(scale=s)] * 10, plane)), CAMERA, plane) for s in (1.0, other))
    mixed = measure(told(clip([body()] * 5 + [body(scale=other)] * 5, plane)), CAMERA, plane)
    assert short.status == tall.status == "measured"
    assert mixed.length_cm is None
    assert [r.code for r in mixed.reasons] == ["inconsistent_frames"]


@pytest.mark.parametrize("other", [1.08, 1.16, 1.3])
def test_a_second_child_who_is_seen_less_clearly_is_not_passed_over(other: float) -> None:
    """The clear frames alone would give the first child's length, and be sure of it."""
    plane = above(170.0)
    first = told(clip([body()] * 5, plane))
    unclear = [blurred(f, list(INFANT.names), 2.0) for f in told(clip([body(scale=other)] * 5, plane))]
    assert measure(first, CAMERA, plane).status == "measured"
    mixed = measure(first + unclear, CAMERA, plane)
    assert [r.code for r in mixed.reasons] == ["inconsistent_frames"]
    once = measure(first + first + unclear[:2], CAMERA, plane)
    assert once.status == "measured"


def test_a_clip_with_hardly_a_clear_frame_says_so() -> None:
    plane = above(160.0)
    frames = clip([body()] * 40, plane, score=0.3)
    frames[7] = clip([body()] * 8, plane)[7]
    result = measure(frames, CAMERA, plane)
    assert [r.code for r in result.reasons] == ["too_few_frames"]
    assert result.frames_used == 1


def test_covered_legs_are_told_from_bent_ones() -> None:
    """The lengths are as uncertain in both clips; only the pose net's word on what it sees differs."""
    plane = above(160.0)
    legs = [k for k, n in enumerate(INFANT.names) if n.endswith(("knee", "ankle", "heel", "toe"))]
    codes = []
    for seen in (0.9, 0.1):
        frames = []
        for f in clip([body()] * 5, plane):
            cov, told = np.tile([100.0, 0.0, 100.0], (21, 1)), np.full(21, 0.9)
            cov[legs], told[legs] = [14400.0, 0.0, 14400.0], seen
            frames.append(replace(f, pose=replace(f.pose, cov_frame=cov, seen=told)))
        codes += [r.code for r in measure(frames, CAMERA, plane).reasons]
    assert codes == ["legs_not_seen", "legs_covered"]


def test_one_leg_that_is_covered_is_not_told_as_both() -> None:
    plane = above(170.0)
    one = {name: 0.97 if name.startswith("left") else 0.0 for name in HIDDEN_LEGS}
    texts = []
    for chances in (HIDDEN_LEGS, one):
        frames = seen_as(told(clip([body()] * 3, plane)), chances)
        frames = [blurred(f, ["crown", "upper_neck", "thorax", "pelvis", *chances], 50.0) for f in frames]
        (why,) = measure(frames, CAMERA, plane).reasons
        assert why.code == "legs_covered"
        texts.append(why.text)
    assert texts[0].startswith("The legs are covered.")
    assert texts[1].startswith("One leg is covered or hidden by the other.")


def test_a_trunk_that_is_not_clear_is_not_blamed_on_the_legs() -> None:
    plane = above(170.0)
    trunk = ["crown", "head_top", "upper_neck", "thorax", "pelvis"]
    for points, chances, code in (
        (STRAIGHT, {}, "uncertain"),
        (BENT, {}, "legs_not_seen"),
        (STRAIGHT, HIDDEN_LEGS, "legs_covered"),  # what can be done about it
    ):
        unclear = [*trunk, *chances]
        frames = [blurred(f, unclear, 50.0) for f in seen_as(told(clip([body(points)] * 3, plane)), chances)]
        assert [r.code for r in measure(frames, CAMERA, plane).reasons] == [code]


@pytest.mark.parametrize(
    ("scale", "head_cm", "given"),
    [(0.54, 0.0, False), (0.57, 0.0, True), (1.55, -4.2, True), (1.61, -4.4, False)],
)
def test_lengths_that_no_infant_has_are_not_given_out(scale: float, head_cm: float, given: bool) -> None:
    """37, 39, 102 and 106 cm, each from as much further off as it is larger; the larger, the shorter the head."""
    plane = above(170.0 * scale)
    joints = body(scale=scale)
    joints[INFANT.indices("crown", "head_top"), 1] += head_cm
    result = measure(told(clip([joints] * 3, plane)), CAMERA, plane)
    assert [r.code for r in result.reasons] == ([] if given else ["implausible"])


EMPTY, WITHIN, BEYOND, TWO, BARE, HEADLESS, CLEAR, BLURRED = (
    "empty", "within", "beyond", "two", "bare", "headless", "clear", "blurred"
)  # fmt: skip


@pytest.mark.parametrize(
    ("first", "second", "code"),
    [
        # a tenth of the frames with an infant, to the nearest frame
        ((WITHIN, 2), (EMPTY, 22), None),
        ((WITHIN, 1), (EMPTY, 14), "no_infant"),
        # two infants in more than half of those, whatever the empty ones are
        ((TWO, 3), (WITHIN, 3), None),
        ((TWO, 4), (WITHIN, 3), "several_infants"),
        # a fifth wholly in view; of the first twenty fifteen have enough such around them
        ((WITHIN, 20), (BEYOND, 57), None),
        ((WITHIN, 20), (BEYOND, 58), "out_of_view"),
        ((BARE, 20), (HEADLESS, 57), None),
        ((BARE, 20), (HEADLESS, 58), "head_covered"),
        # a tenth of them clear
        ((CLEAR, 1), (BLURRED, 13), None),
        ((CLEAR, 1), (BLURRED, 14), "too_few_frames"),
        ((BLURRED, 3), (BLURRED, 0), "uncertain"),
    ],
)
def test_how_many_frames_it_takes(first: tuple[str, int], second: tuple[str, int], code: str | None) -> None:
    plane = above(170.0)
    kinds = [kind for kind, count in (first, second) for _ in range(count)]
    beyond = body() + [0, 60.0, 0]
    frames = told(clip([beyond if kind == BEYOND else body() for kind in kinds], plane))
    for t, kind in enumerate(kinds):
        frame = frames[t]
        if kind == EMPTY:
            frames[t] = replace(frame, pose=None)
        elif kind == TWO:
            frames[t] = replace(frame, infants=2)
        elif kind == HEADLESS:
            (frames[t],) = seen_as([frame], {"crown": 0.1})
        elif kind in (CLEAR, BLURRED):
            assert frame.pose is not None
            scores = np.full(21, 0.1 if kind == CLEAR else 0.99)  # of the median it takes seven of twelve
            scores[list(INFANT.height_joints[5:])] = 0.6 if kind == CLEAR else 0.59
            frames[t] = replace(frame, pose=replace(frame.pose, scores=scores))
    result = measure(frames, CAMERA, plane)
    assert [r.code for r in result.reasons] == ([] if code is None else [code])
    assert result.frames_total == len(kinds)
