"""The two loaded networks, detector and pose net: pictures and crops in, infants and joints in frame pixels out.

What they are asked, frame by frame, is the business of :mod:`heightpose.runtime.pipeline`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import cv2
import numpy as np

from heightpose.codec import detection as detection_codec
from heightpose.codec.confidence import (
    FINE,
    Calibration,
    Evidence,
    calibration_path,
    load_calibrations,
    weights_hash,
)
from heightpose.codec.heatmap import DARK, HeatmapCodec, merge_flip
from heightpose.errors import FileFormatError
from heightpose.geometry.crop import CropTransform, crop_from_box, letterbox_transform
from heightpose.runtime.backends import Backend, load_backend
from heightpose.runtime.closer import part_around, together
from heightpose.runtime.cover import Cover
from heightpose.runtime.exposure import brightened
from heightpose.runtime.modelfile import ModelFile, find_model
from heightpose.runtime.times import StageTimes
from heightpose.runtime.tta import FLIP, Tta, merge_views
from heightpose.skeleton import INFANT, Skeleton
from heightpose.types import Detection, Pose, wrap_degrees

#: Heatmaps are taught Gaussians of height 1. Beyond this the file or the runtime is broken, as OpenVINO 2026.4 is with
#: several streams and weights in bytes; joints would be read all the same.
_HIGHEST_PEAK = 10.0


@dataclass(frozen=True)
class Detector:
    """Finds infants: box and head direction, in frame pixels.

    A picture whose answer is not plain to see (:func:`heightpose.codec.detection.decode_and_judge`) is looked at
    mirrored too, and the two maps are averaged.

    Attributes:
        mirror: False leaves the mirrored look out, for a net that never saw a mirrored picture.
    """

    backend: Backend
    file: ModelFile
    threshold: float = detection_codec.THRESHOLD
    mirror: bool = True

    @classmethod
    def load(cls, model: str = "detector", backend: str = "auto", **options: object) -> Detector:
        """Load by path, or the shipped one. Errors of :func:`load_backend`, or the wrong kind of model."""
        loaded, file = load_backend(find_model(model), backend, **options)  # type: ignore[arg-type]
        _require_kind(file, "detector")
        return cls(loaded, file)

    def detect(self, rgbs: Sequence[np.ndarray]) -> list[list[Detection]]:
        """The infants in each frame ``(H, W, 3)`` uint8, best first; small ones are looked at closer."""
        found = self._looked(rgbs)
        parts = {i: part_around(rgbs[i], those[0]) for i, those in enumerate(found) if those}
        near = {i: part for i, part in parts.items() if part is not None}
        closer = self._looked([picture for picture, _ in near.values()])
        for (i, (_, corner)), those in zip(near.items(), closer, strict=True):
            offset = np.array([*corner, *corner], dtype=np.float64)
            found[i] = together(found[i], [replace(d, bbox_xyxy=d.bbox_xyxy + offset) for d in those])
        return found

    def _looked(self, rgbs: Sequence[np.ndarray]) -> list[list[Detection]]:
        """What one look at each whole picture finds, best first."""
        if not rgbs:
            return []
        boxes = [letterbox_transform((rgb.shape[1], rgb.shape[0]), self.file.input_wh) for rgb in rgbs]
        pictures = [brightened(box.warp(rgb)) for box, rgb in zip(boxes, rgbs, strict=True)]
        maps = self._maps(pictures)
        judged = [detection_codec.decode_and_judge(one, self.threshold) for one in maps]
        found = [those for those, _ in judged]
        doubtful = [i for i, (_, plain) in enumerate(judged) if self.mirror and not plain]
        if doubtful:
            mirrored = self._maps([_mirrored(pictures[i]) for i in doubtful])
            merged = detection_codec.merge_mirror(maps[doubtful], mirrored)
            for i, one in zip(doubtful, merged, strict=True):
                found[i] = detection_codec.decode(one, self.threshold)
        return [
            _to_frame(those, box, (rgb.shape[1], rgb.shape[0]))
            for those, box, rgb in zip(found, boxes, rgbs, strict=True)
        ]

    def _maps(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        maps = self.backend.run(_to_batch(pictures))
        _require_output(
            self.file, maps, (len(pictures), detection_codec.CHANNELS, *detection_codec.MAP_WH[::-1])
        )
        return maps


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
        cover: tells which crowns and heels are covered, of poses with probabilities; None for another skeleton.
        calibration_sha256: of the file that the calibrations are from; empty without any.
    """

    backend: Backend
    file: ModelFile
    codec: HeatmapCodec
    skeleton: Skeleton
    tta: Tta = FLIP
    calibrations: Mapping[str, Calibration] = field(default_factory=dict)
    cover: Cover | None = None
    calibration_sha256: str = ""

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
        calibrated_by = weights_hash(calibration_path(file.path)) if found else ""
        cover = Cover.load(backend, **options) if found and skeleton.names == INFANT.names else None
        return cls(loaded, file, codec, skeleton, views, found, cover, calibrated_by)

    def require_infant_joints(self, purpose: str) -> None:
        """Raises FileFormatError where the net does not give the joints that ``purpose``, "a length needs" say."""
        if self.skeleton.names != INFANT.names:
            raise FileFormatError(
                f"this model does not give the joints that {purpose}", where=self.file.path,
                expected=f"the {len(INFANT)} joints of the infant skeleton",
                got=f"{len(self.skeleton)} joints",
            )  # fmt: skip

    @property
    def fine(self) -> PoseModel | None:
        """The same network with a larger input for infants who are seen in more detail than its own input holds; None
        where its file names no such size. Fully convolutional nets take any; with its own calibrations, else these."""
        file = self.file.at_fine()
        if file is None:
            return None
        own = {name.removesuffix(FINE): c for name, c in self.calibrations.items() if name.endswith(FINE)}
        codec = replace(self.codec, input_wh=file.input_wh, heatmap_wh=file.heatmap_wh)
        return replace(self, file=file, codec=codec, calibrations=own or self.calibrations)

    def crop_of(self, detection: Detection) -> CropTransform:
        """The head-up crop of an infant at the net's input size."""
        return crop_from_box(detection.bbox_xyxy, detection.head_angle_deg, self.file.input_wh)

    def loses_detail(self, detection: Detection) -> bool:
        """Whether the crop has fewer pixels than the frame there."""
        return self.crop_of(detection).scale < 1.0

    @property
    def calibration(self) -> Calibration | None:
        """The calibration for the views in use, else that of the mirror image or of one look, if there is one.

        More views than were fitted make joints no worse; without any calibration errors look four times too large.
        """
        own = self.calibrations.get(str(self.tta))
        return self.calibrations.get(self._nearest_views) if own is None else own

    @property
    def _nearest_views(self) -> str:
        return "flip" if self.tta.flip else "none"

    @property
    def score_meaning(self) -> str:
        """What the reported score of a joint is, for a person."""
        if str(self.tta) in self.calibrations:
            return "joint scores are calibrated probabilities"
        if self.calibration is not None:
            return f"joint scores are probabilities by the calibration for --tta {self._nearest_views}"
        what = "joint scores are raw peaks, not probabilities, and most clips are refused as uncertain"
        return f"these weights have no calibration: {what} (heightpose eval confidence makes one)"

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
        crops = [self.crop_of(detection) for detection in detections]
        look = self.look(rgbs, crops, times=times)
        with times.stage("joints"):
            return self._poses(look, crops, detections)

    def estimate_finely(
        self,
        rgbs: Sequence[np.ndarray],
        detections: Sequence[Detection],
        *,
        times: StageTimes | None = None,
    ) -> list[Pose]:
        """As :meth:`estimate`, with the finer input (:attr:`fine`) for those whose crop loses detail."""
        fine = self.fine
        if fine is None:
            return self.estimate(rgbs, detections, times=times)
        finely = [self.loses_detail(detection) for detection in detections]
        poses: dict[int, Pose] = {}
        for model, wanted in ((self, False), (fine, True)):
            which = [i for i, one in enumerate(finely) if one is wanted]
            found = model.estimate([rgbs[i] for i in which], [detections[i] for i in which], times=times)
            poses |= dict(zip(which, found, strict=True))
        return [poses[i] for i in range(len(detections))]

    def look(
        self, rgbs: Sequence[np.ndarray], crops: Sequence[CropTransform], *, times: StageTimes | None = None
    ) -> Look:
        """Every crop in every view, merged and decoded; at least one crop."""
        times = StageTimes() if times is None else times
        with times.stage("crop"):
            views = zip(*(self.tta.crops(crop) for crop in crops), strict=True)
            pictures = [
                brightened(crop.warp(rgb)) for view in views for crop, rgb in zip(view, rgbs, strict=True)
            ]
            if self.tta.flip:
                pictures += [_mirrored(picture) for picture in pictures]
            batch = _to_batch(pictures)
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
        """Views of ``count`` crops, ``(V * count, 3, H, W)`` float32 RGB 0..255, view by view; with ``flip`` the mirror
        images of them all come after them -> merged heatmaps.

        Returns:
            ``(count, K, h, w)`` in the plain crop, and ``(count, K)`` the mean of the single maps' peaks.

        Raises:
            FileFormatError: maps of another shape than the metadata say, or far out of range.
        """
        raw = self.backend.run(batch)
        _require_output(self.file, raw, (len(batch), len(self.skeleton), *self.file.heatmap_wh[::-1]))
        heatmaps, peaks = raw, raw.max(axis=(-2, -1)).astype(np.float64)
        if self.codec.decoder == DARK and len(peaks) and peaks.max() > _HIGHEST_PEAK:
            raise FileFormatError(
                "the network's heatmaps are far out of range", where=self.file.path, expected="peaks of about 1",
                got=f"{peaks.max():.3g}", hint="Use an intact model file, or another --backend",
            )  # fmt: skip
        if self.tta.flip:
            flip_map, given = self.skeleton.flip_map, len(batch) // 2
            heatmaps = merge_flip(raw[:given], raw[given:], flip_map)
            peaks = (peaks[:given] + peaks[given:, flip_map]) / 2
        views = heatmaps.reshape(-1, count, *heatmaps.shape[1:])
        merged = merge_views(views, self.tta, self.file.input_wh, self.file.heatmap_wh, self.file.sigma)
        return merged, peaks.reshape(-1, count, peaks.shape[1]).mean(axis=0)


def _mirrored(picture: np.ndarray) -> np.ndarray:
    """``(H, W, 3)`` uint8, left and right swapped."""
    return cv2.flip(picture, 1)


def _to_batch(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """``(H, W, 3)`` uint8 each -> ``(N, 3, H, W)`` float32, 0..255."""
    return np.array([cv2.split(picture) for picture in pictures], dtype=np.float32)


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
