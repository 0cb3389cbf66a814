"""One clip, from its first frame to its measurement: what ``infer`` and ``eval`` both run."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from heightpose.errors import InputError
from heightpose.geometry import body
from heightpose.geometry.camera import Camera
from heightpose.geometry.corners import plane_from_corners
from heightpose.geometry.plane import Plane, PlaneError, plane_from_tags, require_one_sheet
from heightpose.geometry.plane_check import PlaneCheck, check_plane
from heightpose.geometry.plane_track import IndexedView, PlaneTrack, stretches_of, track_from_tags
from heightpose.geometry.selfcal import MOST_HEIGHT_OFF_CM, SelfCalibration, self_calibrate
from heightpose.geometry.sheet import SheetLayout, TagView
from heightpose.runtime.clip import Clip, Frame
from heightpose.runtime.interrupt import Stop
from heightpose.runtime.light import Light
from heightpose.runtime.networks import Detector, PoseModel
from heightpose.runtime.pipeline import estimate_poses
from heightpose.runtime.poselog import PoseLog
from heightpose.runtime.scale import MattressCorners, Scale
from heightpose.runtime.selection import Selection
from heightpose.runtime.sheet_looks import SheetLooks, looked_again
from heightpose.runtime.stages import NETWORKS_S, Beside, ahead, depth_for
from heightpose.runtime.times import StageTimes
from heightpose.skeleton import INFANT
from heightpose.types import FrameResult, Measurement, Pose, Reason

log_to = logging.getLogger("heightpose")

#: Kinds of clips whose frames follow each other closely enough for the last skeleton to guide the next look.
_MOVING_PICTURES = ("video", "stream")
#: A longer clip is measured from an even sample of that many frames, so that memory stays flat: twenty seconds of
#: frames that hardly differ from their neighbours, or as many spread over an hour.
MEASURE_FRAMES = 500
#: What the unknown tilt of a camera that is only said to look straight down adds to the length, relative
#: (1 sd, below and above): seen at a tilt t, lengths shrink by cos t to cos^2 t, 3 to 7 % at the capture protocol's 15
#: degrees, and never grow.
_HEIGHT_ONLY_SD = (0.03, 0.06)
#: The same where the mattress's corners were marked by hand: they are good to about half a centimetre on the round
#: edge of a mattress, whose nominal size is good to about one. Where they miss its shape by more, so much more: the
#: pose's own standard deviation, twice, as 6 of the corners' 8 numbers were fitted.
_CORNERS_SD, _CORNERS_FREEDOM = 0.01, 2.0

__all__ = ["MattressCorners", "Outcome", "Scale", "StoppedBeforeError", "measure_clip", "measure_log"]
_MIRRORED = Reason(
    "picture_mirrored",
    "The picture is mirrored, as a selfie camera shows it: the printed sheet can only be read in its mirror image, and "
    "no length can be given. Please turn the mirroring off and record again.",
)


class StoppedBeforeError(Exception):
    """The user stopped before the first frame was looked at: nothing can be said of the clip."""


_MOVED_WITH_INFANT = Reason(
    "camera_moved",
    "The camera moved, and where it stood still the infant was not seen. Please fix it in place above the cot and "
    "record again.",
)
#: So far beyond the sheet's edge an infant may lie, cm: beside a small sheet, but not on a lap, the floor or a bed next
#: to the cot, whose plane the sheet does not tell.
_BESIDE_SHEET_CM = 40.0
_OFF_SHEET = Reason(
    "off_sheet",
    "The baby does not lie where the sheet is, and the sheet tells the scale of the surface that it lies on alone. "
    "Please lay the baby on the sheet, or the sheet beside the baby on the same flat surface, and record again.",
)
_NO_LENS = Reason(
    "no_camera",
    "The camera is not known: no calibration file was given, and the lens that the sheet's tags were found to speak "
    "for does not put all of them in their places. Is the picture stretched or cut? Please give the camera's file with "
    "--camera.",
)


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
    selection: Selection | None = None,
    track: bool = True,
    interrupt: Stop | None = None,
    watch: Callable[[FrameResult, np.ndarray], None] | None = None,
) -> Outcome:
    """Read a clip once and measure the infant in it.

    Decoding, the networks and the search for tags each have a thread; what is ahead is bounded.

    Args:
        selection: which frames to look at, all by default; the others are decoded and listed only.
        track: let the last skeleton of a video say where to look (:mod:`heightpose.runtime.track`).
        interrupt: asked after each frame, and while waiting for one, whether to stop.
        watch: called with each result and its frame, in order (progress, a live overlay).

    Raises:
        FileFormatError: the camera file does not fit the clip, or the pose model lacks joints of the infant
        skeleton. InputError: a picture of a folder cannot be used, or the selection holds no frame.
        StoppedBeforeError: the user stopped before a frame was looked at.
    """
    pose_model.require_infant_joints("a length needs")
    camera = None if scale.camera is None else scale.camera.for_frames(clip.size_wh, clip.rotation_deg)
    selection = Selection() if selection is None else selection
    times, log, best, light = StageTimes(), PoseLog(len(INFANT)), _Best(), Light()
    began = time.perf_counter()
    with Beside[TagView](depth_for(clip.size_wh), "tags") as beside:
        tags = SheetLooks(clip, scale, selection, beside, times)
        follow = track and clip.kind in _MOVING_PICTURES
        asked = (lambda: False) if interrupt is None else (lambda: interrupt.requested)
        frames = tags.watching(_looked_at(clip, selection, log, times))
        looks = estimate_poses(
            ahead(frames, depth_for(clip.size_wh), stopped=asked, name="decode"),
            detector,
            pose_model,
            times=times,
            track=follow,
        )
        last = -1
        for result, rgb in ahead(
            looks, depth_for(clip.size_wh), stopped=asked, name="networks", patience_s=NETWORKS_S
        ):
            last = result.index
            log.add(result)
            light.look(rgb)
            best.offer(result, rgb)
            if watch is not None:
                watch(result, rgb)
            if asked():
                break
    interrupted = asked()
    if interrupted and last < 0:
        raise StoppedBeforeError
    if interrupted:  # what was decoded ahead was not seen
        log.cut(last + 1)
    elif last < 0:
        raise _nothing_chosen(clip, selection, log)
    views = [(index, view) for index, view in tags.views() if index <= last]
    readable = not (interrupted or clip.live or clip.replaced)
    if scale.sheet is not None and scale.uses_tags and readable:
        views = looked_again(clip, scale.sheet, log, views, times)
    times.wall_s = time.perf_counter() - began
    start = time.perf_counter()
    solved = _checked(_solve(scale, camera, views, clip, log), scale.height_cm)
    if tags.mirrored:
        solved = _Solved(camera, trouble=_MIRRORED)
    measurement = measure_log(log, solved.camera, solved.plane, solved.trouble)
    if solved.calibration is not None:
        measurement = _widened(measurement, (solved.calibration.length_sd,) * 2)
    if solved.check is not None:
        if solved.check.doubt:
            log_to.warning(
                "%s: the stored plane or corners and the sheet's tags differ by %.1f %% of a length, by which the "
                "interval is widened: has the camera moved a little?", clip.name, 100 * solved.check.doubt,
            )  # fmt: skip
        measurement = _widened(measurement, (solved.check.doubt,) * 2)
        measurement = replace(
            measurement, details={**measurement.details, "plane_check": solved.check.record()}
        )
    measurement = light.explained(measurement)
    if pose_model.calibration is None:
        measurement = _uncalibrated(measurement)
    planes = solved.plane if isinstance(solved.plane, PlaneTrack) else None
    return Outcome(
        measurement,
        log,
        planes.main if planes is not None else solved.plane,  # type: ignore[arg-type]
        solved.camera,
        times,
        interrupted,
        best.kept,
        time.perf_counter() - start,
        planes,
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
    total = len(log.looked_at(before))
    frames = _spread(log, before)
    reasons = [] if trouble is None else [trouble]
    if not any(frame.pose is not None for frame in frames):
        reasons.append(body.reason("no_infant"))
    if reasons or camera is None or plane is None:
        return Measurement.rejected(reasons, frames_total=total)
    moving = 0
    if isinstance(plane, PlaneTrack):
        placed = [frame for frame in frames if plane.at(frame.index) is not None]
        moving, frames = len(frames) - len(placed), placed
        if not any(frame.pose is not None for frame in frames):
            return Measurement.rejected([_MOVED_WITH_INFANT], frames_total=total)
    measurement = body.measure(frames, camera, plane)
    details = dict(measurement.details)
    if isinstance(plane, PlaneTrack):
        details["camera_moved"] = {"stretches": len(plane.stretches), "frames_left_out": moving}
    if len(frames) + moving < total:
        details["frames_sampled"] = len(frames) + moving
    measurement = replace(measurement, frames_total=total, details=details)
    planes = (
        [plane] if isinstance(plane, Plane) else [plane.at(frame.index) for frame in frames if frame.pose]
    )
    sds = [
        _plane_sd(one) for one in planes if one is not None
    ]  # of a track those that the infant was seen over
    return _widened(measurement, (max(low for low, _ in sds), max(high for _, high in sds)))


def _spread(log: PoseLog, before: int | None = None) -> list[FrameResult]:
    """The frames that are measured from: of many, so many spread evenly."""
    looked_at = log.looked_at(before)
    even = np.linspace(0, len(looked_at) - 1, min(len(looked_at), MEASURE_FRAMES)).round().astype(int)
    return [log[int(i)] for i in looked_at[even]]


def _plane_sd(plane: Plane) -> tuple[float, float]:
    """How unsure the plane makes a length, relative (1 sd, below and above): its tilt, marked corners, a bent sheet."""
    if plane.source == "height":
        return _HEIGHT_ONLY_SD
    if plane.source != "corners":
        return (plane.length_sd,) * 2
    own = _CORNERS_FREEDOM * (plane.height_sd_cm or 0.0) / plane.height_cm
    return (max(_CORNERS_SD, own),) * 2


def _widened(measurement: Measurement, sds: tuple[float, float]) -> Measurement:
    """The interval of a length whose plane is only sure to ``sds``, relative (below, above)."""
    length = measurement.length_cm
    if length is None or measurement.interval_cm is None or not any(sds):
        return measurement
    low, high = (
        length + sign * float(np.hypot(end - length, body.Z90 * sd * length))
        for sign, end, sd in zip((-1, 1), measurement.interval_cm, sds, strict=True)
    )
    return replace(measurement, interval_cm=(low, high))


def _uncalibrated(measurement: Measurement) -> Measurement:
    """The same, with what else may be to blame where joints look unsure."""
    why = (
        " This pose model has no calibration, without which its joints look less sure than they are: heightpose eval "
        "confidence makes one."
    )
    reasons = tuple(
        replace(r, text=r.text + why) if r.code == "uncertain" else r for r in measurement.reasons
    )
    return replace(measurement, reasons=reasons)


def _looked_at(clip: Clip, selection: Selection, log: PoseLog, times: StageTimes) -> Iterator[Frame]:
    """The chosen frames; every decoded one gets its row in the log."""
    decoded = clip.chosen(*selection.of_a_pass())
    return (frame for frame in log.note(times.timed("decode", decoded)) if frame.rgb.size)


def _nothing_chosen(clip: Clip, selection: Selection, log: PoseLog) -> InputError:
    """Why no frame was looked at, with the clip's duration where it is known."""
    step_s = 0.0 if clip.fps is None else float(1 / clip.fps)
    lasts_s = None
    if clip.length_hint is not None and step_s:
        lasts_s = clip.length_hint * step_s
    elif selection.end_s is None:  # it was read to its end
        lasts_s = log.last_t_s + step_s - log[0].t_s
    return InputError(
        "no frame lies between --start and --end, so none was measured",
        where=clip.paths[0] if len(clip.paths) == 1 else clip.name,
        expected=None if lasts_s is None else f"times within the clip, which lasts {lasts_s:.2f} s",
        got=selection.span,
        hint="Choose other times",
    )


def _main(plane: Plane | PlaneTrack) -> Plane:
    return plane.main if isinstance(plane, PlaneTrack) else plane


@dataclass(frozen=True)
class _Solved:
    """Camera and plane for the clip, or the trouble with them."""

    camera: Camera | None = None
    plane: Plane | PlaneTrack | None = None
    trouble: Reason | None = None
    calibration: SelfCalibration | None = None
    check: PlaneCheck | None = None


def _place(log: PoseLog) -> np.ndarray | None:
    """Where the infant lies, ``(2,)`` frame pixels: the middle of its height joints; None where none was seen."""
    poses = [frame.pose for frame in _spread(log) if frame.pose is not None]
    if not poses:
        return None
    return np.median([_middle(pose) for pose in poses], axis=0)


def _middle(pose: Pose) -> np.ndarray:
    """``(2,)`` frame pixels: the middle of the height joints."""
    return pose.kpts_frame[INFANT.height_joints].mean(axis=0)


def _beside_sheet_cm(log: PoseLog, plane: Plane | PlaneTrack, camera: Camera, sheet: SheetLayout) -> float:
    """How far beyond the sheet's edge the middle of the infant's height joints lies, cm, the median over frames; 0 on
    the sheet and where no infant was seen."""
    beyond = []
    for frame in _spread(log):
        at = plane.at(frame.index) if isinstance(plane, PlaneTrack) else plane
        if frame.pose is not None and at is not None:
            place_cm = at.to_mattress(camera, _middle(frame.pose)[None])[0, :2]
            aside = np.abs(place_cm) - np.array(sheet.size_cm) / 2.0
            beyond.append(float(aside.max()))
    return max(0.0, float(np.median(beyond))) if beyond else 0.0


def _solve(
    scale: Scale, camera: Camera | None, views: list[IndexedView], clip: Clip, log: PoseLog
) -> _Solved:
    missing = scale.missing()
    if missing is not None:
        return _Solved(camera, trouble=missing)
    runs = stretches_of(views, clip.size_wh)
    calibration = None
    try:
        if scale.uses_tags:
            require_one_sheet([view for _, view in views])
        if camera is not None and not scale.uses_tags:
            plane = scale.plane
            if plane is None:
                assert scale.corners is not None
                plane = plane_from_corners(scale.corners.kpts_frame, scale.corners.size_cm, camera)
            if scale.sheet is None:
                return _Solved(camera, plane)
            found = check_plane(plane, max(_plane_sd(plane)), runs, camera, scale.sheet, _place(log))
            return _Solved(camera, plane, check=found)
        assert scale.sheet is not None
        if camera is None:  # from the longest stretch: the lens stays the same
            longest = [view for _, view in max(runs, key=len)] if runs else []
            calibration = self_calibrate(
                longest, scale.sheet, clip.size_wh, scale.height_cm, clip.pixel_aspect
            )
            camera = calibration.camera
        seen: Plane | PlaneTrack = (
            track_from_tags(runs, camera, scale.sheet)
            if len(runs) > 1
            else plane_from_tags([view for _, view in views], camera, scale.sheet)
        )
        trouble = _OFF_SHEET if _beside_sheet_cm(log, seen, camera, scale.sheet) > _BESIDE_SHEET_CM else None
        return _Solved(camera, seen, trouble, calibration)
    except PlaneError as error:
        own = calibration is not None and error.code == "camera_contradicted"
        return _Solved(camera, trouble=_NO_LENS if own else error.reason)


def _checked(solved: _Solved, height_cm: float | None) -> _Solved:
    """What was found, refused where the camera's measured height contradicts it; without a camera file it took part."""
    if height_cm is None or solved.plane is None or solved.calibration is not None:
        return solved
    found_cm = _main(solved.plane).height_cm
    if abs(found_cm - height_cm) <= MOST_HEIGHT_OFF_CM:
        return solved
    text = (
        f"The camera is {found_cm:.0f} cm above the mattress by the sheet, plane or corners, and {height_cm:.0f} cm by "
        "--camera-height-cm. Please check that the sheet was printed at its true size (measure a tag), that the camera "
        "file is this camera's, and the height."
    )
    return replace(solved, plane=None, trouble=Reason("height_contradicted", text))


class _Best:
    """Keeps one frame: the one whose least certain height joint is the most certain."""

    def __init__(self) -> None:
        self.kept: tuple[FrameResult, np.ndarray] | None = None
        self._score = -2.0

    def offer(self, result: FrameResult, rgb: np.ndarray) -> None:
        score = -1.0 if result.pose is None else float(result.pose.scores[INFANT.height_joints].min())
        if score > self._score:
            self._score, self.kept = score, (result, rgb)
