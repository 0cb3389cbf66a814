"""Their joint names to ours: shipped maps of the known orders, and a map file for everything else.

A map is ``their name: our name``; ``null`` leaves a joint, or a box of that label, out. A name that is one of ours
already needs no line. Nothing is copied from one joint to another: what a source does not label stays unlabelled.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from heightpose.errors import FileFormatError
from heightpose.skeleton import INFANT, MPII_JOINTS, Skeleton
from heightpose.textfile import read_yaml

#: MPII's ``id`` of a joint is its index here.
MPII_ORDER = MPII_JOINTS

#: The order of ``joints.mat``, left and right the person's own. Its "neck" lies at the height of the collar,
#: between MPII's thorax and upper neck; it is read as upper_neck, as the set stands in for MPII less pelvis and
#: thorax, and upper_neck - head_top is then a head length in both.
LSP_ORDER = (
    "right_ankle",
    "right_knee",
    "right_hip",
    "left_hip",
    "left_knee",
    "left_ankle",
    "right_wrist",
    "right_elbow",
    "right_shoulder",
    "left_shoulder",
    "left_elbow",
    "left_wrist",
    "neck",
    "head_top",
)

#: Of COCO's 17 joints the twelve of the limbs are ours by name; the face has no counterpart.
COCO_17 = dict.fromkeys(("nose", "left_eye", "right_eye", "left_ear", "right_ear"))
LSP = {"neck": "upper_neck"}


@dataclass(frozen=True)
class JointMap:
    """Which of our joints each of theirs is.

    Attributes:
        ours: their name -> our name, None to leave it out.
        path: the file it came from, for messages.
    """

    ours: Mapping[str, str | None]
    path: Path | None = None
    skeleton: Skeleton = INFANT

    @classmethod
    def load(cls, path: Path | None, shipped: Mapping[str, str | None] | None = None) -> JointMap:
        """A map file (YAML) laid over a shipped map; either may be absent.

        Raises:
            InputError: no such file.
            FileFormatError: not a map, or a name on the right that is none of our joints.
        """
        ours: dict[str, str | None] = {**(shipped if shipped is not None else {})}
        if path is None:
            return cls(ours)
        read = read_yaml(path, "joint map")
        if not isinstance(read, dict):
            raise FileFormatError(
                "not a joint map", where=path, expected="lines of 'their name: our name'", got=read
            )
        for theirs, name in read.items():
            if name is not None and name not in INFANT.names:
                raise FileFormatError(
                    "none of our joints",
                    where=f"{path}: {theirs}",
                    got=repr(name),
                    hint=_suggest(str(name), INFANT.names),
                )
            ours[str(theirs)] = name
        return cls(ours, path)

    def name(self, theirs: object, where: str) -> str | None:
        """Our name of their joint, None where it is left out.

        Raises:
            FileFormatError: neither the map nor our skeleton has it.
        """
        text = str(theirs)
        if text in self.ours:
            return self.ours[text]
        if text in self.skeleton.names:
            return text
        hint = _suggest(text, (*self.ours, *self.skeleton.names))
        raise FileFormatError(
            "unknown joint",
            where=where,
            got=repr(text),
            hint=f"{hint} Add '{text}: <our joint>' to the --map file, or '{text}: null' to leave it out",
        )

    def leaves_out(self, label: str) -> bool:
        """Whether the map says null to a label; a box whose label it does not hold is an infant's."""
        return label in self.ours and self.ours[label] is None

    def names(self, theirs: list | tuple, where: str) -> list[str | None]:
        """Our names of several of theirs. FileFormatError when two of them are the same joint of ours."""
        mapped = [self.name(t, where) for t in theirs]
        repeated = sorted({n for n in mapped if n is not None and mapped.count(n) > 1})
        if repeated:
            both = [str(t) for t, n in zip(theirs, mapped, strict=True) if n == repeated[0]]
            raise FileFormatError(
                "two joints become one", where=where, got=f"{' and '.join(both)} both {repeated[0]}"
            )
        return mapped


def _suggest(name: str, known: tuple[str, ...]) -> str:
    close = difflib.get_close_matches(name, known, 1)
    return f"Did you mean '{close[0]}'?" if close else f"Our joints are {', '.join(INFANT.names)}."
