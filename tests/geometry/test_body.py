"""From joints to a length: known bodies seen by known cameras, through the shipped elevation model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from straight import STRAIGHT, body

from heightpose.errors import FileFormatError
from heightpose.geometry.body import measure
from heightpose.geometry.camera import Camera
from heightpose.geometry.clip_lift import combine
from heightpose.geometry.lift import LIFT_FILE, LiftNet, default_lift, lift_frames, mattress_sd
from heightpose.geometry.plane import Plane
from heightpose.skeleton import INFANT
from heightpose.types import Detection, FrameResult, Pose

CAMERA = Camera(
    model="pinhole",
    size_wh=(960, 540),
    K=np.array([[800.0, 0, 479.5], [0, 800.0, 269.5], [0, 0, 1]]),
    dist=np.zeros(5),
)


def above(height_cm: float, aside: tuple[float, float] = (0, 0), turn_deg: float = 0.0) -> Plane:
    """A camera looking straight down from (aside, height)."""
    c, s = np.cos(np.deg2rad(turn_deg)), np.sin(np.deg2rad(turn_deg))
    R = np.array([[c, s, 0], [s, -c, 0], [0, 0, -1.0]])
    return Plane(R=R, t_cm=-R @ np.array([*aside, height_cm]))


def clip(joints: list[np.ndarray], plane: Plane, score: float = 0.9, infants: int = 1) -> list[FrameResult]:
    frames = []
    for t, points in enumerate(joints):
        pose = Pose(
            plane.to_frame(CAMERA, points), np.full(21, score), Detection(np.array([0, 0, 9.0, 9]), 0.0, 1.0)
        )
        frames.append(FrameResult(t, t / 5, pose, infants))
    return frames


def true_length(scale: float = 1.0) -> float:
    """Crown to pelvis along the body, the straightened leg, and from the ankle down to the sole (3.2 cm)."""
    hip, knee, ankle = (np.array(STRAIGHT[f"left_{n}"]) for n in ("hip", "knee", "ankle"))
    return scale * (35.2 + np.linalg.norm(hip - knee) + np.linalg.norm(knee - ankle) + 3.2)


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


def test_longer_shanks_are_seen() -> None:
    points = dict(STRAIGHT)
    for name in ("left_ankle", "left_heel", "left_toe"):
        x, y, z = points[name]
        points[name] = (x, y - 3.0, z)
    plane = above(160.0)
    a, b = (measure(clip([body(p)] * 5, plane), CAMERA, plane) for p in (STRAIGHT, points))
    assert b.length_cm - a.length_cm == pytest.approx(3.0, abs=1.0)


#: Legs drawn up, of the same bone lengths.
BENT = STRAIGHT | {
    "left_knee": (9.2, -9.7, 18.0), "left_ankle": (8.0, -14.2, 5.7),
    "left_heel": (8.0, -14.7, 3.5), "left_toe": (9.0, -19.0, 3.5),
}  # fmt: skip


def test_bent_frames_do_not_shorten_the_child() -> None:
    plane = above(160.0)
    straight = measure(clip([body()] * 6, plane), CAMERA, plane)
    mixed = measure(clip([body(BENT)] * 4 + [body()] * 4, plane), CAMERA, plane)
    assert mixed.length_cm == pytest.approx(straight.length_cm, abs=0.5)
    width, straight_width = (high - low for low, high in (mixed.interval_cm, straight.interval_cm))
    assert width > straight_width
    seldom = measure(clip([body(BENT)] * 5 + [body()], plane), CAMERA, plane)
    assert [reason.code for reason in seldom.reasons] == ["legs_not_seen"]
    assert seldom.details["unreported_cm"] == pytest.approx(straight.length_cm, abs=0.5)


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


def crowned(frames: list[FrameResult], crown_seen: list[float]) -> list[FrameResult]:
    """The same frames, calibrated, with how likely the crown is seen."""
    out = []
    for frame, chance in zip(told(frames), crown_seen, strict=True):
        assert frame.pose is not None
        seen = np.full(21, 0.9)
        seen[INFANT.index("crown")] = chance
        out.append(replace(frame, pose=replace(frame.pose, seen=seen)))
    return out


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


def test_a_file_that_is_no_lift_network_is_refused(tmp_path) -> None:
    path = tmp_path / "lift.npz"
    path.write_bytes(b"not a zip")
    with pytest.raises(FileFormatError, match="elevation model"):
        LiftNet.load(path)
    np.savez(path, frame_weight0=np.zeros((3, 4)), frame_bias0=np.zeros(4), length_weights=np.ones(3))
    with pytest.raises(FileFormatError, match="elevation model"):
        LiftNet.load(path)
    whole = dict(np.load(LIFT_FILE))
    for name in ("frame_weight0", "frame_bias1", "clip_weight0", "length_weights"):
        spoilt = whole[name].copy()
        spoilt.flat[-1] = np.nan
        np.savez(path, **whole | {name: spoilt})
        with pytest.raises(FileFormatError, match="elevation model"):
            LiftNet.load(path)
    np.savez(path, **whole | {"length_weights": np.ones(4)})
    with pytest.raises(FileFormatError, match="elevation model"):
        LiftNet.load(path)
    np.savez(path, **whole)
    assert LiftNet.load(path).length_weights.tolist() == default_lift().length_weights.tolist()


@pytest.mark.parametrize("calibrated", [True, False])
def test_torch_twins_agree_with_numpy(tmp_path, calibrated) -> None:
    """A network trained in torch and read back in numpy says the same of a clip, from pixels to bones."""
    torch = pytest.importorskip("torch")
    from heightpose.train.lift import LiftModel
    from heightpose.train.lift_data import Told, draw_cameras, project

    torch.manual_seed(0)
    model = LiftModel(16, 8).double()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.15)
    np.savez(tmp_path / "lift.npz", **model.arrays(), length_weights=np.array([1.0, 1.1, 1.2]))
    net = LiftNet.load(tmp_path / "lift.npz")
    rng = np.random.default_rng(0)
    joints = body()[None] + rng.normal(0, 1, (5, 21, 3))
    joints[..., 2] = np.maximum(joints[..., 2], 0.5)
    plane = above(170.0, aside=(20.0, -15.0), turn_deg=30.0)
    centre = torch.from_numpy(plane.camera_centre_cm)[None]
    assert draw_cameras(3).shape == (3, 3)
    flat = project(torch.from_numpy(joints)[None], centre)
    cov = np.tile([0.8, 0.1, 0.5], (5, 21, 1))
    kpts = plane.to_frame(CAMERA, joints.reshape(-1, 3)).reshape(5, 21, 2)
    sd = torch.from_numpy(mattress_sd(kpts, cov, CAMERA, plane))[None]
    right, seen = rng.uniform(0.001, 0.999, (2, 5, 21))
    odds = [torch.logit(torch.from_numpy(p))[None] for p in (right, seen)]
    with torch.no_grad():
        answers = model(flat, centre, Told(sd, *odds) if calibrated else Told.usual(flat, sd))
    frames = lift_frames(kpts, CAMERA, plane, net, cov, *((right, seen) if calibrated else ()))
    np.testing.assert_allclose(np.log(frames.lengths_cm), answers.log_lengths[0].numpy(), atol=1e-4)
    np.testing.assert_allclose(np.log(frames.relative_sd), answers.log_sd[0].numpy(), atol=1e-4)
    np.testing.assert_allclose(frames.on_back, torch.sigmoid(answers.back)[0].numpy(), atol=1e-4)
    bones = combine(frames, net)
    np.testing.assert_allclose(np.log(bones.lengths_cm), answers.bones[0].numpy(), atol=1e-4)
    np.testing.assert_allclose(np.log(bones.relative_sd), answers.bones_log_sd[0].numpy(), atol=1e-4)
    assert np.log(bones.length_relative_sd) == pytest.approx(float(answers.total_log_sd[0]), abs=1e-4)
    np.testing.assert_allclose(bones.shares.sum(axis=0), 1.0)


def test_a_joints_covariance_reaches_the_mattress() -> None:
    """Straight down from 160 cm with f = 800 px a pixel is 0.2 cm, in every direction."""
    plane = above(160.0)
    kpts = np.full((1, 2, 2), [500.0, 250.0])
    sd = mattress_sd(kpts, np.array([[[4.0, 0.0, 4.0], [8.0, 0.0, 0.0]]]), CAMERA, plane)
    np.testing.assert_allclose(sd, [[0.4, 0.4]], rtol=1e-6)


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


def blurred(frame: FrameResult, names: list[str], sd_px: float) -> FrameResult:
    """The frame with some joints less well known."""
    assert frame.pose is not None
    cov = np.array(frame.pose.cov_frame)
    cov[[INFANT.index(name) for name in names]] = [sd_px**2, 0.0, sd_px**2]
    return replace(frame, pose=replace(frame.pose, cov_frame=cov))


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


def test_proportions_that_no_infant_has_are_refused() -> None:
    points = dict(STRAIGHT)
    for name in ("left_ankle", "left_heel", "left_toe"):
        x, y, z = points[name]
        points[name] = (x, y - 18.0, z)
    plane = above(200.0)
    result = measure(clip([body(points)] * 6, plane), CAMERA, plane)
    assert [r.code for r in result.reasons] == ["implausible_proportions"]
    assert result.details["unreported_cm"] > 75


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


def test_frames_of_two_sizes_contradict_each_other() -> None:
    plane = above(170.0)
    result = measure(clip([body(), body(scale=1.3)] * 5, plane), CAMERA, plane)
    assert [r.code for r in result.reasons] == ["inconsistent_frames"]


def told(frames: list[FrameResult]) -> list[FrameResult]:
    """As a calibrated net tells of joints that it sees well: 1 px, probability 0.95."""
    cov, sure = np.tile([1.0, 0.0, 1.0], (21, 1)), np.full(21, 0.95)
    return [
        replace(f, pose=replace(f.pose, cov_frame=cov, probabilities=sure, seen=sure))
        for f in frames
        if f.pose
    ]


@pytest.mark.parametrize("other", [1.08, 1.12])
def test_two_children_in_turn_give_no_length_that_fits_neither(other: float) -> None:
    plane = above(170.0)
    short, tall = (measure(told(clip([body(scale=s)] * 10, plane)), CAMERA, plane) for s in (1.0, other))
    mixed = measure(told(clip([body()] * 5 + [body(scale=other)] * 5, plane)), CAMERA, plane)
    assert short.status == tall.status == "measured"
    assert mixed.length_cm is None
    assert [r.code for r in mixed.reasons] == ["inconsistent_frames"]


def test_frames_that_differ_a_little_widen_the_interval() -> None:
    plane = above(170.0)
    one, two = (measure(told(clip([body(scale=s)] * 10, plane)), CAMERA, plane) for s in (1.0, 1.06))
    mixed = measure(told(clip([body()] * 5 + [body(scale=1.06)] * 5, plane)), CAMERA, plane)
    assert mixed.interval_cm[0] < one.length_cm < two.length_cm < mixed.interval_cm[1]
    assert mixed.details["relative_sd"] > 1.3 * one.details["relative_sd"]


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


def seen_as(frames: list[FrameResult], chances: dict[str, float]) -> list[FrameResult]:
    """The same frames with other probabilities of some joints to be seen."""
    out = []
    for frame in frames:
        assert frame.pose is not None
        assert frame.pose.seen is not None
        seen = frame.pose.seen.copy()
        for name, chance in chances.items():
            seen[INFANT.index(name)] = chance
        out.append(replace(frame, pose=replace(frame.pose, seen=seen)))
    return out


HIDDEN_LEGS = {n: 0.1 for n in INFANT.names if n.endswith(("knee", "ankle", "heel"))}


@pytest.mark.parametrize(
    ("straight", "bent", "chances", "times"),
    [
        (6, 0, {}, 1.0),
        (6, 0, {"left_heel": 0.1, "right_knee": 0.1}, 1.0),  # of each part one side is seen
        (6, 0, {"left_heel": 0.1, "right_heel": 0.4}, 1.4),
        (6, 0, {"left_heel": 0.1, "right_heel": 0.6}, 1.0),
        (6, 0, HIDDEN_LEGS, 1.4),
        (0, 6, {}, 1.2),
        (0, 6, HIDDEN_LEGS, 1.4),
        (1, 4, {}, 1.0),  # a fifth of the frames unbent is enough
        (1, 5, {}, 1.2),
        (6, 0, None, 2.3),  # no calibration, so no word on what is seen either
    ],
)
def test_doubt_grows_with_what_the_legs_show_and_so_does_the_length(
    straight: int, bent: int, chances: dict[str, float] | None, times: float
) -> None:
    """The elevation model's own standard deviation by so much, and 0.7 % that neither joints nor elevations explain."""
    plane = above(170.0)
    frames = told(clip([body()] * straight + [body(BENT)] * bent, plane))
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
    if sd > 0.03:
        assert result.details["unreported_cm"] == pytest.approx(length, abs=0.006)
    else:
        half = 1.6449 * sd * length
        assert result.length_cm == pytest.approx(length, abs=1e-6)
        assert result.interval_cm == pytest.approx((length - half, length + half), abs=1e-6)
        assert result.interval_level == 0.9


def test_legs_count_as_hidden_where_they_are_in_most_frames() -> None:
    """Bent they are in all of them; what is told is what helps."""
    plane = above(170.0)
    frames = told(clip([body(BENT)] * 8, plane))
    for hidden, code in ((5, "legs_covered"), (4, "legs_not_seen"), (3, "legs_not_seen")):
        some = seen_as(frames[:hidden], HIDDEN_LEGS) + frames[hidden:]
        assert [r.code for r in measure(some, CAMERA, plane).reasons] == [code]


def test_a_trunk_that_is_not_clear_is_not_blamed_on_the_legs() -> None:
    plane = above(170.0)
    trunk = ["crown", "head_top", "upper_neck", "thorax", "pelvis"]
    for points, chances, code in (
        (STRAIGHT, {}, "uncertain"),
        (BENT, {}, "legs_not_seen"),
        (STRAIGHT, HIDDEN_LEGS, "legs_covered"),  # what can be done about it
    ):
        frames = [blurred(f, trunk, 50.0) for f in seen_as(told(clip([body(points)] * 3, plane)), chances)]
        assert [r.code for r in measure(frames, CAMERA, plane).reasons] == [code]


@pytest.mark.parametrize(("scale", "given"), [(0.54, False), (0.57, True), (1.5, True), (1.56, False)])
def test_lengths_that_no_infant_has_are_not_given_out(scale: float, given: bool) -> None:
    """37, 39, 102.7 and 106.8 cm, each from as much further off as it is larger."""
    plane = above(170.0 * scale)
    result = measure(told(clip([body(scale=scale)] * 3, plane)), CAMERA, plane)
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
