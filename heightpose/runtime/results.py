"""The result folder of one clip: answer, joints, pictures, provenance."""

from __future__ import annotations

import logging
import platform
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from heightpose import __version__
from heightpose.codec.confidence import calibration_path
from heightpose.errors import ConfigError, HeightposeError, InputError
from heightpose.geometry.lift import LIFT_FILE
from heightpose.metrics import who
from heightpose.report.overlay import Caption, answer_text, blur_faces_in, draw_overlay
from heightpose.runtime import output, presence
from heightpose.runtime.atomic import remove, write_json
from heightpose.runtime.clip import Clip, Frame
from heightpose.runtime.code import sources_sha256
from heightpose.runtime.interrupt import Stop
from heightpose.runtime.length import measure_log
from heightpose.runtime.networks import Detector, PoseModel
from heightpose.runtime.poselog import PoseLog
from heightpose.runtime.session import Outcome
from heightpose.runtime.smooth import SmoothPoses
from heightpose.runtime.stages import ahead, depth_for
from heightpose.runtime.video_writer import VideoWriter, open_video_writer
from heightpose.skeleton import INFANT
from heightpose.types import FrameResult, Measurement

log = logging.getLogger("heightpose")

#: What a video that cannot be encoded or stored raises.
_NOT_WRITTEN = (av.FFmpegError, OSError, HeightposeError)

#: What may be written to, or removed from, a clip's result folder.
OVERLAY = "overlay.mp4"
FILES = ("height.json", "poses.json", "provenance.json", "preview.png", OVERLAY)

#: How often the running length is computed anew along the overlay, and how long that may take in all.
_RUNNING_STEPS = 8
_RUNNING_BUDGET_S = 2.0


def growth(
    measurement: Measurement, sex: str | None, age_months: float | None
) -> tuple[float | None, float | None]:
    """(WHO z-score, percentile) of a length; Nones when rejected, not asked for, or outside the table."""
    if measurement.length_cm is None or sex is None or age_months is None:
        return None, None
    try:
        z = who.z_score(sex, age_months, measurement.length_cm)
    except ConfigError as error:
        log.warning("no z-score: %s", error)
        return None, None
    if who.flagged(z):
        log.warning("%s", who.flag_text(z))
    return z, who.percentile(z)


def height_of(clip: Clip, outcome: Outcome, sex: str | None, age_months: float | None) -> dict[str, Any]:
    """The content of height.json."""
    z, percentile = growth(outcome.measurement, sex, age_months)
    # What the chart of several visits needs (`heightpose growth`); only where it was given.
    child: dict[str, Any] = {k: v for k, v in (("sex", sex), ("age_months", age_months)) if v is not None}
    if z is not None:
        child["z_flagged"] = who.flagged(z)
    missing = {"missing": [asdict(part) for part in clip.missing]} if clip.missing else {}
    plane = outcome.plane
    scale = None
    if plane is not None:
        scale = {
            "source": plane.source,
            "camera_height_cm": plane.height_cm,
            "rms_px": plane.rms_px,
            "tags": plane.tags,
            "length_sd": plane.length_sd,
        }
    details = dict(outcome.measurement.details)
    if outcome.camera_source is not None:
        details["camera_source"] = outcome.camera_source
    if outcome.calibration is not None:
        details["self_calibration"] = outcome.calibration.record()
    return output.height_document(
        replace(outcome.measurement, details=details),
        decoded=len(outcome.log),
        z_score=z,
        percentile=percentile,
        interrupted=outcome.interrupted,
        extra=output.plain({"input": clip.name, **missing, **child, "plane": scale, "version": __version__}),
    )


def made_with(
    detector: Detector,
    pose_model: PoseModel,
    files: Mapping[str, Mapping[str, str]],
    settings: dict[str, Any],
) -> dict[str, Any]:
    """What a result depends on besides the recording: code, weights, what runs them, settings and their files.

    Args:
        files: name and SHA-256 of the camera, sheet and plane file, as they were read.
        settings: :meth:`heightpose.runtime.settings.Settings.as_recorded`.
    """
    calibration = calibration_path(pose_model.file.path)
    models = {"pose": (pose_model.backend, pose_model.file), "detector": (detector.backend, detector.file)}
    if pose_model.cover is not None:
        models["cover"] = (pose_model.cover.backend, pose_model.cover.file)
    return output.plain(
        {
            "heightpose": __version__,
            "code_sha256": sources_sha256(),
            "files": files,
            "weights": {
                **{
                    name: {"name": file.path.name, "sha256": file.sha256}
                    for name, (_, file) in models.items()
                },
                "elevation": {"name": LIFT_FILE.name, "sha256": output.sha256([LIFT_FILE])},
            },
            # The same weights without it, or with another one, give other probabilities and lengths.
            "calibration": None
            if pose_model.calibration is None
            else {"name": calibration.name, "sha256": pose_model.calibration_sha256},
            "backend": {name: vars(backend.active) for name, (backend, _) in models.items()},
            "settings": {"tta": str(pose_model.tta), **presence.settings(detector), **settings},
            "versions": {
                "python": platform.python_version(),
                "platform": f"{platform.system()} {platform.machine()}",
                "numpy": np.__version__,
                "opencv": cv2.__version__,
                "av": av.__version__,
            },
        }
    )


def provenance_of(clip: Clip, outcome: Outcome, made: Mapping[str, Any]) -> dict[str, Any]:
    """What made this result: hashes, versions, settings, and what was really running. No pictures.

    Args:
        made: of :func:`made_with`.
    """
    changed, input_hash = clip.changed, input_sha256(clip)
    if changed:
        log.warning("%s: changed while it was read; measured as it was at first", clip.name)
    return output.plain(
        {
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "input": {
                "name": clip.name,
                "kind": clip.kind,
                "sha256": input_hash,
                "size_wh": clip.size_wh,
                "rotation_deg": clip.rotation_deg,
                "fps": None if clip.fps is None else str(clip.fps),
                "frames": len(outcome.log),
                **({"changed_while_read": True} if changed else {}),
            },
            **made,
            "stage_ms": {name: round(ms, 3) for name, ms in outcome.times.per_frame_ms().items()},
            "wall_s": round(outcome.times.wall_s, 3),
            "interrupted": outcome.interrupted,
        }
    )


def input_sha256(clip: Clip) -> str | None:
    """Of what was read; None for no files, and where one is gone since: the measurement need not go with it."""
    try:
        return output.sha256(clip.paths) if clip.paths else None
    except InputError:
        return None


def write_overlay(
    path: Path,
    clip: Clip,
    outcome: Outcome,
    *,
    blur_faces: bool,
    smooth: bool = False,
    interrupt: Stop | None = None,
) -> bool:
    """Read the clip a second time and write it with everything drawn in.

    Decoding, drawing and encoding each have a thread.

    Args:
        smooth: draw the skeleton smoothed over time (:mod:`heightpose.runtime.smooth`).

    Returns:
        False when the user stopped it, it could not be encoded, or the clip is gone or another one; no new file is left
        then.
    """
    if clip.replaced:  # the skeletons, and what --blur-faces blurs, would be in other places
        log.warning("no overlay was written: %s is another file now", clip.name)
        return False
    depth = depth_for(clip.size_wh)
    looks = outcome.log
    stopped = (lambda: False) if interrupt is None else (lambda: interrupt.requested)
    frames = clip.chosen(lambda i, t_s: i < len(looks) and looks.looked(i), lambda t_s: t_s > looks.last_t_s)
    drawn = _drawn(ahead(frames, depth, name="decode"), outcome, blur_faces=blur_faces, smooth=smooth)
    try:
        with open_video_writer(path, clip.size_wh, clip.fps, pixel_aspect=clip.pixel_aspect) as writer:
            for picture, t_s in ahead(drawn, depth, stopped=stopped, name="draw"):
                writer.write(picture, t_s)
            if stopped():
                raise _StoppedError
    except _StoppedError:
        return False
    except (av.FFmpegError, InputError) as error:  # the answer is written already and does not depend on it
        log.warning("no overlay was written: %s", error)
        return False
    return True


def _drawn(
    frames: Iterable[Frame], outcome: Outcome, *, blur_faces: bool, smooth: bool
) -> Iterator[tuple[np.ndarray, float]]:
    """(picture, t_s) of every frame that was looked at, with everything drawn in."""
    running, artist = _RunningLength(outcome), _Artist(blur_faces, smooth)
    for frame in frames:
        if frame.index >= len(outcome.log):  # the file has grown
            return
        if frame.rgb.size:
            result = outcome.log[frame.index]
            yield artist.draw(frame.rgb, result, running.caption(result)), frame.t_s


class _Artist:
    """Draws results in order."""

    def __init__(self, blur_faces: bool, smooth: bool) -> None:
        self._blur, self._smoother = blur_faces, SmoothPoses() if smooth else None

    def draw(self, rgb: np.ndarray, result: FrameResult, caption: Caption) -> np.ndarray:
        # The face is where it was found: the smoothed skeleton lags behind a head that moves.
        picture = blur_faces_in(rgb, result, strangers=True) if self._blur else rgb
        return draw_overlay(picture, result if self._smoother is None else self._smoother(result), caption)


class LiveOverlay:
    """Draws while a stream is being read, which happens once: only each frame's own state is shown.

    A context: the file is begun with the first frame and takes its name at the end. Where it cannot be written, the
    measuring goes on without.

    Attributes:
        failed: whether it could not be written.
    """

    def __init__(self, path: Path, clip: Clip, *, blur_faces: bool, smooth: bool = False) -> None:
        self.failed = False
        self._artist, self._file = _Artist(blur_faces, smooth), ExitStack()
        self._open = partial(open_video_writer, path, clip.size_wh, clip.fps, pixel_aspect=clip.pixel_aspect)
        self._writer: VideoWriter | None = None

    @property
    def written(self) -> bool:
        """Whether there is an overlay: frames were shown, and none failed."""
        return self._writer is not None and not self.failed

    def show(self, result: FrameResult, rgb: np.ndarray) -> None:
        """Draw and write the next frame."""
        if self.failed:
            return
        try:
            if self._writer is None:
                self._writer = self._file.enter_context(self._open())
            self._writer.write(self._artist.draw(rgb, result, Caption()), result.t_s)
        except _NOT_WRITTEN as error:
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        self.failed = True
        log.warning("no overlay is written: %s", error)
        with suppress(*_NOT_WRITTEN):  # the unfinished file goes
            self._file.__exit__(type(error), error, error.__traceback__)

    def __enter__(self) -> LiveOverlay:
        return self

    def __exit__(self, *raised: Any) -> None:
        try:
            self._file.__exit__(*raised)
        except _NOT_WRITTEN as error:
            self._give_up(error)


def write_preview(path: Path, outcome: Outcome, *, blur_faces: bool) -> None:
    """The clearest frame with the answer on it; nothing where no frame was decoded."""
    if outcome.best is None:
        remove(path)
        return
    result, rgb = outcome.best
    used = used_frames(outcome.measurement)
    caption = Caption(None if used is None else result.index in used, _final_text(outcome.measurement))
    output.write_picture(path, draw_overlay(rgb, result, caption, blur_faces=blur_faces))


def write_numbers(folder: Path, height: dict[str, Any], poses: PoseLog, provenance: dict[str, Any]) -> None:
    """The three JSON files. The answer comes last: where it is, the others are."""
    output.write_poses(folder / "poses.json", poses, INFANT)
    write_json(folder / "provenance.json", provenance)
    write_json(folder / "height.json", height)


class _RunningLength:
    """The length as it stood at each frame, from the frames up to there, beside the final one."""

    def __init__(self, outcome: Outcome) -> None:
        self._outcome = outcome
        self._used = used_frames(outcome.measurement)
        self._final = _final_text(outcome.measurement)
        self._so_far = ""
        cost = max(outcome.measure_s, 1e-3)
        steps = min(_RUNNING_STEPS, int(_RUNNING_BUDGET_S / cost)) if outcome.measurement.length_cm else 0
        # Among the frames that were looked at: those before --start say nothing.
        looked_at = outcome.log.looked_at()
        self._due = set(looked_at[:: max(1, len(looked_at) // steps)][1:].tolist()) if steps else set()

    def caption(self, result: FrameResult) -> Caption:
        o = self._outcome
        if result.index in self._due:
            plane = o.plane if o.track is None else o.track
            measured = measure_log(o.log, o.camera, plane, before=result.index + 1)
            self._so_far = "" if measured.length_cm is None else f"so far {measured.length_cm:.1f} cm   "
        used = None if self._used is None else result.index in self._used
        return Caption(used, self._so_far + self._final)


def used_frames(measurement: Measurement) -> frozenset[int] | None:
    """Indices of the frames that informed the length, where the measurement says which did."""
    indices = measurement.details.get("used_frames")
    return None if indices is None else frozenset(indices)


def _final_text(measurement: Measurement) -> str:
    if measurement.length_cm is not None:
        return f"whole clip {answer_text(measurement)}"
    return "no length: " + ", ".join(reason.code.replace("_", " ") for reason in measurement.reasons)


class _StoppedError(Exception):
    """The user stopped the overlay."""
