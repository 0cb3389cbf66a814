"""``calibrate`` (once as a process) and ``sheet``: pictures to camera file, check, plane, and what goes wrong."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import cv2
import makers
import numpy as np
import pytest
from commandline import ROOT

from heightpose.geometry.camera import Camera
from heightpose.geometry.plane import Plane
from heightpose.geometry.sheet import SheetLayout, shipped_sheet

sys.path.append(str(ROOT / "tests" / "calibrate"))
shots = pytest.importorskip("shots")

BOARD = ["--board", "charuco", "--squares", "8x6", "--square-cm", "2.5"]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A folder of ten views of a charuco board, one of them blurred by motion, one twice, one without a board."""
    from heightpose.calibrate.boards import Charuco
    from heightpose.calibrate.paper import charuco_drawing

    folder = tmp_path_factory.mktemp("board")
    shown = charuco_drawing(Charuco((8, 6), 2.5, 1.75))
    made = shots.photographs(shown, shots.PINHOLE, shots.poses(shots.PINHOLE, 10, reach=0.6))
    kernel = np.zeros((13, 13), np.float32)
    kernel[6] = 1 / 13
    made[4] = cv2.filter2D(made[4], -1, kernel)
    made += [made[2], np.full_like(made[0], 120)]
    for i, picture in enumerate(made):
        cv2.imwrite(str(folder / f"p{i:02d}.png"), picture)
    return folder


def test_pictures_to_camera_file_to_check(heightpose, here, tmp_path, pictures):
    done = heightpose("calibrate", "camera", pictures, *BOARD, "--out", "cam/camera.json")
    assert done.returncode == 0, done.stderr
    assert "saved to cam/camera.json" in done.stdout
    assert "advice" in done.stdout
    camera = Camera.load(tmp_path / "cam" / "camera.json")
    assert camera.model == "pinhole"
    assert camera.K[0, 0] == pytest.approx(shots.PINHOLE.K[0, 0], rel=0.005)
    report = json.loads((tmp_path / "cam" / "camera.report.json").read_text())
    assert report["rms_px"] < 0.3
    states = [picture["state"] for picture in report["pictures"]]
    assert states[11] == "no board"
    assert states[4] in ("blurred", "no board")
    assert sorted([states[2], states[10]]) == ["alike", "used"]
    assert cv2.imread(str(tmp_path / "cam" / "camera.report.png")).shape[1] > 1000

    done = here("calibrate", "check", pictures, "--camera", "cam/camera.json", *BOARD)
    assert (done.returncode, "the file fits" in done.stdout) == (0, True), done.stdout + done.stderr
    zoomed = camera.to_dict()
    zoomed["K"][0][0] *= 1.05
    zoomed["K"][1][1] *= 1.05
    (tmp_path / "zoomed.json").write_text(json.dumps(zoomed))
    done = here("calibrate", "check", pictures, "--camera", "zoomed.json", *BOARD, "--json")
    assert done.returncode == 3
    assert json.loads(done.stdout)["code"] == "lens"


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--board", "charuco", "--squares", "5x4"], "Check the board's description"),
        ([], "which board was printed"),
        (["--board", "tags"], "needs --tags"),
        (["--board", "chessboard", "--squares", "9x7", "--inner-corners", "9x7"], "contradict"),
    ],
)
def test_what_to_do_next_is_said(here, pictures, args, words):
    done = here("calibrate", "camera", pictures, *args)
    assert done.returncode == 2
    assert words in done.stderr
    assert done.stderr.count("error:") == 1


def test_check_without_a_board_in_view_is_no_verdict(here, tmp_path):
    cv2.imwrite(str(tmp_path / "grey.png"), np.full((360, 480), 120, np.uint8))
    (tmp_path / "c.json").write_text(json.dumps(shots.PINHOLE.to_dict()))
    done = here("calibrate", "check", "grey.png", "--camera", "c.json", *BOARD)
    assert done.returncode == 2
    assert "too little of the board" in done.stderr


@pytest.fixture(scope="module")
def cot(tmp_path_factory):
    """A picture of the shipped sheet under a camera 120 cm above it, its camera file, true corners and rotation."""
    folder = tmp_path_factory.mktemp("cot")
    layout = SheetLayout.load(shipped_sheet())
    camera = Camera("pinhole", (960, 720), [[560, 0, 481], [0, 560, 357], [0, 0, 1]], [-0.1, 0.02, 0, 0, 0])
    R, t = shots.sheet_picture.pose(120.0, tilt_deg=12, spin_deg=80)
    picture = shots.sheet_picture.photograph(shots.sheet_picture.print_sheet(layout), layout, camera, R, t)
    cv2.imwrite(str(folder / "cot.png"), picture)
    (folder / "camera.json").write_text(json.dumps(camera.to_dict()))
    corners = shots.sheet_picture.project(
        camera, R, t, [[-35, 66, 0], [35, 66, 0], [35, -66, 0], [-35, -66, 0]]
    )
    return folder, [f"{x:.2f},{y:.2f}" for x, y in corners], R


def test_a_plane_from_the_sheet_and_from_corners(here, tmp_path, cot):
    folder, corners, R = cot
    scale = ["--camera", folder / "camera.json"]
    done = here(
        "calibrate", "plane", folder / "cot.png", *scale, "--sheet", shipped_sheet(), "--out", "a.json",
        "--preview", "a.png",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "above the mattress" in done.stdout
    plane = Plane.load(tmp_path / "a.json")
    assert plane.height_cm == pytest.approx(120.0, abs=0.3)
    assert np.abs(plane.R - R).max() < 0.005
    assert cv2.imread(str(tmp_path / "a.png")).shape == (720, 960, 3)
    done = here(
        "calibrate",
        "plane",
        folder / "cot.png",
        *scale,
        "--corners",
        *corners,
        "--size",
        "70x132",
        "--out",
        "b.json",
    )
    assert done.returncode == 0, done.stderr
    assert Plane.load(tmp_path / "b.json").height_cm == pytest.approx(120.0, abs=0.3)

    done = here("calibrate", "plane", folder / "cot.png", *scale, "--out", "c.json")
    assert done.returncode == 2
    assert "--sheet, or --corners with --size" in done.stderr
    grey = tmp_path / "grey.png"
    cv2.imwrite(str(grey), np.full((720, 960), 120, np.uint8))
    done = here("calibrate", "plane", grey, *scale, "--sheet", shipped_sheet(), "--out", "c.json")
    assert done.returncode == 3
    assert not (tmp_path / "c.json").exists()


@pytest.mark.parametrize(
    "places",
    [
        ["--out", "camera.json"],
        ["--out", "sheet.yaml"],
        ["--out", "cot.png"],
        ["--out", "plane.json", "--preview", "cot.png"],
        ["--out", "plane.json", "--preview", "same.png"],  # by another name
    ],
)
def test_no_plane_is_written_over_what_was_given(here, tmp_path, cot, places):
    folder, _, _ = cot
    given = {
        "cot.png": folder / "cot.png",
        "camera.json": folder / "camera.json",
        "sheet.yaml": shipped_sheet(),
    }
    for name, source in given.items():
        shutil.copy(source, tmp_path / name)
    (tmp_path / "same.png").symlink_to("cot.png")
    done = here("calibrate", "plane", "cot.png", "--camera", "camera.json", "--sheet", "sheet.yaml", *places)
    assert done.returncode == 2
    assert f"{places[-1]}: is an input or a settings file" in done.stderr
    assert all((tmp_path / name).read_bytes() == source.read_bytes() for name, source in given.items())
    assert not (tmp_path / "plane.json").exists()


def test_no_camera_file_or_report_is_written_over_a_picture(here, tmp_path, pictures):
    shutil.copytree(pictures, tmp_path / "board")
    shutil.move(tmp_path / "board" / "p00.png", tmp_path / "board" / "camera.report.png")
    before = {path.name: path.read_bytes() for path in (tmp_path / "board").iterdir()}
    for out in ("board/p01.png", "board/camera.json"):
        done = here("calibrate", "camera", "board", *BOARD, "--out", out)
        assert done.returncode == 2
        assert "is an input or a settings file" in done.stderr
    assert {path.name: path.read_bytes() for path in (tmp_path / "board").iterdir()} == before


def test_a_preview_that_is_no_picture_by_its_name_is_refused(here, tmp_path, cot):
    folder, _, _ = cot
    given = [folder / "cot.png", "--camera", folder / "camera.json", "--sheet", shipped_sheet()]
    for name in ("preview", "preview.json"):
        done = here("calibrate", "plane", *given, "--out", "plane.json", "--preview", name)
        assert done.returncode == 2
        assert "not a picture's name (expected --preview NAME.png)" in done.stderr
    assert not list(tmp_path.iterdir())


def test_infer_takes_corners(here, tmp_path, models):
    """The spot's clip; the camera of tests/cli/test_infer_process.py, which looks straight down from 150 cm."""
    clip = makers.write_video(tmp_path / "c.mp4", [makers.scene((160, 120), (60, 50))] * 3)
    K = [[200.0, 0.0, 79.5], [0.0, 200.0, 59.5], [0.0, 0.0, 1.0]]
    camera = {"model": "pinhole", "width": 160, "height": 120, "K": K, "dist": [0] * 5}
    (tmp_path / "camera.json").write_text(json.dumps(camera))
    # 60 x 90 cm seen from 150 cm: 80 x 120 px
    corners = ["39.5,0", "119.5,0", "119.5,120", "39.5,120"]
    args = [clip, "--camera", "camera.json", *models, "--no-overlay", "--json"]
    done = here("infer", *args, "--corners", *corners, "--size", "60x90")
    assert done.returncode in (0, 3), done.stderr
    codes = {reason["code"] for reason in json.loads(done.stdout)["reasons"]}
    assert not [
        code for code in codes if code.startswith(("no_scale", "no_camera", "corners", "plane", "camera"))
    ]
    chosen = json.loads((tmp_path / "heightpose-results" / "c" / "provenance.json").read_text())
    assert "60.0" in json.dumps(chosen)
    done = here("infer", *args, "--corners", *corners, "--size", "60x60")
    assert {r["code"] for r in json.loads(done.stdout)["reasons"]} & {
        "corners_inconsistent",
        "plane_ambiguous",
    }
    done = here("infer", *args, "--corners", *corners)
    assert done.returncode == 2
    assert "--size" in done.stderr


def test_a_sheet_and_its_layout(here, tmp_path):
    done = here("sheet", "--size", "60x120", "--out", "s/sheet.pdf", "--paper", "a3")
    assert done.returncode == 0, done.stderr
    layout = SheetLayout.load(tmp_path / "s" / "sheet.yaml")
    assert layout.size_cm == (60.0, 120.0)
    assert (tmp_path / "s" / "sheet.pdf").read_bytes().startswith(b"%PDF")
    done = here("sheet", "--layout", "s/sheet.yaml", "--tag-cm", "3", "--out", "t.pdf")
    assert done.returncode == 2
    assert "--tag-cm" in done.stderr
    done = here("sheet", "--size", "7x132", "--out", "t.pdf")
    assert done.returncode == 2
    assert "size is out of range" in done.stderr
    done = here("calibrate", "board", "--out", "board.pdf")
    assert done.returncode == 0, done.stderr
    assert Path(tmp_path / "board.pdf").stat().st_size > 1000
