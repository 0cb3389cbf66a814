"""What a check reports: one suspicion about one picture, infant or annotator, with the evidence and perhaps a fix.

Severities of all checks share one scale, the sigmas of a normal error that would be as surprising, measured against
the data set's own distribution. Contradictions that no distribution can excuse start at :data:`CONTRADICTION`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from heightpose.data.items import Item, Person

#: Severity from which a finding is a contradiction in the data, not a matter of likelihood.
CONTRADICTION = 20.0
#: Softer suspicions are not reported: among some hundred infants 3.3 sigmas turn up by chance now and then.
REPORTED = 3.3


@dataclass(frozen=True)
class Fix:
    """An unambiguous repair: swap these ``joints`` (both sides named), or drop the picture where there are none."""

    item_id: int
    person_id: int | None
    joints: tuple[str, ...] = ()


@dataclass(frozen=True)
class Finding:
    """One row of the report.

    Attributes:
        kind: which check speaks, e.g. "swap"; ``also`` are others that agree with it.
        severity: sigmas on the common scale.
        others: further pictures concerned.
    """

    kind: str
    severity: float
    text: str
    item: Item | None = None
    person: Person | None = None
    joints: tuple[str, ...] = ()
    others: tuple[Item, ...] = ()
    also: tuple[str, ...] = ()
    fix: Fix | None = None

    def place(self, folder: Path) -> str:
        """The picture, from the data set's folder, and the annotation; empty where it is about neither."""
        picture = "" if self.item is None else self.item.place_in(folder)
        return picture if self.person is None else f"{picture}, annotation {self.person.id}"

    def as_dict(self, rank: int, folder: Path) -> dict[str, Any]:
        """Plain JSON values; files are named from the data set's ``folder``."""
        return {
            "rank": rank,
            "kind": self.kind,
            "also": list(self.also),
            "severity": round(self.severity, 2),
            "file": None if self.item is None else self.item.place_in(folder),
            "image_id": None if self.item is None else self.item.id,
            "annotation_id": None if self.person is None else self.person.id,
            "joints": list(self.joints),
            "text": self.text,
            "other_files": [item.place_in(folder) for item in self.others],
            "fixable": self.fix is not None,
        }

    def merged(self, weaker: Finding) -> Finding:
        """This finding with a weaker one about the same infant told in the same row."""
        joints = tuple(dict.fromkeys(self.joints + weaker.joints))
        also = tuple(dict.fromkeys(k for k in (*self.also, weaker.kind, *weaker.also) if k != self.kind))
        text = self.text if weaker.kind == self.kind else f"{self.text}; {weaker.text}"
        return replace(
            self, joints=joints, also=also, text=text, fix=self.fix if self.fix is not None else weaker.fix
        )
