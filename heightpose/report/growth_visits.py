"""Which measurements belong on a growth chart: height.json files, with the child's sex and its age at each."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

from heightpose.arrays import as_floats
from heightpose.errors import ConfigError, FileFormatError, InputError
from heightpose.metrics import who
from heightpose.metrics.growth import DAYS_PER_MONTH, Visit
from heightpose.textfile import read_json
from heightpose.words import valid_unicode

#: Lengths and ends of intervals beyond these, cm, are no measurement of an infant.
_LENGTHS_CM = (20.0, 150.0)
#: What a list of visits may hold.
_COLUMNS = ("file", "age_months", "date", "sex")
_TOO_OLD = (("too_old", "the WHO length standard ends at 24 months (730 days)"),)
#: An age given beside a date may be rounded by so much.
_AGES_AGREE_MONTHS = 0.1


@dataclass(frozen=True)
class Request:
    """One file to plot, with what was said about it beside the file itself (None: the file must say it)."""

    path: Path
    age_months: float | None = None
    sex: str | None = None


@dataclass(frozen=True)
class Refused:
    """A measurement that is listed and not plotted.

    Attributes:
        sex: the child's, empty where not known.
        visit: the length, where it was measured but the child was older than the WHO length standard goes.
    """

    path: Path
    name: str
    age_months: float | None
    reasons: tuple[tuple[str, str], ...]
    sex: str = ""
    visit: Visit | None = None


def requests_from_csv(path: Path, born: date | None = None) -> list[Request]:
    """Read a list of visits: ``file`` and ``age_months``, or ``file`` and ``date`` with a date of birth; ``sex``.

    The columns' names may be in capitals and have spaces around them.

    Args:
        path: the CSV; its files are relative to its folder.
        born: date of birth, where ages come from the column ``date`` (YYYY-MM-DD). Every line has a date or an age
            then; where it has both they agree within 0.1 month, and the age is taken.

    Raises:
        InputError: the list cannot be read.
        FileFormatError, ConfigError: what it holds cannot be used; names the line or the columns.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            reader.fieldnames = _columns(reader.fieldnames or (), path)
            rows = [(reader.line_num, row) for row in reader]
    except OSError as error:
        raise InputError("cannot read the list of visits", where=path, got=error.strerror) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise FileFormatError("the list of visits is not CSV", where=path, got=error) from error
    if not rows:
        raise FileFormatError("the list of visits names no files", where=path, expected="a line for each")
    return [_request(path, line, row, born) for line, row in rows]


def _columns(header: Sequence[str], path: Path) -> list[str]:
    """The columns' names as :data:`_COLUMNS` spells them. Raises FileFormatError for any that cannot be used."""
    names = [name.strip().casefold() for name in header]
    if "file" not in names:
        raise FileFormatError(
            "the list of visits has no column 'file'",
            where=path,
            expected="file,age_months,sex or file,date,sex",
            got=",".join(sorted(names)) or "nothing",
        )
    unknown = [f"'{name.strip()}'" for name in header if name.strip().casefold() not in _COLUMNS]
    if unknown:
        raise FileFormatError(
            "the list of visits has a column that is not known",
            where=path,
            expected="only " + ", ".join(_COLUMNS),
            got=", ".join(unknown),
        )
    twice = [f"'{name}'" for name in _COLUMNS if names.count(name) > 1]
    if twice:
        raise FileFormatError(
            "the list of visits has a column twice",
            where=path,
            got=", ".join(twice),
            hint="Keep one of the two",
        )
    return names


def _request(path: Path, line: int, row: dict[Any, Any], born: date | None) -> Request:
    where = f"{path}, line {line}"
    if any(cell.strip() for cell in row.get(None) or ()):
        raise FileFormatError("more cells than columns", where=where, got=", ".join(row[None]))
    text = {key: (row.get(key) or "").strip() for key in _COLUMNS}
    if not text["file"]:
        raise FileFormatError("no file is named", where=where, expected="a height.json")
    return Request(path.parent / text["file"], _age(text, born, where), text["sex"] or None)


def _age(text: dict[str, str], born: date | None, where: str) -> float | None:
    """Age in months of one line; None where it says nothing of it and no day of birth was given."""
    if not text["age_months"]:
        if text["date"]:
            return _age_on(text["date"], born, where)
        if born is not None:
            raise FileFormatError(
                "with --born each visit needs a date, or an age of its own", where=where, got="neither"
            )
        return None
    age = _months(text["age_months"], where)
    if text["date"] and born is not None:
        by_date = _age_on(text["date"], born, where)
        if abs(age - by_date) > _AGES_AGREE_MONTHS:
            raise FileFormatError(
                "date and age_months contradict each other",
                where=where,
                expected=f"{by_date:.2f} months on {text['date']} as born {born}",
                got=f"{age:g} months",
                hint="Keep the one that is right",
            )
    return age


def _months(text: str, where: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise FileFormatError("the age is not a number", where=where, expected="months", got=text) from None


def _age_on(text: str, born: date | None, where: str) -> float:
    if born is None:
        raise ConfigError("a date gives an age only with the day of birth", where=where, hint="Give --born")
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise FileFormatError("not a date", where=where, expected="YYYY-MM-DD", got=text) from None
    if day < born:
        raise ConfigError(
            "a visit before the day of birth", where=where, expected=f"{born} or later", got=day
        )
    return (day - born).days / DAYS_PER_MONTH


def load_visits(
    requests: Sequence[Request], sex: str | None = None
) -> tuple[list[Visit], list[Refused], list[Path]]:
    """Read the measurements, in order of age.

    Args:
        sex: of the child, where the files do not say it.

    Returns:
        (visits, refused, files): what can be plotted, what was rejected or is beyond the standard's 24 months, and
        the visits' files.

    Raises:
        ConfigError: a sex or age is missing, impossible or contradicts another file, all visits are beyond the
            standard, or one file is named twice.
        InputError or FileFormatError: a file is not a height.json.
    """
    found: list[tuple[Visit, Path]] = []
    refused: list[Refused] = []
    taken: set[Path] = set()
    known: tuple[str, str] | None = None if sex is None else (sex, "--sex")
    for request in requests:
        path = request.path / "height.json" if request.path.is_dir() else request.path
        data = _read(path)
        if path.resolve() in taken:
            raise ConfigError("one measurement is named twice", where=path, hint="Name each visit once")
        taken.add(path.resolve())
        own_sex = request.sex if request.sex is not None else data.get("sex")
        if own_sex is not None:
            if own_sex not in who.SEXES:
                raise ConfigError("unknown sex", where=path, expected=" or ".join(who.SEXES), got=own_sex)
            if known is not None and own_sex != known[0]:
                raise ConfigError(
                    "these measurements are not of one child: the sexes differ",
                    where=path, expected=f"{known[0]} as in {known[1]}", got=own_sex,
                    hint="A growth chart shows one child; plot others on charts of their own",
                )  # fmt: skip
            known = (own_sex, str(path)) if known is None else known
        age = request.age_months if request.age_months is not None else _stored_age(data, path)
        if age is not None and not 0.0 <= age < math.inf:
            raise _outside_the_standard(path, age)
        name = valid_unicode(str(data.get("input") or path.parent.name or path))
        if data["status"] == "rejected":
            refused.append(Refused(path, name, age, _reasons(data)))
            continue
        if age is None:
            raise ConfigError(
                "the age at this measurement is not known", where=path,
                hint="Give --age-months (one per file, in order) or --visits",
            )  # fmt: skip
        length, interval, level = _length(data, path)
        visit = Visit(name, "", age, length, interval, level)
        if age > who.LAST_MONTH:
            refused.append(Refused(path, name, age, _TOO_OLD, visit=visit))
        else:
            found.append((visit, path))
    beyond = [(item.path, item.visit.age_months) for item in refused if item.visit is not None]
    if beyond and not found:
        raise _outside_the_standard(*beyond[0])
    if found and known is None:
        raise ConfigError("the child's sex is not known", hint="Give --sex female or --sex male")
    found.sort(key=lambda pair: pair[0].age_months)
    _require_one_level(found)
    child = "" if known is None else known[0]
    visits = [replace(visit, sex=child) for visit, _ in found]
    return visits, [replace(item, sex=child) for item in refused], [path for _, path in found]


def _outside_the_standard(path: Path, age_months: float) -> ConfigError:
    what = "an age outside the WHO length standard"
    return ConfigError(what, where=path, expected="0 to 24 months", got=f"{age_months:g}")


def _read(path: Path) -> dict[str, Any]:
    data = read_json(path, "measurement")
    if not isinstance(data, dict) or data.get("status") not in ("measured", "rejected"):
        raise FileFormatError(
            "not a measurement", where=path, expected="a height.json as `heightpose infer` writes it",
            got=data.get("status", "no status") if isinstance(data, dict) else type(data).__name__,
        )  # fmt: skip
    return data


def _stored_age(data: dict[str, Any], path: Path) -> float | None:
    if data.get("age_months") is None:
        return None
    age = as_floats(data["age_months"], ())
    if age is None:
        raise FileFormatError(
            "field 'age_months' is not valid", where=path, expected="a number", got=repr(data["age_months"])
        )
    return float(age)


def _length(data: dict[str, Any], path: Path) -> tuple[float, tuple[float, float], float]:
    length, interval = as_floats(data.get("length_cm"), ()), as_floats(data.get("interval_cm"), (2,))
    level = as_floats(data.get("interval_level", 0.9), ())
    low, high = _LENGTHS_CM
    if length is None or not low <= length <= high:
        what, expected = "field 'length_cm' is not valid", f"{low:g} to {high:g}, as infants are long"
        raise FileFormatError(what, where=path, expected=expected, got=data.get("length_cm"))
    if interval is None or not 0 <= interval[0] <= length <= interval[1] <= 2 * high:
        what, expected = "field 'interval_cm' is not valid", f"[low, high] in cm around {float(length):g}"
        raise FileFormatError(what, where=path, expected=expected, got=data.get("interval_cm"))
    if level is None or not 0 < level < 1:
        what = "field 'interval_level' is not valid"
        raise FileFormatError(what, where=path, expected="between 0 and 1", got=data.get("interval_level"))
    return float(length), (float(interval[0]), float(interval[1])), float(level)


def _reasons(data: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    listed = data.get("reasons")
    entries = [r for r in listed if isinstance(r, dict)] if isinstance(listed, list) else []
    return tuple((str(r.get("code", "unknown")), str(r.get("text", ""))) for r in entries)


def _require_one_level(found: Sequence[tuple[Visit, Path]]) -> None:
    for visit, path in found[1:]:
        if visit.interval_level != found[0][0].interval_level:
            raise FileFormatError(
                "the intervals are of different levels and cannot be compared", where=path,
                expected=f"{found[0][0].interval_level:g} as in {found[0][1]}", got=f"{visit.interval_level:g}",
            )  # fmt: skip
