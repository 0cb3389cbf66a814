"""Printed boards and how they are found: chessboard, ChArUco, grids of tags.

Every board's points lie in its plane, z = 0, in centimetres, x to the right, **y up** and z towards the viewer, as the
mattress frame: so one pose solver serves boards and sheets. Chessboard corners are saddle points, which stay where
they are under blur and any grey curve; tag corners are fitted by :mod:`heightpose.geometry.sheet`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import cv2
import numpy as np

from heightpose.errors import ConfigError
from heightpose.geometry.sheet import SheetLayout, TagView, detect_tags
from heightpose.types import require_shape
from heightpose.words import plural

#: A detector of boards needs no more pixels than this along the longer side; corners are refined in the full picture.
_SEARCH_PX = 1280
#: Width of the black border of a Kalibr grid's tags, bit cells.
KALIBR_BORDER = 2


@dataclass(frozen=True, eq=False)
class Corners:
    """A board's corners found in one picture.

    Attributes:
        ids: ``(N,)`` int, which of the board's corners.
        pts_cm: ``(N, 3)`` on the board, z = 0.
        kpts: ``(N, 2)`` pixels of the picture as it was given.
    """

    ids: np.ndarray
    pts_cm: np.ndarray
    kpts: np.ndarray

    def __post_init__(self) -> None:
        require_shape("pts_cm", self.pts_cm, (len(self.ids), 3))
        require_shape("kpts", self.kpts, (len(self.ids), 2))


class Board(Protocol):
    """What the rest needs of a board: its description, how many corners it has, and the way to find them."""

    @property
    def count(self) -> int:
        """How many corners it has."""

    def find(self, gray: np.ndarray) -> Corners | None:
        """The corners in ``(H, W)`` uint8, or None when the board is not there."""

    def describe(self) -> str:
        """One line for reports."""


@dataclass(frozen=True)
class Chessboard:
    """A plain chessboard; it is found only whole.

    Attributes:
        inner_wh: inner corners across and down: one less than the squares.
        square_cm: side of a square. It scales distances, not the lens.
    """

    inner_wh: tuple[int, int]
    square_cm: float = 2.5

    def __post_init__(self) -> None:
        if min(self.inner_wh) < 3:  # OpenCV finds no smaller ones
            raise ConfigError("the board is too small", expected="at least 4x4 squares", got=self.describe())
        _require_length("square", self.square_cm)

    @property
    def count(self) -> int:
        return self.inner_wh[0] * self.inner_wh[1]

    def find(self, gray: np.ndarray) -> Corners | None:
        small, scale = _shrunk(gray)
        found, kpts = cv2.findChessboardCorners(small, self.inner_wh, flags=_CLASSIC)
        if not found:
            found, kpts = cv2.findChessboardCornersSB(small, self.inner_wh, flags=_SECTORS)
        if not found:
            return None
        columns, rows = self.inner_wh
        grid = _full_size(np.asarray(kpts, dtype=np.float64).reshape(-1, 2), scale).reshape(rows, columns, 2)
        first, second = grid[0, 1] - grid[0, 0], grid[1, 0] - grid[0, 0]
        if first[0] * second[1] - first[1] * second[0] < 0:  # listed mirrored: then from the other end
            grid = grid[:, ::-1]
        kpts = refine_saddles(gray, grid.reshape(-1, 2), _spacing(grid))
        column, row = np.meshgrid(np.arange(columns), np.arange(rows))
        xy = np.stack([column.ravel(), -row.ravel()], axis=1) * self.square_cm
        return Corners(np.arange(self.count), _flat(xy), kpts)

    def describe(self) -> str:
        columns, rows = self.inner_wh
        return f"chessboard of {columns + 1}x{rows + 1} squares, {self.square_cm:g} cm"


@dataclass(frozen=True)
class Charuco:
    """A chessboard with a marker in each white square: may be partly hidden or out of view.

    Attributes:
        squares_wh: squares across and down.
        square_cm: side of a square.
        marker_cm: side of a marker's black border.
        dictionary: OpenCV's name of the marker dictionary.
        legacy: the pattern of OpenCV before 4.6 (differs for an even number of rows).
    """

    squares_wh: tuple[int, int] = (8, 11)
    square_cm: float = 2.3
    marker_cm: float = 1.61
    dictionary: str = "DICT_5X5_100"
    legacy: bool = False

    def __post_init__(self) -> None:
        _require_length("square", self.square_cm)
        _require_length("marker", self.marker_cm)
        if min(self.squares_wh) < 3:
            raise ConfigError("the board is too small", expected="at least 3x3 squares", got=self.describe())
        if self.marker_cm >= self.square_cm:
            want = f"less than the square's {self.square_cm:g} cm"
            raise ConfigError("the marker does not fit its square", expected=want, got=self.marker_cm)
        available = len(aruco_dictionary(self.dictionary).bytesList)
        needed = self.squares_wh[0] * self.squares_wh[1] // 2
        if needed > available:
            raise ConfigError(
                "the dictionary has too few markers for this board",
                expected=f"at least {needed}",
                got=f"{available} in {self.dictionary}",
                hint="Choose another --dictionary",
            )

    @property
    def count(self) -> int:
        return (self.squares_wh[0] - 1) * (self.squares_wh[1] - 1)

    def opencv(self) -> cv2.aruco.CharucoBoard:
        """The same board as OpenCV has it."""
        markers = aruco_dictionary(self.dictionary)
        board = cv2.aruco.CharucoBoard(self.squares_wh, self.square_cm, self.marker_cm, markers)
        board.setLegacyPattern(self.legacy)
        return board

    def find(self, gray: np.ndarray) -> Corners | None:
        board = self.opencv()
        small, scale = _shrunk(gray)
        ids, kpts = _charuco_corners(board, small)
        if len(ids) < self.count and max(small.shape) < _SEARCH_PX:  # markers under 20 px are missed
            big = cv2.resize(small, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
            more, found = _charuco_corners(board, big)
            if len(more) > len(ids):
                ids, kpts = more, _full_size(found, 0.5)
        if len(ids) < 4:
            return None
        pts = np.asarray(board.getChessboardCorners(), dtype=np.float64)[ids] * (1, -1, 0)
        kpts = _full_size(kpts, scale)
        # As far as to the markers beside the corner, and no farther.
        clear = 0.5 * (1 - self.marker_cm / self.square_cm)
        return Corners(
            ids, pts, refine_saddles(gray, kpts, _pitch(pts, kpts, self.square_cm), min(0.3, clear))
        )

    def describe(self) -> str:
        columns, rows = self.squares_wh
        size = f"{self.square_cm:g}/{self.marker_cm:g} cm"
        return f"ChArUco board of {columns}x{rows} squares, {size}, {self.dictionary}"


@dataclass(frozen=True, eq=False)
class Tags:
    """Any printed layout of tags: an AprilTag grid, or the cot sheet itself."""

    layout: SheetLayout

    @property
    def count(self) -> int:
        return 4 * len(self.layout.tags)

    def find(self, gray: np.ndarray) -> Corners | None:
        return self.corners(self.detect(gray))

    def detect(self, gray: np.ndarray) -> TagView:
        """The tags in ``(H, W)`` uint8, wherever they lie on the board."""
        return detect_tags(gray, self.layout, bent=True)

    def corners(self, seen: TagView) -> Corners | None:
        """The detected tags' corners where the layout has them, or None when there is no tag."""
        if not len(seen.ids):
            return None
        ids = (4 * seen.ids[:, None] + np.arange(4)).ravel()
        xy = np.concatenate([self.layout.tags[tag] for tag in seen.ids.tolist()])
        return Corners(ids, _flat(xy), seen.corners_frame.reshape(-1, 2))

    def describe(self) -> str:
        return f"{self.layout.name}: {plural(len(self.layout.tags), 'tag')} of {self.layout.family}"


def tag_grid(
    tags_wh: tuple[int, int], tag_cm: float, gap_cm: float, family: str, bottom_up: bool = False
) -> SheetLayout:
    """A grid of tags, ids from 0 row by row from the top left, as OpenCV's GridBoard prints it.

    Args:
        bottom_up: from the bottom left.
    """
    columns, rows = tags_wh
    _require_length("tag", tag_cm)
    _require_length("gap", gap_cm)
    if columns * rows > len(aruco_dictionary(family).bytesList) or columns * rows < 1:
        raise ConfigError(
            "the dictionary has too few tags for this grid", where=family, got=f"{columns}x{rows} tags"
        )
    pitch = tag_cm + gap_cm
    size = (columns * pitch - gap_cm, rows * pitch - gap_cm)
    tags = {}
    for tag in range(columns * rows):
        row = rows - 1 - tag // columns if bottom_up else tag // columns
        x, y = tag % columns * pitch - size[0] / 2, size[1] / 2 - row * pitch
        tags[tag] = square(x, y, tag_cm)
    return SheetLayout(f"tag grid {columns}x{rows}", size, family, tags)


def upside_down(layout: SheetLayout) -> SheetLayout:
    """The same places and ids, each tag turned by half a turn: OpenCV draws AprilTags so, compared with the AprilTag
    project's own pictures (github.com/AprilRobotics/apriltag-imgs)."""
    return replace(layout, tags={tag: np.roll(corners, 2, axis=0) for tag, corners in layout.tags.items()})


def kalibr_grid(tags_wh: tuple[int, int], tag_cm: float, gap_cm: float, family: str) -> SheetLayout:
    """A grid as Kalibr's ``kalibr_create_target_pdf`` draws it: numbered bottom up, the AprilTag project's way up, with
    black borders of two bit cells. The black squares between its tags' corners are no part of it."""
    grid = upside_down(tag_grid(tags_wh, tag_cm, gap_cm, family, bottom_up=True))
    return replace(grid, name=f"Kalibr {grid.name}", border_cells=KALIBR_BORDER)


def square(left: float, top: float, side: float) -> np.ndarray:
    """``(4, 2)`` corners of a tag that stands upright, top-left first, clockwise, y up."""
    return np.array([[left, top], [left + side, top], [left + side, top - side], [left, top - side]])


def guess_chessboard(grays: list[np.ndarray], square_cm: float) -> Chessboard | None:
    """The chessboard whose inner corners are found in most of these pictures, when its size was not said."""
    votes: dict[tuple[int, int], int] = {}
    for gray in grays:
        small, _ = _shrunk(gray)
        found, _, meta = cv2.findChessboardCornersSBWithMeta(small, (3, 3), _SECTORS | cv2.CALIB_CB_LARGER)
        if found:
            rows, columns = np.asarray(meta).shape[:2]
            size = (max(rows, columns), min(rows, columns))
            votes[size] = votes.get(size, 0) + 1
    if not votes:
        return None
    return Chessboard(max(votes, key=lambda size: (votes[size], size)), square_cm)


def refine_saddles(gray: np.ndarray, kpts: np.ndarray, spacing_px: float, share: float = 0.3) -> np.ndarray:
    """Chessboard corners ``(N, 2)`` to a few hundredths of a pixel; the window reaches ``share`` of a square's side."""
    reach = int(np.clip(share * spacing_px, 2, 11))
    points = kpts.astype(np.float32)[:, None]
    stop = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_MAX_ITER, 40, 1e-4)
    moved = cv2.cornerSubPix(gray, points.copy(), (reach, reach), (-1, -1), stop)
    moved = np.asarray(moved, dtype=np.float64).reshape(-1, 2)
    stray = np.linalg.norm(moved - kpts, axis=1) > max(1.5, 0.15 * spacing_px)
    return np.where(stray[:, None], kpts, moved)


_CLASSIC = cv2.CALIB_CB_ADAPTIVE_THRESH | cv2.CALIB_CB_NORMALIZE_IMAGE | cv2.CALIB_CB_FAST_CHECK
_SECTORS = cv2.CALIB_CB_NORMALIZE_IMAGE | cv2.CALIB_CB_EXHAUSTIVE | cv2.CALIB_CB_ACCURACY


def aruco_dictionary(name: str) -> cv2.aruco.Dictionary:
    """OpenCV's dictionary of that name. Raises ConfigError."""
    if not name.startswith("DICT_") or not hasattr(cv2.aruco, name):
        want = "an OpenCV name such as DICT_5X5_100 or DICT_APRILTAG_36h11"
        raise ConfigError("no such marker dictionary", expected=want, got=name)
    return cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, name))


def _charuco_corners(board: cv2.aruco.CharucoBoard, gray: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ids ``(N,)`` and corners ``(N, 2)`` to about half a pixel."""
    settings = cv2.aruco.DetectorParameters()
    settings.minMarkerPerimeterRate = min(0.03, 40.0 / max(gray.shape))
    detector = cv2.aruco.CharucoDetector(board, cv2.aruco.CharucoParameters(), settings)
    kpts, ids, _, _ = detector.detectBoard(gray)
    if ids is None:
        return np.zeros(0, np.intp), np.zeros((0, 2))
    return np.ravel(ids).astype(np.intp), np.asarray(kpts, dtype=np.float64).reshape(-1, 2)


def _require_length(what: str, value: float) -> None:
    if not (np.isfinite(value) and 0.05 <= value <= 200):
        raise ConfigError(f"the {what}'s size is out of range", expected="0.05 to 200 cm", got=value)


def _shrunk(gray: np.ndarray) -> tuple[np.ndarray, float]:
    """The picture at most _SEARCH_PX long, and by how much it was shrunk."""
    scale = max(gray.shape) / _SEARCH_PX
    if scale <= 1.25:
        return gray, 1.0
    return cv2.resize(gray, None, fx=1 / scale, fy=1 / scale, interpolation=cv2.INTER_AREA), scale


def _full_size(kpts: np.ndarray, scale: float) -> np.ndarray:
    """An integer is a pixel's centre: edges, not centres, scale about zero."""
    return (kpts + 0.5) * scale - 0.5


def _spacing(grid: np.ndarray) -> float:
    """Typical shortest distance of neighbours in ``(rows, columns, 2)``."""
    across = np.linalg.norm(np.diff(grid, axis=1), axis=2)
    down = np.linalg.norm(np.diff(grid, axis=0), axis=2)
    return float(min(np.percentile(across, 10), np.percentile(down, 10)))


def _pitch(pts_cm: np.ndarray, kpts: np.ndarray, square_cm: float) -> float:
    """Shortest distance in pixels of corners that are one square apart."""
    apart_cm = np.linalg.norm(pts_cm[:, None] - pts_cm[None], axis=2)
    apart_px = np.linalg.norm(kpts[:, None] - kpts[None], axis=2)
    near = np.abs(apart_cm - square_cm) < 1e-3 * square_cm
    return float(np.percentile(apart_px[near], 10)) if near.any() else 10.0


def _flat(xy: np.ndarray) -> np.ndarray:
    return np.concatenate([xy, np.zeros((len(xy), 1))], axis=1)
