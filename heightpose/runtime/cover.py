"""Does something lie over the crown or the feet? A small network looks at a patch of the frame around each.

A pose net puts a joint that something plain covers at the edge of what covers it, with a sharp heatmap: the length then
comes out short, and sure. What gives it away is the outline, a head that is cut off straight or a foot that ends in
cloth. Patches are turned head-up and scaled by the body, so that every infant looks alike. The network is made by
:mod:`heightpose.train.cover`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from heightpose.codec.confidence import sigmoid
from heightpose.errors import FileFormatError
from heightpose.geometry.crop import crop_from_box
from heightpose.runtime.backends import Backend, load_backend
from heightpose.runtime.exposure import brightened
from heightpose.runtime.modelfile import ModelFile, find_model
from heightpose.skeleton import INFANT
from heightpose.types import Pose, direction_deg

#: The joints that are judged, the ends of a crown-heel length, and which of the network's answers is each one's.
JOINTS = INFANT.indices("crown", "left_heel", "right_heel")
ANSWERS = ("crown", "heel")
CHANNELS = (0, 1, 1)
#: A patch's side: px, and distances from crown to pelvis (some 28 cm).
PATCH, _SIDE = 64, 0.75
#: Shorter from crown to pelvis, px, is no body.
_LEAST_TRUNK = 4.0
_PELVIS = INFANT.index("pelvis")


@dataclass(frozen=True)
class Cover:
    """The network, in a runtime."""

    backend: Backend
    file: ModelFile

    @classmethod
    def load(cls, backend: str = "auto", **options: object) -> Cover:
        """The shipped one, which is an ONNX file. Errors of :func:`heightpose.runtime.backends.load_backend`."""
        backend = "auto" if backend == "torch" else backend
        return cls(*load_backend(find_model("cover"), backend, **options))  # type: ignore[arg-type]

    def judged(self, rgbs: Sequence[np.ndarray], poses: Sequence[Pose]) -> list[Pose]:
        """The same skeletons with how probably crown and heels are ``covered``.

        Poses that say nothing of what is seen stay as they are.

        Args:
            rgbs: their frames, ``(H, W, 3)`` uint8.
        """
        judged, cut = list(poses), {}
        for i, (rgb, pose) in enumerate(zip(rgbs, poses, strict=True)):
            found = None if pose.seen is None else patches(rgb, pose.kpts_frame)
            if found is not None:
                cut[i] = brightened(found)
        if cut:
            for i, covered in zip(cut, self._covered(np.stack(list(cut.values()))), strict=True):
                judged[i] = _told(poses[i], covered)
        return judged

    def _covered(self, cut: np.ndarray) -> np.ndarray:
        """Patches ``(N, 3, PATCH, PATCH, 3)`` -> ``(N, 3)`` probability that something covers each joint."""
        flat = cut.reshape(-1, PATCH, PATCH, 3).transpose(0, 3, 1, 2).astype(np.float32)
        logits = self.backend.run(flat)
        if logits.shape != (len(flat), len(ANSWERS)):
            raise FileFormatError(
                "the model's output is not what it must be", where=self.file.path,
                expected=(len(flat), len(ANSWERS)), got=logits.shape,
            )  # fmt: skip
        own = logits.reshape(len(cut), len(JOINTS), len(ANSWERS))[:, np.arange(len(JOINTS)), CHANNELS]
        return sigmoid(own.astype(np.float64))


def _told(pose: Pose, chances: np.ndarray) -> Pose:
    covered = np.zeros(len(pose.scores))
    covered[list(JOINTS)] = chances
    return replace(pose, covered=covered)


def patches(rgb: np.ndarray, kpts_frame: np.ndarray) -> np.ndarray | None:
    """``(3, PATCH, PATCH, 3)`` uint8 around each of :data:`JOINTS`, crown up; None for a body without extent.

    Args:
        rgb: ``(H, W, 3)`` uint8.
        kpts_frame: ``(K, 2)`` px.
    """
    dx, dy = kpts_frame[JOINTS[0]] - kpts_frame[_PELVIS]
    trunk = float(np.hypot(dx, dy))
    if not trunk >= _LEAST_TRUNK:
        return None
    head_up, half = direction_deg(dx, dy), _SIDE * trunk / 2
    boxes = [np.concatenate([kpts_frame[joint] - half, kpts_frame[joint] + half]) for joint in JOINTS]
    return np.stack([crop_from_box(box, head_up, (PATCH, PATCH), scale=1.0).warp(rgb) for box in boxes])
