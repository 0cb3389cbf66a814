"""The way back: what a folder of suggestions knows of its pictures."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from heightpose.data.entries import recording_sha256_in, strata_in
from heightpose.data.items import Person
from heightpose.errors import FileFormatError
from heightpose.textfile import read_json

SCHEMA = 1
RECORD = "suggestions.json"


class Suggested:
    """What a folder of suggestions knows of its pictures, for labels that come back without it.

    Annotation tools drop fields they do not know, and without the child frames of one clip could fall into train and
    val alike.
    """

    def __init__(self, folder: Path) -> None:
        document = read_json(folder / RECORD if folder.is_dir() else folder, "suggestions")
        if (
            not isinstance(document, dict)
            or document.get("schema") != SCHEMA
            or not isinstance(document.get("picks"), list)
        ):
            raise FileFormatError("not suggestions of heightpose data suggest", where=folder, expected=RECORD)
        rows = [_checked(row, f"{folder}: picks[{k}]") for k, row in enumerate(document["picks"])]
        self._rows = {row["file"].removeprefix("images/"): row for row in rows}

    def row_of(self, picture: Path) -> dict[str, Any] | None:
        """By the picture's clip and frame, whatever folders a tool has put above them."""
        return self._rows.get("/".join(picture.parts[-2:]))

    def recording_sha256(self, picture: Path) -> str | None:
        """Of the file that the picture was cut from; None where that was not recorded."""
        row = self.row_of(picture)
        return None if row is None else row.get("recording_sha256")

    def known(self, people: Sequence[Person], picture: Path) -> tuple[Person, ...]:
        """The same infants with the child and the given strata where the labels lack them."""
        row = self.row_of(picture)
        if row is None:
            return tuple(people)
        return tuple(
            dataclasses.replace(
                person,
                child=person.child if person.child is not None else row["child"],
                strata={**row["given"], **person.strata},
            )
            for person in people
        )


def _checked(row: Any, where: str) -> dict[str, Any]:
    """A pick with what comes back of it. FileFormatError naming the field that is wrong."""
    if not isinstance(row, dict):
        raise FileFormatError("not a pick", where=where, expected="an object", got=repr(row)[:40])
    for name, kind, expected in (
        ("file", str, "a picture's name"),
        ("child", (str, type(None)), "a text or null"),
        ("given", dict, "strata, name: value"),
    ):
        if name not in row or not isinstance(row[name], kind):
            got = repr(row[name])[:40] if name in row else "none"
            raise FileFormatError(f"no {name}", where=f"{where}.{name}", expected=expected, got=got)
    strata_in({"strata": row["given"]}, where)
    recording_sha256_in(row, where)
    return row
