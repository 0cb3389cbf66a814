"""A process that runs one command line after the other, for :mod:`heightpose.doctor.fuzz`.

One line of JSON in, the arguments; one line of JSON out, [exit code, stdout, stderr]. Whatever is written to the
process's own descriptors 1 and 2 is caught, so that a word of a C library counts too. The networks are loaded once.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import sys
import tempfile
from typing import IO

#: A damaged header may claim any size; the machine must outlive it.
_ADDRESS_SPACE = 16 << 30

#: How a line of our own log starts; any other but an error's is a library's.
LOGGED = "log: "


def main() -> None:
    """Serve until stdin closes."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    caught = [tempfile.TemporaryFile() for _ in range(2)]  # noqa: SIM115 - open as long as we are
    for target, file in zip((1, 2), caught, strict=True):
        os.dup2(file.fileno(), target)
    # Marks what we log ourselves; the command line then keeps this handler instead of adding its own.
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format=LOGGED + "%(message)s")
    _limit_memory()
    _load_networks_once()
    for line in sys.stdin:
        code = _run(json.loads(line))
        texts = [_taken(file) for file in caught]
        answers.write(json.dumps([code, *texts]) + "\n")
        answers.flush()


def _run(args: list[str]) -> int:
    from heightpose.cli.main import main as heightpose

    try:
        heightpose(args)
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


def _taken(file: IO[bytes]) -> str:
    """What was written since the last call."""
    file.seek(0)
    text = file.read(1 << 20).decode("utf-8", "replace")
    file.seek(0)
    file.truncate()
    return text


def _load_networks_once() -> None:
    from heightpose.runtime.networks import Detector, PoseModel

    for kind in (Detector, PoseModel):
        setattr(kind, "load", functools.cache(kind.load))  # noqa: B010 - replaced on purpose


def _limit_memory() -> None:
    try:
        import resource

        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        resource.setrlimit(resource.RLIMIT_AS, (_ADDRESS_SPACE, hard))
    except (ImportError, OSError, ValueError):  # not every system has it
        return


if __name__ == "__main__":
    main()
