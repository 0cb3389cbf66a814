"""A calibration from pictures to camera file: read, choose, solve, report."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from heightpose.calibrate.boards import Board
from heightpose.calibrate.conventions import other_convention
from heightpose.calibrate.solve import MIN_VIEWS, Solution, solve, view_rms
from heightpose.calibrate.views import Fate, View, choose, gray_pictures, look
from heightpose.errors import HeightposeError, InputError
from heightpose.runtime.clip import Clip
from heightpose.runtime.stills import PICTURE_SUFFIXES, StillsClip
from heightpose.runtime.video import open_clip
from heightpose.words import plural


@dataclass(frozen=True, eq=False)
class Calibration:
    """A finished calibration: the solution and what became of every picture."""

    solution: Solution
    fates: list[Fate]
    board: Board
    size_wh: tuple[int, int]

    def report(self) -> dict[str, Any]:
        """The report as JSON; every number behind the verdict."""
        solution = self.solution
        names = ("fx", "fy", "cx", "cy", *(f"dist{i}" for i in range(len(solution.camera.dist))))
        return {
            "camera": solution.camera.to_dict(),
            "board": self.board.describe(),
            "rms_px": solution.bundle.rms_px,
            "held_out_rms_px": solution.held_out_rms_px,
            "standard_errors": dict(zip(names, solution.bundle.errors.tolist(), strict=True)),
            "focal_error": solution.focal_error,
            "edge_doubt": solution.edge_doubt,
            "board_bow_mm": solution.bow.height_mm,
            "board_stretch": solution.bow.stretch,
            "stray_corners": solution.strays,
            "coverage": vars(solution.cover),
            "advice": solution.advice,
            "lenses_tried": [trial.to_dict() for trial in solution.trials],
            "pictures": [fate.to_dict() for fate in self.fates],
        }

    def summary(self) -> list[str]:
        """Lines for a person."""
        solution, camera = self.solution, self.solution.camera
        states = Counter(fate.state for fate in self.fates)
        left = ", ".join(f"{n} {state}" for state, n in sorted(states.items()) if state != "used")
        fov = 2 * np.rad2deg(
            np.arctan(np.linalg.norm(camera.undistort(_left_and_right(camera.size_wh)), axis=1))
        )
        lines = [
            f"{self.board.describe()}; {plural(len(self.fates), 'picture')} of {self.size_wh[0]}x{self.size_wh[1]}: "
            f"{states['used']} used" + (f", left out: {left}" if left else ""),
            f"{camera.model}, focal length {camera.K[0, 0]:.1f} px (sure to {100 * solution.focal_error:.2f} %), "
            f"{fov.mean():.0f} degrees across; "
            f"middle {camera.K[0, 2]:.1f}, {camera.K[1, 2]:.1f}",
            f"error {solution.bundle.rms_px:.2f} px, on views held out {solution.held_out_rms_px:.2f} px",
        ]
        return lines + [f"advice: {text}" for text in solution.advice]


def _left_and_right(size_wh: tuple[int, int]) -> np.ndarray:
    middle = (size_wh[1] - 1) / 2
    return np.array([[0.0, middle], [size_wh[0] - 1.0, middle]])


def open_pictures(inputs: Sequence[str]) -> Clip:
    """One video, folder or picture, or several pictures as one clip; pictures as they are stored. Raises InputError."""
    if len(inputs) == 1:
        return open_clip(inputs[0], stills_upright=False)
    paths = [Path(item) for item in inputs]
    for path in paths:
        if path.suffix.lower() not in PICTURE_SUFFIXES:
            raise InputError(
                "several inputs must all be pictures",
                where=path,
                hint="Give one video, or one folder, or pictures",
            )
    return StillsClip(paths, "pictures", "folder", upright=False)


def stored_size(clip: Clip) -> tuple[int, int]:
    """(width, height) before the turn that the metadata ask for: what a camera file speaks of."""
    width, height = clip.size_wh
    return (width, height) if clip.rotation_deg % 180 == 0 else (height, width)


def find_views(clip: Clip, board: Board) -> tuple[list[View], list[Fate]]:
    """Views with a board, and a fate for each picture without one."""
    views, without = [], []
    pictures = gray_pictures(clip)
    for name, index, gray in tqdm(pictures, unit="picture", leave=False, disable=None, file=sys.stderr):
        view = look(name, index, gray, board)
        if view is None:
            without.append(Fate(name, index, "no board"))
        else:
            views.append(view)
    return views, without


def calibrate(clip: Clip, board: Board, models: Sequence[str], most: int) -> Calibration:
    """Calibrate the camera of a clip.

    Raises:
        HeightposeError: too few usable views, or views that cannot tell the lens; says what to do.
    """
    size_wh = stored_size(clip)
    views, without = find_views(clip, board)
    used, fates = choose(views, board, size_wh, most)
    fates = sorted(fates + without, key=lambda fate: fate.index)
    try:
        if len(used) < MIN_VIEWS:
            raise _too_few(clip, board, used, fates)
        solution = solve(used, size_wh, models)
    except HeightposeError as error:
        hint = other_convention(clip, board)
        if hint is None:
            raise
        raise HeightposeError(
            error.what, where=error.where, expected=error.expected, got=error.got, hint=hint
        ) from error
    _record(fates, solution)
    return Calibration(solution, fates, board, size_wh)


def _record(fates: list[Fate], solution: Solution) -> None:
    errors = view_rms(solution)
    out = {view.index for view in solution.outliers}
    for fate in fates:
        if fate.index in errors:
            error, tilt = errors[fate.index]
            fate.rms_px, fate.tilt_deg = round(error, 3), round(tilt, 1)
            if fate.index in out:
                fate.state = "outlier"


def _too_few(clip: Clip, board: Board, used: list[View], fates: list[Fate]) -> HeightposeError:
    states = Counter(fate.state for fate in fates)
    hints = {
        "no board": "Check the board's description (--board, --squares counts squares, not corners; --dictionary) "
        "and that the whole board with its white margin is in view",
        "blurred": "Hold the board still, or use more light",
        "alike": "Move and tilt the board between pictures",
        "few corners": "Bring the board closer or fully into view",
        "used": "Take 15 to 25 pictures with the board in the middle, the corners and tilted each way",
    }
    worst = max((s for s in states if s in hints), key=lambda s: states[s], default="used")
    counted = ", ".join(f"{n} {state}" for state, n in states.most_common())
    return HeightposeError(
        "too few usable views of the board",
        where=clip.name,
        expected=f"at least {MIN_VIEWS} with a {board.describe()}",
        got=f"{len(used)} of {plural(len(fates), 'picture')} ({counted})",
        hint=hints[worst],
    )
