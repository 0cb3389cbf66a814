"""One infant asked about several times: the head-up crop, its mirror image, and the crop turned and scaled a little.

Where a net knows the answer the views agree; their disagreement needs no label (Liu and Ferrari, "Active
Learning for Human Pose Estimation", ICCV 2017, use the heatmap's own modes; views see a confidently wrong net too).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from heightpose.geometry.crop import CROP_SCALE, CropTransform, crop_from_box
from heightpose.runtime.exposure import brightened
from heightpose.runtime.networks import PoseModel
from heightpose.runtime.pipeline import BATCH
from heightpose.runtime.refine import detection_around
from heightpose.types import Detection, FrameResult, Pose

#: (turn in degrees, scale of the crop's margin, mirrored) of every view beside the plain one.
VIEWS = ((0.0, CROP_SCALE, True), (15.0, 1.35, False), (-15.0, 1.15, False))
#: A joint further off than this share of the body is lost, and how far off says nothing more.
LOST = 0.25
#: Side of the small picture that stands for what the crop looks like, px.
_THUMB = 8


@dataclass(frozen=True, eq=False)
class Look:
    """What the model makes of one frame.

    Attributes:
        result: the joints as ``infer`` finds them; ``result.pose`` is None where no infant was found.
        flip: mean distance of the mirrored crop's joints from the plain crop's, shares of the body's box.
        turns: the same between the turned crops and the plain one. Both NaN without a pose.
        kpts_crop: ``(K, 2)`` the joints in the head-up crop, 0..1; NaN without a pose.
        thumb: ``(8, 8, 3)`` float, the crop's look in Lab, 0..255 (of the whole frame without a pose).
    """

    result: FrameResult
    flip: float
    turns: float
    kpts_crop: np.ndarray
    thumb: np.ndarray

    @property
    def pose(self) -> Pose | None:
        return self.result.pose


def look(
    model: PoseModel, frames: Iterable[tuple[FrameResult, np.ndarray]], batch: int = BATCH
) -> list[Look]:
    """Ask about every frame.

    Args:
        frames: (result, rgb) as :func:`heightpose.runtime.pipeline.estimate_poses` yields them.
    """
    looks: list[Look] = []
    group: list[tuple[FrameResult, np.ndarray]] = []
    for pair in frames:
        group.append(pair)
        if len(group) >= batch:
            looks += _looks(model, group)
            group = []
    return looks + (_looks(model, group) if group else [])


def _looks(model: PoseModel, group: Sequence[tuple[FrameResult, np.ndarray]]) -> list[Look]:
    posed = [(result.pose, rgb) for result, rgb in group if result.pose is not None]
    answers = iter(_views(model, posed)) if posed else iter(())
    return [
        _empty(result, rgb, model) if result.pose is None else _seen(result, rgb, next(answers))
        for result, rgb in group
    ]


def _views(
    model: PoseModel, posed: Sequence[tuple[Pose, np.ndarray]]
) -> list[tuple[CropTransform, np.ndarray]]:
    """Per infant the plain crop and its joints in every view, ``(1 + V, K, 2)`` frame px."""
    crops = [_crops(detection_around(pose), model.file.input_wh) for pose, _ in posed]
    pictures = [
        brightened(crop.warp(rgb)) for own, (_, rgb) in zip(crops, posed, strict=True) for crop in own
    ]
    batch = np.stack(pictures).transpose(0, 3, 1, 2).astype(np.float32)
    # Straight from the network: the model's own views would average away what is asked here.
    decoded = model.codec.decode(model.backend.run(batch))
    kpts_crop = decoded[0].reshape(len(posed), 1 + len(VIEWS), -1, 2)
    return [
        (own[0], np.stack([_back(crop, kpts, model) for crop, kpts in zip(own, views, strict=True)]))
        for own, views in zip(crops, kpts_crop, strict=True)
    ]


def _crops(detection: Detection, size_wh: tuple[int, int]) -> list[CropTransform]:
    box, angle = detection.bbox_xyxy, detection.head_angle_deg
    others = [
        crop_from_box(box, angle + turn, size_wh, scale=scale, flip=flip) for turn, scale, flip in VIEWS
    ]
    return [crop_from_box(box, angle, size_wh), *others]


def _back(crop: CropTransform, kpts_crop: np.ndarray, model: PoseModel) -> np.ndarray:
    kpts = crop.to_frame(kpts_crop)
    return kpts[model.skeleton.flip_map] if crop.mirrored else kpts


def _seen(result: FrameResult, rgb: np.ndarray, answer: tuple[CropTransform, np.ndarray]) -> Look:
    crop, views = answer
    assert result.pose is not None
    body = float(max(crop.size_wh)) / crop.scale / CROP_SCALE  # the box's longer side, px
    apart = np.minimum(np.linalg.norm(views[1:] - views[0], axis=-1) / body, LOST).mean(axis=1)
    mirrored = np.array([flip for *_, flip in VIEWS])
    kpts = crop.to_crop(result.pose.kpts_frame) / np.array(crop.size_wh)
    return Look(
        result, float(apart[mirrored].mean()), float(apart[~mirrored].mean()), kpts, _thumb(crop.warp(rgb))
    )


def _empty(result: FrameResult, rgb: np.ndarray, model: PoseModel) -> Look:
    return Look(result, np.nan, np.nan, np.full((len(model.skeleton), 2), np.nan), _thumb(rgb))


def _thumb(rgb: np.ndarray) -> np.ndarray:
    import cv2

    small = cv2.resize(np.ascontiguousarray(rgb), (_THUMB, _THUMB), interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(small, cv2.COLOR_RGB2LAB).astype(np.float64)
