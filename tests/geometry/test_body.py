"""From joints to a length: known bodies seen by known cameras, through the shipped elevation model."""

from __future__ import annotations

import numpy as np
import pytest

from heightpose.errors import FileFormatError
from heightpose.geometry.body import measure
from heightpose.geometry.camera import Camera
from heightpose.geometry.lift import LiftNet, canonical
from heightpose.geometry.plane import Plane
from heightpose.skeleton import INFANT
from heightpose.types import Detection, FrameResult, Pose

CAMERA = Camera(
    model="pinhole",
    size_wh=(960, 540),
    K=np.array([[800.0, 0, 479.5], [0, 800.0, 269.5], [0, 0, 1]]),
    dist=np.zeros(5),
)

#: One infant of 66.8 cm on its back with straight legs, mattress frame, cm (x, y, z): a plain table, not a rendering.
STRAIGHT = {
    "crown": (0, 35.2, 7.0), "head_top": (0, 35.2, 7.0), "upper_neck": (0, 24.4, 6.0), "thorax": (0, 21.0, 5.2),
    "pelvis": (0, 0, 5.6), "left_hip": (4.2, 0, 5.6), "left_knee": (6.0, -16.5, 4.2), "left_ankle": (6.5, -29.6, 2.6),
    "left_heel": (6.3, -30.6, 1.4), "left_toe": (7.5, -32.0, 8.0), "left_shoulder": (6.5, 19.5, 5.0),
    "left_elbow": (13.5, 12.5, 3.5), "left_wrist": (18.0, 4.0, 2.5),
}  # fmt: skip


def body(points: dict[str, tuple[float, float, float]] = STRAIGHT, scale: float = 1.0) -> np.ndarray:
    full = dict(points)
    for name, (x, y, z) in points.items():
        if name.startswith("left_"):
            full.setdefault("right_" + name.removeprefix("left_"), (-x, y, z))
    return scale * np.array([full[n] for n in INFANT.names], dtype=float)


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
    mixed = measure(clip([body(bent)] * 4 + [body()] * 2, plane), CAMERA, plane)
    if mixed.length_cm is not None:
        assert mixed.length_cm == pytest.approx(straight.length_cm, abs=2.0)
        assert mixed.interval_cm[1] - mixed.interval_cm[0] >= 0.9 * (
            straight.interval_cm[1] - straight.interval_cm[0]
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


def test_a_file_that_is_no_lift_network_is_refused(tmp_path) -> None:
    path = tmp_path / "lift.npz"
    path.write_bytes(b"not a zip")
    with pytest.raises(FileFormatError, match="elevation model"):
        LiftNet.load(path)
    np.savez(path, weight0=np.zeros((3, 4)), bias0=np.zeros(4), length_weights=np.ones(3))
    with pytest.raises(FileFormatError, match="elevation model"):
        LiftNet.load(path)


def test_torch_twins_agree_with_numpy() -> None:
    torch = pytest.importorskip("torch")
    from heightpose.geometry.lift import group_lengths
    from heightpose.train.lift import features_of, lengths

    rng = np.random.default_rng(0)
    flat = body()[None, :, :2] + rng.normal(0, 1, (7, 21, 2))
    camera = np.column_stack([rng.normal(0, 20, (7, 2)), rng.uniform(120, 220, 7)])
    ours, size = canonical(flat, camera)
    theirs, their_size = features_of(torch.from_numpy(flat), torch.from_numpy(camera))
    assert np.allclose(ours, theirs.numpy(), atol=1e-9)
    assert np.allclose(size, their_size.numpy())
    joints = body()[None] + rng.normal(0, 1, (7, 21, 3))
    assert np.allclose(group_lengths(joints), lengths(torch.from_numpy(joints)).numpy())
