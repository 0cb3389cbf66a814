"""``heightpose infer`` as whole processes: frames per second, stages, peak memory, time to the first answer."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from heightpose.errors import HeightposeError, InputError
from heightpose.runtime.clip import turn
from heightpose.runtime.memory import peak_mb
from heightpose.runtime.output import write_picture
from heightpose.runtime.video import open_clip
from heightpose.runtime.video_writer import open_video_writer

#: The clip that frames per second are counted on.
CLIP_WH = (1280, 720)
CLIP_FPS = 25
_MOST_FRAMES = 64
#: Seconds between looks at a process's memory, whose peak only grows.
_WATCH_S = 0.05


@dataclass(frozen=True)
class Process:
    """One finished ``heightpose infer``.

    Attributes:
        wall_s: from the start of the process to its end.
        peak_mb: the most memory it held.
        provenance: its provenance.json.
        overlay_ms: per frame, for drawing and writing the overlay; None without one.
    """

    wall_s: float
    peak_mb: float | None
    provenance: dict[str, Any]
    overlay_ms: float | None


def make_inputs(source: Path, folder: Path, frames: int) -> tuple[Path, Path, tuple[int, int]]:
    """The bench clip, the source's first frames played to and fro, and a still of it.

    The clip is 1280x720 where the source has that shape, so that a camera file still fits, else of its own size; and
    as stored, where the source is marked as turned.

    Returns:
        (clip, still, (width, height)).

    Raises:
        InputError: the source holds no picture.
    """
    with open_clip(source) as clip:
        back_deg = -clip.rotation_deg % 360
        width, height = clip.size_wh if back_deg % 180 == 0 else clip.size_wh[::-1]
        size_wh = CLIP_WH if width * CLIP_WH[1] == height * CLIP_WH[0] else (width, height)
        shown = [
            cv2.resize(turn(frame.rgb, back_deg), size_wh, interpolation=cv2.INTER_AREA)
            for frame, _ in zip(clip.frames(), range(_MOST_FRAMES), strict=False)
        ]
    if not shown:
        raise InputError("the clip holds no picture", where=source)
    to_and_fro = [*range(len(shown)), *range(len(shown) - 2, 0, -1)]
    with open_video_writer(folder / "clip.mp4", size_wh, Fraction(CLIP_FPS)) as writer:
        for i in range(frames):
            writer.write(shown[to_and_fro[i % len(to_and_fro)]], i / CLIP_FPS)
    write_picture(folder / "still.png", shown[0])
    return folder / "clip.mp4", folder / "still.png", size_wh


def run_infer(path: Path, options: list[str], folder: Path, *, overlay: bool) -> Process:
    """Run ``heightpose infer`` on one input in a process of its own.

    Raises:
        HeightposeError: it neither measured nor rejected.
    """
    out = folder / f"results-{time.monotonic_ns()}"
    command = [sys.executable, "-m", "heightpose", "infer", str(path), *options, "--out", str(out)]
    command += [] if overlay else ["--no-overlay"]
    with (folder / "log.txt").open("w+b") as log:
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        code, peak_mb = _finished(process)
        wall_s = time.perf_counter() - start
        log.seek(0)
        text = log.read().decode("utf-8", "replace")
    if code not in (0, 3):
        last = text.strip().splitlines()[-1:] or ["no word why"]
        raise HeightposeError(f"infer ended with code {code}", where=path, got=last[0])
    provenance = json.loads((out / path.stem / "provenance.json").read_text(encoding="utf-8"))
    found = re.search(r"\boverlay ([0-9.]+)", text)
    return Process(
        wall_s, peak_mb, provenance, None if found is None or not overlay else float(found.group(1))
    )


def _finished(process: subprocess.Popen[bytes]) -> tuple[int, float | None]:
    """Exit code and peak memory in MB, None on systems that do not tell."""
    peaks: list[float] = []
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(_WATCH_S):
            if (now := peak_mb(process.pid)) is not None:
                peaks.append(now)

    watching = threading.Thread(target=watch, name="memory")
    watching.start()
    try:
        code = process.wait()
    finally:
        ended.set()
        watching.join()
    return code, max(peaks, default=None)


def stream_figures(process: Process) -> dict[str, Any]:
    """Frames per second and stages of a clip, from what infer itself counted."""
    about = process.provenance
    frames, wall_s = about["input"]["frames"], about["wall_s"]
    return {
        "frames": frames,
        "frames_per_s": round(frames / wall_s, 2) if wall_s else None,
        "frames_per_s_with_start": round(frames / process.wall_s, 2),
        "stage_ms": about["stage_ms"],
        "peak_mb": None if process.peak_mb is None else round(process.peak_mb),
        "backend": about["backend"],
    }


def first_answers(still: Path, options: list[str], folder: Path, rounds: int) -> dict[str, float]:
    """Seconds from the start of a process to its answer on one still: the best and the median."""
    walls = [run_infer(still, options, folder, overlay=False).wall_s for _ in range(rounds)]
    return {"best_s": round(min(walls), 3), "median_s": round(float(np.median(walls)), 3)}
