"""One or many inputs, one after the other: models are loaded once, a bad input does not stop the next."""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Generator, Iterable, Iterator, Sequence
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
    FileFormatError,
    HeightposeError,
)
from heightpose.report.overlay import answer_text
from heightpose.runtime import results
from heightpose.runtime.address import called, is_about, local_path, shown
from heightpose.runtime.atomic import all_at_once, held, make_folder, no_empty_folders, remove, write_json
from heightpose.runtime.clip import Clip
from heightpose.runtime.earlier import ANSWER, Earlier
from heightpose.runtime.given import Identity, identities, refuse_to_replace
from heightpose.runtime.interrupt import Interrupt, Stop
from heightpose.runtime.kept import kept
from heightpose.runtime.memory import return_large_blocks
from heightpose.runtime.networks import Detector, PoseModel
from heightpose.runtime.output import plain
from heightpose.runtime.scale import Scale
from heightpose.runtime.session import Outcome, StoppedBeforeError, measure_clip
from heightpose.runtime.settings import Settings
from heightpose.runtime.stages import Beside, ahead, depth_for
from heightpose.runtime.video import open_clip
from heightpose.types import FrameResult, Measurement

log = logging.getLogger("heightpose")

Models = tuple[Detector, PoseModel]


@dataclass(frozen=True)
class Item:
    """What became of one input.

    Attributes:
        name: the input's result folder.
        code: its exit code.
        document: height.json, or ``{"status": "error", "input": its name as in height.json, ...}`` when the input
            could not be used.
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


def run_all(inputs: list[tuple[str, str]], settings: Settings) -> Generator[Item]:
    """Measure each (source, name). Yields one item per input in order, also for those that cannot be used.

    After Ctrl-C the items at work are finished with what was seen, and none follows. An input that cannot be used
    leaves no folder.

    Raises:
        HeightposeError: a setting, a camera, sheet or plane file, or a model cannot be used.
    """
    settings.selection  # noqa: B018 - contradictions are told before anything is read
    scale = settings.load_scale()
    settings = replace(settings, hashes=settings.hashed())
    jobs = min(settings.jobs, len(inputs))
    with no_empty_folders(settings.out / name for _, name in inputs):
        if jobs > 1:
            from heightpose.runtime.jobs import run_side_by_side

            yield from run_side_by_side(inputs, settings, scale, jobs)
        else:
            yield from _run_in_turn(inputs, settings, scale)


def _run_in_turn(inputs: list[tuple[str, str]], settings: Settings, scale: Scale) -> Generator[Item]:
    with Interrupt() as interrupt:
        worker = Worker(replace(settings, jobs=1), scale, interrupt, inputs)
        for source, name in inputs:
            if interrupt.requested:  # between two: no item says so yet
                yield not_begun(source, name)
                return
            item = worker.measure(source, name)
            yield item
            if item.code == EXIT_INTERRUPTED:
                return


class Worker:
    """Measures one input after the other in this process; the models are loaded for the first readable one.

    Args:
        stop: asked whether the user wants an end.
        inputs: all that are measured, also by others: none is written over, and with several of them an unexpected
            error of one does not stop the next.
    """

    def __init__(
        self, settings: Settings, scale: Scale, stop: Stop, inputs: Sequence[tuple[str, str]]
    ) -> None:
        self.stop = stop
        self._settings, self._scale = settings, scale
        self._alone = len(inputs) == 1
        self._given = given_files(settings, inputs)
        self._models: Models | None = None
        self._made: dict[str, Any] = {}
        cv2.setNumThreads(1)  # the stages are the threads: more of them than cores only wait for each other

    def measure(self, source: str, name: str) -> Item:
        """The item of one input. Raises HeightposeError where a model cannot be used."""
        earlier = Earlier.of(self._settings.out / name)
        try:
            clip = _opened(source, self.stop)
        except StoppedBeforeError:
            return not_begun(source, name)
        except Exception as error:
            return self._failed(source, name, error, earlier)
        with clip:
            try:
                self._refuse_to_overwrite(clip, self._settings.out / name)
            except HeightposeError as error:
                return self._failed(source, name, error)
            # Only now: an unreadable input is answered at once, without waiting for the networks.
            if self._models is None:
                self._models = _load_models(self._settings)
                settings = self._settings
                self._made = results.made_with(*self._models, settings.hashes, settings.as_recorded())
            try:
                return self._kept(clip, name) or self._measured(clip, name, earlier)
            except StoppedBeforeError:
                return not_begun(source, name)
            except Exception as error:
                return self._failed(source, name, error, earlier)

    def _kept(self, clip: Clip, name: str) -> Item | None:
        """What an earlier run finished, where it is asked for."""
        if not self._settings.resume:
            return None
        found = kept(self._settings.out / name, clip, self._made, self._settings)
        if found is None:
            return None
        log.info("%s: kept, as an earlier run measured it", name)
        document, measurement = found
        return Item(name, _code(measurement), document, answer_text(measurement))

    def _measured(self, clip: Clip, name: str, earlier: Earlier) -> Item:
        """Look at the clip, write its results, draw its overlay."""
        assert self._models is not None
        settings, folder = self._settings, self._settings.out / name
        if self._scale.camera is not None:  # one that does not fit leaves no empty folder behind
            try:
                self._scale.camera.for_frames(clip.size_wh, clip.rotation_deg)
            except FileFormatError as error:  # geometry knows no files
                raise error.at(settings.camera or settings.plane) from error
        make_folder(folder)
        with held(folder):
            outcome, drawn = _looked(clip, folder, self._scale, settings, self._models, self.stop)
            document = results.height_of(clip, outcome, settings.sex, settings.age_months)
            provenance = results.provenance_of(clip, outcome, self._made)
            other = earlier.is_of_another(provenance["input"]["sha256"])
            # A part gives way to a part, and does not take the place of the whole that was kept before it.
            if not clip.live and (other or (outcome.interrupted and not earlier.is_partial)):
                earlier.set_aside(self._given)
            with all_at_once(folder, last=ANSWER) as together:
                results.write_numbers(together, document, outcome.log, provenance)
                results.write_preview(together / "preview.png", outcome, blur_faces=settings.blur_faces)
                if not drawn:
                    remove(folder / results.OVERLAY)  # one of an earlier run would not belong to this answer
            if not clip.live and not settings.no_overlay and not outcome.interrupted:
                with outcome.times.stage("overlay"):
                    results.write_overlay(
                        folder / results.OVERLAY,
                        clip,
                        outcome,
                        blur_faces=settings.blur_faces,
                        smooth=settings.smooth,
                        interrupt=self.stop,
                    )
            _summary(name, outcome, folder)
            code = _code(outcome.measurement)
            if self.stop.requested:
                code = EXIT_INTERRUPTED
                if not outcome.interrupted:  # after the frames: the answer is whole, the overlay may not be
                    document["interrupted"] = True
                    write_json(folder / ANSWER, document)
            return Item(name, code, document, answer_text(outcome.measurement))

    def _failed(self, source: str, name: str, error: Exception, earlier: Earlier | None = None) -> Item:
        """The item of an input with an error; an unexpected one of the only input is raised again.

        Args:
            earlier: what is set aside; None where results and inputs lie in one another's place.
        """
        if earlier is not None:
            earlier.set_aside(self._given)
        if not isinstance(error, HeightposeError):
            if self._alone:
                raise error
            if log.isEnabledFor(logging.DEBUG):
                traceback.print_exception(error)
            error = _unexpected(source, error)
        return unusable(source, name, error, self.stop.requested)

    def _refuse_to_overwrite(self, clip: Clip, folder: Path) -> None:
        """Raises ConfigError where results would replace an input or a settings file, or lie among its pictures."""
        given = self._given | identities(clip.paths)
        written = (folder, *(folder / name for name in results.FILES))
        refuse_to_replace(given, written, "Choose another folder with --out")


def _code(measurement: Measurement) -> int:
    return EXIT_MEASURED if measurement.status == "measured" else EXIT_REJECTED


def given_files(settings: Settings, inputs: Iterable[tuple[str, str]]) -> set[Identity]:
    """The inputs and settings files that are there."""
    given = [settings.camera, settings.sheet, settings.plane, settings.model, settings.detector]
    given += [local_path(source) for source, _ in inputs]
    return identities(given)


def _unexpected(source: str, error: Exception) -> HeightposeError:
    if isinstance(error, MemoryError):
        return HeightposeError("not enough memory for this input", where=shown(source))
    return HeightposeError(
        f"unexpected {type(error).__name__}: {error}",
        where=shown(source),
        hint="Run again with --debug and report the traceback",
    )


def _opened(source: str, stop: Stop) -> Clip:
    """:func:`open_clip` in a thread of its own: a library that hangs on a file or an address hears no Ctrl-C.

    Raises:
        StoppedBeforeError: the user stopped meanwhile. Else what :func:`open_clip` raises.
    """

    def opening() -> Iterator[Clip]:
        yield open_clip(source)

    for clip in ahead(opening(), 1, stopped=lambda: stop.requested, name="opening"):
        return clip
    raise StoppedBeforeError


def _load_models(settings: Settings) -> Models:
    return_large_blocks()
    # Preparing a network keeps one core busy most of the time.
    with ThreadPoolExecutor(2) as pool:
        detecting = pool.submit(Detector.load, settings.detector, settings.backend, threads=settings.threads)
        posing = pool.submit(
            PoseModel.load, settings.model, settings.backend, tta=settings.tta, threads=settings.threads
        )
        pose_model, detector = posing.result(), detecting.result()
    for part in (detector, pose_model):
        log.info("%s %s: %s", part.file.kind, part.file.path.name, part.backend.active)
    log.info("%s", pose_model.score_meaning)
    return detector, pose_model


def _looked(
    clip: Clip, folder: Path, scale: Scale, settings: Settings, models: Models, stop: Stop
) -> tuple[Outcome, bool]:
    """What is known after the clip, and whether its overlay is written already, as a stream's is while it is seen."""
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
            live = stack.enter_context(
                results.LiveOverlay(
                    folder / results.OVERLAY, clip, blur_faces=settings.blur_faces, smooth=settings.smooth
                )
            )
        drawing = stack.enter_context(Beside[None](depth_for(clip.size_wh), "draw"))

        def watch(result: FrameResult, rgb: np.ndarray) -> None:
            bar.update()
            if live is not None:
                drawing.call(live.show, result, rgb)

        outcome = measure_clip(clip, *models, scale, selection=selection, interrupt=stop, watch=watch)
    return outcome, live is not None and live.written


def unusable(source: str, name: str, error: HeightposeError, interrupted: bool = False) -> Item:
    """The item of an input that cannot be used. Its error names it, whatever else it tells of."""
    if not is_about(error.where, source):
        error = error.within(shown(source))
    document = plain({"status": "error", "input": called(source), "error": str(error)})
    code = EXIT_INTERRUPTED if interrupted else error.exit_code
    return Item(name, code, document, f"error: {error}", error)


def not_begun(source: str, name: str) -> Item:
    """The item of an input that came after the user stopped."""
    return unusable(source, name, HeightposeError("not measured: interrupted before it began"), True)


def _summary(name: str, outcome: Outcome, folder: Path) -> None:
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
    if outcome.plane is not None and outcome.plane.focal_off and found is None:
        off = 100 * outcome.plane.focal_off
        log.warning(
            "%s: by the sheet the camera's focal length is %.0f %% %s than the camera file says, or the sheet is bent; "
            "the interval is wider for it. Is it this camera's file? heightpose calibrate check tells",
            *(name, abs(off), "longer" if off > 0 else "shorter"),
        )
    if outcome.track is not None:
        log.info("the camera moved: %d stretches, each with its own plane", len(outcome.track.stretches))
    log.info("results saved to %s", folder)
