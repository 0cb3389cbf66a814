"""Standard input, output and errors as they may be: closed, on a full disk, or a pipe whose reader went away."""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress
from typing import Any

import click

#: A file's name may hold what the encoding of the output lacks.
_ERRORS = "backslashreplace"


class StdoutError(Exception):
    """Standard output cannot be written: told apart from what goes wrong with any other file.

    Attributes:
        error: why.
    """

    def __init__(self, error: OSError) -> None:
        super().__init__(str(error))
        self.error = error


class _Stdout(io.FileIO):
    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            raise StdoutError(error) from error


def prepare_streams() -> None:
    """Let a failing standard output raise :class:`StdoutError`, and put something in the place of what is closed.

    The next file opened would get the number of a closed one, and what libraries print would be written into it. What
    is printed on a closed standard output fails as it does on a full one; errors are lost.
    """
    for number, mode in enumerate((os.O_RDONLY, os.O_RDONLY, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, mode), True)  # the lowest number that is free
    out = sys.stdout
    if out is None or not out.isatty():
        sys.stdout = io.TextIOWrapper(
            io.BufferedWriter(_Stdout(1, "w", closefd=False)),
            encoding="utf-8" if out is None else out.encoding,
            errors=_ERRORS,
            line_buffering=True,
        )
    elif isinstance(out, io.TextIOWrapper):
        out.reconfigure(errors=_ERRORS)
    if sys.stderr is None:
        sys.stderr = io.TextIOWrapper(io.FileIO(2, "w", closefd=False), "utf-8", write_through=True)


def tell(text: str) -> None:
    """Print a line on stderr, if it can be written."""
    with suppress(OSError):
        click.echo(text, err=True)


def silence_stdout() -> None:
    """Point stdout at nothing, so that the interpreter's own flush at its exit does not complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
