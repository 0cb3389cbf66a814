"""One clip, from its first frame to its measurement: what ``infer`` and ``eval`` both run."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from heightpose.errors import InputError
from heightpose.geometry.camera import Camera
from heightpose.geometry.plane import Plane
from heightpose.geometry.plane_track import PlaneTrack
from heightpose.geometry.selfcal import SelfCalibration
from heightpose.geometry.sheet import TagView
from heightpose.runtime.bars import Bars
from heightpose.runtime.clip import Clip, Frame, Missing
from heightpose.runtime.interrupt import Stop
from heightpose.runtime.length import measure_log, widened
from heightpose.runtime.light import Light
from heightpose.runtime.networks import Detector, PoseModel
from heightpose.runtime.pipeline import estimate_poses
from heightpose.runtime.poselog import PoseLog
from heightpose.runtime.scale import Scale
from heightpose.runtime.selection import Selection
from heightpose.runtime.sheet_looks import SheetLooks, looked_again
from heightpose.runtime.solve import Solved, solve
from heightpose.runtime.stages import NETWORKS_S, Beside, ahead, depth_for
from heightpose.runtime.times import StageTimes
from heightpose.skeleton import INFANT
from heightpose.types import FrameResult, Measurement

log_to = logging.getLogger("heightpose")

#: Kinds of clips whose frames follow each other closely enough for the last skeleton to guide the next look.
_MOVING_PICTURES = ("video", "stream")


class StoppedBeforeError(Exception):
    """The user stopped before the first frame was looked at: nothing can be said of the clip."""


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
        missing: what of the recording could not be used.
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
    missing: tuple[Missing, ...] = ()

    @property
    def camera_source(self) -> str | None:
        """Where the camera comes from: "file" (or the plane's), "self-calibrated", "height", or None without one."""
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
    times, log = StageTimes(), PoseLog(len(INFANT))
    best, light, bars = _Best(), Light(), Bars()
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
            bars.look(rgb)
            best.offer(result, rgb)
            if watch is not None:
                watch(result, rgb)
            if asked():
                break
    log.shown_xyxy = bars.shown_xyxy
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
    solved = solve(scale, camera, views, clip, log, mirrored=bool(tags.mirrored))
    measurement = light.explained(_measured(solved, log, clip.name))
    if pose_model.calibration is None:
        measurement = _uncalibrated(measurement)
    return Outcome(
        measurement,
        log,
        None if solved.plane is None else solved.plane.main,
        solved.camera,
        times,
        interrupted,
        best.kept,
        time.perf_counter() - start,
        solved.plane if isinstance(solved.plane, PlaneTrack) else None,
        solved.calibration,
        clip.missing,
    )


def _measured(solved: Solved, log: PoseLog, name: str) -> Measurement:
    """The length over what was found, its interval widened by what is unsure about the camera, a stored plane and its
    height.

    Args:
        name: of the clip, for a warning.
    """
    measurement = measure_log(log, solved.camera, solved.plane, solved.trouble)
    if solved.calibration is not None:
        measurement = widened(measurement, (solved.calibration.length_sd,) * 2)
    for what, check in (("height_check", solved.height_check), ("plane_check", solved.check)):
        if check is None:
            continue
        if check.doubt:
            log_to.warning("%s: %s", name, check.warning)
        measurement = widened(measurement, (check.doubt,) * 2)
        measurement = replace(measurement, details={**measurement.details, what: check.record()})
    return measurement


def _looked_at(clip: Clip, selection: Selection, log: PoseLog, times: StageTimes) -> Iterator[Frame]:
    """The chosen frames; every decoded one gets its row in the log."""
    decoded = clip.chosen(*selection.of_a_pass())
    return (frame for frame in log.note(times.timed("decode", decoded)) if frame.rgb.size)


def _nothing_chosen(clip: Clip, selection: Selection, log: PoseLog) -> InputError:
    """Why no frame was looked at, with the clip's duration where it is known."""
    step_s = 0.0 if clip.fps is None else float(1 / clip.fps)
    lasts_s = None
    if selection.end_s is None:  # it was read to its end
        lasts_s = log.last_t_s + step_s - log[0].t_s
    elif clip.length_hint is not None and step_s:
        lasts_s = clip.length_hint * step_s
    return InputError(
        "no frame lies between --start and --end, so none was measured",
        where=clip.paths[0] if len(clip.paths) == 1 else clip.name,
        expected=None if lasts_s is None else f"times within the clip, which lasts {lasts_s:.2f} s",
        got=selection.span,
        hint="Choose other times",
    )


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


class _Best:
    """Keeps one frame: the one whose least certain height joint is the most certain."""

    def __init__(self) -> None:
        self.kept: tuple[FrameResult, np.ndarray] | None = None
        self._score = -2.0

    def offer(self, result: FrameResult, rgb: np.ndarray) -> None:
        score = -1.0 if result.pose is None else float(result.pose.scores[INFANT.height_joints].min())
        if score > self._score:
            self._score, self.kept = score, (result, rgb)
