"""The options that describe a board, shared by the verbs that look for one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from heightpose.cli._params import FilePath, Pair
from heightpose.errors import ConfigError

if TYPE_CHECKING:
    from heightpose.calibrate.boards import Board
    from heightpose.runtime.clip import Clip

#: Pictures looked at, spread over the input, when a chessboard's size has to be found out.
_GUESS_FROM = 8


_OPTIONS = (
    click.option(
        "--board",
        type=click.Choice(["charuco", "chessboard", "tags"]),
        help="What was printed; charuco is what `heightpose calibrate board` prints. With --sheet: tags.",
    ),
    click.option(
        "--squares",
        type=Pair(int, "COLUMNSxROWS"),
        help="Squares (not inner corners) of a charuco board or chessboard. Default: charuco 8x11; a chessboard's are "
        "found out.",
    ),
    click.option(
        "--inner-corners",
        type=Pair(int, "COLUMNSxROWS"),
        help="The same for a chessboard counted in inner corners.",
    ),
    click.option(
        "--square-cm", type=float, help="Side of a square. It does not change the lens. Default 2.3 or 2.5."
    ),
    click.option("--marker-cm", type=float, help="Side of a charuco marker. Default 0.7 squares."),
    click.option("--tags", "tags_wh", type=Pair(int, "COLUMNSxROWS"), help="Tags of a grid, ids row by row."),
    click.option("--bottom-up", is_flag=True, help="The grid's ids start in the bottom row."),
    click.option(
        "--upside-down",
        is_flag=True,
        help="The grid's tags are the AprilTag project's own pictures, which are OpenCV's upside down.",
    ),
    click.option("--kalibr", is_flag=True, help="The grid is one that Kalibr printed (its aprilgrid)."),
    click.option("--tag-cm", type=float, help="Side of a tag of the grid."),
    click.option("--gap-cm", type=float, help="White between the grid's tags."),
    click.option(
        "--dictionary", help="OpenCV's name of the markers. Default DICT_5X5_100, tags DICT_APRILTAG_36h11."
    ),
    click.option("--legacy-charuco", is_flag=True, help="A charuco pattern of OpenCV before 4.6."),
    click.option(
        "--sheet",
        type=FilePath(),
        help="The board is a tag layout such as the cot sheet (YAML).",
    ),
)
NAMES = (
    *(
        "board",
        "squares",
        "inner_corners",
        "square_cm",
        "marker_cm",
        "tags_wh",
        "tag_cm",
        "gap_cm",
        "dictionary",
    ),
    *("legacy_charuco", "bottom_up", "upside_down", "kalibr", "sheet"),
)


def board_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options; their values come as keyword arguments named in :data:`NAMES`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def make_board(clip: Clip, given: dict[str, Any]) -> Board:
    """The board that the options describe; ``clip`` is looked at only for a chessboard of unknown size.

    Raises:
        ConfigError: the description is incomplete or contradicts itself.
    """
    from heightpose.calibrate import boards
    from heightpose.geometry.sheet import SheetLayout

    kind = given["board"]
    if given["sheet"] is not None:
        if kind not in (None, "tags"):
            raise ConfigError("--sheet describes tags", got=f"--board {kind}", hint="Leave --board out")
        return boards.Tags(SheetLayout.load(given["sheet"]))
    if kind is None:
        hint = "Add --board charuco, --board chessboard, --board tags, or --sheet LAYOUT.yaml"
        raise ConfigError("which board was printed is not said", hint=hint)
    if kind == "tags":
        for name, option in (("tags_wh", "--tags"), ("tag_cm", "--tag-cm"), ("gap_cm", "--gap-cm")):
            if given[name] is None:
                raise ConfigError(f"a grid of tags needs {option}", hint="Or give its layout with --sheet")
        family = given["dictionary"] or "DICT_APRILTAG_36h11"
        size = (given["tags_wh"], given["tag_cm"], given["gap_cm"], family)
        if given["kalibr"]:
            return boards.Tags(boards.kalibr_grid(*size))
        grid = boards.tag_grid(*size, given["bottom_up"])
        return boards.Tags(boards.upside_down(grid) if given["upside_down"] else grid)
    if kind == "charuco":
        if given["inner_corners"] is not None:
            raise ConfigError("a charuco board is counted in squares", hint="Give --squares COLUMNSxROWS")
        square = 2.3 if given["square_cm"] is None else given["square_cm"]
        marker = 0.7 * square if given["marker_cm"] is None else given["marker_cm"]
        dictionary = given["dictionary"] or "DICT_5X5_100"
        return boards.Charuco(
            given["squares"] or (8, 11), square, marker, dictionary, given["legacy_charuco"]
        )
    return _chessboard(clip, given)


def _chessboard(clip: Clip, given: dict[str, Any]) -> Board:
    from heightpose.calibrate import boards
    from heightpose.calibrate.views import gray_pictures

    square = 2.5 if given["square_cm"] is None else given["square_cm"]
    inner, squares = given["inner_corners"], given["squares"]
    if squares is not None:
        counted = (squares[0] - 1, squares[1] - 1)
        if inner is not None and inner != counted:
            raise ConfigError(
                "--squares and --inner-corners contradict each other", expected=f"{counted}", got=inner
            )
        inner = counted
    if inner is not None:
        return boards.Chessboard(inner, square)
    every = max(1, (clip.length_hint or 200) // _GUESS_FROM)
    few: list[Any] = []
    for count, (_, _, gray) in enumerate(gray_pictures(clip)):
        if count % every == 0 or len(few) < 2:
            few.append(gray)
        if len(few) >= _GUESS_FROM:
            break
    board = boards.guess_chessboard(few, square)
    if board is None:
        raise ConfigError(
            "no chessboard was recognised",
            where=clip.name,
            hint="Say its size with --squares COLUMNSxROWS; the whole board with its white margin must be in view",
        )
    return board
