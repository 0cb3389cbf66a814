"""True-scale drawings on paper: cut to pages that overlap, with marks to trim, to join and to check the scale by.

Everything is filled rectangles in millimetres, so a printer draws it as sharply as it can. Cuts between pages go
through the white between tags: each tag is whole on one page, and glue cannot bend it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from heightpose.calibrate.boards import Charuco, aruco_dictionary
from heightpose.errors import ConfigError, MissingExtraError
from heightpose.geometry.sheet import SheetLayout
from heightpose.runtime.atomic import atomic_path

if TYPE_CHECKING:
    from fpdf import FPDF

#: Paper sizes in mm, upright.
PAPERS = {"A4": (210.0, 297.0), "A3": (297.0, 420.0), "Letter": (215.9, 279.4)}
_EDGE_MM = 12.0  # what printers leave white, and room for the marks
_OVERLAP_MM = 10.0
_SCALE_MM = 100.0
_CLEAR_MM = 3.0  # white kept between a tag and a cut


@dataclass
class Drawing:
    """Black cells on white, in mm, x to the right and y **down** from the top left.

    Attributes:
        size_mm: (width, height).
        bitmaps: ``(left, top, cell mm, (H, W) bool, True is black)``.
        title: printed small on each page.
        frame: draw the outline to cut along, and crop marks.
    """

    size_mm: tuple[float, float]
    title: str
    bitmaps: list[tuple[float, float, float, np.ndarray]] = field(default_factory=list)
    frame: bool = True

    def spans(self, axis: int) -> list[tuple[float, float]]:
        """What must not be cut, along x (0) or y (1)."""
        found = []
        for left, top, cell, bitmap in self.bitmaps:
            start = (left, top)[axis]
            found.append((start, start + cell * bitmap.shape[1 - axis]))
        return found


def sheet_drawing(layout: SheetLayout) -> Drawing:
    """A cot sheet. Raises ConfigError for tags that are not upright squares, which this cannot draw."""
    width, height = (10 * side for side in layout.size_cm)
    drawing = Drawing((width, height), f"{layout.name}, {layout.size_cm[0]:g} x {layout.size_cm[1]:g} cm")
    dictionary = aruco_dictionary(layout.family)
    cells = dictionary.markerSize + 2
    for tag, corners in layout.tags.items():
        side = float(corners[1, 0] - corners[0, 0])
        upright = corners[0] + side * np.array([[0, 0], [1, 0], [1, -1], [0, -1]])
        if side <= 0 or not np.allclose(corners, upright, atol=1e-6):
            raise ConfigError(
                "only upright square tags can be drawn",
                where=layout.name,
                got=f"tag {tag}: {corners.tolist()}",
            )
        bitmap = cv2.aruco.generateImageMarker(dictionary, tag, cells) < 128
        left, top = width / 2 + 10 * corners[0, 0], height / 2 - 10 * corners[0, 1]
        drawing.bitmaps.append((float(left), float(top), 10 * side / cells, bitmap))
    return drawing


def charuco_drawing(board: Charuco) -> Drawing:
    """A ChArUco board whose markers' cells fall on a grid of ten to the square."""
    cells = 10
    columns, rows = board.squares_wh
    marker = board.marker_cm / board.square_cm * cells
    need = aruco_dictionary(board.dictionary).markerSize + 2
    if abs(marker - need) > 1e-6 or (cells - need) % 2 not in (0, 1):
        raise ConfigError(
            "the marker does not fall on the drawing's grid",
            expected=f"--marker-cm {board.square_cm * need / cells:g}",
            got=board.marker_cm,
        )
    # Twice the cells, as a marker may start on half a cell.
    image = board.opencv().generateImage((2 * cells * columns, 2 * cells * rows), marginSize=0)
    size = (10 * board.square_cm * columns, 10 * board.square_cm * rows)
    cell = 10 * board.square_cm / (2 * cells)
    return Drawing(size, board.describe(), [(0.0, 0.0, cell, np.asarray(image) < 128)], frame=False)


def chessboard_drawing(squares_wh: tuple[int, int], square_cm: float) -> Drawing:
    """A chessboard, black in the top left corner."""
    column, row = np.meshgrid(np.arange(squares_wh[0]), np.arange(squares_wh[1]))
    size = (10 * square_cm * squares_wh[0], 10 * square_cm * squares_wh[1])
    title = f"chessboard of {squares_wh[0]}x{squares_wh[1]} squares, {square_cm:g} cm"
    return Drawing(size, title, [(0.0, 0.0, 10 * square_cm, (column + row) % 2 == 0)], frame=False)


@dataclass(frozen=True)
class Tiling:
    """How a drawing is cut.

    Attributes:
        page_mm: page size, as turned.
        starts: where each column's and each row's page begins on the drawing, mm.
    """

    page_mm: tuple[float, float]
    starts: tuple[list[float], list[float]]

    @property
    def window_mm(self) -> tuple[float, float]:
        """How much of the drawing a page shows."""
        return self.page_mm[0] - 2 * _EDGE_MM, self.page_mm[1] - 2 * _EDGE_MM

    @property
    def pages(self) -> int:
        return len(self.starts[0]) * len(self.starts[1])


def tile(drawing: Drawing, paper: str) -> Tiling:
    """Cut the drawing to pages of a paper, upright or turned, whichever takes fewer; ``full`` is one large page.

    Raises:
        ConfigError: an unknown paper, or something that must stay whole is larger than a page.
    """
    if paper == "full":
        page = (drawing.size_mm[0] + 2 * _EDGE_MM, drawing.size_mm[1] + 2 * _EDGE_MM)
        return Tiling(page, ([0.0], [0.0]))
    if paper not in PAPERS:
        raise ConfigError("no such paper", expected=", ".join([*PAPERS, "full"]), got=paper)
    upright = PAPERS[paper]
    found = []
    for page in (upright, upright[::-1]):
        starts = [_starts(drawing.size_mm[a], page[a] - 2 * _EDGE_MM, drawing.spans(a)) for a in (0, 1)]
        if starts[0] is not None and starts[1] is not None:
            found.append(Tiling(page, (starts[0], starts[1])))
    if not found:
        raise ConfigError(
            "a part that must stay whole is larger than the page",
            where=paper,
            got=f"{max(_longest_whole(drawing.spans(axis)) for axis in (0, 1)):.0f} mm",
            hint="Take a larger paper, or --paper full and a print shop",
        )
    return min(found, key=lambda tiling: tiling.pages)


def _starts(length: float, window: float, spans: list[tuple[float, float]]) -> list[float] | None:
    """Starts of windows that cover the length and leave every span whole; None if a span is too long for that.

    Each page is laid over the end of the one before, so what shows of a page ends where the next one starts.
    """
    starts = [0.0]
    while starts[-1] + window < length - 1e-6:
        latest = starts[-1] + window - _OVERLAP_MM
        following = min(
            [latest, *(a - _CLEAR_MM for a, b in spans if a - _CLEAR_MM < latest < b + _CLEAR_MM)]
        )
        while parted := [a for a, b in spans if a < following < b]:  # tags side by side that begin apart
            following = min(parted) - _CLEAR_MM
        if following <= starts[-1] + 1e-6:
            return None
        starts.append(following)
    ends = [*starts[1:], starts[-1] + window]
    shown = list(zip(starts, ends, strict=True))
    whole = all(any(s <= a + 1e-6 and b <= e + 1e-6 for s, e in shown) for a, b in spans)
    return starts if whole else None


def _longest_whole(spans: list[tuple[float, float]]) -> float:
    """The longest stretch, mm, that no straight cut parts without going through a span."""
    longest, start, end = 0.0, 0.0, -np.inf
    for a, b in sorted(spans):
        start = a if a >= end else start
        end = max(end, b)
        longest = max(longest, end - start)
    return longest


def write_pdf(drawing: Drawing, paper: str, out: Path, verb: str) -> Tiling:
    """Write the drawing as a PDF of one or more pages.

    Raises:
        MissingExtraError: the PDF library is not installed. ConfigError: see :func:`tile`.
    """
    try:
        from fpdf import FPDF
    except ImportError as error:
        raise MissingExtraError("fpdf2", "print", verb) from error
    tiling = tile(drawing, paper)
    pdf = FPDF(unit="mm", format=tiling.page_mm)
    pdf.set_auto_page_break(False)
    pdf.set_title(drawing.title)
    for row, y in enumerate(tiling.starts[1]):
        for column, x in enumerate(tiling.starts[0]):
            pdf.add_page()
            _draw_page(pdf, drawing, tiling, (column, row), (x, y))
    with atomic_path(out) as tmp:
        pdf.output(str(tmp))
    return tiling


def _draw_page(
    pdf: FPDF, drawing: Drawing, tiling: Tiling, place: tuple[int, int], start: tuple[float, float]
) -> None:
    window = [min(tiling.window_mm[a], drawing.size_mm[a] - start[a]) for a in (0, 1)]
    offset = (_EDGE_MM - start[0], _EDGE_MM - start[1])
    with pdf.rect_clip(_EDGE_MM, _EDGE_MM, window[0], window[1]):
        pdf.set_fill_color(0)
        for left, top, cell, bitmap in drawing.bitmaps:
            if _seen(left, cell * bitmap.shape[1], start[0], window[0]) and _seen(
                top, cell * bitmap.shape[0], start[1], window[1]
            ):
                _draw_bitmap(pdf, left + offset[0], top + offset[1], cell, bitmap)
        if drawing.frame:
            pdf.set_draw_color(150)
            pdf.set_line_width(0.2)
            pdf.rect(offset[0], offset[1], *drawing.size_mm)
    if drawing.frame:
        _draw_marks(pdf, tiling, place, start, window)
    _draw_footer(pdf, drawing, tiling, place)


def _seen(start: float, length: float, window_start: float, window: float) -> bool:
    return start < window_start + window and start + length > window_start


def _draw_bitmap(pdf: FPDF, left: float, top: float, cell: float, bitmap: np.ndarray) -> None:
    """Black runs, along and across: laid over each other so that no hairline shows between neighbours."""
    for turned, cells in ((False, bitmap), (True, bitmap.T)):
        for line, row in enumerate(cells):
            edges = np.flatnonzero(np.diff(np.concatenate([[False], row, [False]]).astype(int)))
            for a, b in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
                x, y, w, h = (line, a, 1, b - a) if turned else (a, line, b - a, 1)
                pdf.rect(left + x * cell, top + y * cell, w * cell, h * cell, style="F")


def _draw_marks(
    pdf: FPDF, tiling: Tiling, place: tuple[int, int], start: tuple[float, float], window: list[float]
) -> None:
    """Crop marks outside the window's corners; a dashed line where the next page's edge is to lie."""
    pdf.set_draw_color(0)
    pdf.set_line_width(0.15)
    x0, y0, x1, y1 = _EDGE_MM, _EDGE_MM, _EDGE_MM + window[0], _EDGE_MM + window[1]
    for x, way_x in ((x0, -1), (x1, 1)):
        for y, way_y in ((y0, -1), (y1, 1)):
            pdf.line(x + way_x * 1, y, x + way_x * 5, y)
            pdf.line(x, y + way_y * 1, x, y + way_y * 5)
    pdf.set_draw_color(120)
    pdf.set_dash_pattern(dash=2, gap=2)
    for axis in (0, 1):
        after = place[axis] + 1
        if after < len(tiling.starts[axis]):
            at = _EDGE_MM + tiling.starts[axis][after] - start[axis]
            ends = ((at, y0, at, y1), (x0, at, x1, at))[axis]
            pdf.line(*ends)
    pdf.set_dash_pattern()


def _draw_footer(pdf: FPDF, drawing: Drawing, tiling: Tiling, place: tuple[int, int]) -> None:
    """What and where this page is, and a bar to check the printed scale with a ruler."""
    page_h = tiling.page_mm[1]
    pdf.set_font("Helvetica", size=7)
    pdf.set_text_color(60)
    columns, rows = len(tiling.starts[0]), len(tiling.starts[1])
    where = f"row {place[1] + 1} of {rows}, column {place[0] + 1} of {columns}"
    if columns * rows > 1:
        where += (
            "; trim the top and left edge at the marks and lay them on the dashed lines of the pages before"
        )
    pdf.text(_EDGE_MM + 6, 6.0, _latin(f"{drawing.title} - {where}"))
    y = page_h - 5.0
    pdf.set_draw_color(0)
    pdf.set_line_width(0.3)
    x0, x1 = _EDGE_MM + 6, _EDGE_MM + 6 + _SCALE_MM
    pdf.line(x0, y, x1, y)
    for x in (x0, x0 + _SCALE_MM / 2, x1):
        pdf.line(x, y - 1.5, x, y + 1.5)
    pdf.text(x1 + 2, y + 1, "must measure 100 mm: print at 100 %, not fitted")


def _latin(text: str) -> Any:
    """The built-in fonts know Latin letters only; a sheet's name may hold others."""
    return text.encode("latin-1", "replace").decode("latin-1")
