"""From a flat picture to bone lengths: how high each joint lies, learned from nursery truth.

A ray through a pixel meets the mattress at one point, but the joint lies somewhere above it; ignoring that inflates
lengths by h / (H - h), and a bent knee hides the length of its bones. A small network reads the whole 2D pose
(as seen on the mattress, in the infant's own frame and scale, with the viewing direction) and returns each joint's
elevation, a correction and a standard deviation for each bone group, and whether the infant lies on its back.
It never sees centimetres, age or sex: everything is in units of the infant's own apparent size, so a sheet drawn
20 % larger gives a length 20 % larger.

The network is plain numpy here; ``heightpose.train.lift`` trains it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

import numpy as np

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
_PELVIS, _THORAX, _CROWN = (INFANT.index(n) for n in ("pelvis", "thorax", "crown"))
#: head_top says what crown says; the pelvis is the origin.
_INPUT_JOINTS = np.array([k for k, n in enumerate(INFANT.names) if n not in ("head_top", "pelvis")])
INPUTS = 2 * len(_INPUT_JOINTS) + 3
OUTPUTS = len(INFANT) + 2 * len(BONE_GROUPS) + 1
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
    """

    joints_cm: np.ndarray
    lengths_cm: np.ndarray
    relative_sd: np.ndarray
    on_back: np.ndarray


@dataclass(frozen=True)
class LiftNet:
    """Weights of a small fully connected network: ``layers`` are (weight ``(in, out)``, bias ``(out,)``) pairs."""

    layers: tuple[tuple[np.ndarray, np.ndarray], ...]
    length_weights: np.ndarray

    @classmethod
    def load(cls, path: Path) -> LiftNet:
        """Read an ``.npz``. Raises FileFormatError when it is not a lift network."""
        try:
            with np.load(path, allow_pickle=False) as data:
                count = sum(1 for name in data.files if name.startswith("weight"))
                layers = tuple(
                    (data[f"weight{i}"].astype(np.float64), data[f"bias{i}"].astype(np.float64))
                    for i in range(count)
                )
                weights = data["length_weights"].astype(np.float64)
        except (OSError, ValueError, KeyError) as error:
            raise FileFormatError("not an elevation model", where=path, got=str(error)) from None
        finite = all(np.isfinite(a).all() for pair in layers for a in pair) and np.isfinite(weights).all()
        if not layers or layers[0][0].shape[0] != INPUTS or layers[-1][0].shape[1] != OUTPUTS or not finite:
            raise FileFormatError(
                "not an elevation model", where=path, expected=f"{INPUTS} inputs, {OUTPUTS} outputs"
            )
        return cls(layers, weights)

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """``(T, INPUTS)`` to ``(T, OUTPUTS)``."""
        x = features
        for i, (weight, bias) in enumerate(self.layers):
            x = x @ weight + bias
            if i < len(self.layers) - 1:
                x = x / (1.0 + np.exp(-np.clip(x, -60, 60)))  # SiLU
        return x


@cache
def default_lift() -> LiftNet:
    """The shipped elevation model."""
    with resources.as_file(resources.files("heightpose.weights") / "lift.npz") as path:
        return LiftNet.load(path)


def canonical(flat_cm: np.ndarray, camera_cm: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The network's input.

    Args:
        flat_cm: ``(T, K, 2)`` where each joint's ray meets the mattress; camera_cm: ``(T, 3)`` the camera's centre.

    Returns:
        (features, size_cm): ``(T, INPUTS)`` and the apparent crown-pelvis distance ``(T,)`` that they are divided by.
    """
    size = np.linalg.norm(flat_cm[:, _CROWN] - flat_cm[:, _PELVIS], axis=-1)
    size = np.maximum(size, 1e-6)
    axis = flat_cm[:, _THORAX] - flat_cm[:, _PELVIS]
    axis = axis / np.maximum(np.linalg.norm(axis, axis=-1, keepdims=True), 1e-9)
    turn = np.stack(
        [np.stack([axis[:, 1], -axis[:, 0]], -1), axis], axis=-2
    )  # rows: to the right, towards the head
    local = np.einsum("tij,tkj->tki", turn, flat_cm - flat_cm[:, _PELVIS : _PELVIS + 1]) / size[:, None, None]
    aside = np.einsum("tij,tj->ti", turn, camera_cm[:, :2] - flat_cm[:, _PELVIS])
    above = camera_cm[:, 2:]
    features = np.concatenate(
        [local[:, _INPUT_JOINTS].reshape(len(size), -1), aside / above, size[:, None] / above], axis=1
    )
    return features, size


def lift_frames(
    kpts_frame: np.ndarray, camera: Camera, plane: Plane, net: LiftNet | None = None
) -> LiftedFrames:
    """Elevations, 3D joints and bone lengths for every frame.

    Args:
        kpts_frame: ``(T, K, 2)`` joints in frame pixels.
    """
    net = default_lift() if net is None else net
    frames, joints, _ = kpts_frame.shape
    flat = plane.to_mattress(camera, kpts_frame.reshape(-1, 2), 0.0).reshape(frames, joints, 3)
    centre = plane.camera_centre_cm
    features, size = canonical(flat[..., :2], np.repeat(centre[None], frames, axis=0))
    output = net(features)
    elevation = output[:, :joints] * size[:, None]
    elevation = np.clip(elevation, 0.0, 0.5 * centre[2])
    share = (elevation / centre[2])[..., None]
    lifted = flat + (centre - flat) * share  # the point of each ray at that elevation
    groups = len(BONE_GROUPS)
    correction = np.clip(output[:, joints : joints + groups], -0.7, 0.7)
    log_sd = np.clip(output[:, joints + groups : joints + 2 * groups], -6.0, 1.0)
    usable = size > _MIN_SIZE_CM
    sd = np.where(usable[:, None], np.exp(log_sd), 10.0)
    on_back = 1.0 / (1.0 + np.exp(-np.clip(output[:, -1], -30, 30)))
    return LiftedFrames(lifted, group_lengths(lifted) * np.exp(correction), sd, on_back)
