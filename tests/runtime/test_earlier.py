"""An answer that an earlier run left never passes for one of an input that fails."""

from __future__ import annotations

import os
from pathlib import Path

import makers
import pytest
from makers import clips

from heightpose.runtime.batch import Settings, run_all


@pytest.fixture
def settings(tmp_path):
    pose, detector = makers.tiny_pose(tmp_path / "p.onnx"), makers.tiny_detector(tmp_path / "d.onnx")
    return Settings(out=tmp_path / "res", model=str(pose), detector=str(detector))


def test_an_earlier_answer_does_not_pass_for_one_of_an_input_that_fails(tmp_path, settings, caplog):
    inputs = clips(tmp_path, 2, 2)
    list(run_all(inputs, settings))
    folder = settings.out / "c1"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert "height.json" in before
    Path(inputs[1][0]).write_bytes(b"")
    for _ in range(2):  # the second time there is nothing to keep, and what was kept stays
        assert [item.code for item in run_all(inputs, settings)] == [3, 2]
        kept = {path.name.replace(".earlier", ""): path.read_bytes() for path in folder.iterdir()}
        assert kept == before
        assert all(".earlier." in path.name for path in folder.iterdir())
    assert caplog.text.count("height.earlier.json") == 1
    assert "height.json" in os.listdir(settings.out / "c0")


@pytest.mark.parametrize("text", ["{}", "[", '{"status": "other"}'])
def test_what_is_no_answer_of_ours_stays_where_an_input_fails(tmp_path, settings, text):
    (settings.out / "absent").mkdir(parents=True)
    (settings.out / "absent" / "height.json").write_text(text)
    (item,) = run_all([(str(tmp_path / "absent.mp4"), "absent")], settings)
    assert (item.code, os.listdir(settings.out / "absent")) == (2, ["height.json"])


def test_an_earlier_answer_stays_where_it_is_among_the_inputs(tmp_path, settings):
    (source, _), *_ = clips(tmp_path, 2)
    list(run_all([(source, "c0")], settings))
    names = sorted(os.listdir(settings.out / "c0"))
    Path(source).write_bytes(b"")
    items = list(run_all([(source, "c0"), (str(settings.out / "c0" / "preview.png"), "p")], settings))
    assert [item.code for item in items] == [2, 3]
    assert sorted(os.listdir(settings.out / "c0")) == names


def test_an_answer_of_this_run_is_not_set_aside(tmp_path, settings):
    inputs = clips(tmp_path, 2)
    list(run_all(inputs, settings))
    (settings.out / "c0" / "preview.png").unlink()
    (settings.out / "c0" / "preview.png").mkdir()
    (item,) = run_all(inputs, settings)
    assert item.code == 2
    assert "height.json" in os.listdir(settings.out / "c0")
