"""A matrix of real trainings, tiny ones: what is done once, what goes on, what fails alone"""

from __future__ import annotations

import copy
import json
import shutil

import drawn
import pytest
import torch
from click.testing import CliRunner

from heightpose.ablate import figures
from heightpose.ablate.jobs import plan
from heightpose.ablate.matrix import METRICS, Budget, Matrix
from heightpose.ablate.work import work
from heightpose.cli.ablate import ablate
from heightpose.errors import HeightposeError
from heightpose.models.checkpoint import load_weights
from heightpose.train.loop import train
from heightpose.train.module import TrainingModule

TEXT = """
base: base.yaml
factors:
  rate:
    slow: {optim.lr: 1.0e-4}
    fast: {optim.lr: 5.0e-3}
    nothing: {data.repeat: [0]}
  read:
    dark: {}
    peak: {validation.decode: argmax}
    looked at twice: {validation.tta: flip}
seeds: [3]
"""
BASE = """
pose: {backbone: test_resnet, input_wh: [64, 64], sigma: 1.5}
optim: {epochs: 2, batch_size: 2, warmup_steps: 1}
hardware: {threads: 1, accelerator: cpu, precision: 32-true}
"""


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """Everything after a run."""
    root = tmp_path_factory.mktemp("ablate")
    drawn.nursery(root / "set", train=4, val=2)
    (root / "base.yaml").write_text(BASE)
    (root / "tiny.yaml").write_text(TEXT)
    matrix, budget = Matrix.load(root / "tiny.yaml"), Budget(data=(str(root / "set"),))
    todo = plan(matrix, budget, root / "out")
    first = todo.trainings[0]  # as one that was killed between its end and its measurement
    train(first.config, first.folder, labels=first.labels)
    shutil.copy(first.folder / "last.ckpt", root / "kept.ckpt")
    failed = work(todo)
    document = figures.write_ablation(matrix, todo, budget, failed, root / "out" / "tiny")
    return root, matrix, budget, todo, failed, document


def test_a_cell_that_cannot_be_trained_fails_alone(done):
    _, _, _, _, failed, document = done
    (why,) = failed.values()
    assert "no picture would ever be drawn" in why
    by_name = {tuple(c["labels"].values()): c for c in document["cells"]}
    assert by_name["nothing", "dark"]["failed"][0]["seed"] == 3
    assert by_name["nothing", "dark"]["seeds"] == []
    assert len(by_name["fast", "dark"]["seeds"]) == 1


@pytest.mark.parametrize(
    ("cell", "why"),
    [
        ("pose.heatmap_wh: [64, 100]", "pose.heatmap_wh"),
        ("{pose.head: regression, validation.tta: flip}", "validation.tta"),
        ("optim.freeze: all_but_head", "has learned nothing"),
    ],
)
def test_a_cell_that_cannot_be_is_named_before_anything_is_trained(tmp_path, cell, why):
    drawn.nursery(tmp_path / "set", train=1, val=1)
    (tmp_path / "base.yaml").write_text(BASE)
    cell = cell if cell.startswith("{") else f"{{{cell}}}"
    (tmp_path / "m.yaml").write_text(f"base: base.yaml\nfactors: {{size: {{own: {{}}, other: {cell}}}}}\n")
    todo = plan(Matrix.load(tmp_path / "m.yaml"), Budget(data=(str(tmp_path / "set"),)), tmp_path / "out")
    with pytest.raises(HeightposeError, match=f"size other.*{why}"):
        work(todo)
    assert not (tmp_path / "out").exists()


def test_cells_that_differ_in_validation_judge_one_training(done):
    root, _, _, todo, _, document = done
    assert len(todo.trainings) == 3
    cells = {c["labels"]["read"]: c["seeds"][0] for c in document["cells"] if c["labels"]["rate"] == "slow"}
    assert len({c["run"] for c in cells.values()}) == 1
    run = root / "out" / "tiny" / cells["dark"]["run"]
    assert json.loads((run / "run.json").read_text())["labels"]["ablation"] == "tiny"
    errors = {read: c["metrics"]["error px"] for read, c in cells.items()}
    assert len(set(errors.values())) == 3  # three ways to read the same weights
    assert cells["dark"]["metrics"]["people"] == 2


def test_the_last_averaged_weights_are_what_is_measured_and_the_checkpoint_is_gone(done):
    root, _, _, todo, _, _ = done
    folder = todo.trainings[0].folder
    state = torch.load(root / "kept.ckpt", weights_only=True)["state_dict"]
    measured = load_weights(folder / "final.safetensors")[0].state_dict()
    for name, value in measured.items():
        if value.is_floating_point():  # stored in half precision
            torch.testing.assert_close(value, state[f"ema.{name}"].float(), rtol=2e-3, atol=1e-4)
    assert not (folder / "last.ckpt").exists()


def test_what_is_done_stays_and_what_is_missing_is_done(done):
    root, matrix, budget, todo, _, document = done
    stamps = {m.file: m.file.stat().st_mtime_ns for m in todo.measurements if m.file.is_file()}
    gone = todo.measurements[0].file
    gone.unlink()
    work(plan(matrix, budget, root / "out"))
    assert gone.is_file()
    assert all(f.stat().st_mtime_ns == t for f, t in stamps.items() if f != gone)
    again = figures.write_ablation(matrix, todo, budget, {}, root / "out" / "tiny")
    assert again["cells"][0] == document["cells"][0]


def test_a_table_of_several_codes_says_so(done):
    _, _, _, _, _, document = done
    assert all(seed["code"] for cell in document["cells"] for seed in cell["seeds"])
    assert not [line for line in figures.lines(document) if "versions of the code" in line]
    other = copy.deepcopy(document)
    other["cells"][-1]["seeds"][0]["code"] = "of last week"
    assert [line for line in figures.lines(other) if line.startswith("trained by 2 versions of the code")]


def test_a_training_that_was_stopped_goes_on_where_it_was(done, tmp_path, monkeypatch):
    _, matrix, budget, _, _, document = done
    todo = plan(matrix, budget, tmp_path / "out", only=["peak"])
    start, steps = TrainingModule.on_train_batch_start, []

    def stopped(self, batch, batch_idx):
        steps.append(self.global_step)
        if self.global_step == 2:  # the second epoch begins
            raise KeyboardInterrupt
        return start(self, batch, batch_idx)

    monkeypatch.setattr(TrainingModule, "on_train_batch_start", stopped)
    with pytest.raises(KeyboardInterrupt):
        work(todo)
    monkeypatch.setattr(TrainingModule, "on_train_batch_start", start)
    assert (todo.trainings[0].folder / "last.ckpt").is_file()
    assert work(todo) == {}
    again = json.loads(todo.measurements[0].file.read_text())
    whole = document["cells"][0]["seeds"][0]["metrics"]
    assert {name for name, value in whole.items() if not isinstance(value, dict)} == set(METRICS["pose"])
    assert again["error px"] == whole["error px"]  # to the bit
    assert again["steps"] == whole["steps"] == 4


def test_the_verb_writes_its_files_and_lists_without_training(done, tmp_path):
    root, *_ = done
    shutil.copytree(root / "out", tmp_path / "out")
    args = [str(root / "tiny.yaml"), "--data", str(root / "set"), "--out", str(tmp_path / "out")]
    listed = CliRunner().invoke(ablate, [*args, "--list"], standalone_mode=False)
    assert "1/1 seed  rate fast  (optim.lr: 0.005)" in listed.output
    assert "3 trainings, 1 of them left to do" in listed.output
    ran = CliRunner().invoke(ablate, [*args, "--only", "fast", "--only", "peak"], standalone_mode=False)
    assert ran.return_value == 0, ran.output
    assert "one seed: no interval" in ran.output
    names = {p.name for p in (tmp_path / "out" / "tiny").iterdir()}
    assert names == {"ablation.json", "table.txt", "table.csv", "ablation.png", "ablation.svg"}
    document = json.loads((tmp_path / "out" / "tiny" / "ablation.json").read_text())
    assert document["budget"]["data"] == ["set"]
    assert str(root) not in (tmp_path / "out" / "tiny" / "ablation.json").read_text()


def test_settings_on_the_command_line_are_yaml(done, tmp_path):
    root, *_ = done
    args = [str(root / "tiny.yaml"), "--data", str(root / "set"), "--out", str(tmp_path), "--list"]
    good = CliRunner().invoke(ablate, [*args, "--set", "pose.input_wh=[96,96]"], standalone_mode=False)
    assert good.exception is None
    bad = CliRunner().invoke(ablate, [*args, "--set", "pose.input_wh"], standalone_mode=False)
    assert "SETTING=VALUE" in str(bad.exception)
    wrong = CliRunner().invoke(ablate, [*args, "--set", "pose.input=[96,96]"], standalone_mode=False)
    assert "input_wh" in str(wrong.exception)
