"""Clips of a child whose joints are known, as a pose net would tell them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from straight import STRAIGHT

from heightpose.geometry.camera import Camera
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


#: Legs drawn up, of the same bone lengths.
BENT = STRAIGHT | {
    "left_knee": (9.2, -9.7, 18.0), "left_ankle": (8.0, -14.2, 5.7),
    "left_heel": (8.0, -14.7, 3.5), "left_toe": (9.0, -19.0, 3.5),
}  # fmt: skip


#: Bent as much, the thighs lying aside.
FROG = STRAIGHT | {
    "left_knee": (15.0, -13.0, 4.5), "left_ankle": (4.0, -17.0, 3.0),
    "left_heel": (3.0, -17.5, 2.2), "left_toe": (2.5, -21.5, 2.2),
}  # fmt: skip


def with_longer_shanks(cm: float) -> dict[str, tuple[float, float, float]]:
    """The straight infant, its ankles and feet further down."""
    feet = {f"left_{name}": STRAIGHT[f"left_{name}"] for name in ("ankle", "heel", "toe")}
    return STRAIGHT | {name: (x, y - cm, z) for name, (x, y, z) in feet.items()}


def crowned(frames: list[FrameResult], crown_seen: list[float]) -> list[FrameResult]:
    """The same frames, calibrated, with how likely the crown is seen."""
    out = []
    for frame, chance in zip(told(frames), crown_seen, strict=True):
        assert frame.pose is not None
        seen = np.full(21, 0.9)
        seen[INFANT.index("crown")] = chance
        out.append(replace(frame, pose=replace(frame.pose, seen=seen)))
    return out


def blurred(frame: FrameResult, names: list[str], sd_px: float) -> FrameResult:
    """The frame with some joints less well known."""
    assert frame.pose is not None
    cov = np.array(frame.pose.cov_frame)
    cov[[INFANT.index(name) for name in names]] = [sd_px**2, 0.0, sd_px**2]
    return replace(frame, pose=replace(frame.pose, cov_frame=cov))


def dimmed(frame: FrameResult, peak: float) -> FrameResult:
    """The frame with every joint's heatmap peaking so low."""
    assert frame.pose is not None
    return replace(frame, pose=replace(frame.pose, scores=np.full(21, peak)))


def told(frames: list[FrameResult]) -> list[FrameResult]:
    """As a calibrated net tells of joints that it sees well: 1 px, probability 0.95."""
    cov, sure = np.tile([1.0, 0.0, 1.0], (21, 1)), np.full(21, 0.95)
    return [
        replace(f, pose=replace(f.pose, cov_frame=cov, probabilities=sure, seen=sure))
        for f in frames
        if f.pose
    ]


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
