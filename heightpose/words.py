"""Numbers and what libraries say, as people read them in a sentence."""

from __future__ import annotations

_MANY = {"child": "children", "person": "people"}


def plural(number: int, what: str) -> str:
    """``1 picture``, ``2 pictures``, ``2 children``; ``what`` is the word for one."""
    return f"1 {what}" if number == 1 else f"{number} {_MANY.get(what, what + 's')}"


def one_line(said: object, most: int | None = None) -> str:
    """What a library said, as one line; of a long text the first ``most`` characters."""
    return " ".join(str(said).split())[:most]
