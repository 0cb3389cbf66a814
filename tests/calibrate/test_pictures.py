"""From drawn pictures to a camera: the whole way, through detection, choice of views and fit."""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import shots

from heightpose.calibrate.boards import Chessboard
from heightpose.calibrate.paper import chessboard_drawing
from heightpose.calibrate.picture import draw
from heightpose.calibrate.run import calibrate, open_pictures
from heightpose.calibrate.views import edge_width
from heightpose.errors import HeightposeError, InputError
from heightpose.runtime.video import open_clip

sys.path.append(str(Path(__file__).resolve().parents[1] / "runtime"))

BOARD = Chessboard((8, 5), 2.5)


def photographs(camera, count, **kwargs):
    placed = shots.poses(camera, count, seed=1, far=1.15, **kwargs)
    return shots.photographs(chessboard_drawing((9, 6), 2.5), camera, placed)


@pytest.mark.parametrize("camera", [shots.PINHOLE, shots.FISHEYE], ids=lambda c: c.model)
def test_the_focal_length_comes_back_from_pictures(camera, tmp_path):
    for i, picture in enumerate(photographs(camera, 14, reach=0.6)):
        cv2.imwrite(str(tmp_path / f"{i:02d}.png"), picture)
    with open_pictures([str(tmp_path)]) as clip:
        found = calibrate(clip, BOARD, ["pinhole", "fisheye"], 40)
    assert found.solution.camera.model == camera.model
    assert found.solution.camera.K[0, 0] == pytest.approx(camera.K[0, 0], rel=0.005)
    assert found.solution.bundle.rms_px < 0.3
    assert sum(fate.state == "used" for fate in found.fates) >= 8
    drawn = draw(found)
    assert drawn.dtype == np.uint8
    assert drawn.shape[2] == 3
    assert len(np.unique(drawn.reshape(-1, 3) @ (65536, 256, 1))) > 50


def test_a_turned_video_gives_the_camera_of_the_stored_picture(tmp_path):
    """Phones store pictures lying down and say so: K must not depend on how the file is shown."""
    import makers

    pictures = [cv2.cvtColor(p, cv2.COLOR_GRAY2RGB) for p in photographs(shots.PINHOLE, 10, reach=0.4)]
    path = makers.write_video(tmp_path / "turned.mp4", pictures, matrix=makers.CLOCKWISE[90])
    with open_pictures([str(path)]) as clip:
        assert clip.size_wh == (360, 480)
        found = calibrate(clip, BOARD, ["pinhole"], 40)
    assert found.size_wh == shots.SIZE
    camera = found.solution.camera
    assert camera.size_wh == shots.SIZE
    assert camera.K[0, 0] == pytest.approx(400, rel=0.02)  # the video is lossy
    assert np.abs(camera.K[:2, 2] - shots.PINHOLE.K[:2, 2]).max() < 8


def test_a_camera_held_this_way_and_that_is_one_camera(tmp_path):
    """Orientation tags differ, stored pictures do not; the file is for those, and infer turns it with each clip."""
    import test_video

    for i, picture in enumerate(photographs(shots.PINHOLE, 10, reach=0.4)):
        (tmp_path / f"{i:02d}.png").write_bytes(test_video.png_with_exif(picture, (1, 6, 3, 8)[i % 4]))
    for inputs in ([str(tmp_path)], sorted(map(str, tmp_path.iterdir()))):
        with open_pictures(inputs) as clip:
            found = calibrate(clip, BOARD, ["pinhole"], 40)
        camera = found.solution.camera
        assert sum(fate.state == "used" for fate in found.fates) >= 8
        assert camera.size_wh == shots.SIZE
        assert camera.K[0, 0] == pytest.approx(400, rel=0.01)
        assert np.abs(camera.K[:2, 2] - shots.PINHOLE.K[:2, 2]).max() < 4
    with open_clip(tmp_path / "01.png") as held:
        assert (held.size_wh, held.rotation_deg) == ((360, 480), 90)
        upright = camera.for_frames(held.size_wh, held.rotation_deg)
        kpts = BOARD.find(cv2.cvtColor(next(held.frames()).rgb, cv2.COLOR_RGB2GRAY)).kpts
    truth = shots.PINHOLE.for_frames((360, 480), 90)
    assert np.abs(upright.undistort(kpts) - truth.undistort(kpts)).max() < 0.01


def test_pictures_that_were_turned_before_they_were_saved_are_refused_in_words(tmp_path):
    for i, picture in enumerate(photographs(shots.PINHOLE, 2, reach=0.4)):
        cv2.imwrite(str(tmp_path / f"{i}.png"), picture if i == 0 else cv2.rotate(picture, cv2.ROTATE_180))
    cv2.imwrite(str(tmp_path / "2.png"), cv2.rotate(picture, cv2.ROTATE_90_CLOCKWISE))
    with (
        open_pictures([str(tmp_path)]) as clip,
        pytest.raises(
            InputError, match=r"2\.png.*one size, as they are stored.*480x360.*360x480.*turned some"
        ),
    ):
        calibrate(clip, BOARD, ["pinhole"], 40)


def test_blur_widens_edges_whichever_way_it_goes():
    (picture,) = photographs(shots.PINHOLE, 1, reach=0.0)
    kpts = BOARD.find(picture).kpts
    sharp = edge_width(picture, kpts)
    assert 1.5 < sharp < 4
    for length, angle in ((9, 0.0), (9, 45.0), (9, 90.0)):
        kernel = np.zeros((15, 15), np.float32)
        way = np.array([np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))]) * length / 2
        cv2.line(kernel, *[tuple(np.round(7 + s * way).astype(int).tolist()) for s in (-1, 1)], 1.0)
        blurred = cv2.filter2D(picture, -1, kernel / kernel.sum())
        assert edge_width(blurred, kpts) > 1.7 * sharp


def test_too_few_views_say_what_to_do(tmp_path):
    pictures = photographs(shots.PINHOLE, 1, reach=0.0) * 4
    for i, picture in enumerate(pictures):
        cv2.imwrite(str(tmp_path / f"{i}.png"), picture)
    with (
        open_pictures([str(tmp_path)]) as clip,
        pytest.raises(
            HeightposeError, match=r"too few usable views.*1 of 4 pictures.*3 alike.*Move and tilt"
        ),
    ):
        calibrate(clip, BOARD, ["pinhole"], 40)
