"""From frames to joints: detect, crop, pose, decode, back to frame pixels.

One streaming generator serves every front end: ``infer`` and ``eval`` both consume
:func:`estimate_poses`, so a headline number always describes the shipped path.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from heightpose.codec import detection as detection_codec
from heightpose.codec.confidence import Calibration, Evidence, load_calibrations
from heightpose.codec.heatmap import DARK, HeatmapCodec, merge_flip
from heightpose.errors import FileFormatError
from heightpose.geometry.crop import CropTransform, crop_from_box, letterbox_transform
from heightpose.runtime.backends import Backend, load_backend
from heightpose.runtime.clip import Frame
from heightpose.runtime.modelfile import ModelFile, find_model
from heightpose.runtime.refine import own_look, second_look
from heightpose.runtime.track import Guide, KeyFrames, guides_of
from heightpose.runtime.tta import FLIP, Tta, merge_views
from heightpose.skeleton import INFANT, Skeleton
from heightpose.types import Detection, FrameResult, Pose, wrap_degrees

#: Frames handed to the networks together, fewer when they are large: memory is bounded, not the batch.
BATCH = 8
_BATCH_PIXELS = 24e6

T = TypeVar("T")


@dataclass
class StageTimes:
    """Seconds spent per stage, for the summary line and the benchmark.

    Stages run beside each other: their sum is work, :attr:`wall_s` is what it took.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    frames: int = 0
    wall_s: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            spent = time.perf_counter() - start
            with self._lock:
                self.seconds[name] = self.seconds.get(name, 0.0) + spent

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
class Look:
    """What the network says about N crops.

    Attributes:
        kpts_crop: ``(N, K, 2)`` px of the plain crop.
        evidence: what the heatmaps tell beside.
    """

    kpts_crop: np.ndarray
    evidence: Evidence


@dataclass(frozen=True)
class PoseModel:
    """Turns an infant's crop into joints, in frame pixels.

    Attributes:
        tta: the views that every crop is looked at in.
        calibrations: by views (``str(tta)``); without one a pose has no probabilities.
    """

    backend: Backend
    file: ModelFile
    codec: HeatmapCodec
    skeleton: Skeleton
    tta: Tta = FLIP
    calibrations: Mapping[str, Calibration] = field(default_factory=dict)

    @classmethod
    def load(
        cls,
        model: str = "fast",
        backend: str = "auto",
        *,
        tta: Tta | str = "flip",
        calibrated: bool = True,
        **options: object,
    ) -> PoseModel:
        """Load by shipped name or path, with the calibration beside the weights unless ``calibrated`` is False.

        Raises:
            ConfigError: no such ``tta``; else as :func:`load_backend`. FileFormatError: a detector, or a calibration
            that cannot be read.
        """
        views = Tta.parse(tta) if isinstance(tta, str) else tta
        loaded, file = load_backend(find_model(model), backend, **options)  # type: ignore[arg-type]
        _require_kind(file, "pose")
        if file.meta.get("output", "heatmaps") != "heatmaps":
            raise FileFormatError(
                "a net that gives coordinates instead of heatmaps measures nothing", where=file.path,
                hint="pose.head: regression is a baseline for comparisons in training; take one with another head",
            )  # fmt: skip
        try:
            skeleton = Skeleton(file.joints)
        except ValueError as error:
            raise FileFormatError(
                "the model's joints do not fit together", where=file.path, got=error
            ) from error
        decoder = file.meta.get("decoder", DARK)
        try:
            codec = HeatmapCodec(file.input_wh, file.heatmap_wh, file.sigma, decoder)
        except ValueError as error:
            raise FileFormatError("the model's maps cannot be read", where=file.path, got=error) from error
        found = load_calibrations(file.path, file.joints) if calibrated else {}
        return cls(loaded, file, codec, skeleton, views, found)

    @property
    def calibration(self) -> Calibration | None:
        """The calibration for the views in use, if these weights have one."""
        return self.calibrations.get(str(self.tta))

    @property
    def score_meaning(self) -> str:
        """What the reported score of a joint is, for a person."""
        if self.calibration is not None:
            return "joint scores are calibrated probabilities"
        why = f"no calibration for --tta {self.tta}" if self.calibrations else "no calibration"
        return f"these weights have {why}: joint scores are raw peaks, not probabilities (heightpose eval confidence)"

    def estimate(
        self,
        rgbs: Sequence[np.ndarray],
        detections: Sequence[Detection],
        *,
        times: StageTimes | None = None,
    ) -> list[Pose]:
        """The joints of one infant per frame.

        Args:
            rgbs: frames ``(H, W, 3)`` uint8.
            detections: whom to look at, one per frame.
            times: where to count the stages' time.
        """
        times = StageTimes() if times is None else times
        if not rgbs:
            return []
        crops = [crop_from_box(d.bbox_xyxy, d.head_angle_deg, self.file.input_wh) for d in detections]
        look = self.look(rgbs, crops, times=times)
        with times.stage("joints"):
            return self._poses(look, crops, detections)

    def look(
        self, rgbs: Sequence[np.ndarray], crops: Sequence[CropTransform], *, times: StageTimes | None = None
    ) -> Look:
        """Every crop in every view, merged and decoded; at least one crop."""
        times = StageTimes() if times is None else times
        with times.stage("crop"):
            views = zip(*(self.tta.crops(crop) for crop in crops), strict=True)
            batch = _to_batch(
                [crop.warp(rgb) for view in views for crop, rgb in zip(view, rgbs, strict=True)]
            )
        with times.stage("pose"):
            heatmaps, view_peak = self._heatmaps(batch, len(crops))
        with times.stage("joints"):
            kpts_crop, peak = self.codec.decode(heatmaps)
            cov = self.codec.covariance(heatmaps, kpts_crop)
            return Look(kpts_crop, Evidence(peak, cov, self.codec.sigma_crop, view_peak))

    def _poses(
        self, look: Look, crops: Sequence[CropTransform], detections: Sequence[Detection]
    ) -> list[Pose]:
        calibration, evidence = self.calibration, look.evidence
        cov_crop, chances = evidence.cov_crop, [(None, None)] * len(crops)
        if calibration is not None:
            cov_crop = calibration.cov_crop(evidence)
            right, seen = calibration.probabilities(evidence), calibration.seen_probabilities(evidence)
            chances = list(zip(right, seen, strict=True))
        return [
            Pose(crop.to_frame(kpts), peak, detection, crop.cov_to_frame(cov), *chance)
            for crop, kpts, peak, detection, cov, chance in zip(
                crops, look.kpts_crop, evidence.peak, detections, cov_crop, chances, strict=True
            )
        ]

    def _heatmaps(self, batch: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Views of ``count`` crops, ``(V * count, 3, H, W)`` float32 RGB 0..255, view by view -> merged heatmaps.

        Returns:
            ``(count, K, h, w)`` in the plain crop, and ``(count, K)`` the mean of the single maps' peaks.
        """
        given = len(batch)
        if self.tta.flip:
            batch = np.concatenate([batch, batch[..., ::-1]])
        raw = self.backend.run(batch)
        _require_output(self.file, raw, (len(batch), len(self.skeleton), *self.file.heatmap_wh[::-1]))
        heatmaps, peaks = raw, raw.max(axis=(-2, -1)).astype(np.float64)
        if self.tta.flip:
            flip_map = self.skeleton.flip_map
            heatmaps = merge_flip(raw[:given], raw[given:], flip_map)
            peaks = (peaks[:given] + peaks[given:, flip_map]) / 2
        views = heatmaps.reshape(-1, count, *heatmaps.shape[1:])
        merged = merge_views(views, self.tta, self.file.input_wh, self.file.heatmap_wh, self.file.sigma)
        return merged, peaks.reshape(-1, count, peaks.shape[1]).mean(axis=0)


def estimate_poses(
    frames: Iterable[Frame],
    detector: Detector,
    pose_model: PoseModel,
    *,
    refine: bool = True,
    batch: int = BATCH,
    times: StageTimes | None = None,
    track: bool = False,
) -> Iterator[tuple[FrameResult, np.ndarray]]:
    """The infant's joints in every frame, as the frames come.

    Where several infants are seen the one with the best score is posed and ``infants`` holds their number.

    Args:
        frames: (index, t_s, rgb) in order; consumed a few at a time.
        refine: look again with the crop that the first skeleton asks for (:mod:`heightpose.runtime.refine`).
        batch: frames per call of the networks.
        times: where to count the stages' time.
        track: the frames are one clip of one camera: let the last skeleton say where to look
            (:mod:`heightpose.runtime.track`). ``infants`` is then that of the last frame the detector saw.

    Yields:
        (result, rgb) for every frame given, in order; ``result.pose`` is None where no infant was found.
    """
    times = StageTimes() if times is None else times
    looker = _Looker(detector, pose_model, refine, times)
    keys, guide = KeyFrames(), None
    track = track and refine and pose_model.skeleton.names == INFANT.names
    for group in _groups(frames, batch):
        are_keys = [not track or keys.is_key(frame) for frame in group]
        rgbs = [frame.rgb for frame in group]
        seen = looker.anew(rgbs, [i for i, key in enumerate(are_keys) if key])
        if track:
            made = [Guide.after(*seen[i]) for i, key in enumerate(are_keys) if key]
            guides = guides_of(are_keys, made, guide)
            seen |= looker.followed(rgbs, {i: g for i, g in enumerate(guides) if not are_keys[i]})
            guide = guides[-1]
        times.frames += len(group)
        for i, frame in enumerate(group):
            pose, infants = seen[i]
            yield FrameResult(frame.index, frame.t_s, pose, infants), frame.rgb


#: An infant's skeleton, None where none is there, and how many infants the detector saw.
Seen = tuple[Pose | None, int]


@dataclass(frozen=True)
class _Looker:
    """Looks at some frames of a group; results by their place in it."""

    detector: Detector
    pose_model: PoseModel
    refine: bool
    times: StageTimes

    def anew(self, rgbs: Sequence[np.ndarray], which: Sequence[int]) -> dict[int, Seen]:
        """By detector and pose net."""
        if not which:
            return {}
        with self.times.stage("detect"):
            found = dict(zip(which, self.detector.detect([rgbs[i] for i in which]), strict=True))
        there = [i for i in which if found[i]]
        pictures = [rgbs[i] for i in there]
        poses = self.pose_model.estimate(pictures, [found[i][0] for i in there], times=self.times)
        if self.refine and poses:
            poses = second_look(self.pose_model, pictures, poses, times=self.times)
        posed = dict(zip(there, poses, strict=True))
        return {i: (posed.get(i), len(found[i])) for i in which}

    def followed(self, rgbs: Sequence[np.ndarray], guides: Mapping[int, Guide | None]) -> dict[int, Seen]:
        """Where the last skeleton was; anew where that is not known or turns out wrong."""
        held = {i: guide for i, guide in guides.items() if guide is not None}
        pictures = [rgbs[i] for i in held]
        poses = self.pose_model.estimate(pictures, [g.detection for g in held.values()], times=self.times)
        posed = dict(zip(held, poses, strict=True))
        lost = [i for i in guides if i not in held or held[i].lost(posed[i])]
        moved = [i for i in held if i not in lost and not held[i].fits(posed[i])]
        if moved:
            again = own_look(
                self.pose_model, [rgbs[i] for i in moved], [posed[i] for i in moved], times=self.times
            )
            posed.update(zip(moved, again, strict=True))
        seen: dict[int, Seen] = {i: (posed[i], guide.infants) for i, guide in held.items()}
        return seen | self.anew(rgbs, lost)


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
