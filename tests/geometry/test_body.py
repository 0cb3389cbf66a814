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
from heightpose.geometry.lift import LiftNet, lift_frames, mattress_sd
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


def test_bent_frames_do_not_shorten_the_child() -> None:
    bent = dict(STRAIGHT)
    bent |= {"left_knee": (9.2, -9.7, 18.0), "left_ankle": (8.0, -14.2, 5.7)}  # the same bone lengths
    bent |= {"left_heel": (8.0, -14.7, 3.5), "left_toe": (9.0, -19.0, 3.5)}
    plane = above(160.0)
    straight = measure(clip([body()] * 6, plane), CAMERA, plane)
    mixed = measure(clip([body(bent)] * 4 + [body()] * 4, plane), CAMERA, plane)
    assert mixed.length_cm == pytest.approx(straight.length_cm, abs=0.5)
    width, straight_width = (high - low for low, high in (mixed.interval_cm, straight.interval_cm))
    assert width > straight_width
    seldom = measure(clip([body(bent)] * 4 + [body()] * 2, plane), CAMERA, plane)
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
    """The same frames, with how likely the crown is seen."""
    out = []
    for frame, chance in zip(frames, crown_seen, strict=True):
        assert frame.pose is not None
        seen = np.full(21, 0.9)
        seen[INFANT.index("crown")] = chance
        out.append(replace(frame, pose=replace(frame.pose, seen=seen, probabilities=np.full(21, 0.9))))
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


def test_proportions_that_no_infant_has_are_refused() -> None:
    points = dict(STRAIGHT)
    for name in ("left_ankle", "left_heel", "left_toe"):
        x, y, z = points[name]
        points[name] = (x, y - 18.0, z)
    plane = above(200.0)
    result = measure(clip([body(points)] * 6, plane), CAMERA, plane)
    assert [r.code for r in result.reasons] == ["implausible_proportions"]
    assert result.details["unreported_cm"] > 75


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
