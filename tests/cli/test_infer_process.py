"""``heightpose infer``: every kind of input; what is on which stream and the exit code, of real processes."""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import cv2
import makers
import numpy as np
import pytest
from commandline import environment
from spot_clip import FILES, blobs

VFR = [0.0, 0.04, 0.3, 0.35, 1.2, 1.25]


@pytest.fixture
def measuring(tmp_path):
    """Run ``heightpose ARGS`` with the plain estimator; ``largest_file`` bytes can be written per file."""

    def run(*args, largest_file=None):
        def limit():
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))

        return subprocess.run(
            [sys.executable, str(Path(__file__).with_name("with_estimator.py")), *map(str, args)],
            cwd=tmp_path,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            preexec_fn=None if largest_file is None else limit,
        )

    return run


def readable_inputs(tmp_path):
    """name -> (path, times of the frames): clips that show the same scene, each in its own awkward way."""
    steady = [0.1 * i for i in range(6)]
    paths = {}
    for degrees in (90, 180, 270):
        paths[f"turned{degrees}"] = ({"matrix": makers.CLOCKWISE[degrees]}, ".mp4", blobs(6), steady)
    paths["vfr"] = ({"times_s": VFR}, ".mp4", blobs(6), VFR)
    paths["ntsc"] = ({"fps": Fraction(30000, 1001)}, ".mp4", blobs(6), [i * 1001 / 30000 for i in range(6)])
    paths["odd"] = ({}, ".mp4", blobs(6, size_wh=(161, 121)), steady)
    paths["grey"] = ({"pix_fmt": "gray"}, ".mp4", blobs(6), steady)
    paths["tenbit"] = ({"pix_fmt": "yuv420p10le"}, ".mkv", blobs(6), steady)
    double = [cv2.resize(rgb, (320, 240), interpolation=cv2.INTER_LINEAR) for rgb in blobs(6)]
    paths["double"] = ({}, ".mp4", double, steady)
    return {
        name: (makers.write_video(tmp_path / f"{name}{suffix}", frames, **options), times)
        for name, (options, suffix, frames, times) in paths.items()
    }


def test_awkward_videos_give_the_same_centimetres_and_their_own_times(
    here, estimating, scale, models, tmp_path
):
    inputs = readable_inputs(tmp_path)
    done = here("infer", *[path for path, _ in inputs.values()], *models, *scale, "--out", "res")
    assert done.returncode == 0, done.stderr
    assert [line.split(":")[0] for line in done.stdout.splitlines()] == list(inputs)
    for name, (_, times) in inputs.items():
        folder = tmp_path / "res" / name
        assert set(os.listdir(folder)) == FILES, name
        height = json.loads((folder / "height.json").read_text())
        frames = json.loads((folder / "poses.json").read_text())["frames"]
        # The spot's mean place: (65, 50) px in the picture as stored, 0.75 cm per px, y away from the feet.
        at = np.array([65 - 79.5, 59.5 - 50]) * 0.75
        np.testing.assert_allclose(height["details"]["xyz_cm"][:2], at, atol=0.35, err_msg=name)
        np.testing.assert_allclose([f["t_s"] for f in frames], times, atol=1e-3, err_msg=name)
        with av.open(str(folder / "overlay.mp4")) as video:
            np.testing.assert_allclose(
                [f.time for f in video.decode(video=0)], times, atol=2e-3, err_msg=name
            )
    # Turned by metadata, keypoints are pixels of the upright picture, and so are overlay and preview.
    frames = json.loads((tmp_path / "res" / "turned90" / "poses.json").read_text())["frames"]
    np.testing.assert_allclose(frames[0]["keypoints"][0][:2], (119 - 50, 60), atol=0.5)
    assert cv2.imread(str(tmp_path / "res" / "turned90" / "preview.png")).shape == (160, 120, 3)


def test_the_answer_is_the_last_line_and_the_log_is_elsewhere(measuring, scale, models, tmp_path):
    makers.write_video(tmp_path / "clip.mp4", blobs(6))
    done = measuring("infer", "clip.mp4", *models, *scale)
    assert done.returncode == 0
    assert re.fullmatch(r"\d+\.\d cm \(\d+\.\d-\d+\.\d\)  6 of 6 frames\n", done.stdout)
    assert re.search(r"pose pose\.onnx: openvino \S+ on CPU, (f32|bf16|f16), \d+ threads", done.stderr)
    assert re.search(r"detector detector\.onnx: openvino \S+ on CPU", done.stderr)
    assert "ms/frame" in done.stderr
    assert "results saved to heightpose-results/clip" in done.stderr
    height = json.loads((tmp_path / "heightpose-results" / "clip" / "height.json").read_text())
    assert height["status"] == "measured"
    assert done.stdout.startswith(f"{height['length_cm']:.1f} cm")


def test_a_picture_a_folder_of_pictures_and_a_folder_of_videos(measuring, scale, models, tmp_path):
    cv2.imwrite(str(tmp_path / "still.png"), blobs(6)[0])
    for i, rgb in enumerate(blobs(3)):
        (tmp_path / "shots").mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / "shots" / f"s{i}.jpg"), rgb)
        (tmp_path / "clips").mkdir(exist_ok=True)
        makers.write_video(tmp_path / "clips" / f"c{i}.mp4", blobs(2 + i))
    (tmp_path / "clips" / "c1.camera.json").write_text("{}")
    done = measuring("infer", "still.png", "shots", "clips", *models, *scale, "--json", "--out", "res")
    assert done.returncode == 0, done.stderr
    names, frames = ["still", "shots", "c0", "c1", "c2"], [1, 3, 2, 3, 4]
    documents = json.loads(done.stdout)
    assert [d["frames"]["total"] for d in documents] == frames
    assert [d["input"] for d in documents] == ["still.png", "shots", "c0.mp4", "c1.mp4", "c2.mp4"]
    assert sorted(os.listdir(tmp_path / "res")) == sorted(names)
    assert all(set(os.listdir(tmp_path / "res" / name)) == FILES for name in names)


def test_a_truncated_video_is_measured_up_to_the_damage(here, estimating, scale, models, tmp_path, caplog):
    rng = np.random.default_rng(0)  # noise makes the frames large, so that the cut falls between many
    frames = [np.maximum(rgb, rng.integers(0, 40, rgb.shape, np.uint8)) for rgb in blobs(20)]
    whole = makers.write_video(tmp_path / "w.mp4", frames, container={"movflags": "faststart"})
    data = whole.read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: len(data) * 6 // 10])
    done = here("infer", "cut.mp4", *models, *scale, "--json", "--no-overlay")
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)["frames"]["total"]
    assert 3 < seen < 20
    assert f"cut.mp4: damaged after {seen} frames" in caplog.text


def test_inputs_that_are_no_clips_are_a_line_each_and_code_2(heightpose, models, tmp_path):
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "noise.mp4").write_bytes(np.random.default_rng(0).bytes(5000))
    (tmp_path / "nothing").mkdir()
    makers.write_audio(tmp_path / "sound.m4a")
    whole = makers.write_video(tmp_path / "w.mp4", blobs(3)).read_bytes()
    (tmp_path / "noindex.mp4").write_bytes(whole[: len(whole) // 2])
    names = ["absent.mp4", "empty.mp4", "noise.mp4", "nothing", "sound.m4a", "noindex.mp4"]
    done = heightpose("infer", *names, *models)
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert len(lines) == len(names), done.stderr
    for line, name in zip(lines, names, strict=True):
        assert line.startswith(f"error: {name}: "), line
    assert not (tmp_path / "heightpose-results").exists()


def test_a_sheet_without_a_camera_is_a_rejection_in_plain_words(here, models, tmp_path):
    from heightpose.geometry.sheet import shipped_sheet

    makers.write_video(tmp_path / "clip.mp4", blobs(2))
    done = here("infer", "clip.mp4", *models, "--sheet", shipped_sheet())
    assert done.returncode == 3
    assert done.stdout.splitlines()[-1].startswith("rejected: The camera is not known")
    height = json.loads((tmp_path / "heightpose-results" / "clip" / "height.json").read_text())
    assert [r["code"] for r in height["reasons"]] == ["no_camera"]
    assert (height["status"], height["length_cm"], height["interval_cm"]) == ("rejected", None, None)


BAD_FILES = {
    "deep.json": "[" * 100_000,
    "huge-number.json": '{"R": [[1, 0, 0], [0, 1, 0], [0, 0, 1' + "0" * 400 + ']], "t_cm": [0, 0, 1]}',
    "hostile.yaml": "!!python/object/apply:os.system ['touch hacked']",
    "date.yaml": "units: 2001-99-99",
}


@pytest.mark.parametrize(
    "options",
    [
        ["--camera", "deep.json"],
        ["--camera", "plane.json"],
        ["--camera", "clip.mp4"],
        ["--camera", "/dev/zero"],
        ["--plane", "huge-number.json"],
        ["--sheet", "hostile.yaml"],
        ["--sheet", "date.yaml"],
        ["--sheet", "."],
    ],
    ids=" ".join,
)
def test_a_bad_camera_plane_or_sheet_file_is_one_line_naming_it(here, scale, models, tmp_path, clip, options):
    for name in ("clip.mp4", "other.mp4"):
        (tmp_path / name).write_bytes(clip.read_bytes())
    for name, text in BAD_FILES.items():
        (tmp_path / name).write_text(text)
    done = here("infer", "clip.mp4", "other.mp4", *models, *options, "--json")
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: {options[1]}: ")
    assert "unexpected" not in line
    assert not (tmp_path / "hacked").exists()
    assert not (tmp_path / "heightpose-results").exists()


@pytest.mark.parametrize("largest_file", [2_000, 30_000], ids=["joints", "overlay"])
def test_a_full_disk_is_one_line_and_no_half_file(measuring, scale, models, tmp_path, largest_file):
    rng = np.random.default_rng(0)
    frames = [np.maximum(rgb, rng.integers(0, 120, rgb.shape, np.uint8)) for rgb in blobs(6)]
    makers.write_video(tmp_path / "clip.mp4", frames)
    done = measuring("infer", "clip.mp4", *models, *scale, largest_file=largest_file)
    assert done.returncode == 2, done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert "cannot be written" in errors[0]
    assert "Traceback" not in done.stderr
    left = {path.name for path in (tmp_path / "heightpose-results" / "clip").glob("*")}
    assert left <= FILES - {"overlay.mp4", "poses.json" if largest_file == 2_000 else ""}
    for path in (tmp_path / "heightpose-results" / "clip").glob("*.json"):
        json.loads(path.read_text())


def test_inference_needs_none_of_the_extras(tmp_path, models):
    """The base install has no torch, timm, lightning or onnx: infer must not import them."""
    makers.write_video(tmp_path / "clip.mp4", blobs(2))
    code = (
        "import sys; from heightpose.cli.main import _run\n"
        "code = _run(['infer', *sys.argv[1:]], False)\n"
        "names = {name.partition('.')[0] for name in sys.modules}\n"
        "print(code, sorted(names & {'torch', 'timm', 'lightning', 'onnx', 'anny', 'mitsuba'}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "clip.mp4", *models],
        cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.splitlines()[-1] == "3 []", done.stderr
