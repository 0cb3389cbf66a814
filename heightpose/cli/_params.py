"""Options, and kinds of option values, that several verbs take."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource


def require_none_before_verb(ctx: click.Context) -> None:
    """UsageError for options of a group that are given before one of its verbs, which would not see them."""
    for param in ctx.command.params:
        if param.name is not None and ctx.get_parameter_source(param.name) is ParameterSource.COMMANDLINE:
            verb = ctx.invoked_subcommand
            raise click.UsageError(
                f"{param.opts[0]} before '{verb}' would do nothing: options of '{verb}' stand behind it.", ctx
            )


def require_data_for_split() -> None:
    """UsageError for a ``--split`` beside test sets alone, which are judged whole."""
    ctx = click.get_current_context()
    if ctx.get_parameter_source("split") is ParameterSource.COMMANDLINE:
        raise click.UsageError(
            "--split would do nothing: it chooses from --data, and a test set is judged whole.", ctx
        )


class FilePath(click.Path):
    """A path, there or not, but not an empty one: a shell variable without a value would be the current folder."""

    def __init__(self, *, file_okay: bool = True, dir_okay: bool = True) -> None:
        super().__init__(file_okay=file_okay, dir_okay=dir_okay, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":
            self.fail("the path is empty", param, ctx)
        return super().convert(value, param, ctx)


class Pair(click.ParamType):
    """``AxB``: two positive numbers, whole (``kind=int``) or not."""

    def __init__(self, kind: type, name: str) -> None:
        self.kind, self.name = kind, name

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[Any, Any]:
        if isinstance(value, tuple):
            return value
        parts = str(value).lower().replace("×", "x").split("x")
        try:
            first, second = (self.kind(part) for part in parts)
        except ValueError:
            self.fail(f"expected {self.name}, such as {'8x11' if self.kind is int else '70x132'}", param, ctx)
        if not (0.01 <= first < 1e4 and 0.01 <= second < 1e4):  # of less, arithmetic may be left with nothing
            self.fail(f"expected two positive numbers between 0.01 and 10000, got {value}", param, ctx)
        return first, second


class FiniteRange(click.FloatRange):
    """A number within limits; click's own range lets ``nan`` through, as no comparison with it holds."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number", param, ctx)
        return number


class Point(click.ParamType):
    """``x,y``: a point in pixels."""

    name = "x,y"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, float]:
        if isinstance(value, tuple):
            return value
        try:
            x, y = (float(part) for part in str(value).split(","))
        except ValueError:
            self.fail(f"expected x,y in pixels, such as 120.5,88, got {value}", param, ctx)
        if not (math.isfinite(x) and math.isfinite(y)):
            self.fail(f"expected a point in the picture, got {value}", param, ctx)
        return x, y


MODEL = click.option(
    "--model", default="fast", show_default=True, help="fast, accurate, or a path to a pose model."
)
DETECTOR = click.option("--detector", default="detector", hidden=True, help="Path to another detector.")


def backend_option(said: str = "What runs the networks.") -> Any:
    """``--backend``, with what its help says."""
    # heightpose.runtime.backends has them too, and takes long to import.
    names = ["auto", "openvino", "onnxruntime", "torch"]
    return click.option("--backend", type=click.Choice(names), default="auto", show_default=True, help=said)


def split_option(said: str = "Pictures that the model was not trained on.") -> Any:
    """``--split``, with what its help says; ``all`` is every picture, those of no split among them."""
    names = ["train", "val", "test", "all"]
    return click.option("--split", type=click.Choice(names), default="val", show_default=True, help=said)


def wandb_option(command: Any) -> Any:
    """``--wandb``: where a run is logged besides its own folder."""
    return click.option(
        "--wandb", "wandb_mode", type=click.Choice(["online", "offline", "off"]),
        help="Weights & Biases: offline (the default) keeps a folder in the result's own for 'wandb sync', online "
        "needs 'wandb login' before. WANDB_MODE says the same.",
    )(command)  # fmt: skip
