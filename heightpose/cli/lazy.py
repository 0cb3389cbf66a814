"""A group of verbs, one module per verb, each imported only when it is called: ``--help`` imports none of them."""

from __future__ import annotations

import difflib
import importlib
import keyword
from pathlib import Path
from typing import Any

import click


class LazyGroup(click.Group):
    """Finds its verbs as modules of a package; an unknown verb gets a suggestion.

    Args:
        package: dotted name of the package that holds one module per verb (``import_`` for the verb ``import``).
        verbs: verb -> one line of help; a verb without a module is not listed.
    """

    def __init__(self, *args: Any, package: str, verbs: dict[str, str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.package, self.verbs = package, verbs
        self._folder = Path(__file__).resolve().parent.joinpath(*package.split(".")[2:])

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [verb for verb in self.verbs if (self._folder / f"{_module(verb)}.py").is_file()]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        module = importlib.import_module(f"{self.package}.{_module(cmd_name)}")
        commands = [c for c in vars(module).values() if isinstance(c, click.Command)]
        named = [c for c in commands if c.name == cmd_name]
        if not named:
            raise click.ClickException(f"the verb '{cmd_name}' is not ready in this version")
        return named[0]

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in (known := self.list_commands(ctx)):
            close = difflib.get_close_matches(args[0], known, 1)
            hint = f"Did you mean '{close[0]}'?" if close else f"See {ctx.command_path} --help."
            raise click.UsageError(f"no such verb: '{args[0]}'. {hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = [(verb, self.verbs[verb]) for verb in self.list_commands(ctx)]
        if rows:
            with formatter.section("Verbs"):
                formatter.write_dl(rows)


def _module(verb: str) -> str:
    name = verb.replace("-", "_")
    return f"{name}_" if keyword.iskeyword(name) else name
