"""Numbers and what libraries say, as people read them in a sentence."""

from __future__ import annotations

import re

_MANY = {"child": "children", "person": "people"}
#: What Python makes of the bytes of a file's name that are not UTF-8.
_LONE_SURROGATES = re.compile("[\ud800-\udfff]")


def plural(number: int, what: str) -> str:
    """``1 picture``, ``2 pictures``, ``2 children``; ``what`` is the word for one."""
    return f"1 {what}" if number == 1 else f"{number} {_MANY.get(what, what + 's')}"


def one_line(said: object, most: int | None = None) -> str:
    """What a library said, as one line; of a long text the first ``most`` characters."""
    return " ".join(str(said).split())[:most]


def valid_unicode(text: str) -> str:
    """The text with U+FFFD for each lone surrogate, which neither UTF-8 nor other programs' JSON can hold."""
    return _LONE_SURROGATES.sub("\ufffd", text)
