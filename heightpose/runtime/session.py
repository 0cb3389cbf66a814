"""One clip, from its first frame to its measurement: what ``infer`` and ``eval`` both run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np

from heightpose.errors import FileFormatError
from heightpose.geometry import body
from heightpose.geometry.camera import Camera
from heightpose.geometry.plane import Plane, PlaneError, plane_from_corners, plane_from_tags
from heightpose.geometry.sheet import SheetLayout, TagView, detect_tags
from heightpose.runtime.clip import Clip, Frame
from heightpose.runtime.interrupt import Interrupt
from heightpose.runtime.pipeline import Detector, PoseModel, StageTimes, estimate_poses
from heightpose.runtime.poselog import PoseLog, Thinned
from heightpose.skeleton import INFANT
from heightpose.types import FrameResult, Measurement, Reason

#: Frames in which the sheet's tags are looked for, spread over the clip. Each costs as much as ten poses, and
#: on a nursery clip the height is the same to 0.01 cm from 1 frame or 12: several are for hidden tags only.
TAG_FRAMES = 6
#: A longer clip is measured from an even sample of at most that many frames: memory stays flat.
MEASURE_FRAMES = 3000
#: What the unknown tilt of a camera that is only said to look straight down adds to the length, relative
#: (1 sd): seen at a tilt t, lengths shrink by cos t to cos^2 t, 1.5 to 3 % at 10 degrees.
_HEIGHT_ONLY_SD = 0.03
#: The same where the mattress's corners were marked by hand: they are good to about half a centimetre on the round
#: edge of a mattress, whose nominal size is good to about one.
_CORNERS_SD = 0.01
_Z90 = 1.6449


@dataclass(frozen=True, eq=False)
class MattressCorners:
    """Four marked corners of a mattress; they become a plane once the clip's own camera is known.

    Attributes:
        kpts_frame: ``(4, 2)`` px of the clip's frames as decoded, in turn, from any corner on, in either sense.
        size_cm: (across, along) the cot.
    """

    kpts_frame: np.ndarray
    size_cm: tuple[float, float]


@dataclass(frozen=True)
class Scale:
    """What turns pixels into centimetres; any part may be missing.

    Attributes:
        camera: the camera file's content, for the picture as stored.
        sheet: layout of the printed sheet.
        plane: the mattress plane, stored or from the camera's height; where there is one the sheet is not
            looked for.
        corners: the mattress's corners in the picture; used before the sheet.
    """

    camera: Camera | None = None
    sheet: SheetLayout | None = None
    plane: Plane | None = None
    corners: MattressCorners | None = None

    def missing(self) -> Reason | None:
        """Why these parts are not enough for a length, or None when they are."""
        if self.plane is None and self.sheet is None and self.corners is None:
            return Reason(
                "no_scale",
                "Nothing says how large the picture is. Lay the printed sheet under the infant and give its "
                "file with --sheet, or give --plane, --corners with --size, or --camera-height-cm, together with a "
                "--camera file.",
            )
        if self.camera is None:
            return Reason(
                "no_camera",
                "The camera is not known, so pixels cannot be turned into centimetres. "
                "Give its calibration file with --camera.",
            )
        return None


@dataclass
class Outcome:
    """All that is known after one clip.

    Attributes:
        measurement: length or reasons.
        log: every decoded frame's result.
        plane: the mattress plane used, if any.
        camera: the camera for the decoded frames, if given.
        interrupted: the clip was not read to its end because the user stopped it.
        best: the frame shown best, (result, rgb), for the preview; the first frame when no infant was found.
    """

    measurement: Measurement
    log: PoseLog
    plane: Plane | None
    camera: Camera | None
    times: StageTimes
    interrupted: bool = False
    best: tuple[FrameResult, np.ndarray] | None = None
    measure_s: float = 0.0


def measure_clip(
    clip: Clip,
    detector: Detector,
    pose_model: PoseModel,
    scale: Scale,
    *,
    every: int = 1,
    interrupt: Interrupt | None = None,
    watch: Callable[[FrameResult, np.ndarray], None] | None = None,
) -> Outcome:
    """Read a clip once and measure the infant in it.

    Args:
        every: look at frames 0, every, 2 * every, ...; the others are decoded and listed only.
        interrupt: asked after each frame whether to stop.
        watch: called with each result and its frame, in order (progress, a live overlay).

    Raises:
        FileFormatError: the camera file does not fit the clip, or the pose model lacks joints of the infant
        skeleton. InputError: a picture of a folder cannot be used.
    """
    if pose_model.skeleton.names != INFANT.names:
        raise FileFormatError(
            "this model does not give the joints that a length needs",
            where=pose_model.file.path,
            expected=f"the {len(INFANT)} joints of the infant skeleton",
            got=f"{len(pose_model.skeleton)} joints",
        )
    camera = None if scale.camera is None else scale.camera.for_frames(clip.size_wh, clip.rotation_deg)
    times, log, best = StageTimes(), PoseLog(len(INFANT)), _Best()
    tags = _tag_views(clip, scale, every)
    interrupted = False
    frames = _looked_at(log.note(clip.frames()), every)
    for result, rgb in estimate_poses(frames, detector, pose_model, times=times):
        log.add(result)
        best.offer(result, rgb)
        if scale.sheet is not None and tags is not None:
            with times.stage("tags"):
                gray = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY) if tags.wants_next else None
                tags.add(detect_tags(gray, scale.sheet) if gray is not None else None)
        if watch is not None:
            watch(result, rgb)
        if interrupt is not None and interrupt.requested:
            interrupted = True
            break
    start = time.perf_counter()
    plane, trouble = _solve_plane(scale, camera, tags)
    measurement = measure_log(log, camera, plane, trouble)
    return Outcome(
        measurement, log, plane, camera, times, interrupted, best.kept, time.perf_counter() - start
    )


def measure_log(
    log: PoseLog,
    camera: Camera | None,
    plane: Plane | None,
    trouble: Reason | None = None,
    before: int | None = None,
) -> Measurement:
    """Measure from the frames seen so far.

    Args:
        trouble: why there is no scale; the clip is then rejected with it.
        before: only use frames with a smaller index.
    """
    looked_at = log.looked_at(before)
    total = len(looked_at)
    frames = [log[i] for i in looked_at[:: max(1, -(-total // MEASURE_FRAMES))]]
    reasons = [] if trouble is None else [trouble]
    if not any(frame.pose is not None for frame in frames):
        reasons.append(body.reason("no_infant"))
    if reasons or camera is None or plane is None:
        return Measurement.rejected(reasons, frames_total=total)
    measurement = body.measure(frames, camera, plane)
    if len(frames) < total:
        details = {**measurement.details, "frames_sampled": len(frames)}
        measurement = replace(measurement, frames_total=total, details=details)
    more = {"height": _HEIGHT_ONLY_SD, "corners": _CORNERS_SD}.get(plane.source)
    return measurement if more is None else _widened(measurement, more)


def _widened(measurement: Measurement, sd: float) -> Measurement:
    """The interval of a length whose plane is only sure to ``sd``, relative: the camera's tilt, or marked corners."""
    if measurement.length_cm is None or measurement.interval_cm is None:
        return measurement
    more = _Z90 * sd * measurement.length_cm
    low, high = (
        measurement.length_cm + sign * float(np.hypot(end - measurement.length_cm, more))
        for sign, end in zip((-1, 1), measurement.interval_cm, strict=True)
    )
    return replace(measurement, interval_cm=(low, high))


def _looked_at(frames: Iterable[Frame], every: int) -> Iterator[Frame]:
    return (frame for frame in frames if frame.index % every == 0)


def _tag_views(clip: Clip, scale: Scale, every: int) -> Thinned[TagView] | None:
    """Where tag views gather: every n-th frame if the length is known, else thinned on the way."""
    if scale.sheet is None or scale.camera is None or scale.plane is not None or scale.corners is not None:
        return None
    expected = (clip.length_hint or 0) // every
    return Thinned(TAG_FRAMES, max(1, -(-expected // TAG_FRAMES)))


def _solve_plane(
    scale: Scale, camera: Camera | None, tags: Thinned[TagView] | None
) -> tuple[Plane | None, Reason | None]:
    if tags is not None and camera is not None and scale.sheet is not None:
        try:
            return plane_from_tags(tags.items, camera, scale.sheet), None
        except PlaneError as error:
            return None, error.reason
    if scale.corners is not None and camera is not None and scale.plane is None:
        try:
            return plane_from_corners(scale.corners.kpts_frame, scale.corners.size_cm, camera), None
        except PlaneError as error:
            return None, error.reason
    missing = scale.missing()
    return (scale.plane if missing is None else None), missing


class _Best:
    """Keeps one frame: the one whose least certain height joint is the most certain."""

    def __init__(self) -> None:
        self.kept: tuple[FrameResult, np.ndarray] | None = None
        self._score = -2.0

    def offer(self, result: FrameResult, rgb: np.ndarray) -> None:
        score = -1.0 if result.pose is None else float(result.pose.scores[INFANT.height_joints].min())
        if score > self._score:
            self._score, self.kept = score, (result, rgb)
