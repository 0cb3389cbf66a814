"""Damage, by seed: to bytes as transfers and disks do it, to JSON and YAML as people and programs do it."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import numpy as np

Rng = np.random.Generator

#: Values of one to eight bytes that lengths, counts and sizes are wrong with.
_NASTY_BYTES = (
    *(b"\x00", b"\xff", b"\x7f", b"\x80", b"\x00\x00\x00\x00", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff"),
    *(b"\x80\x00\x00\x00", b"\x00\x00\x00\x01", b"\xff" * 8, b"\x00" * 8, b"\x00\x01\x00\x00"),
)
#: Values that a field of a settings file is wrong with.
_NASTY_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 0.5, 1e-300, 1e300, -1e300, float("nan"), float("inf"), 10**400, 2**63),
    *(
        "",
        "x",
        "0",
        "nan",
        "\ud7ff",
        "\x00",
        "a" * 5000,
        [],
        {},
        [[]],
        [None],
        {"": None},
        [0] * 5,
        [[0, 0]] * 4,
    ),
    *([[1, 0, 0], [0, 1, 0], [0, 0, 1]], [[0] * 3] * 3, [1e308] * 3, [1e308] * 5),
)


def damaged_bytes(data: bytes, others: list[bytes], rng: Rng) -> bytes:
    """``data`` after one to eight accidents; ``others`` are files that pieces may come from."""
    for _ in range(int(rng.integers(1, 9))):
        accident = _ACCIDENTS[int(rng.integers(len(_ACCIDENTS)))]
        data = accident(bytearray(data), others, rng)
    return data


def damaged_json(value: Any, rng: Rng) -> Any:
    """A JSON value with one to four of its parts replaced, removed, doubled or swapped."""
    value = copy.deepcopy(value)
    for _ in range(int(rng.integers(1, 5))):
        places = _places(value)
        if not places:
            return _NASTY_VALUES[int(rng.integers(len(_NASTY_VALUES)))]
        holder, key = places[int(rng.integers(len(places)))]
        kind = int(rng.integers(6))
        if kind <= 2:
            holder[key] = copy.deepcopy(_NASTY_VALUES[int(rng.integers(len(_NASTY_VALUES)))])
        elif kind == 3:
            del holder[key]
        elif kind == 4:
            other, at = places[int(rng.integers(len(places)))]
            holder[key] = copy.deepcopy(other[at])
        elif _is_number(holder[key]) and abs(holder[key]) < 1e300:  # one of four hundred digits fits no float
            holder[key] = holder[key] * float(10.0 ** rng.uniform(-6, 6)) * float(rng.choice([-1, 1]))
        else:
            holder[key] = [copy.deepcopy(holder[key])]
    return value


def moved_json(value: Any, rng: Rng) -> Any:
    """A JSON value with one to three of its numbers moved, by a thousandth of themselves to a few times themselves.

    What is damaged otherwise is mostly refused where it is read; such a file is often taken, and worked with.
    """
    value = copy.deepcopy(value)
    numbers = [place for place in _places(value) if _is_number(place[0][place[1]])]
    for _ in range(int(rng.integers(1, 4)) if numbers else 0):
        holder, key = numbers[int(rng.integers(len(numbers)))]
        old = holder[key]
        moved = old + float(rng.choice([-1, 1])) * max(abs(old), 0.1) * float(10.0 ** rng.uniform(-3, 0.5))
        holder[key] = round(moved) if isinstance(old, int) else moved
    return value


def damaged_text(text: str, rng: Rng, *, yaml: bool) -> bytes:
    """A JSON or YAML document damaged in its structure, in its bytes, in both, or in nothing but some numbers."""
    kind = int(rng.integers(6))
    data = text.encode()
    if kind > 0:
        change = damaged_json if kind < 4 else moved_json
        data = _written(change(_parsed(text, yaml), rng), yaml and kind != 3).encode("utf-8", "replace")
    return damaged_bytes(data, [data], rng) if kind in (0, 1) else data


def _parsed(text: str, yaml: bool) -> Any:
    if not yaml:
        return json.loads(text)
    import yaml as library

    return library.safe_load(text)


def _written(value: Any, yaml: bool) -> str:
    if not yaml:
        return json.dumps(value)
    import yaml as library

    return library.safe_dump(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _places(value: Any) -> list[tuple[Any, Any]]:
    """(container, key or index) of every part of a JSON value."""
    items = list(value.items() if isinstance(value, dict) else enumerate(value))
    found = [(value, key) for key, _ in items]
    for _, part in items:
        if isinstance(part, (dict, list)):
            found += _places(part)
    return found


def _at(data: bytearray, rng: Rng) -> int:
    """A place in the data; half of them near its ends, where headers and indices are."""
    if len(data) > 2000 and rng.random() < 0.5:
        near = int(rng.integers(1000))
        return near if rng.random() < 0.5 else len(data) - 1 - near
    return int(rng.integers(max(len(data), 1)))


def _flip(data: bytearray, others: list[bytes], rng: Rng) -> bytes:
    if data:
        data[_at(data, rng)] ^= 1 << int(rng.integers(8))
    return bytes(data)


def _overwrite(data: bytearray, others: list[bytes], rng: Rng) -> bytes:
    at, value = _at(data, rng), _NASTY_BYTES[int(rng.integers(len(_NASTY_BYTES)))]
    data[at : at + len(value)] = value
    return bytes(data)


def _noise(data: bytearray, others: list[bytes], rng: Rng) -> bytes:
    at, size = _at(data, rng), int(2 ** rng.uniform(0, 10))
    data[at : at + size] = rng.bytes(size)
    return bytes(data)


def _cut(data: bytearray, others: list[bytes], rng: Rng) -> bytes:
    return bytes(data[: _at(data, rng) + 1])


def _lose(data: bytearray, others: list[bytes], rng: Rng) -> bytes:
    at = _at(data, rng)
    del data[at : at + int(2 ** rng.uniform(0, 12))]
    return bytes(data)


def _double(data: bytearray, others: list[bytes], rng: Rng) -> bytes:
    at, size = _at(data, rng), int(2 ** rng.uniform(0, 12))
    data[at:at] = data[at : at + size]
    return bytes(data)


def _splice(data: bytearray, others: list[bytes], rng: Rng) -> bytes:
    other = others[int(rng.integers(len(others)))]
    return bytes(data[: _at(data, rng)]) + other[int(rng.integers(max(len(other), 1))) :]


_ACCIDENTS: tuple[Callable[[bytearray, list[bytes], Rng], bytes], ...] = (
    *(_flip, _flip, _overwrite, _overwrite, _noise, _cut, _lose, _double, _splice),
)
