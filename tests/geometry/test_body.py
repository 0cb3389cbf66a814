"""From joints to a length: known bodies seen by known cameras, through the shipped elevation model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from straight import STRAIGHT, body

from heightpose.geometry.body import measure
from heightpose.geometry.clip_lift import combine
from heightpose.geometry.lift import default_lift, lift_frames
from heightpose.skeleton import INFANT

from .child_clips import (
    BENT,
    CAMERA,
    FROG,
    HIDDEN_LEGS,
    above,
    blurred,
    clip,
    seen_as,
    told,
    true_length,
    with_longer_shanks,
)


@pytest.mark.parametrize("height_cm", [120.0, 160.0, 220.0])
@pytest.mark.parametrize("turn_deg", [0.0, 70.0, 180.0])
def test_straight_infant_from_any_height_and_turn(height_cm: float, turn_deg: float) -> None:
    plane = above(height_cm, turn_deg=turn_deg)
    result = measure(clip([body()] * 5, plane), CAMERA, plane)
    assert result.status == "measured"
    assert result.length_cm == pytest.approx(true_length(), abs=1.6)
    low, high = result.interval_cm
    assert low < result.length_cm < high


def test_the_number_comes_from_the_picture() -> None:
    """A scene 1.2 times as large, sheet and camera distance with it, looks the same and measures 1.2 times as much."""
    small, large = above(150.0), above(180.0)
    a = measure(clip([body()] * 3, small), CAMERA, small)
    b = measure(clip([body(scale=1.2)] * 3, large), CAMERA, large)
    assert b.length_cm == pytest.approx(1.2 * a.length_cm, rel=1e-6)


@pytest.mark.parametrize("cm", [-2.0, 3.0])
def test_longer_shanks_are_seen(cm: float) -> None:
    plane = above(160.0)
    usual, other = (
        measure(told(clip([body(points)] * 5, plane)), CAMERA, plane)
        for points in (STRAIGHT, with_longer_shanks(cm))
    )
    assert usual.length_cm == pytest.approx(true_length(), abs=0.5)
    assert other.length_cm - usual.length_cm == pytest.approx(cm, abs=0.4)


def test_bent_frames_do_not_shorten_the_child() -> None:
    plane = above(160.0)
    straight = measure(clip([body()] * 6, plane), CAMERA, plane)
    mixed = measure(clip([body(BENT)] * 4 + [body()] * 4, plane), CAMERA, plane)
    assert mixed.length_cm == pytest.approx(straight.length_cm, abs=0.5)
    width, straight_width = (high - low for low, high in (mixed.interval_cm, straight.interval_cm))
    assert width > straight_width
    seldom = measure(clip([body(BENT)] * 8 + [body()], plane), CAMERA, plane)
    assert [reason.code for reason in seldom.reasons] == ["legs_not_seen"]
    assert seldom.details["unreported_cm"] == pytest.approx(straight.length_cm, abs=0.5)


def test_whatever_is_said_of_good_joints_no_length_given_out_is_far_off() -> None:
    """Standard deviations and probabilities that no pose net gives together, of joints that are right."""
    rng = np.random.default_rng(0)
    plane = above(160.0)
    legs = [k for k, n in enumerate(INFANT.names) if n.endswith(("knee", "ankle", "heel", "toe"))]
    errors = []
    for _ in range(200):
        told = {}
        for name, low, high in (
            ("sd", np.log(0.3), np.log(20.0)),
            ("seen", 0.01, 0.99),
            ("right", 0.01, 0.99),
        ):
            told[name] = np.full(21, rng.uniform(low, high))
            told[name][legs] = rng.uniform(low, high)
        variance = np.exp(2 * told["sd"])
        cov = np.stack([variance, np.zeros(21), variance], axis=-1)
        scale = rng.uniform(0.75, 1.3)
        frames = [
            replace(f, pose=replace(f.pose, cov_frame=cov, seen=told["seen"], probabilities=told["right"]))
            for f in clip([body(scale=scale)] * 2, plane)
        ]
        length = measure(frames, CAMERA, plane).length_cm
        if length is not None:
            errors.append(length - true_length(scale))
    assert len(errors) > 60
    assert np.abs(errors).max() < 5.0


def test_one_frame_that_is_wrong_does_not_decide() -> None:
    plane = above(160.0)
    swollen = dict(STRAIGHT)
    swollen |= {f"left_{n}": (x, 1.5 * y, z) for n in ("knee", "ankle", "heel", "toe")
                for x, y, z in [STRAIGHT[f"left_{n}"]]}  # fmt: skip
    a = measure(clip([body()] * 8, plane), CAMERA, plane)
    b = measure(clip([body()] * 7 + [body(swollen)], plane), CAMERA, plane)
    assert b.length_cm == pytest.approx(a.length_cm, abs=0.5)


def test_bones_name_the_frames_they_rest_on() -> None:
    plane = above(160.0)
    result = measure(clip([body()] * 4, plane), CAMERA, plane)
    bones = result.details["bones_cm"]
    assert list(bones) == ["upper body", "thigh", "shank"]
    assert all(set(bone["frames"]) <= {0, 1, 2, 3} and bone["frames"] for bone in bones.values())
    assert all(bone["sd_cm"] > 0 for bone in bones.values())


def test_frames_used_are_those_that_inform_a_thigh_or_a_shank() -> None:
    """Not those that the upper body alone is read from."""
    plane = above(170.0)
    folded = STRAIGHT | {
        "left_ankle": (6.5, -17.5, 0.5), "left_heel": (6.3, -17.0, 1.4), "left_toe": (7.5, -17.0, 0.5)
    }  # fmt: skip
    kinds = [body(points) for points in (STRAIGHT, BENT, folded) for _ in range(3)]
    legs = measure(told(clip(kinds, plane)), CAMERA, plane)
    rests_on = {name: bone["frames"] for name, bone in legs.details["bones_cm"].items()}
    assert rests_on == {"upper body": list(range(9)), "thigh": [0, 1, 2, 6, 7, 8], "shank": [0, 1, 2]}
    assert (legs.frames_used, legs.details["used_frames"]) == (6, [0, 1, 2, 6, 7, 8])
    assert legs.details["frames"]["informed_legs"] == 6

    frames = told(clip([body()] * 6, plane))
    thighs = [f"{side}_{part}" for side in ("left", "right") for part in ("hip", "knee")]
    shanks = measure([blurred(f, thighs, 16.0) for f in frames[:3]] + frames[3:], CAMERA, plane)
    assert shanks.details["bones_cm"]["thigh"]["frames"] == [3, 4, 5]
    assert shanks.details["bones_cm"]["shank"]["frames"] == shanks.details["used_frames"] == list(range(6))
    assert shanks.frames_used == 6


@pytest.mark.parametrize(("bone", "usual", "most"), [("thigh", -0.76, 0.32), ("shank", -0.89, 0.36)])
def test_each_part_of_the_leg_has_a_usual_share_of_the_upper_body(
    bone: str, usual: float, most: float
) -> None:
    plane, verdicts = above(200.0), []
    for times in np.linspace(0.8, 2.0, 25):
        points = dict(STRAIGHT)
        hip, knee, ankle = (STRAIGHT[f"left_{name}"][1] for name in ("hip", "knee", "ankle"))
        longer = (times - 1.0) * (knee - hip if bone == "thigh" else ankle - knee)
        for name in ("knee", "ankle", "heel", "toe")[bone == "shank" :]:
            x, y, z = points[f"left_{name}"]
            points[f"left_{name}"] = (x, y + longer, z)
        result = measure(told(clip([body(points)] * 2, plane)), CAMERA, plane)
        bones = {name: found["length_cm"] for name, found in result.details["bones_cm"].items()}
        off = np.log(bones[bone] / bones["upper body"]) - usual
        if abs(abs(off) - most) > 0.002:  # the lengths told are rounded
            refused = "implausible_proportions" in [r.code for r in result.reasons]
            assert refused == (abs(off) > most), (times, off)
            verdicts.append((refused, bool(off > 0)))
    assert {(False, True), (True, True)} <= set(verdicts)  # what is too short is taken for bent


def test_frames_that_differ_a_little_widen_the_interval() -> None:
    plane = above(170.0)
    one, two = (measure(told(clip([body(scale=s)] * 10, plane)), CAMERA, plane) for s in (1.0, 1.06))
    mixed = measure(told(clip([body()] * 5 + [body(scale=1.06)] * 5, plane)), CAMERA, plane)
    assert mixed.interval_cm[0] < one.length_cm < two.length_cm < mixed.interval_cm[1]
    assert mixed.details["relative_sd"] > 1.3 * one.details["relative_sd"]


@pytest.mark.parametrize(
    ("straight", "bent", "chances", "times"),
    [
        (6, 0, {}, 1.0),
        (6, 0, {"left_heel": 0.1, "right_knee": 0.1}, 1.0),  # of each part one side is seen
        (6, 0, {"left_heel": 0.1, "right_heel": 0.4}, 1.4),
        (6, 0, {"left_heel": 0.1, "right_heel": 0.6}, 1.0),
        (6, 0, HIDDEN_LEGS, 1.4),
        (0, 6, {}, 1.3),
        (0, 6, HIDDEN_LEGS, 1.4),
        (0, -6, {}, 1.5),  # thighs on end
        (0, -6, HIDDEN_LEGS, 1.5),
        (1, 4, {}, 1.0),  # a fifth of the frames unbent is enough
        (1, 5, {}, 1.3),
        (6, 0, None, 2.3),  # no calibration, so no word on what is seen either
    ],
)
def test_doubt_grows_with_what_the_legs_show_and_so_does_the_length(
    straight: int, bent: int, chances: dict[str, float] | None, times: float
) -> None:
    """The elevation model's own standard deviation by so much, and 0.7 % that neither joints nor elevations explain."""
    plane = above(170.0)
    frames = told(clip([body()] * straight + [body(FROG if bent > 0 else BENT)] * abs(bent), plane))
    if chances is None:
        frames = [replace(f, pose=replace(f.pose, probabilities=None, seen=None)) for f in frames if f.pose]
    else:
        frames = seen_as(frames, chances)
    names = ("kpts_frame", "cov_frame", "probabilities", "seen")
    kpts, cov, right, seen = (
        None if getattr(frames[0].pose, name) is None else np.stack([getattr(f.pose, name) for f in frames])
        for name in names
    )
    net = default_lift()
    bones = combine(lift_frames(kpts, CAMERA, plane, net, cov, right, seen), net)
    sd = np.hypot(times * bones.length_relative_sd, 0.007)
    length = net.length_weights @ bones.lengths_cm * np.exp(0.5 * max(0.0, sd - 0.011))
    result = measure(frames, CAMERA, plane)
    assert result.details["relative_sd"] == pytest.approx(sd, abs=6e-5)
    if sd > 0.0375:
        assert result.details["unreported_cm"] == pytest.approx(length, abs=0.006)
    else:
        half = 1.6449 * sd * length
        assert result.length_cm == pytest.approx(length, abs=1e-6)
        assert result.interval_cm == pytest.approx((length - half, length + half), abs=1e-6)
        assert result.interval_level == 0.9


def test_a_length_that_ends_at_a_guessed_foot_is_in_doubt_where_the_infant_is_not_on_its_back() -> None:
    plane = above(170.0)
    on_side = body()[:, [2, 1, 0]]  # turned by a right angle about the body's axis
    on_side[:, 2] -= on_side[:, 2].min() - 2.0

    def doubt(joints: np.ndarray, left: float, right: float) -> float:
        heels = {"left_heel": left, "right_heel": right}
        return float(
            measure(seen_as(told(clip([joints] * 6, plane)), heels), CAMERA, plane).details["relative_sd"]
        )

    assert doubt(on_side, 0.2, 0.1) > 1.25 * doubt(on_side, 0.3, 0.1)
    assert doubt(body(), 0.2, 0.1) < 1.1 * doubt(body(), 0.3, 0.1)


def test_legs_count_as_hidden_where_they_are_in_most_frames() -> None:
    """Bent they are in all of them; what is told is what helps."""
    plane = above(170.0)
    frames = told(clip([body(BENT)] * 8, plane))
    for hidden, code in ((5, "legs_covered"), (4, "legs_not_seen"), (3, "legs_not_seen")):
        some = seen_as(frames[:hidden], HIDDEN_LEGS) + frames[hidden:]
        assert [r.code for r in measure(some, CAMERA, plane).reasons] == [code]
