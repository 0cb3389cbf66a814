"""The dashboard's advice as quotas of the budget. The file is docs/formats.md's "Advice"."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from heightpose.errors import FileFormatError
from heightpose.textfile import read_json

SCHEMA = 1
_ALSO = {"bent": "tucked"}


@dataclass(frozen=True)
class Wish:
    """One value of a stratum with its share of the budget, 0..1."""

    key: str
    weight: float

    @property
    def stratum(self) -> str:
        return self.key.partition("=")[0]

    @property
    def value(self) -> str:
        return self.key.partition("=")[2]

    def met_by(self, strata: Mapping[str, str]) -> bool:
        """Whether a frame of these strata is of that kind."""
        own = strata.get(self.stratum)
        return own is not None and _ALSO.get(own, own) == _ALSO.get(self.value, self.value)


def read_advice(path: Path) -> list[Wish]:
    """The advised strata, best first; weights are scaled to sum to 1 (rows without weights share by score).

    Raises:
        InputError, FileFormatError: not a file of advice; the row is named.
    """
    document: Any = read_json(path, "advice")
    rows: Any = document.get("strata") if isinstance(document, dict) else None
    if not isinstance(rows, list) or document.get("schema", SCHEMA) != SCHEMA:
        raise FileFormatError(
            "not advice of heightpose dashboard", where=path, expected=f'{{"schema": {SCHEMA}, "strata": [..]}}',
            hint="Write it with: heightpose dashboard --advice FILE",
        )  # fmt: skip
    wishes = []
    for index, row in enumerate(rows):
        where = f"{path}: strata[{index}]"
        key = row.get("key") if isinstance(row, dict) else None
        if not isinstance(key, str) or not all(
            part.strip() for part in (key.partition("=")[0], key.partition("=")[2])
        ):
            raise FileFormatError("no stratum", where=f"{where}.key", expected="stratum=value", got=repr(key))
        weight = row.get("weight", row.get("score"))
        if (
            isinstance(weight, bool)
            or not isinstance(weight, (int, float))
            or not (math.isfinite(weight) and weight >= 0)
        ):
            raise FileFormatError(
                "not a weight", where=f"{where}.weight", expected="0 or more", got=repr(weight)
            )
        wishes.append(Wish(key, float(weight)))
    total = sum(wish.weight for wish in wishes)
    return [Wish(w.key, w.weight / total) for w in wishes if w.weight > 0] if total > 0 else []


def quotas(wishes: Sequence[Wish], budget: int) -> list[int]:
    """Whole frames for each wish, by largest remainder; together at most the budget."""
    exact = [wish.weight * budget for wish in wishes]
    whole = [int(e) for e in exact]
    left = min(budget, round(sum(exact))) - sum(whole)
    for index in sorted(range(len(exact)), key=lambda i: whole[i] - exact[i])[: max(left, 0)]:
        whole[index] += 1
    return whole
