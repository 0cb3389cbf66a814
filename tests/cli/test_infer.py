"""``heightpose infer``: its contract, on tiny videos."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading

import av
import cv2
import makers
import numpy as np
import pytest
from commandline import environment

from heightpose.cli import main as cli_main
from heightpose.geometry import body
from heightpose.skeleton import INFANT
from heightpose.types import Measurement

FILES = {"height.json", "poses.json", "overlay.mp4", "preview.png", "provenance.json"}
SIZE = (160, 120)
K = [[200.0, 0.0, 79.5], [0.0, 200.0, 59.5], [0.0, 0.0, 1.0]]


def blobs(count=8, size_wh=SIZE, start=(60, 50)):
    return [makers.scene(size_wh, (start[0] + 2 * i, start[1])) for i in range(count)]


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return makers.write_video(tmp_path_factory.mktemp("clip") / "clip.mp4", blobs())


@pytest.fixture
def camera(tmp_path):
    path = tmp_path / "camera.json"
    path.write_text(json.dumps({"model": "pinhole", "width": 160, "height": 120, "K": K, "dist": [0] * 5}))
    return path


@pytest.fixture
def plane(tmp_path):
    path = tmp_path / "plane.json"
    path.write_text(json.dumps({"R": [[1, 0, 0], [0, -1, 0], [0, 0, -1]], "t_cm": [0, 0, 150]}))
    return path


@pytest.fixture
def measured(monkeypatch):
    """Replace the estimator: the 'length' is 60 cm plus the joints' mean x on the mattress."""

    def measure(frames, camera, plane, skeleton=INFANT, **_):
        used = [f for f in frames if f.pose is not None]
        xyz = np.mean([plane.to_mattress(camera, f.pose.kpts_frame, 0.0)[0] for f in used], axis=0)
        length = 60.0 + float(xyz[0])
        details = {"used_frames": [f.index for f in used], "xyz_cm": xyz}
        return Measurement(length, (length - 0.8, length + 0.8), len(frames), len(used), details=details)

    monkeypatch.setattr(body, "measure", measure)


def infer(capsys, *args):
    """In this process, so that the estimator can be replaced. Returns (code, stdout, stderr)."""
    code = cli_main._run(["infer", *map(str, args)], False)
    out, err = capsys.readouterr()
    return code, out, err


def test_without_scale_it_rejects_and_writes_everything(here, models, clip, tmp_path):
    done = here("infer", clip, *models, "--out", "res")
    assert done.returncode == 3
    assert done.stdout.splitlines()[-1].startswith("rejected: ")
    folder = tmp_path / "res" / "clip"
    assert set(os.listdir(folder)) == FILES
    height = json.loads((folder / "height.json").read_text())
    assert height["status"] == "rejected"
    assert height["reasons"][0]["code"] == "no_scale"
    assert "--sheet" in height["reasons"][0]["text"]
    assert height["length_cm"] is None
    assert height["frames"]["total"] == 8
    poses = json.loads((folder / "poses.json").read_text())
    assert poses["joints"] == list(INFANT.names)
    for i, frame in enumerate(poses["frames"]):
        assert frame["index"] == i
        assert frame["t_s"] == pytest.approx(0.1 * i, abs=1e-4)
        np.testing.assert_allclose(frame["keypoints"][0][:2], (60 + 2 * i, 50), atol=0.3)
    with av.open(str(folder / "overlay.mp4")) as video:
        times = [f.time for f in video.decode(video=0)]
    np.testing.assert_allclose(times, 0.1 * np.arange(8), atol=1e-3)
    assert cv2.imread(str(folder / "preview.png")).shape == (120, 160, 3)
    provenance = (folder / "provenance.json").read_text()
    assert str(clip.parent) not in provenance
    assert json.loads(provenance)["backend"]["pose"]["device"] == "CPU"


def test_measured_answer_is_the_last_line(capsys, measured, models, clip, camera, plane, tmp_path):
    args = [clip, *models, "--camera", camera, "--plane", plane, "--out", tmp_path / "res"]
    code, out, _ = infer(capsys, *args, "--sex", "female", "--age-months", "6.5")
    height = json.loads((tmp_path / "res" / "clip" / "height.json").read_text())
    length = height["length_cm"]
    assert code == 0
    assert out.splitlines()[-1] == f"{length:.1f} cm ({length - 0.8:.1f}-{length + 0.8:.1f})  8 of 8 frames"
    # x of the mean blob: (67 - 79.5) px at 200 px and 150 cm
    assert length == pytest.approx(60 + (67 - 79.5) / 200 * 150, abs=0.2)
    assert height["interval_cm"][0] <= length <= height["interval_cm"][1]
    assert height["z_score"] is not None
    assert 0 <= height["percentile"] <= 100
    without = infer(capsys, *args)[1]
    assert without == out  # sex and age never influence the length


def test_json_is_all_there_is_on_stdout(capsys, measured, models, clip, camera, plane, tmp_path):
    code, out, _ = infer(
        capsys, clip, *models, "--camera", camera, "--plane", plane, "--json", "--out", tmp_path / "r"
    )
    assert code == 0
    assert json.loads(out) == json.loads((tmp_path / "r" / "clip" / "height.json").read_text())


def test_no_infant(capsys, measured, models, camera, plane, tmp_path):
    path = makers.write_video(tmp_path / "dark.mp4", [np.zeros((120, 160, 3), np.uint8)] * 3)
    args = [path, *models, "--camera", camera, "--plane", plane, "--out", tmp_path / "r", "--json"]
    code, out, _ = infer(capsys, *args)
    assert code == 3
    answer = json.loads(out)
    assert [r["code"] for r in answer["reasons"]] == ["no_infant"]
    assert answer["details"]["light"] == ["too_dark"]
    frames = json.loads((tmp_path / "r" / "dark" / "poses.json").read_text())["frames"]
    assert len(frames) == 3
    assert all(f["keypoints"] is None for f in frames)


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ([], "no_scale"),
        (["--camera"], "no_scale"),
        (["--plane"], "no_camera"),
        (["--sheet"], "no_camera"),
        (["--camera-height-cm"], "no_camera"),
        (["--sheet", "--camera-height-cm"], "no_camera"),
        (["--camera", "--sheet"], "sheet_not_found"),
    ],
)
def test_missing_parts_are_rejections_that_say_which_file(
    capsys, models, clip, camera, plane, tmp_path, options, code
):
    sheet = tmp_path / "sheet.yaml"
    sheet.write_text(
        "{name: s, units: cm, size_cm: [70, 132], family: DICT_APRILTAG_36h11, "
        "tags: {0: [[-3, 3], [3, 3], [3, -3], [-3, -3]]}}"
    )
    values = {"--camera": camera, "--plane": plane, "--sheet": sheet, "--camera-height-cm": 150}
    args = [part for option in options for part in (option, values[option])]
    exit_code, out, _ = infer(capsys, clip, *models, *args, "--json", "--no-overlay", "--out", tmp_path / "r")
    assert exit_code == 3
    assert [r["code"] for r in json.loads(out)["reasons"]] == [code]


def test_a_camera_height_alone_measures_with_a_wider_interval(
    capsys, caplog, measured, models, clip, camera, plane, tmp_path
):
    args = [clip, *models, "--camera", camera, "--json", "--no-overlay", "--out", tmp_path / "r"]
    by_plane = json.loads(infer(capsys, *args, "--plane", plane)[1])
    code, out, _ = infer(capsys, *args, "--camera-height-cm", 150)
    by_height = json.loads(out)
    assert code == 0
    assert "straight down" in caplog.text
    assert by_height["plane"]["source"] == "height"
    assert by_height["length_cm"] == pytest.approx(by_plane["length_cm"], abs=0.1)
    assert np.ptp(by_height["interval_cm"]) > 2 * np.ptp(by_plane["interval_cm"])


def test_unusable_inputs_each_a_line_and_the_worst_code(here, models, clip, tmp_path):
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "noise.mp4").write_bytes(np.random.default_rng(0).bytes(5000))
    sound = makers.write_audio(tmp_path / "sound.m4a")
    done = here(
        "infer", "absent.mp4", "empty.mp4", sound, "noise.mp4", clip, *models, "--json", "--no-overlay"
    )
    assert done.returncode == 2
    documents = json.loads(done.stdout)
    assert [d["status"] for d in documents] == ["error"] * 4 + ["rejected"]
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 4
    for error, name in zip(errors, ("absent.mp4", "empty.mp4", "sound.m4a", "noise.mp4"), strict=True):
        assert name in error
    assert "Traceback" not in done.stderr
    assert sorted(os.listdir(tmp_path / "heightpose-results")) == ["clip"]


@pytest.mark.parametrize("name", ["absent.mp4", "empty.mp4", "sound.m4a"])
def test_one_unusable_input_is_one_line_and_code_2(here, tmp_path, name):
    (tmp_path / "empty.mp4").touch()
    makers.write_audio(tmp_path / "sound.m4a")
    done = here("infer", name, "--json")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "heightpose-results").exists()


def test_a_folder_of_videos_gives_a_folder_each(capsys, measured, models, camera, plane, tmp_path):
    (tmp_path / "in").mkdir()
    for name in ("b10", "b9"):
        makers.write_video(tmp_path / "in" / f"{name}.mp4", blobs(2))
    (tmp_path / "in" / "notes.txt").write_text("x")
    (tmp_path / "in" / "b9.mov").write_bytes((tmp_path / "in" / "b9.mp4").read_bytes())
    args = [*models, "--camera", camera, "--plane", plane, "--out", tmp_path / "r", "--no-overlay"]
    code, out, _ = infer(capsys, tmp_path / "in", *args)
    assert code == 0
    assert [line.split(":")[0] for line in out.splitlines()] == ["b9", "b9-2", "b10"]
    assert sorted(os.listdir(tmp_path / "r")) == ["b10", "b9", "b9-2"]


def test_every_lists_all_frames_and_looks_at_some(capsys, models, clip, tmp_path):
    _, out, _ = infer(capsys, clip, *models, "--every", 3, "--json", "--out", tmp_path / "r")
    assert json.loads(out)["frames"] == {"total": 3, "used": 0, "decoded": 8}
    frames = json.loads((tmp_path / "r" / "clip" / "poses.json").read_text())["frames"]
    assert [f["index"] for f in frames if f["keypoints"] is not None] == [0, 3, 6]
    assert [f["index"] for f in frames if f.get("skipped")] == [1, 2, 4, 5, 7]
    with av.open(str(tmp_path / "r" / "clip" / "overlay.mp4")) as video:
        np.testing.assert_allclose([f.time for f in video.decode(video=0)], [0, 0.3, 0.6], atol=1e-3)


def test_no_overlay_removes_that_of_an_earlier_run(capsys, models, clip, tmp_path):
    assert infer(capsys, clip, *models, "--out", tmp_path / "r")[0] == 3
    assert infer(capsys, clip, *models, "--out", tmp_path / "r", "--no-overlay")[0] == 3
    assert set(os.listdir(tmp_path / "r" / "clip")) == FILES - {"overlay.mp4"}


def bad_settings(tmp_path, camera, plane):
    wrong = tmp_path / "wrong.json"
    wrong.write_text(json.dumps({"model": "pinhole", "width": 1000, "height": 120, "K": K, "dist": [0] * 5}))
    (tmp_path / "text.json").write_text("not json {")
    (tmp_path / "evil.yaml").write_text("!!python/object/apply:os.system ['touch hacked']")
    (tmp_path / "a-file").touch()
    return {
        "camera for another size": ["--camera", wrong, "--plane", plane],
        "camera is text": ["--camera", tmp_path / "text.json", "--plane", plane],
        "swapped files": ["--camera", plane, "--plane", camera],
        "camera missing": ["--camera", tmp_path / "absent.json"],
        "sheet is hostile": ["--camera", camera, "--sheet", tmp_path / "evil.yaml"],
        "sheet is a camera": ["--camera", camera, "--sheet", camera],
        "model missing": ["--model", "absent.onnx"],
        "model is a camera": ["--model", camera],
        "sex without age": ["--sex", "female"],
        "out is a file": ["--out", tmp_path / "a-file"],
    }


def test_bad_settings_are_one_line_and_code_2(capsys, models, clip, camera, plane, tmp_path):
    for name, options in bad_settings(tmp_path, camera, plane).items():
        args = [clip, *models, "--out", tmp_path / "r", *options]
        code, out, err = infer(capsys, *args)
        assert code == 2, name
        assert out == "", name
        errors = [line for line in err.splitlines() if line.startswith("error: ")]
        assert len(errors) == 1, name
        assert "unexpected" not in errors[0], name
    assert not (tmp_path / "hacked").exists()


def test_broken_weights_stop_the_run_with_one_line(capsys, models, clip, tmp_path):
    bad = makers.tiny_detector(tmp_path / "nan.onnx", bad=True)
    code, _, err = infer(capsys, clip, *models, "--detector", bad, "--out", tmp_path / "r")
    assert code == 2
    assert "not numbers" in err
    assert not (tmp_path / "r").exists()


def test_a_model_with_other_joints(capsys, models, clip, tmp_path):
    pose = makers.tiny_pose(tmp_path / "mpii.onnx", INFANT.names[:16])
    code, _, err = infer(capsys, clip, *models, "--model", pose, "--out", tmp_path / "r")
    assert code == 2
    assert "21 joints" in err


def test_blurred_faces(capsys, models, clip, tmp_path):
    models = [*models, "--detector", makers.tiny_detector(tmp_path / "wide.onnx", reach=1.5)]
    infer(capsys, clip, *models, "--out", tmp_path / "a")
    infer(capsys, clip, *models, "--out", tmp_path / "b", "--blur-faces")
    plain, blurred = (cv2.imread(str(tmp_path / d / "clip" / "preview.png")).astype(int) for d in "ab")
    assert np.abs(plain - blurred).max() > 40


def test_a_stream_is_drawn_as_it_is_read(capsys, measured, monkeypatch, models, camera, plane, tmp_path):
    from heightpose.runtime import video

    monkeypatch.setattr(video, "_RETRY_WAIT_S", 0.01)
    data = makers.write_video(tmp_path / "s.ts", blobs(9), pix_fmt="yuv420p").read_bytes()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            connection, _ = listener.accept()
            listener.close()
            with connection:
                connection.sendall(data)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        address = f"tcp://user:secret@127.0.0.1:{listener.getsockname()[1]}"
        args = [address, *models, "--camera", camera, "--plane", plane, "--out", tmp_path / "r"]
        code, out, err = infer(capsys, *args)
        thread.join(timeout=10)
    assert code == 0
    assert out.endswith("9 of 9 frames\n")
    (folder,) = (tmp_path / "r").iterdir()
    assert set(os.listdir(folder)) == FILES
    assert "secret" not in err + "".join(p.read_text() for p in folder.glob("*.json"))
    with av.open(str(folder / "overlay.mp4")) as drawn:
        np.testing.assert_allclose([f.time for f in drawn.decode(video=0)], 0.1 * np.arange(9), atol=1e-3)


@pytest.fixture(scope="module")
def long_video(tmp_path_factory):
    path, rgb = tmp_path_factory.mktemp("long") / "long.mp4", blobs(1)[0]
    return makers.write_video(path, [rgb] * 2000, options={"preset": "ultrafast"}, pix_fmt="yuv420p")


#: The command, which says of each frame that it was seen.
_TELLING = """
import sys
from heightpose.cli.main import main
from heightpose.runtime.light import Light
look = Light.look
def telling(self, rgb):
    look(self, rgb)
    print("seen", file=sys.stderr, flush=True)
Light.look = telling
main()
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupt_writes_what_was_seen(models, tmp_path, long_video, how):
    process = subprocess.Popen(
        [sys.executable, "-c", _TELLING, "infer", str(long_video), *models, "--json"],
        cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert "seen\n" in process.stderr
    process.send_signal(how)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err
    folder = tmp_path / "heightpose-results" / "long"
    height = json.loads((folder / "height.json").read_text())
    assert json.loads(out) == height
    assert height["interrupted"] is True
    assert 0 < height["frames"]["total"] <= height["frames"]["decoded"] < 2000
    assert len(json.loads((folder / "poses.json").read_text())["frames"]) == height["frames"]["decoded"]
    assert set(os.listdir(folder)) == FILES - {"overlay.mp4"}  # no half-written or temporary files either


@pytest.mark.parametrize("option", ["--fps", "--camera-height-cm", "--age-months"])
def test_not_a_number_is_no_number(capsys, option):
    code, _, err = infer(capsys, "clip.mp4", option, "nan")
    assert code == 2
    assert option in err
    assert "finite" in err
