"""Points and boxes of one picture, as annotation tools keep them, put together to infants.

Points with one group number are one infant's; points without a number are one infant together. A box of a group
is that infant's, and a box labelled ``head_box`` its head box.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from heightpose.data.importers.joints import JointMap
from heightpose.data.importers.labels import make_person
from heightpose.data.items import Person
from heightpose.errors import FileFormatError

HEAD_BOX = "head_box"
#: Attributes that are a child's name; all others become strata.
_CHILD = "child"


@dataclass
class Group:
    """One infant in the making.

    Attributes:
        joints: our name -> (x, y, visibility).
        boxes: of the whole infant.
    """

    joints: dict[str, tuple[float, float, int]] = field(default_factory=dict)
    boxes: list[list[float]] = field(default_factory=list)
    head_boxes: list[list[float]] = field(default_factory=list)
    attributes: dict[str, str] = field(default_factory=dict)

    def add_point(self, name: str, x: float, y: float, hidden: bool, where: str) -> None:
        """A labelled joint. FileFormatError when the infant has it already."""
        if name in self.joints:
            raise FileFormatError(
                "one infant has a joint twice", where=f"{where}, joint {name}",
                hint="Give each infant's points a group number of its own",
            )  # fmt: skip
        self.joints[name] = (x, y, 1 if hidden else 2)

    def add_box(self, label: str, corners: list[float]) -> None:
        """Two opposite corners in any order."""
        x0, y0, x1, y1 = corners
        ordered = [min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)]
        (self.head_boxes if label == HEAD_BOX else self.boxes).append(ordered)

    def person(self, where: str) -> Person:
        """The infant. FileFormatError when it has more than one box, or nothing at all."""
        for name, boxes in (("box", self.boxes), (HEAD_BOX, self.head_boxes)):
            if len(boxes) > 1:
                raise FileFormatError(
                    f"one infant has {len(boxes)} boxes", where=f"{where}, {name}",
                    hint="Give each infant's shapes a group number of its own; a box of something else is left out "
                    "by 'its label: null' in the --map file",
                )  # fmt: skip
        return make_person(
            self.joints,
            where,
            bbox_xyxy=self.boxes[0] if self.boxes else None,
            head_box_xyxy=self.head_boxes[0] if self.head_boxes else None,
            child=self.attributes.get(_CHILD),
            strata={k: v for k, v in self.attributes.items() if k != _CHILD},
        )


def number(value: object, where: str) -> float:
    """A number as a tool wrote it. FileFormatError otherwise."""
    try:
        if isinstance(value, bool) or not isinstance(value, (int, float, str)):
            raise TypeError
        return float(value)
    except (OverflowError, TypeError, ValueError):
        raise FileFormatError("not a number", where=where, got=repr(value)[:40]) from None


def size(width: object, height: object, where: str) -> tuple[int, int]:
    """A picture's size in px. FileFormatError unless both are whole and above 0."""
    values = [number(v, where) for v in (width, height)]
    if any(not math.isfinite(v) or v != int(v) or v < 1 for v in values):
        raise FileFormatError("not a picture's size", where=where, expected="whole px", got=values)
    return int(values[0]), int(values[1])


def joint(joints: JointMap, label: str, where: str) -> str | None:
    """Our name of a point's label, None to leave the point out."""
    return joints.name(label, f"{where}, label")
