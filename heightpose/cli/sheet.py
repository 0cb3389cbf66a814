"""``heightpose sheet``: a size in, a printable sheet and its layout file out. The work is in heightpose.calibrate."""

from __future__ import annotations

from pathlib import Path

import click

from heightpose.cli._params import FilePath, Pair
from heightpose.words import plural

EPILOG = """\b
Writes:
  sheet.pdf    the sheet, true to scale, cut to pages that overlap by 1 cm (--out)
  sheet.yaml   its layout: every tag's corners in cm, for `heightpose infer --sheet` (beside it; a --layout that is
               there already is left as it is)

\b
Examples:
  heightpose sheet --size 70x132 --out sheet.pdf
  heightpose sheet --size 60x120 --paper A3 --out small.pdf
  heightpose sheet --size 70x132 --paper full --out sheet.pdf      one large page, for a print shop or cloth
  heightpose sheet --layout my-layout.yaml --out mine.pdf          print a layout you have

\b
Print at 100 % ("actual size"), check the 100 mm bar with a ruler, trim and glue on the marks, lay it flat. Mat paper or
cloth: shiny sheets mirror lamps. Measure from the first tag to the last one along the sheet: what you measure must be
what the layout file says within 2 mm.

\b
Every size has tags of its own, so that no sheet is taken for another one; keep the layout file with the sheet.
"""


@click.command("sheet", epilog=EPILOG)
@click.option("--size", type=Pair(float, "ACROSSxALONG"), help="The sheet's size in cm, such as 70x132.")
@click.option("--layout", type=FilePath(), help="Print this layout instead of a new one (YAML).")
@click.option("--out", type=FilePath(dir_okay=False), required=True, help="The PDF to write.")
@click.option(
    "--paper", type=click.Choice(["A4", "A3", "Letter", "full"], case_sensitive=False), default="A4",
    show_default=True, help="Paper to cut the sheet to; full is one page.",
)  # fmt: skip
@click.option("--tag-cm", type=float, help="Side of the tags. Default 6, less on a small sheet.")
@click.option("--family", help="OpenCV's name of the tags. Default DICT_APRILTAG_36h11.")
def sheet(
    size: tuple[float, float] | None,
    layout: Path | None,
    out: Path,
    paper: str,
    tag_cm: float | None,
    family: str | None,
) -> int:
    """Draw a cot sheet with tags to print, and write the layout file that goes with it."""
    from heightpose.calibrate.paper import sheet_drawing, write_pdf
    from heightpose.calibrate.sheet_layout import make_layout, write_layout
    from heightpose.errors import ConfigError
    from heightpose.geometry.sheet import SheetLayout
    from heightpose.runtime.atomic import make_folder

    if (size is None) == (layout is None):
        raise ConfigError("what to draw is not said", expected="--size, or --layout")
    if out.suffix.lower() != ".pdf":  # a PDF by another name opens nowhere
        raise ConfigError(
            "--out names the PDF", expected="a name that ends in .pdf", got=out,
            hint="The layout is written beside it",
        )  # fmt: skip
    if layout is not None:
        if tag_cm is not None or family is not None:
            raise ConfigError(
                "--tag-cm and --family are for a new sheet; a layout has its tags", where=layout
            )
        made = SheetLayout.load(layout)
    else:
        assert size is not None
        made = make_layout(size, family, tag_cm)
    make_folder(out.parent)
    tiling = write_pdf(sheet_drawing(made), paper, out, "heightpose sheet")
    beside = out.with_suffix(".yaml")
    is_itself = layout is not None and beside.exists() and beside.samefile(layout)
    if not is_itself:  # the layout printed stays as it was written, comments and all
        write_layout(made, beside)
    width, height = tiling.page_mm
    pages = plural(tiling.pages, "page")
    click.echo(f"{made.name}: {plural(len(made.tags), 'tag')}, {pages} of {width:.0f} x {height:.0f} mm")
    click.echo(f"saved to {out}, layout in {beside}")
    return 0
