"""The printed sheet: its layout file, and finding its tags in a frame.

OpenCV finds and reads the tags; :mod:`heightpose.geometry.tag_edges` makes their corners exact. A frame in which tags
are small is searched enlarged too, but only where the tags found first say that the missing ones are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from heightpose.arrays import as_floats
from heightpose.errors import FileFormatError
from heightpose.geometry.crop import resize_matrix
from heightpose.geometry.tag_edges import refine_quads
from heightpose.textfile import read_yaml
from heightpose.types import require_shape

#: Frames shorter than this are also searched at twice their size: OpenCV misses tags under 20 px.
_ENLARGE_BELOW_PX = 1400
#: Missing tags are looked for where the others say they are: at least so many others, and the nearest ones only.
_PREDICT_FROM, _NEAREST = 4, 6
#: So much around the predicted place belongs to it, in tag sides; smaller parts than this hold no tag.
_PATCH_MARGIN, _LEAST_PATCH_PX = 0.75, 12
#: Layouts are rounded: a tag may stick out by this much, and two may share this area.
_OFF_SHEET_CM, _SHARED_CM2 = 0.1, 0.05
#: A picture smaller than this is a part of a frame.
_PART_PX = 400
#: So many tags in the mirror image, and fewer in the frame, are a mirrored picture.
_MIRRORED_FROM = 3


@dataclass(frozen=True, eq=False)
class SheetLayout:
    """Where a sheet's tags are on the mattress.

    Attributes:
        name: the layout's name.
        size_cm: the sheet's size across (x) and along (y) the cot.
        family: OpenCV's name of the tag dictionary, e.g. DICT_APRILTAG_36h11.
        tags: tag id -> ``(4, 2)`` cm in the mattress frame: outer corners of the black border, top-left of
            the upright bitmap first, clockwise seen from above.
        border_cells: width of a tag's black border in bit cells; two on Kalibr's grids, which no sheet file describes.
    """

    name: str
    size_cm: tuple[float, float]
    family: str
    tags: dict[int, np.ndarray]
    border_cells: int = 1

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
            if int(key) in tags:  # 7 and "7" are two keys
                raise fail("tags", "each tag id once", key)
            corners = as_floats(value, (4, 2))
            if corners is None:
                raise fail(f"tags.{key}", "four corners [x, y] in cm", value)
            if not _is_clockwise_quad(corners):
                raise fail(f"tags.{key}", "a convex tag, corners clockwise seen from above", value)
            if (np.abs(corners) > size / 2 + _OFF_SHEET_CM).any():
                raise fail(
                    f"tags.{key}", f"a tag on the sheet, {size[0]:g}x{size[1]:g} cm about its middle", value
                )
            tags[int(key)] = corners
        both = _overlapping(tags)
        if both is not None:
            raise fail(f"tags.{both[0]}", f"a place of its own, not on tag {both[1]}", tags[both[0]].tolist())
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
        repeated: ids that are there twice, apart from each other: another sheet of the kind is in view.
    """

    ids: np.ndarray
    corners_frame: np.ndarray
    repeated: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        ids = np.asarray(self.ids, dtype=np.intp).reshape(-1)
        corners = np.asarray(self.corners_frame, dtype=np.float64).reshape(-1, 4, 2)
        require_shape("corners_frame", corners, (len(ids), 4, 2))
        if len(set(ids.tolist())) != len(ids):
            raise ValueError(f"ids: expected each tag once, got {ids.tolist()}")
        object.__setattr__(self, "ids", ids)
        object.__setattr__(self, "corners_frame", corners)

    def with_others_of(self, other: TagView) -> TagView:
        """With those tags of another view that are not in this one, ascending by id."""
        new = ~np.isin(other.ids, self.ids)
        ids = np.concatenate([self.ids, other.ids[new]])
        corners = np.concatenate([self.corners_frame, other.corners_frame[new]])
        order = np.argsort(ids)
        return replace(self, ids=ids[order], corners_frame=corners[order])


def detect_tags(gray: np.ndarray, layout: SheetLayout, *, bent: bool = False) -> TagView:
    """Find the layout's tags in one frame.

    Args:
        gray: ``(H, W)`` uint8 frame.
        layout: the sheet; tags of other ids are ignored, an id seen twice is dropped.
        bent: see :func:`heightpose.geometry.tag_edges.refine_quads`.

    Returns:
        The tags, ascending by id, corners good to about 0.1 px on tags of 20 px and more.
    """
    if gray.ndim != 2 or gray.dtype != np.uint8:
        raise ValueError(f"gray: expected (H, W) uint8, got {gray.shape} {gray.dtype}")
    found, repeated = _find(gray, layout)
    if max(gray.shape) < _ENLARGE_BELOW_PX and len(found) < len(layout.tags):
        for tag, quad in _find_enlarged(gray, layout, found).items():
            found.setdefault(tag, quad)
    return replace(refined_view(gray, layout, found, bent=bent), repeated=repeated)


def looks_mirrored(gray: np.ndarray, layout: SheetLayout, seen: TagView) -> bool:
    """Whether the sheet can be read in the mirror image of a frame ``(H, W)`` uint8 alone: a tag's own code tells.

    Args:
        seen: the tags of the frame as it is.
    """
    if len(seen.ids) >= _MIRRORED_FROM:
        return False
    there = detect_tags(np.ascontiguousarray(gray[:, ::-1]), layout)
    return len(there.ids) >= min(_MIRRORED_FROM, len(layout.tags))


def refined_view(
    gray: np.ndarray, layout: SheetLayout, found: Mapping[int, np.ndarray], *, bent: bool = False
) -> TagView:
    """Tag id -> ``(4, 2)`` corners to about a pixel made exact; tags without four clear sides are left out."""
    if not found:
        return TagView(np.zeros(0, np.intp), np.zeros((0, 4, 2)))
    ids = np.array(sorted(found))
    cells = _dictionary(layout.family).markerSize + 2 * layout.border_cells
    quads, good = refine_quads(gray, np.stack([found[tag] for tag in ids.tolist()]), cells, bent=bent)
    return TagView(ids[good], quads[good])


def _find_enlarged(
    gray: np.ndarray, layout: SheetLayout, found: Mapping[int, np.ndarray]
) -> dict[int, np.ndarray]:
    """The search at twice the size: where the sheet's other tags say that the missing ones are, else everywhere."""
    if len(found) >= _PREDICT_FROM:
        return find_missing(gray, layout, found)
    return _find_at_double(gray, layout, (0, 0, gray.shape[1], gray.shape[0]))


def find_missing(
    gray: np.ndarray, layout: SheetLayout, found: Mapping[int, np.ndarray]
) -> dict[int, np.ndarray]:
    """Look for each missing tag, at twice the size, around the place that the tags next to it predict.

    A tenth of the cost of a search of the whole frame. The prediction is a homography over the nearest tags only, so
    that a lens's distortion hardly matters.

    Args:
        found: tag id -> ``(4, 2)`` corners, to about a pixel.

    Returns:
        The missing tags that are there; none where fewer than four tags are found.
    """
    known = np.array(sorted(found))
    if len(known) < _PREDICT_FROM:
        return {}
    centres = np.stack([layout.tags[tag].mean(axis=0) for tag in known.tolist()])
    size = np.array([gray.shape[1], gray.shape[0]])
    more: dict[int, np.ndarray] = {}
    for tag, corners_cm in layout.tags.items():
        if tag in found or tag in more:
            continue
        apart = np.linalg.norm(centres - corners_cm.mean(axis=0), axis=1)
        near = known[np.argsort(apart, kind="stable")[:_NEAREST]].tolist()
        quad = _predicted(corners_cm, [layout.tags[t] for t in near], [found[t] for t in near])
        if quad is None:
            continue
        margin = _PATCH_MARGIN * np.ptp(quad, axis=0).max()
        low = np.maximum(np.floor(quad.min(axis=0) - margin), 0).astype(int)
        high = np.minimum(np.ceil(quad.max(axis=0) + margin) + 1, size).astype(int)
        if (high - low).min() < _LEAST_PATCH_PX or margin > size.max() / 4:
            continue
        at = _find_at_double(gray, layout, (*low.tolist(), *high.tolist()))
        more.update({t: q for t, q in at.items() if t == tag})
    return more


def _predicted(
    corners_cm: np.ndarray, near_cm: list[np.ndarray], near_frame: list[np.ndarray]
) -> np.ndarray | None:
    """Where a tag's corners ``(4, 2)`` lie in the frame by the tags near it."""
    matrix, _ = cv2.findHomography(np.concatenate(near_cm), np.concatenate(near_frame), cv2.LMEDS)
    if matrix is None:
        return None
    ends = np.concatenate([corners_cm, np.ones((4, 1))], axis=1) @ matrix.T
    with np.errstate(divide="ignore", invalid="ignore"):
        quad = ends[:, :2] / ends[:, 2:]
    return quad if np.isfinite(quad).all() and (ends[:, 2] * ends[0, 2] > 0).all() else None


def _find_at_double(
    gray: np.ndarray, layout: SheetLayout, box: tuple[int, int, int, int]
) -> dict[int, np.ndarray]:
    """:func:`_find` in a part (x0, y0, x1, y1) of the frame enlarged twice; corners in frame pixels."""
    x0, y0, x1, y1 = box
    size, big_size = (x1 - x0, y1 - y0), (2 * (x1 - x0), 2 * (y1 - y0))
    big = cv2.resize(gray[y0:y1, x0:x1], big_size, interpolation=cv2.INTER_CUBIC)
    back = resize_matrix(big_size, size)
    found, _ = _find(big, layout)
    return {tag: quad @ back[:2, :2].T + back[:2, 2] + (x0, y0) for tag, quad in found.items()}


def _find(gray: np.ndarray, layout: SheetLayout) -> tuple[dict[int, np.ndarray], tuple[int, ...]]:
    """Tag id -> ``(4, 2)`` corners to about a pixel, and the ids of the layout that are there twice and dropped."""
    settings = cv2.aruco.DetectorParameters()
    settings.cornerRefinementMethod = cv2.aruco.CORNER_REFINE_CONTOUR
    settings.markerBorderBits = layout.border_cells
    settings.adaptiveThreshWinSizeStep = 5
    settings.adaptiveThreshWinSizeMax = 33
    # The default drops tags shorter than 0.75 % of the frame's longer side, too many in a wide frame, and in a small
    # part of one it would read every speck.
    longest = max(gray.shape)
    settings.minMarkerPerimeterRate = 40.0 / longest if longest < _PART_PX else min(0.03, 40.0 / longest)
    corners, ids, _ = cv2.aruco.ArucoDetector(_dictionary(layout.family), settings).detectMarkers(gray)
    found: dict[int, np.ndarray] = {}
    twice: set[int] = set()
    for quad, tag in zip(corners, [] if ids is None else [int(i) for i in np.ravel(ids)], strict=True):
        if tag in found:
            twice.add(tag)
        if tag in layout.tags:
            found[tag] = np.asarray(quad, dtype=np.float64).reshape(4, 2)
    kept = {tag: quad for tag, quad in found.items() if tag not in twice}
    return kept, tuple(sorted(twice & layout.tags.keys()))


def _is_clockwise_quad(corners: np.ndarray) -> bool:
    """Convex and clockwise in a frame whose y points away from the viewer's feet (up)."""
    edge = np.roll(corners, -1, axis=0) - corners
    after = np.roll(edge, -1, axis=0)
    return bool((edge[:, 0] * after[:, 1] - edge[:, 1] * after[:, 0] < -1e-9).all())


def _overlapping(tags: Mapping[int, np.ndarray]) -> tuple[int, int] | None:
    """Two tags that lie on each other."""
    ids, quads = list(tags), np.stack(list(tags.values()))
    low, high = quads.min(axis=1), quads.max(axis=1)
    near = ((low[:, None] < high[None]) & (low[None] < high[:, None])).all(axis=2)
    for one, other in np.argwhere(np.triu(near, 1)).tolist():
        shared, _ = cv2.intersectConvexConvex(quads[one].astype(np.float32), quads[other].astype(np.float32))
        if shared > _SHARED_CM2:
            return ids[other], ids[one]
    return None


def _dictionary(family: str) -> cv2.aruco.Dictionary:
    return cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, family))


def shipped_sheet() -> Path:
    """The 70x132 cm sheet that comes with the package (also under calibration/ for printing and editing)."""
    return Path(__file__).with_name("crib-sheet-70x132.yaml")
