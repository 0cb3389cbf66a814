"""The answer that an earlier run left in an input's result folder.

An input that ends in an error writes no answer, and the earlier one of the same name must not pass for its own. It is
renamed, not removed: the error may be a disk that is not there, and what was measured then may exist nowhere else. The
same holds for the answer of another input of that name, and where the user stops before the whole clip is seen again.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from heightpose.errors import HeightposeError
from heightpose.runtime.given import Identity, identity
from heightpose.runtime.results import FILES
from heightpose.textfile import read_json

log = logging.getLogger("heightpose")

ANSWER = "height.json"


@dataclass(frozen=True)
class Earlier:
    """What lay in a result folder when its input's turn came.

    Attributes:
        folder: the result folder.
        answer: which file its height.json was; None for none.
    """

    folder: Path
    answer: Identity | None

    @classmethod
    def of(cls, folder: Path) -> Earlier:
        return cls(folder, identity(folder / ANSWER))

    @property
    def is_partial(self) -> bool:
        """Whether the answer is one that the user stopped on the way."""
        try:
            document = read_json(self.folder / ANSWER, "answer")
        except HeightposeError:
            return False
        return isinstance(document, dict) and document.get("interrupted") is True

    def is_of_another(self, sha256: str | None) -> bool:
        """Whether the answer is of an input with another hash; False where that cannot be told, as of streams."""
        if self.answer is None or sha256 is None:
            return False
        try:
            document = read_json(self.folder / "provenance.json", "provenance")
            before = document["input"]["sha256"]
        except (HeightposeError, KeyError, TypeError):
            return False
        return isinstance(before, str) and before != sha256

    def set_aside(self, given: Collection[Identity]) -> None:
        """Rename height.json to height.earlier.json, and the other results likewise, with a warning.

        Nothing is touched where there is no answer of ours, it is of this run, or one of ``given`` (inputs and settings
        files) is the folder or one of the files.
        """
        if self.answer is None or identity(self.folder / ANSWER) != self.answer:
            return
        moves = [(self.folder / name, _aside(self.folder / name)) for name in FILES]
        touched = [identity(path) for path in (self.folder, *(path for move in moves for path in move))]
        if any(file in given for file in touched if file is not None) or not _is_answer(self.folder / ANSWER):
            return
        try:
            for path, aside in moves:
                if path.is_file():
                    os.replace(path, aside)
                else:
                    aside.unlink(missing_ok=True)  # of a still earlier answer
        except OSError as error:
            log.warning(
                "%s: the results of an earlier run stay, they cannot be renamed: %s",
                *(self.folder, error.strerror),
            )
            return
        log.warning(
            "%s: the results of an earlier run are kept as %s and the like",
            *(self.folder, _aside(Path(ANSWER))),
        )


def _aside(path: Path) -> Path:
    return path.with_name(f"{path.stem}.earlier{path.suffix}")


def _is_answer(path: Path) -> bool:
    try:
        document = read_json(path, "answer")
    except HeightposeError:
        return False
    return isinstance(document, dict) and document.get("status") in ("measured", "rejected")
