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
from spot_clip import CAMERA, FILES, blobs

from heightpose.skeleton import INFANT


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return makers.write_video(tmp_path_factory.mktemp("clip") / "clip.mp4", blobs(8))


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


def test_measured_answer_is_the_last_line(here, estimating, models, clip, scale, tmp_path):
    args = [clip, *models, *scale, "--out", "res"]
    done = here("infer", *args, "--sex", "female", "--age-months", "6.5")
    height = json.loads((tmp_path / "res" / "clip" / "height.json").read_text())
    length = height["length_cm"]
    assert done.returncode == 0
    assert (
        done.stdout.splitlines()[-1]
        == f"{length:.1f} cm ({length - 0.8:.1f}-{length + 0.8:.1f})  8 of 8 frames"
    )
    # x of the mean blob: (67 - 79.5) px at 200 px and 150 cm
    assert length == pytest.approx(60 + (67 - 79.5) / 200 * 150, abs=0.2)
    assert height["interval_cm"][0] <= length <= height["interval_cm"][1]
    assert height["z_score"] is not None
    assert 0 <= height["percentile"] <= 100
    # Sex and age never influence the length.
    assert here("infer", *args).stdout == done.stdout


def test_json_is_all_there_is_on_stdout(here, estimating, models, clip, scale, tmp_path):
    done = here("infer", clip, *models, *scale, "--json", "--out", "r")
    assert done.returncode == 0
    assert json.loads(done.stdout) == json.loads((tmp_path / "r" / "clip" / "height.json").read_text())


def test_no_infant(here, estimating, models, scale, tmp_path):
    path = makers.write_video(tmp_path / "dark.mp4", [np.zeros((120, 160, 3), np.uint8)] * 3)
    done = here("infer", path, *models, *scale, "--out", "r", "--json")
    assert done.returncode == 3
    answer = json.loads(done.stdout)
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
    here, models, clip, camera, plane, tmp_path, options, code
):
    sheet = tmp_path / "sheet.yaml"
    sheet.write_text(
        "{name: s, units: cm, size_cm: [70, 132], family: DICT_APRILTAG_36h11, "
        "tags: {0: [[-3, 3], [3, 3], [3, -3], [-3, -3]]}}"
    )
    values = {"--camera": camera, "--plane": plane, "--sheet": sheet, "--camera-height-cm": 150}
    args = [part for option in options for part in (option, values[option])]
    done = here("infer", clip, *models, *args, "--json", "--no-overlay")
    assert done.returncode == 3
    assert [r["code"] for r in json.loads(done.stdout)["reasons"]] == [code]


def test_a_camera_height_alone_measures_with_a_wider_interval(
    here, caplog, estimating, models, clip, camera, plane
):
    args = [clip, *models, "--camera", camera, "--json", "--no-overlay"]
    by_plane = json.loads(here("infer", *args, "--plane", plane).stdout)
    done = here("infer", *args, "--camera-height-cm", 150)
    by_height = json.loads(done.stdout)
    assert done.returncode == 0
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


def test_a_folder_of_videos_gives_a_folder_each(here, estimating, models, scale, tmp_path):
    (tmp_path / "in").mkdir()
    for name in ("b10", "b9"):
        makers.write_video(tmp_path / "in" / f"{name}.mp4", blobs(2))
    (tmp_path / "in" / "notes.txt").write_text("x")
    (tmp_path / "in" / "b9.mov").write_bytes((tmp_path / "in" / "b9.mp4").read_bytes())
    done = here("infer", "in", *models, *scale, "--out", "r", "--no-overlay")
    assert done.returncode == 0
    assert [line.split(":")[0] for line in done.stdout.splitlines()] == ["b9", "b9-2", "b10"]
    assert sorted(os.listdir(tmp_path / "r")) == ["b10", "b9", "b9-2"]


def test_every_lists_all_frames_and_looks_at_some(here, models, clip, tmp_path):
    done = here("infer", clip, *models, "--every", 3, "--json", "--out", "r")
    assert json.loads(done.stdout)["frames"] == {"total": 3, "used": 0, "decoded": 8}
    frames = json.loads((tmp_path / "r" / "clip" / "poses.json").read_text())["frames"]
    assert [f["index"] for f in frames if f["keypoints"] is not None] == [0, 3, 6]
    assert [f["index"] for f in frames if f.get("skipped")] == [1, 2, 4, 5, 7]
    with av.open(str(tmp_path / "r" / "clip" / "overlay.mp4")) as video:
        np.testing.assert_allclose([f.time for f in video.decode(video=0)], [0, 0.3, 0.6], atol=1e-3)


def test_no_overlay_removes_that_of_an_earlier_run(here, models, clip, tmp_path):
    assert here("infer", clip, *models, "--out", "r").returncode == 3
    assert here("infer", clip, *models, "--out", "r", "--no-overlay").returncode == 3
    assert set(os.listdir(tmp_path / "r" / "clip")) == FILES - {"overlay.mp4"}


def bad_settings(tmp_path, camera, plane):
    wrong = tmp_path / "wrong.json"
    wrong.write_text(json.dumps({**CAMERA, "width": 1000}))
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


def test_bad_settings_are_one_line_and_code_2(here, models, clip, camera, plane, tmp_path):
    for name, options in bad_settings(tmp_path, camera, plane).items():
        done = here("infer", clip, *models, "--out", "r", *options)
        assert done.returncode == 2, name
        assert done.stdout == "", name
        errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        assert len(errors) == 1, name
        assert "unexpected" not in errors[0], name
    assert not (tmp_path / "hacked").exists()


def test_broken_weights_stop_the_run_with_one_line(here, models, clip, tmp_path):
    bad = makers.tiny_detector(tmp_path / "nan.onnx", bad=True)
    done = here("infer", clip, *models, "--detector", bad, "--out", "r")
    assert done.returncode == 2
    assert "not numbers" in done.stderr
    assert not (tmp_path / "r").exists()


def test_a_model_with_other_joints(here, models, clip, tmp_path):
    pose = makers.tiny_pose(tmp_path / "mpii.onnx", INFANT.names[:16])
    done = here("infer", clip, *models, "--model", pose, "--out", "r")
    assert done.returncode == 2
    assert "21 joints" in done.stderr


def test_blurred_faces(here, models, clip, tmp_path):
    models = [*models, "--detector", makers.tiny_detector(tmp_path / "wide.onnx", reach=1.5)]
    here("infer", clip, *models, "--out", "a")
    here("infer", clip, *models, "--out", "b", "--blur-faces")
    plain, blurred = (cv2.imread(str(tmp_path / d / "clip" / "preview.png")).astype(int) for d in "ab")
    assert np.abs(plain - blurred).max() > 40


def test_a_stream_is_drawn_as_it_is_read(here, estimating, monkeypatch, models, scale, tmp_path):
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
        done = here("infer", address, *models, *scale, "--out", "r")
        thread.join(timeout=10)
    assert done.returncode == 0
    assert done.stdout.endswith("9 of 9 frames\n")
    (folder,) = (tmp_path / "r").iterdir()
    assert set(os.listdir(folder)) == FILES
    assert "secret" not in done.stderr + "".join(p.read_text() for p in folder.glob("*.json"))
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
def test_not_a_number_is_no_number(here, option):
    done = here("infer", "clip.mp4", option, "nan")
    assert done.returncode == 2
    assert option in done.stderr
    assert "finite" in done.stderr
