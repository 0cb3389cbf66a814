"""Every command line that the documentation and ``--help`` show is one that the program takes."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from heightpose.cli.main import cli

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md", ROOT / "eval/README.md", ROOT / "heightpose/weights/MODEL_CARD.md",
    *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "calibration").glob("*.md")),
    *sorted((ROOT / "configs").rglob("*.md")),
]  # fmt: skip


def verbs(
    command: click.Command, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every verb with the words that call it."""
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from verbs(below, (*path, name))


VERBS = dict(verbs(cli))


def lines_of(text: str) -> Iterator[str]:
    """Command lines in blocks of code or the text of ``--help``, without prompts and comments."""
    fenced = False
    for line in re.sub(r"\\\n\s*", "", text).splitlines():
        if line.startswith("```"):
            fenced = not fenced
        elif (fenced or line.startswith("  ")) and (
            found := re.match(r"\s*(?:\$ |.*&& )?(?:\.venv/bin/)?heightpose (.*)", line)
        ):
            for command in re.split(r"\s{3,}| #| \| ", found[1])[0].split("; heightpose "):
                if command != "--help":
                    yield command


def spans_of(text: str) -> Iterator[str]:
    """Commands inside sentences, often without the values of their options."""
    for found in re.findall(r"`heightpose ([a-z][^`]*)`", text):
        yield found.replace("\n", " ")


def whole_commands() -> list[str]:
    helps = [t for c in VERBS.values() for t in (c.help, c.epilog) if t]
    texts = [*(page.read_text(encoding="utf-8") for page in PAGES), *helps]
    return sorted({line for text in texts for line in lines_of(text)})


def test_every_command_line_parses(monkeypatch: pytest.MonkeyPatch) -> None:
    def taken_as_there(self: click.Path, value: object, *_: object) -> Path:
        return Path(str(value))

    monkeypatch.setattr(click.Command, "invoke", lambda self, ctx: None)
    monkeypatch.setattr(click.Path, "convert", taken_as_there)
    commands = whole_commands()
    refused = []
    for line in commands:
        plain = re.sub(r"\$[A-Z]\b", "--data a", line)  # a shell's variables stand for options,
        plain = re.sub(r"<[^>]*>", "FILE", plain)  # words in angle brackets for a file;
        plain = re.sub(r"\[(--[^\]]*)\]", r"\1", plain)  # square ones hold what may be left out,
        plain = re.sub(r"([\w-]+)(\|[\w-]+)+", r"\1", plain)  # bars are between choices
        try:
            cli.main(shlex.split(plain), prog_name="heightpose", standalone_mode=False)
        except click.ClickException as error:
            refused.append(f"heightpose {line}: {error.format_message()}")
    assert not refused
    assert len(commands) > 200


def test_every_option_named_in_a_sentence_exists() -> None:
    unknown = []
    commands = [line for page in PAGES for line in spans_of(page.read_text(encoding="utf-8"))]
    for line in commands:
        words = line.split()
        path: tuple[str, ...] = ()
        while len(path) < len(words) and (*path, words[len(path)]) in VERBS:
            path = (*path, words[len(path)])
        known = {
            o
            for n in range(len(path) + 1)
            for p in VERBS[path[:n]].params
            for o in (*p.opts, *p.secondary_opts)
        }
        named = set(re.findall(r"(?<![\w-])--[a-z][\w-]*", line)) - {"--help"}
        if not path or named - known:
            unknown.append(f"heightpose {line}")
    assert not unknown
    assert len(commands) > 100
