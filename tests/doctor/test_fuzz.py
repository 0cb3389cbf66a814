"""The fuzzer finds what is planted, repeats itself by seed, and finds nothing in a short honest run."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).resolve().parents[1] / "runtime"))
import makers

from heightpose.doctor import fuzz, mutate
from heightpose.doctor.corpus import Corpus, make_corpus
from heightpose.errors import HeightposeError
from heightpose.runtime.video import open_clip


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return make_corpus(tmp_path_factory.mktemp("seeds"), None)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    pose, detector = makers.tiny_pose(folder / "pose.onnx"), makers.tiny_detector(folder / "detector.onnx")
    return ("--model", str(pose), "--detector", str(detector))


def test_what_is_damaged_was_good(corpus, tmp_path):
    for name, data in corpus.inputs.items():
        (tmp_path / name).write_bytes(data)
        with open_clip(tmp_path / name) as clip:
            assert len(list(clip.frames())) == (6 if name.startswith("video") else 1), name


def test_a_case_is_decided_by_seed_and_number(corpus):
    cases = [fuzz.make_case(corpus, 3, number) for number in range(60)]
    again = [fuzz.make_case(corpus, 3, number) for number in range(60)]
    assert cases == again
    assert cases != [fuzz.make_case(corpus, 4, number) for number in range(60)]
    kinds = {case.kind for case in cases}
    assert kinds & set(corpus.settings)
    assert kinds & set(corpus.inputs)
    good = {**corpus.inputs, **{name: text.encode() for name, text in corpus.settings.items()}}
    for case in cases:
        changed = [name for name, data in case.files.items() if data != good[name]]
        assert set(changed) <= {case.kind}
        assert set(case.args) >= set(case.files)
    assert sum(case.files[case.kind] != good[case.kind] for case in cases) > 50


def test_damage_to_values_reaches_every_depth():
    value = {"K": [[1.0, 0.0], [0.0, 1.0]], "model": "pinhole"}
    texts = {repr(mutate.damaged_json(value, np.random.default_rng(i))) for i in range(200)}
    assert value == {"K": [[1.0, 0.0], [0.0, 1.0]], "model": "pinhole"}
    assert len(texts) > 150
    assert any("pinhole" in text and "[[1.0, 0.0]" not in text for text in texts)


def test_a_number_that_fits_no_float_is_damaged_too():
    for seed in range(300):
        mutate.damaged_json(
            {"width": 10**400, "fps": [float("inf"), float("nan")]}, np.random.default_rng(seed)
        )


def test_moved_numbers_leave_a_file_of_the_same_form():
    value = {"K": [[1.0, 0.0], [0.0, 1.0]], "width": 192, "model": "pinhole"}
    moved = [mutate.moved_json(value, np.random.default_rng(i)) for i in range(50)]
    assert sum(one != value for one in moved) > 40
    for one in moved:
        assert type(one["width"]) is int
        assert np.isfinite(one["K"]).all()
        assert np.shape(one["K"]) == (2, 2)
        assert one["model"] == "pinhole"
    assert mutate.moved_json({"model": "x"}, np.random.default_rng(0)) == {"model": "x"}


def test_damage_to_bytes_is_of_every_kind():
    data = bytes(range(256)) * 20
    results = [mutate.damaged_bytes(data, [data], np.random.default_rng(i)) for i in range(100)]
    assert min(map(len, results)) < len(data) < max(map(len, results))
    assert sum(len(result) == len(data) != 0 and result != data for result in results) > 5


@pytest.mark.parametrize(
    ("code", "out", "err", "wrong"),
    [
        (2, "", "error: x\n", None),
        (3, "rejected: x\n", "log: x: 3 frames\nlog: results saved to x\n", None),
        (1, "", "error: unexpected KeyError\n", "exit code 1: error: unexpected KeyError"),
        (2, "", "", "exit code 2 with 0 lines of error"),
        (2, "", "error: x\nerror: y\n", "exit code 2 with 2 lines of error"),
        (0, "", "", "exit code 0 with 0 lines of answer"),
        (2, "60 cm\n", "error: x\n", "exit code 2 with 1 lines of answer"),
        (2, "", "Traceback (most recent call last):\nerror: x\n", "a traceback"),
        (3, "rejected: x\n", "[h264 @ 0x1] no frame!\n", "a line that is not ours: [h264 @ 0x1] no frame!"),
        (None, "", "no answer within 30 s", "no answer within 30 s"),
    ],
)
def test_the_judge(tmp_path, code, out, err, wrong):
    assert fuzz.what_is_wrong(code, out, err, tmp_path) == wrong


def test_the_judge_looks_at_what_is_left(tmp_path):
    (tmp_path / "clip").mkdir()
    (tmp_path / "clip" / "height.json").write_text('{"half": ')
    assert "height.json is not whole" in fuzz.what_is_wrong(3, "rejected\n", "", tmp_path)
    (tmp_path / "clip" / "height.json").unlink()
    (tmp_path / "clip" / ".poses.abc.tmp.json").touch()
    assert "left behind" in fuzz.what_is_wrong(3, "rejected\n", "", tmp_path)


def test_a_short_run_finds_nothing_and_leaves_nothing(models, tmp_path):
    plan = fuzz.Plan(seed=5, count=25, models=models)
    summary = fuzz.Fuzzer(plan, None, tmp_path / "out").run()
    assert summary.found == []
    assert sum(summary.counts.values()) == 25
    assert list(summary.lines())[-1].startswith("25 cases in ")
    assert not (tmp_path / "out").exists()


PLANTED = """
import os, sys, time
import heightpose.runtime.stills as stills
read = stills.read_picture
def planted(path, *given, **named):
    data = path.read_bytes()
    if data.startswith(b"RAISE"): raise KeyError("planted")
    if data.startswith(b"CRASH"): os.abort()
    if data.startswith(b"HANG"): time.sleep(60)
    return read(path, *given, **named)
stills.read_picture = planted
"""


def test_an_error_a_crash_and_a_hang_are_found_with_their_files(models, tmp_path, monkeypatch):
    """Planted in the worker by Python's own start-up hook; the fuzzer goes on after each."""
    (tmp_path / "sitecustomize.py").write_text(PLANTED)
    root = Path(__file__).resolve().parents[2]
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{root}")
    planted = [b"RAISE", b"HANG", b"CRASH", b"nothing planted"]
    monkeypatch.setattr(
        fuzz,
        "make_case",
        lambda corpus, seed, number: fuzz.Case(
            number, "picture.png", {"picture.png": planted[number]}, ("picture.png",)
        ),
    )
    plan = fuzz.Plan(seed=9, count=4, models=models, time_limit_s=2.0)
    summary = fuzz.Fuzzer(plan, None, tmp_path / "out").run()
    assert [line.partition(": picture.png: ")[2] for line in summary.found] == [
        "exit code 1: error: unexpected KeyError: 'planted'. Run again with --debug and report the traceback",
        "no answer within 2 s",
        "the process ended with SIGABRT",
    ]
    assert summary.counts["picture.png", 2] == 1
    for number, data in enumerate(planted[:3]):
        assert (tmp_path / "out" / f"9-{number}" / "picture.png").read_bytes() == data
        report = (tmp_path / "out" / f"9-{number}" / "report.txt").read_text()
        assert "heightpose infer picture.png --model" in report


def test_the_command(models, tmp_path, here):
    args = ["doctor", "fuzz", "--seed", "2", *models]
    done = here(*args, "--count", "6")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "6 cases" in done.stdout
    assert here(*args, "--case", "4").returncode == 0
    assert (tmp_path / "fuzz-results" / "2-4" / "report.txt").read_text().startswith("nothing wrong\n")
    assert here(*args, "--case", "4", "--count", "2").returncode == 2


def test_a_model_that_infer_refuses_is_told_and_a_path_from_here_is_none(models, tmp_path, here):
    """Every case would end with code 2, as damaged ones may, and the summary said that nothing was wrong."""
    args = ["doctor", "fuzz", "--count", "1", "--detector", models[3], "--model"]
    shutil.copy(models[1], tmp_path / "here.onnx")
    (tmp_path / "nonsense.onnx").write_bytes(b"nonsense")
    told = [(here(*args, name).returncode, name) for name in ("here.onnx", "nonsense.onnx", "nosuch")]
    assert told == [(0, "here.onnx"), (2, "nonsense.onnx"), (2, "nosuch")]
    plan = fuzz.Plan(seed=5, count=1, models=models)
    with pytest.raises(HeightposeError, match="cannot be written"):
        fuzz.Fuzzer(plan, None, tmp_path / "nonsense.onnx" / "out").run()
    assert {path.name for path in tmp_path.iterdir()} == {"here.onnx", "nonsense.onnx"}


def test_a_corpus_from_a_clip(tmp_path):
    clip = makers.write_video(tmp_path / "c.mp4", [makers.scene()] * 3)
    (tmp_path / "seeds").mkdir()
    corpus = make_corpus(tmp_path / "seeds", clip)
    assert isinstance(corpus, Corpus)
    assert json.loads(corpus.settings["camera.json"])["width"] == 192
