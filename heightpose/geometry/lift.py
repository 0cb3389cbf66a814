"""From a flat picture to bone lengths: how high each joint lies, learned from nursery truth.

A ray through a pixel meets the mattress at one point, but the joint lies somewhere above it; ignoring that inflates
lengths by h / (H - h), and a bent knee hides the length of its bones. A small network reads the whole 2D pose (as
seen on the mattress, in the infant's own frame and scale, with the viewing direction and how well each joint is
known) and returns each joint's elevation, a correction and a standard deviation for each bone, and whether the
infant lies on its back. A second one, :mod:`heightpose.geometry.clip_lift`, joins the frames of a clip. Neither ever
sees centimetres, age or sex: everything is in units of the infant's own apparent size, so a sheet drawn 20 % larger
gives a length 20 % larger.

The networks are plain numpy here; ``heightpose.train.lift`` trains them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from importlib import resources
from pathlib import Path

import numpy as np

from heightpose.arrays import read_arrays
from heightpose.codec.confidence import chance_right, sigmoid
from heightpose.errors import FileFormatError
from heightpose.geometry.camera import Camera
from heightpose.geometry.plane import Plane
from heightpose.skeleton import INFANT

#: Bone groups, in the order of every ``(..., 5)`` array: joint chains whose summed length is estimated.
BONE_GROUPS = (
    ("upper body", ("crown", "upper_neck", "thorax", "pelvis")),
    ("left thigh", ("left_hip", "left_knee")),
    ("left shank", ("left_knee", "left_ankle")),
    ("right thigh", ("right_hip", "right_knee")),
    ("right shank", ("right_knee", "right_ankle")),
)
#: What a child has one of: the groups with left and right taken together.
BONES = ("upper body", "thigh", "shank")
#: How many numbers one frame tells the clip beside its lengths.
EMBEDDING = 24
_PELVIS, _THORAX, _NECK, _CROWN = (INFANT.index(n) for n in ("pelvis", "thorax", "upper_neck", "crown"))
#: head_top says what crown says; the pelvis is the origin.
_INPUT_JOINTS = np.array([k for k, n in enumerate(INFANT.names) if n not in ("head_top", "pelvis")])
INPUTS = 5 * len(_INPUT_JOINTS) + 3
OUTPUTS = len(INFANT) + 2 * len(BONE_GROUPS) + 1 + EMBEDDING
#: Clip features: two ratios of bones, spread and best standard deviation of three bones, frames, mean embedding.
CLIP_INPUTS = 2 + 3 + 3 + 1 + EMBEDDING
#: Corrections of three bones, their log standard deviations, and that of the whole length.
CLIP_OUTPUTS = 3 + 3 + 1
#: Relative standard deviations of joints, and log odds that they are right and that they are seen, are told to the
#: network within these.
SD_RANGE, MOST_LOGIT = (1e-3, 0.5), 4.0
#: Lowest log odds to be seen, by joint: of what it was trained with hardly any joint was taken for hidden more surely.
SEEN_LEAST = np.array(
    [0.0 if name in ("pelvis", "upper_neck", "head_top", "crown") or name.endswith("_shoulder")
     else -0.6 if name.endswith(("_elbow", "_wrist")) else -1.4 for name in INFANT.names]
)  # fmt: skip
#: Log odds that a joint is seen, of a pose net that says nothing of it.
USUAL_SEEN = 2.0
#: Of a joint whose covariance is not known, relative to the infant's size.
_USUAL_SD = 0.03
_MIN_SIZE_CM = 8.0


def group_lengths(joints: np.ndarray) -> np.ndarray:
    """Summed bone length of each group, ``(..., 5)``, from joints ``(..., K, 3)``."""
    out = []
    for _, names in BONE_GROUPS:
        points = joints[..., INFANT.indices(*names), :]
        out.append(np.linalg.norm(np.diff(points, axis=-2), axis=-1).sum(axis=-1))
    return np.stack(out, axis=-1)


@dataclass(frozen=True)
class LiftedFrames:
    """What the frames of a clip say, one row per frame.

    Attributes:
        joints_cm: ``(T, K, 3)`` mattress frame.
        lengths_cm: ``(T, 5)`` bone group lengths; relative_sd: ``(T, 5)`` their standard deviations over the length.
        on_back: ``(T,)`` probability that the infant lies on its back.
        embedding: ``(T, EMBEDDING)`` what the frame tells :mod:`heightpose.geometry.clip_lift`.
    """

    joints_cm: np.ndarray
    lengths_cm: np.ndarray
    relative_sd: np.ndarray
    on_back: np.ndarray
    embedding: np.ndarray

    @staticmethod
    def joined(parts: list[LiftedFrames]) -> LiftedFrames:
        """The frames of all parts, in order."""
        return LiftedFrames(
            *(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(LiftedFrames))
        )


Layers = tuple[tuple[np.ndarray, np.ndarray], ...]


@dataclass(frozen=True)
class LiftNet:
    """Weights of two small fully connected networks: layers are (weight ``(in, out)``, bias ``(out,)``) pairs.

    Attributes:
        frame: one frame, :data:`INPUTS` to :data:`OUTPUTS`.
        clip: all frames of a clip together, :data:`CLIP_INPUTS` to :data:`CLIP_OUTPUTS`.
        length_weights: ``(3,)`` what each of :data:`BONES` adds to crown-heel length.
    """

    frame: Layers
    clip: Layers
    length_weights: np.ndarray

    @classmethod
    def load(cls, path: Path) -> LiftNet:
        """Read an ``.npz``. Raises FileFormatError when it is not a lift network."""
        data = read_arrays(path, "an elevation model")
        try:
            frame, clip = _layers(data, "frame"), _layers(data, "clip")
            weights = data["length_weights"].astype(np.float64)
        except (ValueError, KeyError) as error:
            raise FileFormatError("not an elevation model", where=path, got=str(error)) from None
        shapes = [(net[0][0].shape[0], net[-1][0].shape[1]) if net else None for net in (frame, clip)]
        finite = all(np.isfinite(a).all() for net in (frame, clip) for pair in net for a in pair)
        expected = [(INPUTS, OUTPUTS), (CLIP_INPUTS, CLIP_OUTPUTS)]
        if shapes != expected or weights.shape != (3,) or not finite or not np.isfinite(weights).all():
            raise FileFormatError("not an elevation model", where=path, expected=expected, got=shapes)
        return cls(frame, clip, weights)


def _layers(data: Mapping[str, np.ndarray], name: str) -> Layers:
    count = sum(1 for key in data if key.startswith(f"{name}_weight"))
    return tuple(
        (data[f"{name}_weight{i}"].astype(np.float64), data[f"{name}_bias{i}"].astype(np.float64))
        for i in range(count)
    )


def forward(layers: Layers, x: np.ndarray) -> np.ndarray:
    """``(N, in)`` to ``(N, out)``, SiLU between the layers."""
    for i, (weight, bias) in enumerate(layers):
        x = x @ weight + bias
        if i < len(layers) - 1:
            x = x / (1.0 + np.exp(-np.clip(x, -60, 60)))
    return x


#: The shipped elevation model.
LIFT_FILE = Path(str(resources.files("heightpose.weights"))) / "lift.npz"


@cache
def default_lift() -> LiftNet:
    """The shipped elevation model."""
    return LiftNet.load(LIFT_FILE)


@dataclass(frozen=True)
class Told:
    """What the pose net says of its joints.

    Attributes:
        sd_cm: ``(T, K)`` standard deviation on the mattress; None: not known.
        right: ``(T, K)`` probability of each joint to be within 0.1 head sizes; None: as the standard deviation has it.
        seen: ``(T, K)`` probability to be visible rather than hidden; None: not known.
    """

    sd_cm: np.ndarray | None = None
    right: np.ndarray | None = None
    seen: np.ndarray | None = None


def canonical(
    flat_cm: np.ndarray, camera_cm: np.ndarray, told: Told | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The frame network's input.

    Args:
        flat_cm: ``(T, K, 2)`` where each joint's ray meets the mattress; camera_cm: ``(T, 3)`` the camera's centre.

    Returns:
        (features, size_cm): ``(T, INPUTS)`` and the apparent crown-pelvis distance ``(T,)`` that they are divided by.
    """
    told = Told() if told is None else told
    size = np.linalg.norm(flat_cm[:, _CROWN] - flat_cm[:, _PELVIS], axis=-1)
    size = np.maximum(size, 1e-6)
    axis = flat_cm[:, _THORAX] - flat_cm[:, _PELVIS]
    axis = axis / np.maximum(np.linalg.norm(axis, axis=-1, keepdims=True), 1e-9)
    # Rows: to the right, towards the head.
    turn = np.stack([np.stack([axis[:, 1], -axis[:, 0]], -1), axis], axis=-2)
    local = np.einsum("tij,tkj->tki", turn, flat_cm - flat_cm[:, _PELVIS : _PELVIS + 1]) / size[:, None, None]
    aside = np.einsum("tij,tj->ti", turn, camera_cm[:, :2] - flat_cm[:, _PELVIS])
    above = camera_cm[:, 2:]
    relative = np.full(flat_cm.shape[:2], _USUAL_SD) if told.sd_cm is None else told.sd_cm / size[:, None]
    relative = np.clip(relative, *SD_RANGE)
    head = np.linalg.norm(flat_cm[:, _CROWN] - flat_cm[:, _NECK], axis=-1) / size
    right = _log_odds(chance_right(head[:, None], relative) if told.right is None else told.right)
    seen = (
        np.full_like(right, USUAL_SEEN) if told.seen is None else np.maximum(_log_odds(told.seen), SEEN_LEAST)
    )
    features = np.concatenate(
        [
            local[:, _INPUT_JOINTS].reshape(len(size), -1),
            aside / above,
            size[:, None] / above,
            *(part[:, _INPUT_JOINTS] for part in (np.log(relative), right, seen)),
        ],
        axis=1,
    )
    return features, size


def _log_odds(probability: np.ndarray) -> np.ndarray:
    kept = np.clip(probability, 1e-6, 1.0 - 1e-6)
    return np.clip(np.log(kept / (1.0 - kept)), -MOST_LOGIT, MOST_LOGIT)


def mattress_sd(kpts_frame: np.ndarray, cov_frame: np.ndarray, camera: Camera, plane: Plane) -> np.ndarray:
    """``(T, K)`` standard deviation in cm on the mattress, the mean over directions.

    Args:
        kpts_frame: ``(T, K, 2)`` px; cov_frame: ``(T, K, 3)`` xx, xy, yy in px^2.
    """
    flat = kpts_frame.reshape(-1, 2)
    here, right, below = (
        plane.to_mattress(camera, flat + step, 0.0)[:, :2] for step in ([0.0, 0.0], [1.0, 0.0], [0.0, 1.0])
    )
    to_right, to_below = right - here, below - here
    xx, xy, yy = cov_frame.reshape(-1, 3).T
    variance = (
        xx * (to_right**2).sum(-1) + 2 * xy * (to_right * to_below).sum(-1) + yy * (to_below**2).sum(-1)
    )
    return np.sqrt(np.maximum(variance, 0.0) / 2.0).reshape(kpts_frame.shape[:2])


def lift_frames(
    kpts_frame: np.ndarray,
    camera: Camera,
    plane: Plane,
    net: LiftNet | None = None,
    cov_frame: np.ndarray | None = None,
    right: np.ndarray | None = None,
    seen: np.ndarray | None = None,
) -> LiftedFrames:
    """Elevations, 3D joints and bone lengths for every frame.

    Args:
        kpts_frame: ``(T, K, 2)`` joints in frame pixels; cov_frame: ``(T, K, 3)`` their covariances, px^2.
        right, seen: ``(T, K)`` probabilities of the joints to be right and to be visible.
    """
    net = default_lift() if net is None else net
    frames, joints, _ = kpts_frame.shape
    flat = plane.to_mattress(camera, kpts_frame.reshape(-1, 2), 0.0).reshape(frames, joints, 3)
    centre = plane.camera_centre_cm
    sd_cm = None if cov_frame is None else mattress_sd(kpts_frame, cov_frame, camera, plane)
    features, size = canonical(
        flat[..., :2], np.repeat(centre[None], frames, axis=0), Told(sd_cm, right, seen)
    )
    output = forward(net.frame, features)
    elevation = output[:, :joints] * size[:, None]
    elevation = np.clip(elevation, 0.0, 0.5 * centre[2])
    share = (elevation / centre[2])[..., None]
    lifted = flat + (centre - flat) * share  # the point of each ray at that elevation
    groups = len(BONE_GROUPS)
    correction = np.clip(output[:, joints : joints + groups], -0.7, 0.7)
    log_sd = np.clip(output[:, joints + groups : joints + 2 * groups], -6.0, 1.0)
    usable = size > _MIN_SIZE_CM
    sd = np.where(usable[:, None], np.exp(log_sd), 10.0)
    on_back = sigmoid(output[:, joints + 2 * groups])
    embedding = output[:, joints + 2 * groups + 1 :]
    return LiftedFrames(lifted, group_lengths(lifted) * np.exp(correction), sd, on_back, embedding)
