"""Boards: every corner where OpenCV's own projection puts it, whole or partly out of view."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import shots

from heightpose.calibrate.boards import (
    Charuco,
    Chessboard,
    Tags,
    guess_chessboard,
    kalibr_grid,
    tag_grid,
    upside_down,
)
from heightpose.calibrate.conventions import other_convention
from heightpose.calibrate.paper import charuco_drawing, chessboard_drawing, sheet_drawing
from heightpose.calibrate.run import calibrate
from heightpose.errors import ConfigError, HeightposeError
from heightpose.runtime.clip import Clip, Frame

CHARUCO = Charuco((8, 6), 2.5, 1.75)
CHESS = Chessboard((8, 5), 2.5)
TAGS = Tags(tag_grid((4, 3), 4.0, 1.5, "DICT_APRILTAG_36h11"))


def truth(board, found, camera, R, t, drawing):
    """Where the found corners really are: the drawing's middle is the pose's origin."""
    width, height = (side / 10 for side in drawing.size_mm)
    if isinstance(board, Tags):
        pts = found.pts_cm
    elif isinstance(board, Charuco):
        pts = found.pts_cm + (-width / 2, height / 2, 0)
    else:
        pts = found.pts_cm + (board.square_cm - width / 2, height / 2 - board.square_cm, 0)
    return shots.sheet_picture.project(camera, R, t, pts)


@pytest.mark.parametrize("camera", [shots.PINHOLE, shots.FISHEYE], ids=lambda c: c.model)
@pytest.mark.parametrize(
    ("board", "drawing", "bound_px"),
    [
        (CHARUCO, charuco_drawing(CHARUCO), 0.15),
        (CHESS, chessboard_drawing((9, 6), 2.5), 0.1),
        (TAGS, sheet_drawing(TAGS.layout), 0.12),
    ],
    ids=["charuco", "chessboard", "tags"],
)
def test_corners_are_found_where_they_are(camera, board, drawing, bound_px):
    far = 0.65 if camera.model == "fisheye" and isinstance(board, Charuco) else 0.9
    placed = shots.poses(camera, 3, seed=3, reach=0.2, far=far)
    pictures = shots.photographs(drawing, camera, placed)
    for (R, t), picture in zip(placed, pictures, strict=True):
        found = board.find(picture)
        assert len(found.ids) >= 0.5 * board.count
        error = found.kpts - truth(board, found, camera, R, t, drawing)
        if isinstance(board, Chessboard) and np.linalg.norm(error, axis=1).max() > 5:
            error = found.kpts[::-1] - truth(board, found, camera, R, t, drawing)  # listed from the other end
        assert np.sqrt((error**2).sum(axis=1).mean()) < bound_px


def test_a_charuco_board_partly_out_of_view():
    R, t = shots.poses(shots.PINHOLE, 1, seed=5, reach=0.0)[0]
    (picture,) = shots.photographs(charuco_drawing(CHARUCO), shots.PINHOLE, [(R, t + (8.0, 0, 0))])
    found = CHARUCO.find(picture)
    assert 8 <= len(found.ids) < CHARUCO.count
    error = found.kpts - truth(CHARUCO, found, shots.PINHOLE, R, t + (8.0, 0, 0), charuco_drawing(CHARUCO))
    assert np.linalg.norm(error, axis=1).max() < 0.3


def test_a_chessboard_of_unknown_size_is_recognised():
    placed = shots.poses(shots.PINHOLE, 2, seed=3, reach=0.3)
    pictures = shots.photographs(chessboard_drawing((9, 6), 2.5), shots.PINHOLE, placed)
    assert guess_chessboard(pictures, 2.5).inner_wh == (8, 5)
    assert guess_chessboard([np.full((120, 160), 90, np.uint8)], 2.5) is None


def test_no_board_is_none():
    noise = np.random.default_rng(0).integers(0, 255, (120, 160)).astype(np.uint8)
    assert [board.find(noise) for board in (CHARUCO, CHESS, TAGS)] == [None, None, None]


def test_large_pictures_keep_their_precision():
    """Boards are looked for in a smaller copy; the corners are refined in the picture itself."""
    camera = shots.PINHOLE.for_frames((1920, 1440))
    R, t = shots.poses(shots.PINHOLE, 1, seed=3, reach=0.0)[0]
    drawing = chessboard_drawing((9, 6), 2.5)
    (picture,) = shots.photographs(drawing, camera, [(R, t)], oversample=1)
    found = CHESS.find(picture)
    error = found.kpts - truth(CHESS, found, camera, R, t, drawing)
    if np.linalg.norm(error, axis=1).max() > 20:
        error = found.kpts[::-1] - truth(CHESS, found, camera, R, t, drawing)
    assert np.linalg.norm(error, axis=1).max() < 0.2


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Charuco((8, 11), 2.0, 2.5), "does not fit its square"),
        (lambda: Charuco((20, 20), 2.0, 1.4), "too few markers"),
        (lambda: Charuco(dictionary="DICT_NONE"), "no such marker dictionary"),
        (lambda: Chessboard((1, 5)), "at least 4x4"),
        (lambda: Chessboard((2, 3)), "at least 4x4"),
        (lambda: Chessboard((8, 5), float("nan")), "out of range"),
        (lambda: tag_grid((40, 40), 4.0, 1.0, "DICT_APRILTAG_36h11"), "too few tags"),
    ],
)
def test_impossible_boards_say_why(make, words):
    with pytest.raises(ConfigError, match=words):
        make()


class Pictures(Clip):
    """Grey pictures from memory."""

    def __init__(self, grays):
        self._grays = grays
        self.name, self.kind, self.size_wh, self.length_hint = (
            "pictures",
            "folder",
            grays[0].shape[::-1],
            len(grays),
        )
        self.paths = [Path(f"{i}.png") for i in range(len(grays))]

    def frames(self):
        for i, gray in enumerate(self._grays):
            yield Frame(i, float(i), np.repeat(gray[..., None], 3, axis=2))


@pytest.mark.parametrize("printed_legacy", [True, False])
def test_the_other_charuco_pattern_is_hinted(printed_legacy):
    asked = Charuco((7, 10), 2.3, 1.61, legacy=not printed_legacy)
    printed = charuco_drawing(Charuco((7, 10), 2.3, 1.61, legacy=printed_legacy))
    clip = Pictures(
        shots.photographs(printed, shots.PINHOLE, shots.poses(shots.PINHOLE, 3, seed=3, reach=0.3))
    )
    with pytest.raises(HeightposeError, match="--legacy-charuco") as caught:
        calibrate(clip, asked, ["pinhole"], 40)
    assert ("add" in caught.value.hint) == printed_legacy


SIZE = ((4, 3), 3.6, 1.2, "DICT_APRILTAG_36h11")
KALIBR = {"border": 2, "bottom_up": True, "squares": True}
APRILTAG = {"border": 1, "bottom_up": False, "squares": False}


@pytest.mark.parametrize(
    ("drawn", "grid"),
    [(KALIBR, kalibr_grid(*SIZE)), (APRILTAG, upside_down(tag_grid(*SIZE)))],
    ids=["kalibr", "apriltag"],
)
def test_grids_drawn_by_the_tags_published_codes(drawn, grid):
    placed = shots.poses(shots.PINHOLE, 4, seed=3, reach=0.2, far=0.9)
    drawing = shots.april_grid(*SIZE[0], *SIZE[1:3], **drawn)
    found = [Tags(grid).find(picture) for picture in shots.photographs(drawing, shots.PINHOLE, placed)]
    assert np.mean([len(one.ids) / Tags(grid).count for one in found]) > 0.9
    for one, (R, t) in zip(found, placed, strict=True):
        error = one.kpts - shots.sheet_picture.project(shots.PINHOLE, R, t, one.pts_cm)
        assert np.sqrt((error**2).sum(axis=1).mean()) < 0.2


@pytest.mark.parametrize(
    ("drawn", "asked", "hint"),
    [
        (APRILTAG, tag_grid(*SIZE), "the other way up: add --upside-down"),
        (APRILTAG, tag_grid(*SIZE, bottom_up=True), "--bottom-up .*--upside-down"),
        (KALIBR, tag_grid(*SIZE, bottom_up=True), "give --kalibr"),
        (APRILTAG, kalibr_grid(*SIZE), "leave out --kalibr"),
        (KALIBR, kalibr_grid(*SIZE), None),
        (APRILTAG, upside_down(tag_grid(*SIZE)), None),
    ],
)
def test_a_grid_printed_otherwise_is_hinted(drawn, asked, hint):
    placed = shots.poses(shots.PINHOLE, 2, seed=3, reach=0.1, far=0.9)
    drawing = shots.april_grid(*SIZE[0], *SIZE[1:3], **drawn)
    said = other_convention(Pictures(shots.photographs(drawing, shots.PINHOLE, placed)), Tags(asked))
    assert said is None if hint is None else re.search(hint, said)


def test_a_grid_numbered_from_the_bottom_is_hinted():
    grid = tag_grid(*SIZE, bottom_up=True)
    assert grid.tags[0][:, 1].max() < 0 < grid.tags[8][:, 1].min()
    placed = shots.poses(shots.PINHOLE, 3, seed=3, reach=0.2, far=0.9)
    clip = Pictures(shots.photographs(sheet_drawing(grid), shots.PINHOLE, placed))
    with pytest.raises(HeightposeError, match="from the bottom row: add --bottom-up"):
        calibrate(clip, Tags(tag_grid(*SIZE)), ["pinhole"], 40)


def test_a_charuco_board_called_a_chessboard_is_hinted():
    placed = shots.poses(shots.PINHOLE, 2, seed=3, reach=0.3)
    clip = Pictures(shots.photographs(charuco_drawing(CHARUCO), shots.PINHOLE, placed))
    with pytest.raises(HeightposeError, match="--board charuco"):
        calibrate(clip, Chessboard((7, 5)), ["pinhole"], 40)
    plain = Pictures(shots.photographs(chessboard_drawing((9, 6), 2.5), shots.PINHOLE, placed))
    assert other_convention(plain, CHESS) is None
