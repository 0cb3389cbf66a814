"""One or many inputs, one after the other: models are loaded once, a bad input does not stop the next."""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from heightpose.errors import (
    EXIT_INTERRUPTED,
    EXIT_MEASURED,
    EXIT_REJECTED,
    EXIT_USAGE,
    HeightposeError,
)
from heightpose.report.overlay import answer_text
from heightpose.runtime import results
from heightpose.runtime.atomic import make_folder, write_json
from heightpose.runtime.clip import Clip
from heightpose.runtime.interrupt import Interrupt, Stop
from heightpose.runtime.memory import return_large_blocks
from heightpose.runtime.networks import Detector, PoseModel
from heightpose.runtime.output import open_video_writer
from heightpose.runtime.session import Outcome, Scale, measure_clip
from heightpose.runtime.settings import Settings
from heightpose.runtime.stages import Beside, depth_for
from heightpose.runtime.stills import list_folder
from heightpose.runtime.video import VIDEO_SUFFIXES, is_address, open_clip, without_login
from heightpose.types import FrameResult

log = logging.getLogger("heightpose")

Models = tuple[Detector, PoseModel]


@dataclass(frozen=True)
class Item:
    """What became of one input.

    Attributes:
        name: the input's result folder.
        code: its exit code.
        document: height.json, or ``{"status": "error", ...}`` when the input could not be used.
        answer: the line for a person.
        error: why the input could not be used.
    """

    name: str
    code: int
    document: dict[str, Any]
    answer: str
    error: HeightposeError | None = None


def worst(codes: Iterable[int]) -> int:
    """The exit code of several inputs: interrupted, then unreadable, then rejected, then measured."""
    order = (EXIT_MEASURED, EXIT_REJECTED, EXIT_USAGE, EXIT_INTERRUPTED)
    return max(codes, key=order.index, default=EXIT_MEASURED)


def expand_inputs(sources: Iterable[str]) -> tuple[list[tuple[str, str]], bool]:
    """Name every input's result folder.

    A folder that holds videos stands for each of them; a folder of pictures is one clip.

    Returns:
        ([(source, result folder's name)], whether there are several inputs or a folder of videos).

    Raises:
        InputError: a folder cannot be read.
    """
    found: list[str] = []
    several = False
    for source in sources:
        path = Path(source)
        if is_address(source) or not path.is_dir():
            found.append(source)
            continue
        videos = [p for p in list_folder(path) if p.suffix.lower() in VIDEO_SUFFIXES]
        several = several or bool(videos)
        found.extend([str(p) for p in videos] or [source])
    names: set[str] = set()
    pairs: list[tuple[str, str]] = []
    for source in found:
        stem = name = _stem(source)
        for number in range(2, len(found) + 2):
            if name not in names:
                break
            name = f"{stem}-{number}"
        if name != stem:
            log.warning("two inputs are called %s: results of %s go to %s", stem, source, name)
        names.add(name)
        pairs.append((source, name))
    return pairs, several or len(pairs) > 1


def _stem(source: str) -> str:
    if is_address(source):
        text = re.sub(r"^\w+://", "", without_login(source))
        return re.sub(r"[^A-Za-z0-9.-]+", "-", text).strip("-.") or "stream"
    path = Path(source)
    name = path.resolve().name if path.is_dir() else path.stem
    name = os.fsencode(name).decode("utf-8", "replace")  # a name in an old encoding must still be printable
    return name if name.strip(".") else "clip"


def run_all(inputs: list[tuple[str, str]], settings: Settings) -> Iterator[Item]:
    """Measure each (source, name). Yields one item per input in order, also for those that cannot be used.

    After Ctrl-C the items at work are finished with what was seen, and none follows.

    Raises:
        HeightposeError: a setting, a camera, sheet or plane file, or a model cannot be used.
    """
    settings.selection  # noqa: B018 - contradictions are told before anything is read
    scale = settings.load_scale()
    jobs = min(settings.jobs, len(inputs))
    if jobs > 1:
        from heightpose.runtime.jobs import run_side_by_side

        yield from run_side_by_side(inputs, settings, scale, jobs)
        return
    with Interrupt() as interrupt:
        worker = Worker(replace(settings, jobs=1), scale, interrupt)
        for source, name in inputs:
            yield worker.measure(source, name)
            if interrupt.requested:
                return


class Worker:
    """Measures one input after the other in this process; the models are loaded for the first readable one.

    Args:
        stop: asked whether the user wants an end.
    """

    def __init__(self, settings: Settings, scale: Scale, stop: Stop) -> None:
        self.stop = stop
        self._settings, self._scale = settings, scale
        self._models: Models | None = None
        cv2.setNumThreads(1)  # the stages are the threads: more of them than cores only wait for each other

    def measure(self, source: str, name: str) -> Item:
        """The item of one input. Raises HeightposeError where a model cannot be used."""
        try:
            clip = open_clip(source)
        except HeightposeError as error:
            return unusable(name, error, self.stop.requested)
        with clip:
            # Only now: an unreadable input is answered at once, without waiting for the networks.
            if self._models is None:
                self._models = _load_models(self._settings)
            try:
                return _run_one(clip, name, self._scale, self._settings, self._models, self.stop)
            except HeightposeError as error:
                return unusable(name, error, self.stop.requested)


def _load_models(settings: Settings) -> Models:
    return_large_blocks()
    with ThreadPoolExecutor(
        1
    ) as beside:  # preparing a network keeps one core busy, and there are two networks
        loading = beside.submit(Detector.load, settings.detector, settings.backend, threads=settings.threads)
        pose_model = PoseModel.load(
            settings.model, settings.backend, tta=settings.tta, threads=settings.threads
        )
        detector = loading.result()
    for part in (detector, pose_model):
        log.info("%s %s: %s", part.file.kind, part.file.path.name, part.backend.active)
    log.info("%s", pose_model.score_meaning)
    return detector, pose_model


def _run_one(
    clip: Clip, name: str, scale: Scale, settings: Settings, models: Models, interrupt: Stop
) -> Item:
    detector, pose_model = models
    folder = settings.out / name
    make_folder(folder)
    overlay = folder / "overlay.mp4"
    live: results.LiveOverlay | None = None
    selection = settings.selection
    frames = selection.expected(clip.length_hint, None if clip.fps is None else float(clip.fps))
    with ExitStack() as stack:
        # None: a progress bar only where a person can see it; of several at once none would be readable
        quiet = True if settings.jobs > 1 else None
        bar = stack.enter_context(
            tqdm(total=frames, unit="frame", desc=clip.name, leave=False, disable=quiet, file=sys.stderr)
        )
        if clip.live and not settings.no_overlay:
            writer = stack.enter_context(open_video_writer(overlay, clip.size_wh, clip.fps))
            live = results.LiveOverlay(writer, blur_faces=settings.blur_faces, smooth=settings.smooth)
        drawing = stack.enter_context(Beside[None](depth_for(clip.size_wh), "draw"))

        def watch(result: FrameResult, rgb: np.ndarray) -> None:
            bar.update()
            if live is not None:
                drawing.call(live.show, result, rgb)

        outcome = measure_clip(
            clip, detector, pose_model, scale, selection=selection, interrupt=interrupt, watch=watch
        )
    document = results.height_of(clip, outcome, settings.sex, settings.age_months)
    files = {"camera": settings.camera, "sheet": settings.sheet, "plane": settings.plane}
    chosen = {
        "model": Path(settings.model).name,
        "every": settings.every,
        "fps": settings.fps,
        "start_s": settings.start,
        "end_s": settings.end,
        "smooth": settings.smooth,
        "corners": settings.corners,
        "size_cm": settings.size,
        "camera_height_cm": settings.camera_height_cm,
        "blur_faces": settings.blur_faces,
    }
    provenance = results.provenance_of(clip, outcome, detector, pose_model, files, chosen)
    results.write_numbers(folder, document, outcome.log, provenance)
    results.write_preview(folder / "preview.png", outcome, blur_faces=settings.blur_faces)
    drawn = live is not None
    if not clip.live and not settings.no_overlay and not outcome.interrupted:
        with outcome.times.stage("overlay"):
            drawn = results.write_overlay(
                overlay,
                clip,
                outcome,
                blur_faces=settings.blur_faces,
                smooth=settings.smooth,
                interrupt=interrupt,
            )
    if not drawn:
        overlay.unlink(missing_ok=True)  # one of an earlier run would not belong to this answer
    _summary(name, outcome, folder, scale.height_cm)
    code = EXIT_MEASURED if outcome.measurement.status == "measured" else EXIT_REJECTED
    if interrupt.requested:
        code = EXIT_INTERRUPTED
        if not outcome.interrupted:  # it came after the frames: the answer is whole, the overlay may not be
            document["interrupted"] = True
            write_json(folder / "height.json", document)
    return Item(name, code, document, answer_text(outcome.measurement))


def unusable(name: str, error: HeightposeError, interrupted: bool = False) -> Item:
    """The item of an input that cannot be used."""
    document = {"status": "error", "input": name, "error": str(error)}
    code = EXIT_INTERRUPTED if interrupted else error.exit_code
    return Item(name, code, document, f"error: {error}", error)


def _summary(name: str, outcome: Outcome, folder: Path, height_cm: float | None) -> None:
    stages = outcome.times.per_frame_ms()
    wall_s = outcome.times.wall_s
    rate = f"{outcome.times.frames / wall_s:.1f} frames/s" if wall_s > 0 else "no frames"
    parts = ", ".join(f"{stage} {ms:.1f}" for stage, ms in stages.items())
    log.info(
        "%s: %d frames, %s; beside each other, ms/frame: %s; measure %.0f ms in all",
        *(name, outcome.times.frames, rate, parts, 1000 * outcome.measure_s),
    )
    found = outcome.calibration
    if found is not None:
        log.info(
            "no camera file: %s, focal length %.0f px (standard error %.0f), camera %.0f cm high; "
            "the interval is wider for it",
            "self-calibrated from the sheet" if found.source == "self-calibrated" else "from its height",
            *(found.camera.K[0, 0], found.focal_sd_px, found.height_cm),
        )
        if height_cm is not None and abs(found.height_cm - height_cm) > 3.0 * np.hypot(
            found.height_sd_cm, 2.0
        ):
            log.warning(
                "the sheet says otherwise than --camera-height-cm %g: the sheet is followed", height_cm
            )
    if outcome.track is not None:
        log.info("the camera moved: %d stretches, each with its own plane", len(outcome.track.stretches))
    log.info("results saved to %s", folder)
