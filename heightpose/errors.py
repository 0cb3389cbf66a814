"""Errors a person can act on: what went wrong, where, what was expected, what was found, what to do next.

Everything a user can cause is a :class:`HeightposeError`. The command line prints it as one line and exits
with its ``exit_code``; a traceback appears only under ``--debug``.
"""

from __future__ import annotations

import copy
import reprlib
from typing import Any

from heightpose.words import one_line

EXIT_MEASURED = 0
EXIT_USAGE = 2
EXIT_REJECTED = 3
EXIT_INTERRUPTED = 130
#: The reader of our output went away: what a shell says of a process that SIGPIPE ended.
EXIT_NO_READER = 141


class HeightposeError(Exception):
    """A user-facing error.

    Args:
        what: what went wrong, in plain words.
        where: the file, item or field it went wrong in.
        expected: what would have been right.
        got: what was found instead.
        hint: what to do next.
    """

    exit_code = EXIT_USAGE

    def __init__(
        self,
        what: str,
        *,
        where: object | None = None,
        expected: object | None = None,
        got: object | None = None,
        hint: str | None = None,
    ) -> None:
        self.what, self.where, self.expected, self.got, self.hint = what, where, expected, got, hint
        super().__init__(self._message())

    def at(self, place: object) -> HeightposeError:
        """The same error of another place."""
        told = copy.copy(self)
        told.where, told.__cause__ = place, self.__cause__
        told.args = (told._message(),)
        return told.with_traceback(self.__traceback__)

    def within(self, place: object) -> HeightposeError:
        """The same error, with ``place`` in front of where it went wrong."""
        return self.at(place if self.where is None else f"{place}: {self.where}")

    def __reduce__(self) -> tuple[Any, ...]:
        """Crosses to another process whole, whatever the arguments of its class are."""
        return _restored, (type(self), self.args, self.__dict__)

    def _message(self) -> str:
        text = f"{self.where}: {self.what}" if self.where is not None else self.what
        if self.expected is not None or self.got is not None:
            parts = []
            if self.expected is not None:
                parts.append(f"expected {self.expected}")
            if self.got is not None:
                parts.append(f"got {_short(self.got)}")
            text += f" ({', '.join(parts)})"
        if self.hint is not None:
            text += f". {self.hint}"
        return one_line(text)


def _restored(kind: type[HeightposeError], args: tuple[Any, ...], state: dict[str, Any]) -> HeightposeError:
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(state)
    return error


#: Bounded in depth and length: what a hostile file holds may unfold without end.
_BRIEF = reprlib.Repr()
_BRIEF.maxlevel, _BRIEF.maxlist, _BRIEF.maxdict, _BRIEF.maxstring, _BRIEF.maxother = 3, 6, 6, 300, 300


def _short(value: object) -> str:
    text = _BRIEF.repr(value) if isinstance(value, (list, tuple, dict, set)) else str(value)
    return text if len(text) <= 300 else text[:297] + "..."


class InputError(HeightposeError):
    """A picture, video or stream that cannot be read."""


class FileFormatError(HeightposeError):
    """A camera, sheet, plane, data set or weights file whose content is not what it must be."""


class ConfigError(HeightposeError):
    """A setting that is unknown, of the wrong type or out of range."""


class MissingExtraError(HeightposeError):
    """An optional dependency that this verb needs is not installed."""

    def __init__(self, package: str, extra: str, verb: str) -> None:
        super().__init__(
            f"'{verb}' needs the package '{package}', which is not installed",
            hint=f"Install it with: pip install 'heightpose[{extra}]'",
        )
