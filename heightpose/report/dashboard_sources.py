"""Where every number of the dashboard comes from: records numbered r1, r2, ..., each with its file and command."""

from __future__ import annotations

import html
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from heightpose.data.testset import MANIFEST, SHELF
from heightpose.report.page import Html, table
from heightpose.report.run_model import Ablation, EvalRun, TrainRun
from heightpose.report.runs import Runs
from heightpose.runtime.output import sha256

Record = TrainRun | EvalRun | Ablation


@dataclass(frozen=True)
class Source:
    """A record's number, file, the command that recomputes it, and words about it."""

    ref: str
    kind: str
    name: str
    file: Path
    created: str
    code: str
    command: str

    @property
    def tip(self) -> str:
        return f"{self.file}\n{self.command}"


class Sources:
    """The numbers of all records, trainings first, each kind by time.

    Args:
        pictures: folders of test sets, as :func:`pictures_of` takes them.
    """

    def __init__(self, runs: Runs, pictures: Sequence[Path] = ()) -> None:
        self._of: dict[Path, Source] = {}
        for run in runs.trainings:
            self._add(run.file, "training", run.name, f"{run.created:%Y-%m-%d %H:%M}", run.code, run.command)
        for result in runs.evaluations:
            command = result.command(runs.training_of(result), pictures_of(result, pictures))
            when = f"{result.created:%Y-%m-%d %H:%M}"
            code = result.document.get("code") or {"version": result.document.get("heightpose")}
            self._add(result.file, "evaluation", result.testset[0], when, code, command)
        for ablation in runs.ablations:
            self._add(ablation.file, "ablation", ablation.name, "", {}, _again(ablation))

    def _add(
        self, file: Path, kind: str, name: str, created: str, code: dict[str, Any], command: str
    ) -> None:
        commit = str(code.get("commit") or "")[:10] + (" changed" if code.get("changed") else "")
        words = " ".join(str(w) for w in (code.get("version"), commit) if w)
        self._of[file] = Source(f"r{len(self._of) + 1}", kind, name, file, created, words, command)

    def __len__(self) -> int:
        return len(self._of)

    def of(self, record: Record) -> Source:
        """The record's entry."""
        return self._of[record.file]

    def link(self, record: Record) -> Html:
        """A small link to the record's row, its file and command as tooltip."""
        one = self.of(record)
        return Html(f'<a class="src" href="#{one.ref}" title="{html.escape(one.tip)}">{one.ref}</a>')

    def links(self, records: list[Any]) -> Html:
        """Links to several, the first few."""
        more = f" +{len(records) - 4}" if len(records) > 4 else ""
        return Html("".join(self.link(r) for r in records[:4]) + more)

    def document(self) -> dict[str, dict[str, str]]:
        """ref -> file and command."""
        return {s.ref: {"file": str(s.file), "command": s.command} for s in self._of.values()}

    def table(self) -> Html:
        """Every record with its file and command, each row a link's target."""
        made = table(
            ["record", "kind", "name", "made (UTC)", "code", "file", "recomputed by"],
            [
                (s.ref, s.kind, s.name, s.created, s.code, _code(str(s.file)), _code(s.command))
                for s in self._of.values()
            ],
        )
        text: str = made
        for one in self._of.values():
            text = text.replace(f"<tr><td>{one.ref}</td>", f'<tr id="{one.ref}"><td>{one.ref}</td>', 1)
        return Html(text)


def pictures_of(result: EvalRun, folders: Sequence[Path]) -> Path | None:
    """The folder that a result is about: by the hash of its manifest or labels, never by its name."""
    test = result.document["testset"]
    for folder in (*folders, SHELF / test["name"], SHELF / test["folder"], Path(test["folder"])):
        for name in (MANIFEST, "annotations.json"):
            if (folder / name).is_file() and sha256([folder / name]) == test["sha256"]:
                return folder
    return None


def _again(ablation: Ablation) -> str:
    matrix = f"configs/ablations/{ablation.name}.yaml"
    return shlex.join(["heightpose", "ablate", matrix, "--out", str(ablation.file.parent.parent)])


def _code(text: str) -> Html:
    return Html(f"<code>{html.escape(text)}</code>")
