"""Numbers as people read them in a sentence."""

from __future__ import annotations

_MANY = {"child": "children", "person": "people"}


def plural(number: int, what: str) -> str:
    """``1 picture``, ``2 pictures``, ``2 children``; ``what`` is the word for one."""
    return f"1 {what}" if number == 1 else f"{number} {_MANY.get(what, what + 's')}"
