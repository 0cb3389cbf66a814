"""What ``heightpose infer`` was asked for, and the files it names."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from heightpose.errors import ConfigError, FileFormatError
from heightpose.geometry.camera import Camera
from heightpose.geometry.plane import Plane, plane_from_height
from heightpose.geometry.sheet import SheetLayout
from heightpose.runtime.output import sha256
from heightpose.runtime.scale import MattressCorners, Scale
from heightpose.runtime.selection import Selection

log = logging.getLogger("heightpose")

#: A camera, sheet or plane file has a few kilobytes.
_LARGEST_FILE = 1 << 20

T = TypeVar("T")


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
    resume: bool = False
    model: str = "fast"
    detector: str = "detector"
    backend: str = "auto"
    tta: str = "flip"
    sex: str | None = None
    age_months: float | None = None
    blur_faces: bool = False
    no_overlay: bool = False
    smooth: bool = False
    every: int = 1
    fps: float | None = None
    start: float | None = None
    end: float | None = None
    jobs: int = 1
    threads: int | None = None
    #: Name and SHA-256 of the camera, sheet and plane file, as they were when they were read.
    hashes: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def selection(self) -> Selection:
        """Which frames to look at. Raises ConfigError where the options contradict each other."""
        return Selection(self.every, self.fps, self.start, self.end)

    def load_scale(self) -> Scale:
        """Read the camera, sheet and plane files. Raises ConfigError, InputError or FileFormatError."""
        if (self.sex is None) != (self.age_months is None):
            raise ConfigError(
                "a z-score needs both sex and age", hint="Give --sex and --age-months, or neither"
            )
        camera = None if self.camera is None else _load_file(Camera.load, self.camera)
        if camera is not None and camera.is_off_centre:
            cx, cy = camera.K[:2, 2]
            log.warning(
                "%s: the lens's middle (%.0f, %.0f) is far from the middle of %dx%d: are width and height those of the "
                "pictures that K was found from?", self.camera, cx, cy, *camera.size_wh,
            )  # fmt: skip
        sheet = None if self.sheet is None else _load_file(SheetLayout.load, self.sheet)
        plane = None if self.plane is None else _load_file(Plane.load, self.plane)
        if sheet is None and plane is not None:
            sheet = plane.sheet  # where the clip still shows it, it tells whether the camera has moved
        if camera is None and plane is not None:
            camera = plane.camera
        corners = self._corners()
        if corners is not None and plane is not None:
            log.warning("--plane and --corners are given: the stored plane is used")
            corners = None
        height: float | None = None
        if self.camera_height_cm is not None:
            if sheet is not None or plane is not None or corners is not None:
                height = self.camera_height_cm
            else:
                log.warning("only the camera's height is known: it is taken to look straight down")
                plane = plane_from_height(self.camera_height_cm)
        return Scale(camera, sheet, plane, corners, height)

    def hashed(self) -> dict[str, dict[str, str]]:
        """Name and SHA-256 of each settings file. InputError where one cannot be read."""
        files = {"camera": self.camera, "sheet": self.sheet, "plane": self.plane}
        return {
            what: {"name": path.name, "sha256": sha256([path])}
            for what, path in files.items()
            if path is not None
        }

    def as_recorded(self) -> dict[str, Any]:
        """What provenance.json says of the settings that the result depends on."""
        return {
            "model": Path(self.model).name,
            "every": self.every,
            "fps": self.fps,
            "start_s": self.start,
            "end_s": self.end,
            "smooth": self.smooth,
            "corners": self.corners,
            "size_cm": self.size,
            "camera_height_cm": self.camera_height_cm,
            "blur_faces": self.blur_faces,
        }

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
    # os.path's answer False where the way there is closed or the name too long; opening it then tells.
    odd = not os.path.isfile(path) or os.path.getsize(path) > _LARGEST_FILE
    if os.path.exists(path) and not os.path.isdir(path) and odd:
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
