"""Cot sheets of any size: where the tags go.

As on the shipped 70x132 sheet: a column of tags along either long side and a row along either end, near the edge,
where an infant rarely lies; far apart, so that a few of them suffice, and many, since some are always hidden.

Sheets of different sizes have different tags: another one's file then finds none of them, where it would find most of
them nearly in their places and take the rest for bent. As far as the family has room, the size decides on a range of
ids, and on their order in it for the sizes that share one.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

import numpy as np
import yaml

from heightpose.calibrate.boards import aruco_dictionary, square
from heightpose.errors import ConfigError
from heightpose.geometry.sheet import SheetLayout, shipped_sheet
from heightpose.runtime.atomic import write_text

_TAG_CM = 6.0  # 20 px and more from 2 m in a 1280x720 picture
_MARGIN_CM = 3.0  # to the sheet's edge: hems and mattress edges bend the cloth
_PITCH_CM = 17.5  # from tag to tag, about
_SIZE_RANGE_CM = (20.0, 250.0)
#: Ranges of ids begin at multiples of this, the tags of the shipped sheet, which has the first range for itself.
_RANGE = 20
#: Begins what ids are drawn from: with it sixteen usual sizes share no range.
_DRAW = 190


def make_layout(
    size_cm: tuple[float, float], family: str | None = None, tag_cm: float | None = None
) -> SheetLayout:
    """The layout for a sheet of that size.

    The shipped sheet's size gives the shipped layout, so that a sheet printed from either file is the same.

    Args:
        size_cm: (across, along) the cot.
        family: OpenCV's name of the tag dictionary; without it the shipped sheet's.
        tag_cm: side of a tag; without it 6 cm, less on a small sheet.

    Raises:
        ConfigError: the size is out of range, or the tags do not fit.
    """
    width, height = size_cm
    if not all(_SIZE_RANGE_CM[0] <= side <= _SIZE_RANGE_CM[1] for side in size_cm):
        want = "{:.0f} to {:.0f} cm".format(*_SIZE_RANGE_CM)
        raise ConfigError("the sheet's size is out of range", expected=want, got=f"{width:g}x{height:g}")
    shipped = _shipped()
    family = family or shipped.family
    if size_cm == shipped.size_cm and family == shipped.family and tag_cm in (None, _TAG_CM):
        return shipped
    tag = min(_TAG_CM, min(size_cm) / 6) if tag_cm is None else tag_cm
    if not 1.5 <= tag <= min(size_cm) / 3:
        want = f"1.5 to {min(size_cm) / 3:.1f} cm on this sheet"
        raise ConfigError("the tags' size is out of range", expected=want, got=tag)
    margin = min(_MARGIN_CM, tag / 2)
    rows, columns = _places(height, tag, margin), _places(width, tag, margin)
    centres = [(x, y) for y in rows for x in (columns[0], columns[-1])]
    centres += [(x, y) for y in (rows[0], rows[-1]) for x in columns[1:-1]]
    available = len(aruco_dictionary(family).bytesList)
    if len(centres) > available:
        raise ConfigError(
            "the dictionary has too few tags", expected=f"{len(centres)}", got=f"{available} in {family}"
        )
    ids = _ids(f"{width:g}x{height:g} of {tag:g}", len(centres), available)
    tags = {i: square(x - tag / 2, y + tag / 2, tag) for i, (x, y) in zip(ids, centres, strict=True)}
    return SheetLayout(f"sheet-{width:g}x{height:g}", size_cm, family, tags)


@lru_cache(maxsize=1)
def _shipped() -> SheetLayout:
    return SheetLayout.load(shipped_sheet())


def _ids(sheet: str, count: int, available: int) -> list[int]:
    """The sheet's ``count`` tag ids in order, the same for ever: printed sheets must stay readable."""

    def drawn(what: object) -> int:
        return int.from_bytes(hashlib.sha256(f"{_DRAW}, {sheet}, {what}".encode()).digest(), "big")

    ranges = available // _RANGE - -(-count // _RANGE)  # after the shipped sheet's
    first = _RANGE * (1 + drawn("range") % ranges) if ranges > 0 else 0
    return [first + i for i in sorted(range(count), key=drawn)]


def _places(length: float, tag: float, margin: float) -> list[float]:
    """Centres along one side: the ends and as many between as the pitch asks for, on a grid of 1/8 cm."""
    end = length / 2 - margin - tag / 2
    pitch = max(_PITCH_CM, 2 * tag)
    count = max(2, round(2 * end / pitch) + 1)
    inner = np.round(np.linspace(-end, end, count)[1:-1] * 8) / 8
    return [-end, *inner.tolist(), end]


def write_layout(layout: SheetLayout, out: Path) -> None:
    """Write the sheet file that :meth:`SheetLayout.load` reads."""
    head = {"name": layout.name, "units": "cm", "size_cm": list(layout.size_cm), "family": layout.family}
    lines = [
        "# A printed cot sheet with tags: corners in cm, mattress frame (origin centre, x across, y along, z up),",
        "# top-left first, clockwise, seen from above.",
        *(
            f"{key}: {yaml.safe_dump(value, default_flow_style=True).splitlines()[0]}"
            for key, value in head.items()
        ),
        "tags:",
        *(f"  {tag}: {np.round(corners, 6).tolist()}" for tag, corners in sorted(layout.tags.items())),
    ]
    write_text(out, "\n".join(lines) + "\n")
