"""Strata: what a picture shows, in the words by which data are ordered, drawn and reported."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from heightpose.data.items import Item, Person

#: Every item of ours carries these; an outside set may lack some, which counts as UNKNOWN.
STRATA = ("posture", "legs", "occlusion", "sensor", "age_band", "scene", "annotator")
UNKNOWN = "unknown"

T = TypeVar("T")

#: stratum -> value -> (children, items)
Table = dict[str, dict[str, tuple[int, int]]]


def value_in(strata: Mapping[str, str], stratum: str) -> str:
    """A person's or clip's value of a stratum, UNKNOWN where the label has none."""
    value = strata.get(stratum)
    return UNKNOWN if value is None or value == "" else str(value)


def known_values(strata: Mapping[str, object]) -> dict[str, str]:
    """The strata of a file as texts, without those whose value is null: nobody knows it."""
    return {str(name): str(value) for name, value in strata.items() if value is not None}


def without_annotator(strata: Mapping[str, T]) -> dict[str, T]:
    """What may be shown to others: no list of who did what."""
    return {name: value for name, value in strata.items() if name != "annotator"}


def value_of(person: Person, stratum: str) -> str:
    """The person's value of a stratum, UNKNOWN where the label has none."""
    return value_in(person.strata, stratum)


def in_order(value: str) -> list[tuple[int, int, str]]:
    """Sort key that puts "6-12 months" before "12-18 months"."""
    parts = re.findall(r"[0-9]+|[^0-9]+", value)
    return [(0, int(p), "") if p.isdecimal() else (1, 0, p) for p in parts]


def strata_table(items: Iterable[Item]) -> Table:
    """Children and items of every value of every stratum, the seven standard strata first.

    An item counts once for each value its infants have. Infants without a child's name count as items only;
    empty cots have no strata.
    """
    items = list(items)
    people = [person for item in items for person in item.people]
    more = sorted({key for person in people for key in person.strata} - set(STRATA))
    table: Table = {}
    for stratum in (*STRATA, *more):
        children: dict[str, set[str]] = defaultdict(set)
        pictures: dict[str, set[int]] = defaultdict(set)
        for number, item in enumerate(items):
            for person in item.people:
                value = value_of(person, stratum)
                pictures[value].add(number)
                children[value] |= set() if person.child is None else {person.child}
        table[stratum] = {
            value: (len(children[value]), len(pictures[value])) for value in sorted(pictures, key=in_order)
        }
    return table


def table_lines(columns: Sequence[tuple[str, Table, int]]) -> list[str]:
    """Strata tables side by side as text.

    Args:
        columns: title, table and the number of labelled items that its shares refer to.
    """
    names = {s: None for _, table, _ in columns for s in table}
    lines = [f"{'stratum':<12}{'value':<22}" + "".join(f"{title:>26}" for title, _, _ in columns)]
    lines.append(" " * 34 + f"{'children  items  share':>26}" * len(columns))
    for stratum in names:
        values = sorted({v for _, table, _ in columns for v in table.get(stratum, {})}, key=in_order)
        for row, value in enumerate(values):
            cells = ""
            for _, table, total in columns:
                children, items = table.get(stratum, {}).get(value, (0, 0))
                cells += f"{children:>12}{items:>7}{items / max(total, 1):>7.0%}"
            lines.append(f"{stratum if row == 0 else '':<12}{value:<22}{cells}")
    return lines


def counts_of(items: Iterable[Item]) -> dict[str, int]:
    """How many children, items, labelled items, infants and empty cots there are, and how many items per split."""
    items = list(items)
    children = {person.child for item in items for person in item.people if person.child is not None}
    counts = {
        "children": len(children),
        "items": len(items),
        "labelled": sum(bool(item.people) for item in items),
        "infants": sum(len(item.people) for item in items),
        "empty": sum(not item.people for item in items),
    }
    for split in ("train", "val", "test"):
        counts[split] = sum(item.split == split for item in items)
    return counts
