"""Who a training run is: one data hash however the data are named, and a record that survives resuming."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import drawn
import pytest

from heightpose.config import DataConfig, TrainConfig
from heightpose.data.draw import draw
from heightpose.report.run_files import identity_of
from heightpose.train.record import begin, describe_data, parent_of
from heightpose.train.training_data import load_items


@pytest.fixture
def folder(tmp_path):
    drawn.nursery(tmp_path / "set", train=3, val=1)
    return tmp_path / "set"


def described(data):
    return describe_data(load_items(data)[0], data)


def test_the_data_hash_is_of_labels_and_pictures_wherever_they_lie(folder, tmp_path):
    here = described(DataConfig(dirs=(str(folder),)))
    assert here["strata"]["train"]["posture"] == {"unknown": {"children": 3, "items": 3}}
    shutil.copytree(folder, tmp_path / "moved")
    assert described(DataConfig(dirs=(str(tmp_path / "moved"),)))["hash"] == here["hash"]
    draw("all", [folder], share=1.0, root=tmp_path / "iterations")
    drawn_all = described(DataConfig(iteration="all", iterations_root=str(tmp_path / "iterations")))
    assert drawn_all["hash"] == here["hash"]
    assert (drawn_all["iteration"]["name"], drawn_all["iteration"]["order"]) == ("all", 1)
    drawn.rewrite(tmp_path / "moved", lambda d: d["annotations"][0]["keypoints"].__setitem__(0, 1.5))
    assert described(DataConfig(dirs=(str(tmp_path / "moved"),)))["hash"] != here["hash"]


def test_a_resumed_run_stays_itself(tmp_path):
    config = replace(TrainConfig(), seed=7)
    first = begin(tmp_path, config, {"hash": "a"}, note="more light", labels={"lr": "1"}, resume=False)
    again = begin(tmp_path, config, {"hash": "b"}, note=None, labels=None, resume=True)
    kept = ("id", "created", "note", "labels", "seed")
    assert {k: first[k] for k in kept} == {k: again[k] for k in kept}
    assert again["data"]["hash"] == "b"
    assert again["resumed"][0]["before"]["data_hash"] == "a"
    assert json.loads((tmp_path / "run.json").read_text()) == again
    assert identity_of(tmp_path)["id"] == first["id"]
    other = begin(tmp_path, config, {"hash": "a"}, note=None, labels=None, resume=False)
    assert other["id"] != first["id"]


def test_the_parent_is_the_run_whose_folder_the_weights_are_in(tmp_path):
    record = begin(tmp_path, TrainConfig(), {"hash": "a"}, note=None, labels=None, resume=False)
    (tmp_path / "pose.safetensors").write_bytes(b"weights")
    parent = parent_of(str(tmp_path / "pose.safetensors"))
    assert (parent["name"], parent["run"]) == ("pose.safetensors", record["id"])
    assert parent_of(None) is None
