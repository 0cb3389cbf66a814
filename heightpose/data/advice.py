"""What the dashboard advises to annotate next, as ``heightpose dashboard --advice FILE`` writes it."""

from __future__ import annotations

import math
from pathlib import Path

from heightpose.errors import FileFormatError
from heightpose.textfile import read_json

SCHEMA = 1


def read_advice(path: Path) -> dict[str, float]:
    """``"stratum=value"`` -> its share of the next budget, best first; shares sum to 1, or there are none.

    Raises:
        FileFormatError: not the advice of this version.
    """
    document = read_json(path, "advice")
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        raise FileFormatError(
            "not the dashboard's advice", where=path, expected=f"schema {SCHEMA}",
            hint="Write it with heightpose dashboard --advice FILE",
        )  # fmt: skip
    entries = document.get("strata")
    if not isinstance(entries, list):
        raise FileFormatError("a list is missing", where=f"{path}: strata")
    found: dict[str, float] = {}
    for number, entry in enumerate(entries):
        key, weight = (entry.get("key"), entry.get("weight")) if isinstance(entry, dict) else (None, None)
        where = f"{path}: strata[{number}]"
        if not isinstance(key, str) or not all(key.partition("=")):
            raise FileFormatError("not a stratum", where=f"{where}.key", expected="posture=side", got=key)
        if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not 0 <= weight < math.inf:
            raise FileFormatError("not a weight", where=f"{where}.weight", got=weight)
        found[key] = float(weight)
    total = sum(found.values())
    return {key: weight / total for key, weight in found.items() if weight > 0} if total > 0 else {}
