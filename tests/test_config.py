"""Settings files: what is read, and that no mistake in one passes silently."""

from __future__ import annotations

from pathlib import Path

import pytest

from heightpose.config import TrainConfig, from_dict, without_places
from heightpose.errors import ConfigError

CONFIGS = sorted((Path(__file__).resolve().parents[1] / "configs").glob("*.yaml"))


def load(tmp_path, text):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    return TrainConfig.load(path)


def test_what_is_not_named_has_its_default(tmp_path):
    config = load(tmp_path, "task: detector\noptim: {lr: 2.0e-3, epochs: 3}\naugment: {scale: [0.9, 1]}\n")
    assert config.task == "detector"
    assert (config.optim.lr, config.optim.epochs) == (2e-3, 3)
    assert config.optim.batch_size == TrainConfig().optim.batch_size
    assert config.augment.scale == (0.9, 1.0)
    assert isinstance(config.augment.scale[1], float)
    assert load(tmp_path, "") == TrainConfig()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("optim: {learnrate: 1.0}", ["unknown setting 'learnrate'", "optim"]),
        ("optim: {batchsize: 4}", ["Did you mean 'batch_size'?"]),
        ("task: pse", ["Did you mean 'pose'?"]),
        ("optim: {lr: 1e-3}", ["optim", "lr", "1.0e-3"]),
        ("optim: {batch_size: 2.5}", ["wrong type", "int"]),
        ("optim: {batch_size: true}", ["wrong type"]),
        ("optim: {batch_size: 0}", ["out of range", "1 to"]),
        ("optim: {lr: .nan}", ["out of range"]),
        ("optim: {lr: 1" + 400 * "0" + "}", ["lr", "out of range"]),
        ("loss: {hidden_weight: 1.5}", ["out of range", "0 to 1"]),
        ("loss: {visible_only: 1}", ["wrong type"]),
        ("augment: {scale: [1, 2, 3]}", ["2 values"]),
        ("augment: {scale: [1.25, 0.85]}", ["scale", "wrong way round", "[1.25, 0.85]"]),
        ("augment: {frame_scale: [0, 1.3]}", ["frame_scale[0]", "out of range"]),
        ("pose: {input_wh: [-256, 256]}", ["input_wh[0]", "out of range"]),
        ("pose: {heatmap_wh: [64, 0]}", ["heatmap_wh[1]", "out of range"]),
        ("optim: {milestones: [0.5, .nan]}", ["milestones[1]", "out of range"]),
        ("optim: 3", ["not a set of settings"]),
        ("- a", ["not a set of settings"]),
        ("task: [", ["YAML"]),
        ("seed: !!python/object/apply:os.getcwd []", ["YAML"]),
    ],
)
def test_mistakes_are_named_with_file_and_place(tmp_path, text, words):
    with pytest.raises(ConfigError) as raised:
        load(tmp_path, text)
    for word in ["c.yaml", *words]:
        assert word in str(raised.value)


def test_no_such_file(tmp_path):
    with pytest.raises(ConfigError, match=r"gone\.yaml"):
        TrainConfig.load(tmp_path / "gone.yaml")


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.name)
def test_the_configurations_that_come_along_are_valid_and_survive_writing(path):
    config = TrainConfig.load(path)
    assert from_dict(TrainConfig, config.to_dict(), "again") == config
    assert len(CONFIGS) >= 2


def test_files_are_named_without_their_places():
    config = TrainConfig().to_dict()
    config["loss"] |= {"teacher": "/home/anna/clinic/runs/big/pose.safetensors", "oks_file": "/sigmas.json"}
    config["pose"]["pretrained"] = True
    found = without_places(config)
    assert found["loss"]["teacher"] == "big/pose.safetensors"
    assert found["loss"]["oks_file"] == "sigmas.json"
    assert found["pose"]["pretrained"] is True
    assert config["loss"]["teacher"].startswith("/home")
    assert without_places({"task": "pose"}) == {"task": "pose"}
