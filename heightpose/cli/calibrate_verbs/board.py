"""``heightpose calibrate board``: a board to print. The work is in heightpose.calibrate."""

from __future__ import annotations

from pathlib import Path

import click

from heightpose.cli._params import FilePath, Pair

EPILOG = """\b
Examples:
  heightpose calibrate board --out board.pdf                                  what `--board charuco` expects
  heightpose calibrate board --board chessboard --squares 10x7 --square-cm 2.5 --out chess.pdf
  heightpose calibrate board --paper A3 --square-cm 3.4 --out large.pdf

\b
Print at 100 %, check the 100 mm bar with a ruler, and glue the page to something flat and stiff: glass, a picture
frame's back, a thick board. A board that bends spoils every picture.
"""


@click.command("board", epilog=EPILOG)
@click.option(
    "--board",
    type=click.Choice(["charuco", "chessboard"]),
    default="charuco",
    show_default=True,
    help="What to draw.",
)
@click.option("--squares", type=Pair(int, "COLUMNSxROWS"), default="8x11", show_default=True, help="Squares.")
@click.option("--square-cm", type=float, default=2.3, show_default=True, help="Side of a square.")
@click.option(
    "--paper", type=click.Choice(["A4", "A3", "Letter", "full"], case_sensitive=False), default="A4",
    show_default=True, help="The board must fit one page; full makes a page for it.",
)  # fmt: skip
@click.option("--out", type=FilePath(dir_okay=False), required=True, help="The PDF to write.")
def board(board: str, squares: tuple[int, int], square_cm: float, paper: str, out: Path) -> int:
    """Draw a calibration board to print."""
    from heightpose.calibrate import boards
    from heightpose.calibrate import paper as printing
    from heightpose.runtime.atomic import make_folder

    target: boards.Charuco | boards.Chessboard
    if board == "charuco":
        target = boards.Charuco(squares, square_cm, 0.7 * square_cm)
        drawing = printing.charuco_drawing(target)
    else:
        target = boards.Chessboard((squares[0] - 1, squares[1] - 1), square_cm)
        drawing = printing.chessboard_drawing(squares, square_cm)
    make_folder(out.parent)
    printing.write_pdf(drawing, paper, out, "heightpose calibrate board")
    click.echo(f"{target.describe()}, saved to {out}")
    return 0
