"""The result files of one clip, each written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Any

import cv2
import numpy as np

from heightpose.errors import InputError
from heightpose.geometry.in_view import seen_of
from heightpose.metrics.who import rounded_percentile
from heightpose.runtime.atomic import atomic_path, cannot_write
from heightpose.runtime.poselog import PoseLog
from heightpose.skeleton import Skeleton
from heightpose.types import FrameResult, Measurement, Reason, direction_deg
from heightpose.words import valid_unicode


def height_document(
    measurement: Measurement,
    *,
    decoded: int,
    z_score: float | None = None,
    percentile: float | None = None,
    interrupted: bool = False,
    extra: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """The content of height.json; see docs/formats.md for each field.

    Args:
        decoded: frames decoded; ``measurement.frames_total`` counts those that were looked at.
        extra: further top-level fields, plain JSON values.
    """
    length, *interval = measurement.reported_cm or (None,)
    document: dict[str, Any] = {
        "status": measurement.status,
        "reasons": [reason.as_dict() for reason in measurement.reasons],
        "length_cm": length,
        "interval_cm": interval or None,
        "interval_level": measurement.interval_level,
        "frames": {
            "total": measurement.frames_total,
            "used": measurement.frames_used,
            "decoded": decoded,
        },
        "z_score": _rounded(z_score, 2),
        "percentile": None if percentile is None else rounded_percentile(percentile),
    }
    if interrupted:
        document["interrupted"] = True
    document.update(extra or {})
    document["details"] = plain(measurement.details)
    return document


def measurement_in(document: Mapping[str, Any]) -> Measurement:
    """The answer of a height.json, without its details.

    Raises:
        KeyError, TypeError, ValueError: it is none of ours.
    """
    frames, interval = document["frames"], document["interval_cm"]
    return Measurement(
        document["length_cm"],
        None if interval is None else (interval[0], interval[1]),
        frames["total"],
        frames["used"],
        tuple(Reason(reason["code"], reason["text"]) for reason in document["reasons"]),
        document["interval_level"],
    )


def write_poses(path: Path, log: PoseLog, skeleton: Skeleton) -> None:
    """poses.json, one line per frame, streamed: an hour of frames is never one string.

    ``score`` says what the keypoints' third number is: a calibrated probability or the heatmap's raw peak.
    """
    with atomic_path(path) as tmp, tmp.open("w", encoding="utf-8") as file:
        file.write('{"joints": ' + json.dumps(list(skeleton.names)))
        file.write(f',\n"score": "{"probability" if log.calibrated else "peak"}",\n"frames": [')
        for index in range(len(log)):
            document = frame_document(log[index], skeleton)
            if not log.looked(index):
                document["skipped"] = True
            _line(file, document, first=index == 0)
        file.write("\n]}\n")


def frame_document(result: FrameResult, skeleton: Skeleton) -> dict[str, Any]:
    """One entry of poses.json's ``frames``: original-frame pixels, null where no infant was found.

    ``cov`` and ``seen`` are there where the pose has them.
    """
    document: dict[str, Any] = {
        "index": result.index,
        "t_s": round(result.t_s, 6),
        "infants": result.infants,
        "bbox_xyxy": None,
        "head_angle_deg": None,
        "keypoints": None,
    }
    pose = result.pose
    if pose is not None:
        table = np.column_stack([pose.kpts_frame, pose.reported_scores])
        document["bbox_xyxy"] = [round(float(v), 2) for v in pose.bbox_xyxy]
        document["head_angle_deg"] = round(head_angle_deg(result, skeleton), 2)
        document["keypoints"] = [[round(x, 3), round(y, 3), round(s, 4)] for x, y, s in table.tolist()]
        if pose.cov_frame is not None:
            document["cov"] = [[float(f"{v:.4g}") for v in row] for row in pose.cov_frame.tolist()]
        if (seen := seen_of(pose)) is not None:
            document["seen"] = [round(v, 3) for v in seen.tolist()]
    return document


def head_angle_deg(result: FrameResult, skeleton: Skeleton) -> float:
    """Image direction from pelvis to crown: 0 up, positive clockwise, (-180, 180].

    From the joints; the detector's own estimate where they coincide or the skeleton lacks them.
    """
    pose = result.pose
    if pose is None:
        raise ValueError("a frame without a pose has no head direction")
    if {"pelvis", "crown"} <= set(skeleton.names):
        pelvis, crown = pose.kpts_frame[skeleton.indices("pelvis", "crown")]
        dx, dy = crown - pelvis
        if math.hypot(dx, dy) > 1e-6:
            return direction_deg(dx, dy)
    return pose.detection.head_angle_deg


def write_picture(path: Path, rgb: np.ndarray) -> None:
    """A picture ``(H, W, 3)`` uint8 RGB in the format that the path's suffix names, one that OpenCV writes."""
    ok, data = cv2.imencode(path.suffix, cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    if not ok:
        raise cannot_write(path, OSError("the picture could not be encoded"))
    with atomic_path(path) as tmp:
        tmp.write_bytes(data.tobytes())


def sha256(paths: Iterable[Path]) -> str:
    """SHA-256 over the files' contents, in order; with several, over their names too.

    Raises:
        InputError: a file is gone or cannot be read any more.
    """
    files = list(paths)
    digest = hashlib.sha256()
    for path in files:
        if len(files) > 1:
            digest.update(os.fsencode(path.name) + b"\0")
        try:
            with path.open("rb") as file:
                while chunk := file.read(1 << 20):
                    digest.update(chunk)
        except OSError as error:
            raise InputError(f"cannot be read any more: {error.strerror}", where=path) from error
    return digest.hexdigest()


def plain(value: Any) -> Any:
    """The same value in plain JSON types: numpy's become Python's, NaN and infinity become null.

    Text, also of a file's name that is not UTF-8, is valid Unicode (:func:`heightpose.words.valid_unicode`).
    """
    if isinstance(value, dict):
        return {valid_unicode(str(key)): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        return valid_unicode(value)
    if value is None or isinstance(value, (bool, int)):
        return value
    return valid_unicode(str(value))


def _line(file: IO[str], document: dict[str, Any], *, first: bool) -> None:
    file.write(("\n" if first else ",\n") + json.dumps(document, allow_nan=False))


def _rounded(value: float | None, digits: int) -> float | None:
    # Adding 0.0 makes 0.0 of -0.0, which would be written as it is.
    return None if value is None else round(float(value), digits) + 0.0
