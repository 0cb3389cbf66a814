"""One or many inputs, one after the other: models are loaded once, a bad input does not stop the next."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from heightpose.errors import (
    EXIT_INTERRUPTED,
    EXIT_MEASURED,
    EXIT_REJECTED,
    EXIT_USAGE,
    ConfigError,
    HeightposeError,
)
from heightpose.geometry.camera import Camera
from heightpose.geometry.plane import Plane
from heightpose.geometry.sheet import SheetLayout
from heightpose.report.overlay import answer_text
from heightpose.runtime import results
from heightpose.runtime.atomic import make_folder
from heightpose.runtime.clip import Clip
from heightpose.runtime.interrupt import Interrupt
from heightpose.runtime.output import open_video_writer
from heightpose.runtime.pipeline import Detector, PoseModel
from heightpose.runtime.session import Outcome, Scale, measure_clip
from heightpose.runtime.stills import list_folder
from heightpose.runtime.video import VIDEO_SUFFIXES, is_address, open_clip, without_login
from heightpose.types import FrameResult

log = logging.getLogger("heightpose")


@dataclass(frozen=True)
class Settings:
    """What ``heightpose infer`` was asked for; names and meanings are its options'."""

    camera: Path | None = None
    sheet: Path | None = None
    plane: Path | None = None
    camera_height_cm: float | None = None
    out: Path = Path("heightpose-results")
    model: str = "fast"
    detector: str = "detector"
    backend: str = "auto"
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
        if self.sheet is not None and self.plane is not None:
            log.warning(
                "both --plane and --sheet are given: the stored plane is used, the sheet is not looked for"
            )
        return Scale(
            None if self.camera is None else Camera.load(self.camera),
            None if self.sheet is None else SheetLayout.load(self.sheet),
            None if self.plane is None else Plane.load(self.plane),
            self.camera_height_cm,
        )


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
    names: dict[str, str] = {}
    pairs: list[tuple[str, str]] = []
    for source in found:
        stem = name = _stem(source)
        for number in range(2, len(found) + 2):
            if name not in names:
                break
            name = f"{stem}-{number}"
        if name != stem:
            log.warning("two inputs are called %s: results of %s go to %s", stem, source, name)
        names[name] = source
        pairs.append((source, name))
    return pairs, several or len(pairs) > 1


def _stem(source: str) -> str:
    if is_address(source):
        text = re.sub(r"^\w+://", "", without_login(source))
        return re.sub(r"[^A-Za-z0-9.-]+", "-", text).strip("-.") or "stream"
    path = Path(source)
    return (path.resolve().name if path.is_dir() else path.stem) or "clip"


def run_all(inputs: list[tuple[str, str]], settings: Settings) -> Iterator[Item]:
    """Measure each (source, name). Yields one item per input, also for those that cannot be used.

    Raises:
        HeightposeError: a setting, a camera, sheet or plane file, or a model cannot be used.
    """
    scale = settings.load_scale()
    models = _Models(settings)
    with Interrupt() as interrupt:
        for source, name in inputs:
            try:
                with open_clip(source) as clip:
                    models.load()
                    yield _run_one(clip, name, scale, settings, models, interrupt)
            except HeightposeError as error:
                if models.broken:
                    raise
                yield _unusable(name, error)
            if interrupt.requested:
                return


class _Models:
    """The two networks, loaded when the first input turns out to be readable."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._loaded: tuple[Detector, PoseModel] | None = None
        self.broken = False

    def load(self) -> tuple[Detector, PoseModel]:
        if self._loaded is None:
            self.broken = True  # until proven otherwise: no further input can do better
            s = self._settings
            pose_model = PoseModel.load(s.model, s.backend)
            self._loaded = (Detector.load(s.detector, s.backend), pose_model)
            self.broken = False
            for part in self._loaded:
                log.info("%s %s: %s", part.file.kind, part.file.path.name, part.backend.active)
        return self._loaded


def _run_one(
    clip: Clip, name: str, scale: Scale, settings: Settings, models: _Models, interrupt: Interrupt
) -> Item:
    detector, pose_model = models.load()
    folder = settings.out / name
    make_folder(folder)
    overlay = folder / "overlay.mp4"
    watchers: list[Callable[[FrameResult, np.ndarray], None]]
    with ExitStack() as stack:
        watchers = [stack.enter_context(_Progress(clip, settings.every)).show]
        if clip.live and not settings.no_overlay:
            writer = stack.enter_context(open_video_writer(overlay, clip.size_wh, clip.fps))
            watchers.append(results.LiveOverlay(writer, blur_faces=settings.blur_faces).show)
        outcome = measure_clip(
            clip,
            detector,
            pose_model,
            scale,
            every=settings.every,
            interrupt=interrupt,
            watch=lambda result, rgb: _each(watchers, result, rgb),
        )
    document = results.height_of(clip, outcome, settings.sex, settings.age_months)
    files = {"camera": settings.camera, "sheet": settings.sheet, "plane": settings.plane}
    chosen = {
        "model": Path(settings.model).name,
        "every": settings.every,
        "camera_height_cm": settings.camera_height_cm,
        "blur_faces": settings.blur_faces,
    }
    provenance = results.provenance_of(clip, outcome, detector, pose_model, files, chosen)
    results.write_numbers(folder, document, outcome.log, provenance)
    results.write_preview(folder / "preview.png", outcome, blur_faces=settings.blur_faces)
    if settings.no_overlay or (outcome.interrupted and not clip.live):
        overlay.unlink(missing_ok=True)  # one of an earlier run would not belong to this answer
    elif not clip.live:
        with outcome.times.stage("overlay"):
            results.write_overlay(overlay, clip, outcome, blur_faces=settings.blur_faces, interrupt=interrupt)
    _summary(name, outcome, folder)
    code = EXIT_MEASURED if outcome.measurement.status == "measured" else EXIT_REJECTED
    if interrupt.requested:
        code = EXIT_INTERRUPTED
    return Item(name, code, document, answer_text(outcome.measurement))


def _each(
    watchers: list[Callable[[FrameResult, np.ndarray], None]], result: FrameResult, rgb: np.ndarray
) -> None:
    for watcher in watchers:
        watcher(result, rgb)


def _unusable(name: str, error: HeightposeError) -> Item:
    document = {"status": "error", "input": name, "error": str(error)}
    return Item(name, error.exit_code, document, f"error: {error}", error)


def _summary(name: str, outcome: Outcome, folder: Path) -> None:
    stages = outcome.times.per_frame_ms()
    total = sum(stages.values())
    rate = f"{1000 / total:.1f} frames/s" if total > 0 else "no frames"
    parts = ", ".join(f"{stage} {ms:.1f}" for stage, ms in stages.items())
    log.info(
        "%s: %d frames, %s; ms/frame: %s; measure %.0f ms in all",
        *(name, outcome.times.frames, rate, parts, 1000 * outcome.measure_s),
    )
    log.info("results saved to %s", folder)


class _Progress:
    """A progress bar on stderr, only where a person can see it."""

    def __init__(self, clip: Clip, every: int) -> None:
        total = None if clip.length_hint is None else -(-clip.length_hint // every)
        self._bar: Any = tqdm(
            total=total,
            unit="frame",
            desc=clip.name,
            file=sys.stderr,
            leave=False,
            disable=not sys.stderr.isatty(),
        )

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def show(self, result: FrameResult, rgb: np.ndarray) -> None:
        self._bar.update()
