"""From frames to joints: detect, crop, pose, decode, back to frame pixels.

One streaming generator serves every front end: ``infer`` and ``eval`` both consume
:func:`estimate_poses`, so a headline number always describes the shipped path.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from heightpose.codec import detection as detection_codec
from heightpose.codec.heatmap import HeatmapCodec, merge_flip
from heightpose.errors import FileFormatError
from heightpose.geometry.crop import CropTransform, crop_from_box, letterbox_transform
from heightpose.runtime.backends import Backend, load_backend
from heightpose.runtime.clip import Frame
from heightpose.runtime.modelfile import ModelFile, find_model
from heightpose.runtime.refine import second_look
from heightpose.skeleton import Skeleton
from heightpose.types import Detection, FrameResult, Pose, wrap_degrees

#: Frames handed to the networks together, fewer when they are large: memory is bounded, not the batch.
BATCH = 8
_BATCH_PIXELS = 24e6

T = TypeVar("T")


@dataclass
class StageTimes:
    """Seconds spent per stage, for the summary line and the benchmark."""

    seconds: dict[str, float] = field(default_factory=dict)
    frames: int = 0

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start

    def timed(self, name: str, items: Iterable[T]) -> Iterator[T]:
        """Pass items through, counting the time it takes to get each."""
        iterator = iter(items)
        while True:
            with self.stage(name):
                try:
                    item = next(iterator)
                except StopIteration:
                    return
            yield item

    def per_frame_ms(self) -> dict[str, float]:
        """Milliseconds per frame of each stage, in the order the stages were first met."""
        return {name: 1000.0 * s / max(self.frames, 1) for name, s in self.seconds.items()}


@dataclass(frozen=True)
class Detector:
    """Finds infants: box and head direction, in frame pixels."""

    backend: Backend
    file: ModelFile
    threshold: float = detection_codec.THRESHOLD

    @classmethod
    def load(cls, model: str = "detector", backend: str = "auto", **options: object) -> Detector:
        """Load by path, or the shipped one. Errors of :func:`load_backend`, or the wrong kind of model."""
        loaded, file = load_backend(find_model(model), backend, **options)  # type: ignore[arg-type]
        _require_kind(file, "detector")
        return cls(loaded, file)

    def detect(self, rgbs: Sequence[np.ndarray]) -> list[list[Detection]]:
        """The infants in each frame ``(H, W, 3)`` uint8, best first."""
        boxes = [letterbox_transform((rgb.shape[1], rgb.shape[0]), self.file.input_wh) for rgb in rgbs]
        maps = self.backend.run(_to_batch([box.warp(rgb) for box, rgb in zip(boxes, rgbs, strict=True)]))
        expected = (len(rgbs), detection_codec.CHANNELS, *detection_codec.MAP_WH[::-1])
        _require_output(self.file, maps, expected)
        return [
            _to_frame(detection_codec.decode(one, self.threshold), box, (rgb.shape[1], rgb.shape[0]))
            for one, box, rgb in zip(maps, boxes, rgbs, strict=True)
        ]


@dataclass(frozen=True)
class PoseModel:
    """Turns an infant's crop into joints, in frame pixels."""

    backend: Backend
    file: ModelFile
    codec: HeatmapCodec
    skeleton: Skeleton

    @classmethod
    def load(cls, model: str = "fast", backend: str = "auto", **options: object) -> PoseModel:
        """Load by shipped name or path. Errors as :func:`load_backend`; FileFormatError for a detector."""
        loaded, file = load_backend(find_model(model), backend, **options)  # type: ignore[arg-type]
        _require_kind(file, "pose")
        try:
            skeleton = Skeleton(file.joints)
        except ValueError as error:
            raise FileFormatError(
                "the model's joints do not fit together", where=file.path, got=error
            ) from error
        codec = HeatmapCodec(input_wh=file.input_wh, heatmap_wh=file.heatmap_wh, sigma=file.sigma)
        return cls(loaded, file, codec, skeleton)

    def estimate(
        self,
        rgbs: Sequence[np.ndarray],
        detections: Sequence[Detection],
        *,
        flip: bool = True,
        times: StageTimes | None = None,
    ) -> list[Pose]:
        """The joints of one infant per frame.

        Args:
            rgbs: frames ``(H, W, 3)`` uint8.
            detections: whom to look at, one per frame.
            flip: also run the mirrored crop and average the heatmaps (test-time augmentation).
            times: where to count the stages' time.
        """
        times = StageTimes() if times is None else times
        if not rgbs:
            return []
        with times.stage("crop"):
            crops = [crop_from_box(d.bbox_xyxy, d.head_angle_deg, self.file.input_wh) for d in detections]
            batch = _to_batch([crop.warp(rgb) for crop, rgb in zip(crops, rgbs, strict=True)])
        with times.stage("pose"):
            heatmaps = self.heatmaps(batch, flip=flip)
        with times.stage("joints"):
            kpts_crop, scores = self.codec.decode(heatmaps)
            cov_crop = self.codec.covariance(heatmaps, kpts_crop)
            return [
                Pose(crop.to_frame(kpts), score, detection, crop.cov_to_frame(cov))
                for crop, kpts, score, detection, cov in zip(
                    crops, kpts_crop, scores, detections, cov_crop, strict=True
                )
            ]

    def heatmaps(self, batch: np.ndarray, *, flip: bool = True) -> np.ndarray:
        """Crops ``(N, 3, H, W)`` float32 RGB 0..255 -> heatmaps ``(N, K, h, w)``, mirror averaged in."""
        count = len(batch)
        if flip:
            batch = np.concatenate([batch, batch[..., ::-1]])
        heatmaps = self.backend.run(batch)
        expected = (len(batch), len(self.skeleton), *self.file.heatmap_wh[::-1])
        _require_output(self.file, heatmaps, expected)
        if not flip:
            return heatmaps
        return merge_flip(heatmaps[:count], heatmaps[count:], self.skeleton.flip_map)


def estimate_poses(
    frames: Iterable[Frame],
    detector: Detector,
    pose_model: PoseModel,
    *,
    flip: bool = True,
    refine: bool = True,
    batch: int = BATCH,
    times: StageTimes | None = None,
) -> Iterator[tuple[FrameResult, np.ndarray]]:
    """The infant's joints in every frame, as the frames come.

    Where several infants are seen the one with the best score is posed and ``infants`` holds their number.

    Args:
        frames: (index, t_s, rgb) in order; consumed a few at a time.
        flip: mirror test-time augmentation.
        refine: look again with the crop that the first skeleton asks for (:mod:`heightpose.runtime.refine`).
        batch: frames per call of the networks.
        times: where to count the stages' time.

    Yields:
        (result, rgb) for every frame given, in order; ``result.pose`` is None where no infant was found.
    """
    times = StageTimes() if times is None else times
    for group in _groups(times.timed("decode", frames), batch):
        rgbs = [frame.rgb for frame in group]
        with times.stage("detect"):
            found = detector.detect(rgbs)
        seen = [i for i, infants in enumerate(found) if infants]
        posed = pose_model.estimate(
            [rgbs[i] for i in seen], [found[i][0] for i in seen], flip=flip, times=times
        )
        if refine and posed:
            posed = second_look(pose_model, [rgbs[i] for i in seen], posed, flip=flip, times=times)
        poses = dict(zip(seen, posed, strict=True))
        times.frames += len(group)
        for i, frame in enumerate(group):
            yield FrameResult(frame.index, frame.t_s, poses.get(i), len(found[i])), frame.rgb


def every_nth(frames: Iterable[Frame], step: int) -> Iterator[Frame]:
    """Frames 0, step, 2 * step, ... with their own indices."""
    return itertools.islice(frames, 0, None, step)


def _groups(frames: Iterable[Frame], batch: int) -> Iterator[list[Frame]]:
    group: list[Frame] = []
    for frame in frames:
        group.append(frame)
        if len(group) >= batch or len(group) * frame.rgb.shape[0] * frame.rgb.shape[1] >= _BATCH_PIXELS:
            yield group
            group = []
    if group:
        yield group


def _to_batch(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """``(H, W, 3)`` uint8 each -> ``(N, 3, H, W)`` float32, 0..255."""
    return np.stack(pictures).transpose(0, 3, 1, 2).astype(np.float32)


def _to_frame(
    found: list[tuple[np.ndarray, float, float]], letterbox: CropTransform, frame_wh: tuple[int, int]
) -> list[Detection]:
    """Detections in the letterbox -> frame pixels. The letterbox does not turn, so the angles stay.

    What lies in the letterbox's bars is nobody, and a box reaches at most one frame size out of the frame: a
    crop of it is always of a sane size.
    """
    size = np.array(frame_wh, dtype=np.float64)
    detections = []
    for bbox_in, head_angle_deg, score in found:
        low, high = letterbox.to_frame(np.asarray(bbox_in, dtype=np.float64).reshape(2, 2))
        if (high > 0).all() and (low < size - 1).all():
            bbox = np.concatenate([np.maximum(low, -size), np.minimum(high, 2 * size)])
            detections.append(Detection(bbox, wrap_degrees(head_angle_deg), float(np.clip(score, 0.0, 1.0))))
    return detections


def _require_output(file: ModelFile, output: np.ndarray, expected: tuple[int, ...]) -> None:
    if output.shape != expected:
        raise FileFormatError(
            "the network's output is not what its metadata say",
            where=file.path,
            expected=expected,
            got=output.shape,
            hint="Export the model again",
        )


def _require_kind(file: ModelFile, kind: str) -> None:
    if file.kind != kind:
        raise FileFormatError("this is another kind of model", where=file.path, expected=kind, got=file.kind)
