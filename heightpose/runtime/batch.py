"""One or many inputs, one after the other: models are loaded once, a bad input does not stop the next."""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from tqdm import tqdm

from heightpose.errors import (
    EXIT_INTERRUPTED,
    EXIT_MEASURED,
    EXIT_REJECTED,
    EXIT_USAGE,
    ConfigError,
    FileFormatError,
    HeightposeError,
)
from heightpose.geometry.camera import Camera
from heightpose.geometry.plane import Plane, plane_from_height
from heightpose.geometry.sheet import SheetLayout
from heightpose.report.overlay import answer_text
from heightpose.runtime import results
from heightpose.runtime.atomic import make_folder, write_json
from heightpose.runtime.clip import Clip
from heightpose.runtime.interrupt import Interrupt
from heightpose.runtime.output import open_video_writer
from heightpose.runtime.pipeline import Detector, PoseModel
from heightpose.runtime.session import MattressCorners, Outcome, Scale, measure_clip
from heightpose.runtime.stills import list_folder
from heightpose.runtime.video import VIDEO_SUFFIXES, is_address, open_clip, without_login
from heightpose.types import FrameResult

log = logging.getLogger("heightpose")

#: A camera, sheet or plane file has a few kilobytes.
_LARGEST_FILE = 1 << 20

T = TypeVar("T")
Models = tuple[Detector, PoseModel]


@dataclass(frozen=True)
class Settings:
    """What ``heightpose infer`` was asked for; names and meanings are its options'."""

    camera: Path | None = None
    sheet: Path | None = None
    plane: Path | None = None
    corners: tuple[tuple[float, float], ...] | None = None
    size: tuple[float, float] | None = None
    camera_height_cm: float | None = None
    out: Path = Path("heightpose-results")
    model: str = "fast"
    detector: str = "detector"
    backend: str = "auto"
    tta: str = "flip"
    sex: str | None = None
    age_months: float | None = None
    blur_faces: bool = False
    no_overlay: bool = False
    every: int = 1

    def load_scale(self) -> Scale:
        """Read the camera, sheet and plane files. Raises ConfigError, InputError or FileFormatError."""
        if (self.sex is None) != (self.age_months is None):
            raise ConfigError(
                "a z-score needs both sex and age", hint="Give --sex and --age-months, or neither"
            )
        camera = None if self.camera is None else _load_file(Camera.load, self.camera)
        sheet = None if self.sheet is None else _load_file(SheetLayout.load, self.sheet)
        plane = None if self.plane is None else _load_file(Plane.load, self.plane)
        if sheet is not None and plane is not None:
            log.warning(
                "--plane and --sheet are given: the stored plane is used, the sheet is not looked for"
            )
        corners = self._corners()
        if corners is not None and plane is not None:
            log.warning("--plane and --corners are given: the stored plane is used")
            corners = None
        if corners is not None and sheet is not None:
            log.warning("--corners and --sheet are given: the corners are used, the sheet is not looked for")
        height: float | None = None
        if self.camera_height_cm is not None:
            if camera is None and sheet is not None and plane is None and corners is None:
                height = self.camera_height_cm  # makes up for what the sheet does not tell of the lens
            elif sheet is not None or plane is not None or corners is not None:
                log.warning("--camera-height-cm is not used: the sheet, plane or corners say it better")
            else:
                log.warning("only the camera's height is known: it is taken to look straight down")
                plane = plane_from_height(self.camera_height_cm)
        return Scale(camera, sheet, plane, corners, height)

    def _corners(self) -> MattressCorners | None:
        if (self.corners is None) != (self.size is None):
            raise ConfigError(
                "the mattress's corners say how large the picture is only together with its size",
                expected="--corners x,y x,y x,y x,y --size ACROSSxALONG",
                got="--size alone" if self.corners is None else "--corners alone",
            )
        if self.corners is None or self.size is None:
            return None
        return MattressCorners(np.array(self.corners), self.size)


def _load_file(load: Callable[[Path], T], path: Path) -> T:
    """Read a settings file that may be anything: a device, a video given by mistake, brackets without end."""
    if path.exists() and not path.is_dir() and not (path.is_file() and path.stat().st_size <= _LARGEST_FILE):
        raise FileFormatError(
            "not a settings file", where=path, expected="a text file of less than 1 MB", hint="Check the path"
        )
    try:
        return load(path)
    except (ArithmeticError, LookupError, RecursionError, TypeError, ValueError) as error:
        # What the parsers themselves raise for an impossible date, a number of a thousand digits, ...
        raise FileFormatError(
            "cannot be understood", where=path, got=f"{type(error).__name__}: {error}"
        ) from error


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
    """Measure each (source, name). Yields one item per input, also for those that cannot be used.

    After Ctrl-C the item at work is finished with what was seen, and none follows.

    Raises:
        HeightposeError: a setting, a camera, sheet or plane file, or a model cannot be used.
    """
    scale = settings.load_scale()
    models: Models | None = None
    with Interrupt() as interrupt:
        for source, name in inputs:
            try:
                clip = open_clip(source)
            except HeightposeError as error:
                yield _unusable(name, error, interrupt)
            else:
                with clip:
                    # Only now: an unreadable input is answered at once, without waiting for the networks.
                    models = _load_models(settings) if models is None else models
                    try:
                        item = _run_one(clip, name, scale, settings, models, interrupt)
                    except HeightposeError as error:
                        item = _unusable(name, error, interrupt)
                yield item
            if interrupt.requested:
                return


def _load_models(settings: Settings) -> Models:
    pose_model = PoseModel.load(settings.model, settings.backend, tta=settings.tta)
    detector = Detector.load(settings.detector, settings.backend)
    for part in (detector, pose_model):
        log.info("%s %s: %s", part.file.kind, part.file.path.name, part.backend.active)
    log.info("%s", pose_model.score_meaning)
    return detector, pose_model


def _run_one(
    clip: Clip, name: str, scale: Scale, settings: Settings, models: Models, interrupt: Interrupt
) -> Item:
    detector, pose_model = models
    folder = settings.out / name
    make_folder(folder)
    overlay = folder / "overlay.mp4"
    live: results.LiveOverlay | None = None
    frames = None if clip.length_hint is None else -(-clip.length_hint // settings.every)
    with ExitStack() as stack:
        # disable=None: a progress bar only where a person can see it
        bar = stack.enter_context(
            tqdm(total=frames, unit="frame", desc=clip.name, leave=False, disable=None, file=sys.stderr)
        )
        if clip.live and not settings.no_overlay:
            writer = stack.enter_context(open_video_writer(overlay, clip.size_wh, clip.fps))
            live = results.LiveOverlay(writer, blur_faces=settings.blur_faces)

        def watch(result: FrameResult, rgb: np.ndarray) -> None:
            bar.update()
            if live is not None:
                live.show(result, rgb)

        outcome = measure_clip(
            clip, detector, pose_model, scale, every=settings.every, interrupt=interrupt, watch=watch
        )
    document = results.height_of(clip, outcome, settings.sex, settings.age_months)
    files = {"camera": settings.camera, "sheet": settings.sheet, "plane": settings.plane}
    chosen = {
        "model": Path(settings.model).name,
        "every": settings.every,
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
                overlay, clip, outcome, blur_faces=settings.blur_faces, interrupt=interrupt
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


def _unusable(name: str, error: HeightposeError, interrupt: Interrupt) -> Item:
    document = {"status": "error", "input": name, "error": str(error)}
    code = EXIT_INTERRUPTED if interrupt.requested else error.exit_code
    return Item(name, code, document, f"error: {error}", error)


def _summary(name: str, outcome: Outcome, folder: Path, height_cm: float | None) -> None:
    stages = outcome.times.per_frame_ms()
    total = sum(stages.values())
    rate = f"{1000 / total:.1f} frames/s" if total > 0 else "no frames"
    parts = ", ".join(f"{stage} {ms:.1f}" for stage, ms in stages.items())
    log.info(
        "%s: %d frames, %s; ms/frame: %s; measure %.0f ms in all",
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
