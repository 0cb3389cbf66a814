"""Printed sheets and boards: rasterised as a printer would, every tag is where the layout says, in millimetres."""

from __future__ import annotations

import hashlib
import itertools

import cv2
import numpy as np
import pypdfium2
import pytest
import shots  # noqa: F401
from click.testing import CliRunner

from heightpose.calibrate import paper
from heightpose.calibrate.boards import Charuco, Chessboard, square
from heightpose.calibrate.sheet_layout import make_layout, write_layout
from heightpose.cli.sheet import sheet
from heightpose.errors import ConfigError
from heightpose.geometry.sheet import SheetLayout, detect_tags, shipped_sheet

PX_PER_MM = 8.0  # an edge falls on a whole pixel: 0.125 mm


def rasterise(path):
    """The pages as ``(H, W)`` uint8 at 8 px per mm."""
    document = pypdfium2.PdfDocument(path)
    scale = PX_PER_MM * 25.4 / 72
    return [
        page.render(scale=scale, grayscale=True).to_numpy().reshape(-1, round_width(page, scale))
        for page in document
    ]


def round_width(page, scale):
    return int(np.ceil(page.get_width() * scale))


def to_mm(kpts):
    """Pixel coordinates (integers are centres) -> mm from the page's top left corner."""
    return (kpts + 0.5) / PX_PER_MM


@pytest.mark.parametrize("size", [(70.0, 132.0), (60.0, 120.0), (45.5, 90.0), (30.0, 20.0), (140.0, 200.0)])
def test_layouts_of_any_size(size):
    layout = make_layout(size)
    corners = np.concatenate(list(layout.tags.values()))
    assert (np.abs(corners) <= np.array(size) / 2 - 0.7).all()
    ids = sorted(layout.tags)
    assert ids == list(range(ids[0], ids[0] + len(ids)))
    centres = np.array([c.mean(axis=0) for c in layout.tags.values()])
    apart = np.linalg.norm(centres[:, None] - centres[None], axis=2) + 1e9 * np.eye(len(centres))
    side = np.linalg.norm(layout.tags[ids[0]][1] - layout.tags[ids[0]][0])
    assert apart.min() > 1.4 * side
    assert np.allclose(np.ptp(centres, axis=0), np.array(size) - 2 * min(3.0, side / 2) - side, atol=0.01)


def test_the_usual_size_is_the_shipped_sheet(tmp_path):
    shipped = SheetLayout.load(shipped_sheet())
    made = make_layout((70.0, 132.0))
    write_layout(made, tmp_path / "sheet.yaml")
    again = SheetLayout.load(tmp_path / "sheet.yaml")
    assert again.to_dict() == shipped.to_dict()
    # The general rule gives nearly the same: same number of tags, same ends.
    general = make_layout((70.01, 132.01))
    assert len(general.tags) == len(shipped.tags)
    assert np.abs(next(iter(general.tags.values())) - shipped.tags[0]).max() < 0.01


def test_the_usual_sheet_stays_to_the_byte(tmp_path):
    write_layout(make_layout((70.0, 132.0)), tmp_path / "sheet.yaml")
    digest = hashlib.sha256((tmp_path / "sheet.yaml").read_bytes()).hexdigest()
    assert digest == "ac738770f866e52835aa491dff91c0ae00b59ef05eb7ab61bbe5dbf31d6ea680"


def test_sheets_of_different_sizes_have_different_tags():
    """Printed sheets must stay readable: the ids of a size never change."""
    assert list(make_layout((60.0, 120.0)).tags)[:6] == [47, 51, 44, 52, 57, 40]
    sizes = [
        (70.0, 132.0),
        (70.0, 140.0),
        (60.0, 120.0),
        (65.0, 130.0),
        (71.0, 132.0),
        (72.0, 136.0),
        (75.0, 140.0),
    ]
    made = [make_layout(size) for size in sizes]
    made.append(make_layout((60.0, 120.0), tag_cm=5.0))
    for one, other in itertools.combinations(made, 2):
        assert not one.tags.keys() & other.tags.keys(), (one.name, other.name)


def test_sheets_that_share_a_range_have_its_tags_in_other_places():
    sizes = [(float(w), float(h)) for w in range(55, 75, 2) for h in range(110, 140, 3)]
    made = [make_layout(size) for size in sizes]
    sharing = [(a, b) for a, b in itertools.combinations(made, 2) if len(a.tags.keys() & b.tags.keys()) > 10]
    assert 0 < len(sharing) < 0.08 * len(made) * (len(made) - 1) / 2
    for a, b in sharing:
        common = a.tags.keys() & b.tags.keys()
        near = [np.abs(a.tags[tag] - b.tags[tag]).max() < 5.0 for tag in common]
        assert np.mean(near) < 0.5, (a.name, b.name)


@pytest.mark.parametrize("family", ["DICT_4X4_50", "DICT_APRILTAG_16h5"])
def test_a_small_family_is_used_as_far_as_it_goes(family):
    layout = make_layout((60.0, 120.0), family)
    assert len(layout.tags) == 18
    assert max(layout.tags) < 50


@pytest.mark.parametrize("name", ["A4", "A3", "Letter"])
def test_every_tag_is_whole_on_one_page_and_true_to_scale(tmp_path, name):
    layout = make_layout((45.5, 60.0))
    drawing = paper.sheet_drawing(layout)
    tiling = paper.write_pdf(drawing, name, tmp_path / "sheet.pdf", "test")
    pages = rasterise(tmp_path / "sheet.pdf")
    assert len(pages) == tiling.pages
    starts = [(x, y) for y in tiling.starts[1] for x in tiling.starts[0]]
    seen = set()
    for page, start in zip(pages, starts, strict=True):
        assert page.shape == pytest.approx(
            (tiling.page_mm[1] * PX_PER_MM, tiling.page_mm[0] * PX_PER_MM), abs=1
        )
        found = detect_tags(page, layout)
        for tag, corners in zip(found.ids.tolist(), found.corners_frame, strict=True):
            seen.add(tag)
            on_sheet = to_mm(corners) - 12.0 + start  # 12 mm of margin
            cm = np.stack([on_sheet[:, 0] / 10 - 45.5 / 2, 60.0 / 2 - on_sheet[:, 1] / 10], axis=1)
            assert np.abs(cm - layout.tags[tag]).max() < 0.016  # 0.16 mm: a pixel and a bit
    assert seen == set(layout.tags)
    # What shows of a page ends where the next one is laid over it: no tag crosses that.
    for axis in (0, 1):
        for cut in tiling.starts[axis][1:]:
            assert not any(a < cut < b for a, b in drawing.spans(axis))


def test_pages_overlap_and_cover(tmp_path):
    for size in ((70.0, 132.0), (100.0, 100.0), (20.0, 20.0)):
        drawing = paper.sheet_drawing(make_layout(size))
        for name in ("A4", "A3", "Letter"):
            tiling = paper.tile(drawing, name)
            for axis in (0, 1):
                starts, window = np.array(tiling.starts[axis]), tiling.window_mm[axis]
                assert starts[0] == 0
                assert (np.diff(starts) <= window - 10 + 1e-6).all()
                assert starts[-1] + window >= drawing.size_mm[axis] - 1e-6


def test_the_scale_bar_is_100_mm(tmp_path):
    paper.write_pdf(paper.sheet_drawing(make_layout((20.0, 20.0))), "A4", tmp_path / "s.pdf", "test")
    page = rasterise(tmp_path / "s.pdf")[0]
    row = page[round((297 - 5) * PX_PER_MM)] < 128
    edges = np.flatnonzero(np.diff(np.concatenate([[0], row.astype(int), [0]])))
    longest = max(zip(edges[::2], edges[1::2], strict=True), key=lambda run: run[1] - run[0])
    assert (longest[1] - longest[0]) / PX_PER_MM == pytest.approx(100, abs=0.6)


def test_full_is_one_page(tmp_path):
    layout = make_layout((30.0, 40.0))
    tiling = paper.write_pdf(paper.sheet_drawing(layout), "full", tmp_path / "s.pdf", "test")
    assert (tiling.pages, tiling.page_mm) == (1, (324.0, 424.0))
    (page,) = rasterise(tmp_path / "s.pdf")
    assert detect_tags(page, layout).ids.tolist() == sorted(layout.tags)


def test_boards_are_found_on_paper_and_true_to_scale(tmp_path):
    charuco, chess = Charuco(), Chessboard((8, 5), 2.5)
    for board, drawing in (
        (charuco, paper.charuco_drawing(charuco)),
        (chess, paper.chessboard_drawing((9, 6), 2.5)),
    ):
        paper.write_pdf(drawing, "A4", tmp_path / "board.pdf", "test")
        (page,) = rasterise(tmp_path / "board.pdf")
        found = board.find(cv2.copyMakeBorder(page, 40, 40, 40, 40, cv2.BORDER_CONSTANT, value=255))
        assert len(found.ids) == board.count
        cm = to_mm(found.kpts) / 10 * (1, -1)
        apart = np.linalg.norm(cm[0] - cm[-1])
        assert apart == pytest.approx(np.linalg.norm(found.pts_cm[0] - found.pts_cm[-1]), abs=0.01)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: make_layout((5.0, 100.0)), "size is out of range"),
        (lambda: make_layout((40.0, 40.0), tag_cm=20.0), "tags' size is out of range"),
        (lambda: make_layout((250.0, 250.0), "DICT_4X4_50", 3.0), "too few tags"),
        (
            lambda: paper.tile(paper.sheet_drawing(make_layout((120.0, 120.0), tag_cm=30.0)), "A4"),
            "larger than the page",
        ),
        (lambda: paper.charuco_drawing(Charuco((8, 11), 2.3, 1.5)), "--marker-cm 1.61"),
    ],
)
def test_what_cannot_be_drawn_is_said(make, words):
    with pytest.raises(ConfigError, match=words):
        make()


def test_a_turned_tag_is_not_drawn():
    turned = np.roll(square(0, 4, 4), 1, axis=0)
    layout = SheetLayout("turned", (20.0, 20.0), "DICT_APRILTAG_36h11", {0: turned})
    with pytest.raises(ConfigError, match="upright"):
        paper.sheet_drawing(layout)


def test_a_layout_that_is_printed_stays_as_it_was_written(tmp_path):
    own = tmp_path / "mine.yaml"
    write_layout(make_layout((40.0, 40.0)), own)
    own.write_text("# measured with a tape on 3 May\n" + own.read_text())
    before = own.read_bytes()
    for out in ("mine.pdf", "copy.pdf"):
        done = CliRunner().invoke(
            sheet, ["--layout", str(own), "--out", str(tmp_path / out), "--paper", "full"]
        )
        assert done.exit_code == 0, done.output
    assert own.read_bytes() == before
    assert SheetLayout.load(tmp_path / "copy.yaml").to_dict() == SheetLayout.load(own).to_dict()


@pytest.mark.parametrize("name", ["sheet.png", "sheet.yaml", "sheet"])
def test_a_pdf_is_not_written_by_another_name(tmp_path, name):
    done = CliRunner().invoke(sheet, ["--size", "40x40", "--out", str(tmp_path / name)])
    assert isinstance(done.exception, ConfigError)
    assert ".pdf" in str(done.exception)
    assert not list(tmp_path.iterdir())


def own_layout(places):
    """Tags of 6 cm whose left edge and middle are at these places, cm."""
    tags = {i: square(x, y + 3, 6.0) for i, (x, y) in enumerate(places)}
    return SheetLayout("own", (70.0, 132.0), "DICT_APRILTAG_36h11", tags)


def test_pages_part_tags_that_stand_beside_each_other_but_not_in_line():
    drawing = paper.sheet_drawing(own_layout([(-24.0, 50.0), (-18.0, 30.0), (-15.3, 10.0), (-9.3, -10.0)]))
    tiling = paper.tile(drawing, "A4")
    for axis, starts in enumerate(tiling.starts):
        assert not [(a, b, cut) for a, b in drawing.spans(axis) for cut in starts if a < cut < b]


def test_a_stagger_without_a_straight_cut_says_how_long_it_is():
    stairs = own_layout([(-33.0 + 4 * i, -60.0 + 8 * (i % 14)) for i in range(15)])
    with pytest.raises(ConfigError) as caught:
        paper.tile(paper.sheet_drawing(stairs), "A4")
    assert caught.value.got == "620 mm"
