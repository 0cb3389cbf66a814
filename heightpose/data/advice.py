"""What the dashboard advises to annotate next, as ``heightpose dashboard --advice FILE`` writes it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from heightpose.data.groups import Group
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


def where_of(key: str) -> dict[str, tuple[str, ...]]:
    """What ``stratum=value`` asks a group to show; the stratum ends at the first sign."""
    stratum, _, value = key.partition("=")
    return {stratum: (value,)}


def short_of(
    weights: Mapping[str, float], chosen: Sequence[Group], left: Sequence[Group]
) -> dict[str, tuple[int, int]]:
    """Weights that a chunk could not be drawn by: children that show it and children its share asks for.

    Args:
        left: the groups that there were to choose from; one of whom more are left is short by the draw's chance alone.
    """
    drawn = {group.key for group in chosen}
    number = sum(group.size for group in chosen if group.people)
    found = {}
    for key, weight in weights.items():
        showing = [group for group in left if group.shows(where_of(key))]
        have, wanted = sum(g.size for g in showing if g.key in drawn), math.floor(weight * number + 1e-9)
        if have < wanted and all(group.key in drawn for group in showing):
            found[key] = have, wanted
    return found
