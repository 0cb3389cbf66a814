"""An answer that an earlier run left never passes for one of an input that fails."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import makers
import numpy as np
import pytest
from makers import clips

from heightpose.runtime import batch, output, results
from heightpose.runtime.atomic import cannot_write
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


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def stopping_at(monkeypatch, index):
    """The user stops once that many frames are seen; at 0 before the first."""
    measure = batch.measure_clip

    def stopped(*args, watch, interrupt, **kwargs):
        def then_stop(result, rgb):
            watch(result, rgb)
            if result.index + 1 == index:
                os.kill(os.getpid(), signal.SIGINT)

        if index == 0:
            os.kill(os.getpid(), signal.SIGINT)
        return measure(*args, watch=then_stop, interrupt=interrupt, **kwargs)

    monkeypatch.setattr(batch, "measure_clip", stopped)


def test_an_answer_of_this_run_is_not_set_aside(tmp_path, settings, monkeypatch):
    inputs = clips(tmp_path, 2)
    list(run_all(inputs, settings))

    def full(path, *args, **kwargs):
        raise cannot_write(path, OSError("no space left"))

    monkeypatch.setattr(results, "write_overlay", full)
    (item,) = run_all(inputs, settings)
    assert item.code == 2
    assert set(contents(settings.out / "c0")) == {
        "height.json", "poses.json", "provenance.json", "preview.png"
    }  # fmt: skip


def test_results_of_two_clips_are_never_mixed(tmp_path, settings, monkeypatch):
    """Of a disk that is full before all are written nothing is taken."""
    inputs = clips(tmp_path, 2)
    list(run_all(inputs, settings))
    before = contents(settings.out / "c0")
    makers.write_video(Path(inputs[0][0]), [makers.scene((160, 120), (30, 70)) for _ in range(5)])

    def full(path, rgb):
        raise cannot_write(path, OSError("no space left"))

    monkeypatch.setattr(output, "write_picture", full)
    (item,) = run_all(inputs, settings)
    assert item.code == 2
    assert contents(settings.out / "c0") == {
        f"{Path(name).stem}.earlier{Path(name).suffix}": data for name, data in before.items()
    }


def test_the_answer_of_another_input_of_that_name_is_kept(tmp_path, settings, caplog):
    for day, count in (("mon", 2), ("tue", 3)):
        (tmp_path / day).mkdir()
        clips(tmp_path / day, count)
    list(run_all([(str(tmp_path / "mon/c0.mp4"), "c0")], settings))
    monday = (settings.out / "c0/height.json").read_bytes()
    list(run_all([(str(tmp_path / "mon/c0.mp4"), "c0")], settings))
    assert "height.earlier.json" not in os.listdir(settings.out / "c0")  # the same input again
    list(run_all([(str(tmp_path / "tue/c0.mp4"), "c0")], settings))
    assert (settings.out / "c0/height.earlier.json").read_bytes() == monday
    assert json.loads((settings.out / "c0/height.json").read_text())["frames"]["total"] == 3
    assert "kept as height.earlier.json" in caplog.text


def test_stopped_before_the_first_frame_nothing_is_written_and_nothing_lost(tmp_path, settings, monkeypatch):
    inputs = clips(tmp_path, 30)
    list(run_all(inputs, settings))
    before = contents(settings.out / "c0")
    stopping_at(monkeypatch, 0)
    (item,) = run_all(inputs, settings)
    assert (item.code, item.document["status"]) == (130, "error")
    assert contents(settings.out / "c0") == before
    shutil.rmtree(settings.out)
    (item,) = run_all(inputs, settings)
    assert item.code == 130
    assert not settings.out.exists()


def test_stopped_on_the_way_the_whole_answer_of_before_is_kept(tmp_path, settings, monkeypatch):
    inputs = clips(tmp_path, 30)
    list(run_all(inputs, settings))
    before = contents(settings.out / "c0")
    stopping_at(monkeypatch, 5)
    (item,) = run_all(inputs, settings)
    assert (item.code, item.document["frames"]["total"]) == (130, 5)
    list(run_all(inputs, settings))  # once more: the whole is still there
    after = contents(settings.out / "c0")
    for name, data in before.items():
        assert after[f"{Path(name).stem}.earlier{Path(name).suffix}"] == data


def test_settings_and_inputs_that_change_or_go_on_the_way_do_not_take_the_answer_along(
    tmp_path, settings, monkeypatch
):
    (source, name), _ = inputs = clips(tmp_path, 3, 2)
    camera = tmp_path / "camera.json"
    document = {
        "model": "pinhole",
        "width": 160,
        "height": 120,
        "K": np.diag([200.0, 200.0, 1.0]).tolist(),
        "dist": [0.0] * 5,
    }
    camera.write_text(json.dumps(document))
    was = hashlib.sha256(camera.read_bytes()).hexdigest()
    measure = batch.measure_clip

    def then_gone(*args, **kwargs):
        outcome = measure(*args, **kwargs)
        Path(source).unlink(missing_ok=True)
        camera.unlink(missing_ok=True)
        return outcome

    monkeypatch.setattr(batch, "measure_clip", then_gone)
    items = list(run_all(inputs, replace(settings, camera=camera)))
    assert [item.code for item in items] == [3, 3]
    provenance = json.loads((settings.out / name / "provenance.json").read_text())
    assert provenance["files"]["camera"] == {"name": "camera.json", "sha256": was}
    assert (provenance["input"]["sha256"], provenance["input"]["changed_while_read"]) == (None, True)
