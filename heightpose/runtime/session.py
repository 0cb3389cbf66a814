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
from heightpose.geometry.plane_track import IndexedView, PlaneTrack, stretches_of, track_from_tags
from heightpose.geometry.selfcal import SelfCalibration, self_calibrate
from heightpose.geometry.sheet import SheetLayout, detect_tags
from heightpose.runtime.clip import Clip, Frame
from heightpose.runtime.interrupt import Interrupt
from heightpose.runtime.pipeline import Detector, PoseModel, StageTimes, estimate_poses
from heightpose.runtime.poselog import PoseLog, Thinned
from heightpose.skeleton import INFANT
from heightpose.types import FrameResult, Measurement, Reason

#: Frames in which the sheet's tags are looked for, spread over the clip. Each costs as much as ten poses, and
#: on a nursery clip the height is the same to 0.01 cm from 1 frame or 12: several are for hidden tags only.
TAG_FRAMES = 6
#: The same, on a second reading, of a clip whose tags show that the camera moved.
MOVING_TAG_FRAMES = 64
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
        height_cm: the camera's measured height; with a sheet and no camera file it makes up for what the sheet does
            not tell of the lens.
    """

    camera: Camera | None = None
    sheet: SheetLayout | None = None
    plane: Plane | None = None
    corners: MattressCorners | None = None
    height_cm: float | None = None

    @property
    def uses_tags(self) -> bool:
        """Whether the sheet's tags have to be found."""
        return self.sheet is not None and self.plane is None and self.corners is None

    def missing(self) -> Reason | None:
        """Why these parts are not enough for a length, or None when they are."""
        if self.plane is None and self.sheet is None and self.corners is None:
            return Reason(
                "no_scale",
                "Nothing says how large the picture is. Lay the printed sheet under the infant and give its "
                "file with --sheet, or give --plane, --corners with --size, or --camera-height-cm, together with a "
                "--camera file.",
            )
        if self.camera is None and not self.uses_tags:
            return Reason(
                "no_camera",
                "The camera is not known, so pixels cannot be turned into centimetres. "
                "Give its calibration file with --camera, or lay the printed sheet under the infant and give its "
                "file with --sheet: seen from a tilted camera it tells the lens too.",
            )
        return None


@dataclass
class Outcome:
    """All that is known after one clip.

    Attributes:
        measurement: length or reasons.
        log: every decoded frame's result.
        plane: the mattress plane used, if any; where the camera moved, the one seen longest.
        camera: the camera for the decoded frames, given or found.
        interrupted: the clip was not read to its end because the user stopped it.
        track: the planes of a clip whose camera moved.
        calibration: how the camera was found, where no file was given.
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
    track: PlaneTrack | None = None
    calibration: SelfCalibration | None = None

    @property
    def camera_source(self) -> str | None:
        """Where the camera comes from: "file", "self-calibrated", "height", or None without one."""
        if self.camera is None:
            return None
        return "file" if self.calibration is None else self.calibration.source


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
                tags.add((result.index, detect_tags(gray, scale.sheet)) if gray is not None else None)
        if watch is not None:
            watch(result, rgb)
        if interrupt is not None and interrupt.requested:
            interrupted = True
            break
    views = [] if tags is None else tags.items
    if scale.sheet is not None and not interrupted and not clip.live:
        with times.stage("tags"):
            views = _looked_again(clip, scale.sheet, log, views)
    start = time.perf_counter()
    solved = _solve(scale, camera, views, clip.size_wh)
    measurement = measure_log(log, solved.camera, solved.plane, solved.trouble)
    if solved.calibration is not None:
        measurement = _widened(measurement, solved.calibration.length_sd)
    track = solved.plane if isinstance(solved.plane, PlaneTrack) else None
    return Outcome(
        measurement,
        log,
        track.main if track is not None else solved.plane,  # type: ignore[arg-type]
        solved.camera,
        times,
        interrupted,
        best.kept,
        time.perf_counter() - start,
        track,
        solved.calibration,
    )


def measure_log(
    log: PoseLog,
    camera: Camera | None,
    plane: Plane | PlaneTrack | None,
    trouble: Reason | None = None,
    before: int | None = None,
) -> Measurement:
    """Measure from the frames seen so far.

    Args:
        plane: the mattress; of a track only the frames with a plane are used.
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
    moving = 0
    if isinstance(plane, PlaneTrack):
        placed = [frame for frame in frames if plane.at(frame.index) is not None]
        moving, frames = len(frames) - len(placed), placed
    measurement = body.measure(frames, camera, plane)
    details = dict(measurement.details)
    if isinstance(plane, PlaneTrack):
        details["camera_moved"] = {"stretches": len(plane.stretches), "frames_left_out": moving}
    if len(frames) + moving < total:
        details["frames_sampled"] = len(frames) + moving
    measurement = replace(measurement, frames_total=total, details=details)
    more = {"height": _HEIGHT_ONLY_SD, "corners": _CORNERS_SD}.get(_main(plane).source)
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


def _main(plane: Plane | PlaneTrack) -> Plane:
    return plane.main if isinstance(plane, PlaneTrack) else plane


def _tag_views(clip: Clip, scale: Scale, every: int) -> Thinned[IndexedView] | None:
    """Where tag views gather: every n-th frame if the length is known, else thinned on the way."""
    if not scale.uses_tags:
        return None
    expected = (clip.length_hint or 0) // every
    return Thinned(TAG_FRAMES, max(1, -(-expected // TAG_FRAMES)))


def _looked_again(
    clip: Clip, sheet: SheetLayout, log: PoseLog, views: list[IndexedView]
) -> list[IndexedView]:
    """The tags of many more frames where the first look shows that the camera moved, else what there is."""
    if len(stretches_of(views, clip.size_wh)) < 2:
        return views
    looked_at = log.looked_at()
    chosen = {looked_at[i] for i in np.linspace(0, len(looked_at) - 1, MOVING_TAG_FRAMES).round().astype(int)}
    found = dict(views)
    for frame in clip.frames():
        if frame.index >= len(log):
            break
        if frame.index in chosen and frame.index not in found:
            found[frame.index] = detect_tags(cv2.cvtColor(frame.rgb, cv2.COLOR_RGB2GRAY), sheet)
    return sorted(found.items())


@dataclass(frozen=True)
class _Solved:
    """Camera and plane for the clip, or the trouble with them."""

    camera: Camera | None = None
    plane: Plane | PlaneTrack | None = None
    trouble: Reason | None = None
    calibration: SelfCalibration | None = None


def _solve(
    scale: Scale, camera: Camera | None, views: list[IndexedView], size_wh: tuple[int, int]
) -> _Solved:
    missing = scale.missing()
    if missing is not None:
        return _Solved(camera, trouble=missing)
    try:
        if scale.plane is not None:
            return _Solved(camera, scale.plane)
        if scale.corners is not None and camera is not None:
            plane = plane_from_corners(scale.corners.kpts_frame, scale.corners.size_cm, camera)
            return _Solved(camera, plane)
        assert scale.sheet is not None
        runs = stretches_of(views, size_wh)
        calibration = None
        if camera is None:  # from the longest stretch: the lens stays the same
            longest = [view for _, view in max(runs, key=len)] if runs else []
            calibration = self_calibrate(longest, scale.sheet, size_wh, scale.height_cm)
            camera = calibration.camera
        if len(runs) > 1:
            return _Solved(camera, track_from_tags(runs, camera, scale.sheet), None, calibration)
        plane = plane_from_tags([view for _, view in views], camera, scale.sheet)
        return _Solved(camera, plane, None, calibration)
    except PlaneError as error:
        return _Solved(camera, trouble=error.reason)


class _Best:
    """Keeps one frame: the one whose least certain height joint is the most certain."""

    def __init__(self) -> None:
        self.kept: tuple[FrameResult, np.ndarray] | None = None
        self._score = -2.0

    def offer(self, result: FrameResult, rgb: np.ndarray) -> None:
        score = -1.0 if result.pose is None else float(result.pose.scores[INFANT.height_joints].min())
        if score > self._score:
            self._score, self.kept = score, (result, rgb)
