"""The printed sheet: its layout file, and finding its tags to a tenth of a pixel.

OpenCV finds and reads the tags, but none of its corner refinements is unbiased: contour corners sit half a
pixel inside the black border, the "subpix" window swallows the first bit cells of a small tag, and the
"apriltag" corners are half a pixel off in x and y. So each side of the tag is fitted here as a line through
the steepest dark-to-light steps across it, and the corners are where neighbouring lines meet. The steps are
located in linear light: a lens blurs light, and seen through the sRGB curve (IEC 61966-2-1) a blurred edge leans
into the dark, which makes a tag look up to 0.7 px too small.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from scipy.ndimage import map_coordinates

from heightpose.errors import FileFormatError
from heightpose.geometry.camera import as_floats
from heightpose.geometry.crop import resize_matrix
from heightpose.textfile import read_yaml
from heightpose.types import require_shape

_PROFILE_STEP_PX = 0.25
_SIDE_SAMPLES = 24
_ROUNDS = 5
#: Frames shorter than this are also searched at twice their size: OpenCV misses tags under 20 px.
_ENLARGE_BELOW_PX = 1400
#: Sides from this length on may be fitted as arcs.
_ARC_PX = 30.0
#: Grey levels between border and paper below which a side is no edge.
_MIN_CONTRAST = 6.0


@dataclass(frozen=True, eq=False)
class SheetLayout:
    """Where a sheet's tags are on the mattress.

    Attributes:
        name: the layout's name.
        size_cm: the sheet's size across (x) and along (y) the cot.
        family: OpenCV's name of the tag dictionary, e.g. DICT_APRILTAG_36h11.
        tags: tag id -> ``(4, 2)`` cm in the mattress frame: outer corners of the black border, top-left of
            the upright bitmap first, clockwise seen from above.
    """

    name: str
    size_cm: tuple[float, float]
    family: str
    tags: dict[int, np.ndarray]

    @classmethod
    def load(cls, path: str | Path) -> SheetLayout:
        """Read a sheet file (YAML). Raises InputError or FileFormatError, naming the file and the field."""
        return cls.from_dict(read_yaml(path, "sheet file"), where=path)

    @classmethod
    def from_dict(cls, data: object, where: object = "sheet") -> SheetLayout:
        """Build from a sheet file's content; ``where`` names its origin in errors."""

        def fail(field: str, expected: str, got: object) -> FileFormatError:
            what = f"sheet field '{field}' is not valid"
            return FileFormatError(what, where=where, expected=expected, got=got)

        if not isinstance(data, dict):
            raise fail("(all)", "a mapping with name, units, size_cm, family, tags", type(data).__name__)
        if data.get("units") != "cm":
            raise fail("units", "cm", data.get("units"))
        size = as_floats(data.get("size_cm"), (2,))
        if size is None or (size <= 0).any():
            raise fail("size_cm", "two positive numbers, across and along", data.get("size_cm"))
        family = data.get("family")
        if not isinstance(family, str) or not family.startswith("DICT_") or not hasattr(cv2.aruco, family):
            raise fail("family", "an OpenCV dictionary name such as DICT_APRILTAG_36h11", family)
        entries = data.get("tags")
        if not isinstance(entries, dict) or not entries:
            raise fail("tags", "a mapping from tag ids to corners", type(entries).__name__)
        count = len(_dictionary(family).bytesList)
        tags = {}
        for key, value in entries.items():
            if isinstance(key, bool) or not str(key).isdigit() or int(key) >= count:
                raise fail("tags", f"tag ids from 0 to {count - 1} of {family}", key)
            corners = as_floats(value, (4, 2))
            if corners is None:
                raise fail(f"tags.{key}", "four corners [x, y] in cm", value)
            if not _is_clockwise_quad(corners):
                raise fail(f"tags.{key}", "a convex tag, corners clockwise seen from above", value)
            tags[int(key)] = corners
        return cls(str(data.get("name", "sheet")), (float(size[0]), float(size[1])), family, tags)

    def to_dict(self) -> dict:
        """The sheet file's content."""
        return {
            "name": self.name,
            "units": "cm",
            "size_cm": list(self.size_cm),
            "family": self.family,
            "tags": {tag: corners.tolist() for tag, corners in self.tags.items()},
        }


@dataclass(frozen=True, eq=False)
class TagView:
    """The tags seen in one frame.

    Attributes:
        ids: ``(M,)`` int, each at most once.
        corners_frame: ``(M, 4, 2)`` frame pixels, in the order of :attr:`SheetLayout.tags`.
    """

    ids: np.ndarray
    corners_frame: np.ndarray

    def __post_init__(self) -> None:
        ids = np.asarray(self.ids, dtype=np.intp).reshape(-1)
        corners = np.asarray(self.corners_frame, dtype=np.float64).reshape(-1, 4, 2)
        require_shape("corners_frame", corners, (len(ids), 4, 2))
        if len(set(ids.tolist())) != len(ids):
            raise ValueError(f"ids: expected each tag once, got {ids.tolist()}")
        object.__setattr__(self, "ids", ids)
        object.__setattr__(self, "corners_frame", corners)


def detect_tags(gray: np.ndarray, layout: SheetLayout, *, bent: bool = False) -> TagView:
    """Find the layout's tags in one frame.

    Args:
        gray: ``(H, W)`` uint8 frame.
        layout: the sheet; tags of other ids are ignored, an id seen twice is dropped.
        bent: see :func:`refine_quads`.

    Returns:
        The tags, ascending by id, corners good to about 0.1 px on tags of 20 px and more.
    """
    if gray.ndim != 2 or gray.dtype != np.uint8:
        raise ValueError(f"gray: expected (H, W) uint8, got {gray.shape} {gray.dtype}")
    size = (gray.shape[1], gray.shape[0])
    found = _find(gray, layout)
    if max(size) < _ENLARGE_BELOW_PX and len(found) < len(layout.tags):
        big_size = (2 * size[0], 2 * size[1])
        big = cv2.resize(gray, big_size, interpolation=cv2.INTER_CUBIC)
        back = resize_matrix(big_size, size)
        for tag, quad in _find(big, layout).items():
            found.setdefault(tag, quad @ back[:2, :2].T + back[:2, 2])
    if not found:
        return TagView(np.zeros(0, np.intp), np.zeros((0, 4, 2)))
    ids = np.array(sorted(found))
    cells = _dictionary(layout.family).markerSize + 2
    quads, good = refine_quads(gray, np.stack([found[tag] for tag in ids.tolist()]), cells, bent=bent)
    return TagView(ids[good], quads[good])


def _find(gray: np.ndarray, layout: SheetLayout) -> dict[int, np.ndarray]:
    """Tag id -> ``(4, 2)`` corners to about a pixel."""
    settings = cv2.aruco.DetectorParameters()
    settings.cornerRefinementMethod = cv2.aruco.CORNER_REFINE_CONTOUR
    settings.adaptiveThreshWinSizeStep = 5
    settings.adaptiveThreshWinSizeMax = 33
    # The default drops tags shorter than 0.75 % of the frame's longer side, too many in a wide frame.
    settings.minMarkerPerimeterRate = min(0.03, 40.0 / max(gray.shape))
    corners, ids, _ = cv2.aruco.ArucoDetector(_dictionary(layout.family), settings).detectMarkers(gray)
    found: dict[int, np.ndarray] = {}
    twice = set()
    for quad, tag in zip(corners, [] if ids is None else [int(i) for i in np.ravel(ids)], strict=True):
        if tag in found:
            twice.add(tag)
        if tag in layout.tags:
            found[tag] = np.asarray(quad, dtype=np.float64).reshape(4, 2)
    return {tag: quad for tag, quad in found.items() if tag not in twice}


def refine_quads(
    gray: np.ndarray, quads: np.ndarray, cells: int, *, bent: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Fit the four sides of dark squares on light paper.

    Across each side the light step is located as the centroid of the outward brightening. The window reaches
    about half a bit cell to either side, so that the edges of the inner bits, one cell away, stay out, and it
    follows the edge over several rounds, so that it ends symmetric about it and hence unbiased.

    Args:
        gray: ``(H, W)`` uint8 picture, sRGB-coded as cameras deliver it.
        quads: ``(M, 4, 2)`` first guess, clockwise in the picture, to about a pixel.
        cells: bit cells along a side, border included.
        bent: sides of 30 px and more are arcs, as a strong lens draws them: unbiased then, but noisier. Shorter ones
            stay straight, as the bend falls with the square of the length and the noise does not.

    Returns:
        ``(M, 4, 2)`` corners and ``(M,)`` bool, False where a side has no clear edge or the fit ran away.
    """
    light = _linear_light()[gray]
    start = np.asarray(quads, dtype=np.float64)
    side = np.linalg.norm(np.roll(start, -1, axis=1) - start, axis=2)  # (M, 4) px
    cell = side.mean(axis=1) / cells
    reach = np.clip(0.45 * cell, 0.75, 5.0)
    ends = np.clip(1.5 / side.min(axis=1), 0.08, 0.2)  # leave out what the rounded corners touch
    grid = np.linspace(0.0, 1.0, _SIDE_SAMPLES)
    along = ends[:, None] + grid * (1 - 2 * ends[:, None])  # (M, S) as a share of the side
    steps = int(np.ceil(reach.max() / _PROFILE_STEP_PX))
    across = np.arange(-steps, steps + 1) * _PROFILE_STEP_PX  # (T,) px, outwards
    inside = np.abs(across) <= reach[:, None] + 1e-9  # (M, T)

    arcs = (side >= _ARC_PX) & bent  # (M, 4)
    corners = start.copy()
    for _ in range(_ROUNDS):
        first, second = corners, np.roll(corners, -1, axis=1)
        tangent = second - first
        unit = tangent / np.maximum(np.linalg.norm(tangent, axis=2, keepdims=True), 1e-9)
        normal = np.stack([unit[..., 1], -unit[..., 0]], axis=-1)  # outwards, as the quad is clockwise
        points = first[:, :, None] + tangent[:, :, None] * along[:, None, :, None]  # (M, 4, S, 2)
        probes = points[:, :, :, None] + normal[:, :, None, None] * across[:, None]  # (M, 4, S, T, 2)
        half = 0.5 * normal[:, :, None, None]
        rise = _sample(light, probes + half) - _sample(light, probes - half)  # brightening per px, outwards
        weight = np.maximum(rise, 0.0) * inside[:, None, None]
        mass = weight.sum(axis=-1)  # (M, 4, S)
        offset = (weight * across).sum(axis=-1) / np.maximum(mass, 1e-9)
        shift, turn, bend = _line_fit(along[:, None] - 0.5, offset, mass, arcs)
        start_point = first + normal * (shift - 0.5 * turn + 0.25 * bend)[..., None]
        end_point = second + normal * (shift + 0.5 * turn + 0.25 * bend)[..., None]
        corners = _meet(start_point, end_point)
    moved = np.linalg.norm(corners - start, axis=2).max(axis=1)
    good = np.isfinite(corners).all(axis=(1, 2)) & (moved < 1.5 + 0.75 * cell)
    beside = normal[:, :, None] * reach[:, None, None, None]
    contrast = _sample(gray, points + beside).astype(float) - _sample(gray, points - beside)
    return corners, good & (np.median(contrast, axis=-1).min(axis=1) > _MIN_CONTRAST)


@cache
def _linear_light() -> np.ndarray:
    """``(256,)`` grey level -> linear light, 0..255, by the sRGB curve."""
    level = np.arange(256) / 255.0
    return 255.0 * np.where(level <= 0.04045, level / 12.92, ((level + 0.055) / 1.055) ** 2.4)


def _sample(image: np.ndarray, points: np.ndarray) -> np.ndarray:
    return map_coordinates(image, [points[..., 1], points[..., 0]], order=1, mode="nearest")


def _line_fit(
    x: np.ndarray, y: np.ndarray, weight: np.ndarray, arcs: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weighted ``y = shift + turn * x + bend * x**2`` along the last axis, refitted once without stray samples.

    ``bend`` is 0 where ``arcs`` is False.
    """
    x = np.broadcast_to(x, y.shape)
    powers = np.stack([np.ones_like(x), x, np.where(arcs[..., None], x * x, 0.0)], axis=-1)
    for _ in range(2):
        weighted = powers * weight[..., None]
        normal = np.swapaxes(weighted, -1, -2) @ powers + 1e-9 * np.eye(3)
        fitted = np.linalg.solve(normal, (weighted * y[..., None]).sum(axis=-2)[..., None])
        stray = np.abs(y - (powers @ fitted)[..., 0])
        weight = weight * (stray <= 2.5 * np.median(stray, axis=-1, keepdims=True) + 0.05)
    return fitted[..., 0, 0], fitted[..., 1, 0], fitted[..., 2, 0]


def _meet(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Corners ``(M, 4, 2)`` where each side's line meets the previous side's."""
    ones = np.ones((*first.shape[:-1], 1))
    lines = np.cross(np.concatenate([first, ones], axis=-1), np.concatenate([second, ones], axis=-1))
    meet = np.cross(np.roll(lines, 1, axis=1), lines)
    with np.errstate(divide="ignore", invalid="ignore"):  # parallel sides: caught as not finite
        return meet[..., :2] / meet[..., 2:]


def _is_clockwise_quad(corners: np.ndarray) -> bool:
    """Convex and clockwise in a frame whose y points away from the viewer's feet (up)."""
    edge = np.roll(corners, -1, axis=0) - corners
    after = np.roll(edge, -1, axis=0)
    return bool((edge[:, 0] * after[:, 1] - edge[:, 1] * after[:, 0] < -1e-9).all())


def _dictionary(family: str) -> cv2.aruco.Dictionary:
    return cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, family))


def shipped_sheet() -> Path:
    """The 70x132 cm sheet that comes with the package (also under calibration/ for printing and editing)."""
    return Path(__file__).with_name("crib-sheet-70x132.yaml")
