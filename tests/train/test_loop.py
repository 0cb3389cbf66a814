"""How a training run goes, with a network of a few convolutions: resuming, the clock, logs, checks."""

from __future__ import annotations

import csv
from dataclasses import replace

import drawn
import numpy as np
import pytest
import torch
from torch import nn

from heightpose.config import DataConfig, HardwareConfig, OptimConfig, PoseConfig, TrainConfig
from heightpose.data.coco import Dataset
from heightpose.data.pictures import Pictures
from heightpose.errors import ConfigError, HeightposeError
from heightpose.train import loop, tasks
from heightpose.train.module import TrainingModule, learning_rate
from heightpose.train.tasks import PoseTask


class TinyNet(nn.Module):
    """Five convolutions; sees about 30 px around each heatmap pixel."""

    def __init__(self, joints=21, width=48):
        super().__init__()
        layers = [nn.Conv2d(3, 24, 3, 2, 1), nn.BatchNorm2d(24), nn.ReLU(), nn.Conv2d(24, width, 3, 2, 1)]
        for dilation in (1, 2):
            layers += [nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, width, 3, 1, dilation, dilation)]
        self.net = nn.Sequential(*layers, nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, joints, 1))

    def forward(self, image):
        return self.net((image - 60.0) / 60.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "set"
    drawn.nursery(path, train=6, val=2)
    return path


@pytest.fixture
def tiny(monkeypatch):
    """Pose runs train a TinyNet, and what only real networks can do (weights files) is left out."""
    monkeypatch.setattr(tasks.PoseTask, "net", lambda self: TinyNet())
    monkeypatch.setattr(tasks.PoseTask, "meta", lambda self, net, **extra: {"kind": "pose", **extra})
    seen = {}

    def finish(out, task, module, trainer, keeper, about, training):
        seen.update(module=module, best=keeper.best, training=training)
        return loop.Run(out, out, out, {"best": keeper.best, "last": module.val_metrics})

    monkeypatch.setattr(loop, "_finish", finish)
    return seen


def settings(folder, **optim):
    optim = {"epochs": 4, "batch_size": 3, "warmup_steps": 2} | optim
    return TrainConfig(
        pose=PoseConfig(input_wh=(96, 96), sigma=1.5),
        data=DataConfig(dirs=(str(folder),)),
        optim=OptimConfig(**optim),
        hardware=HardwareConfig(threads=1, accelerator="cpu"),
    )


def weights_of(module, name="ema"):
    return {k: v.clone() for k, v in getattr(module, name).state_dict().items()}


def test_a_resumed_run_ends_with_the_same_weights_as_one_that_was_not_interrupted(
    folder, tmp_path, tiny, monkeypatch
):
    config = settings(folder)
    loop.train(config, tmp_path / "whole")
    whole = tiny["module"]

    start = TrainingModule.on_train_batch_start

    def interrupted(self, batch, batch_idx):
        if self.global_step == 4:  # before the first step of the third epoch
            raise KeyboardInterrupt
        return start(self, batch, batch_idx)

    # Before the network runs: its normalisation statistics move with every batch it sees.
    monkeypatch.setattr(TrainingModule, "on_train_batch_start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        loop.train(config, tmp_path / "part")
    monkeypatch.setattr(TrainingModule, "on_train_batch_start", start)
    loop.train(config, tmp_path / "part", resume=True)
    resumed = tiny["module"]
    assert resumed.elapsed_before_s > 0
    for name in ("net", "ema"):
        for (key, a), b in zip(
            weights_of(whole, name).items(), weights_of(resumed, name).values(), strict=True
        ):
            assert torch.equal(a, b), f"{name}.{key}"
    assert len((tmp_path / "part" / "progress.txt").read_text().splitlines()) == 4
    rows = list(csv.DictReader((tmp_path / "part" / "log.csv").open()))
    assert [r["epoch"] for r in rows] == ["1", "2", "3", "4"]


def test_a_run_interrupted_inside_an_epoch_goes_on_at_that_step(folder, tmp_path, tiny, monkeypatch):
    config = settings(folder, batch_size=2, epochs=3)  # three steps each
    steps, loss = [], PoseTask.loss

    def interrupted(self, raw, batch):
        if raw.requires_grad:
            steps.append(1)
        if len(steps) == 6:  # the last step of the second epoch
            raise KeyboardInterrupt
        return loss(self, raw, batch)

    monkeypatch.setattr(PoseTask, "loss", interrupted)
    with pytest.raises(KeyboardInterrupt):
        loop.train(config, tmp_path / "run")
    first = torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)
    assert first["global_step"] == 5
    loop.train(config, tmp_path / "run", resume=True)
    last = torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)
    assert last["global_step"] == 9
    assert len(steps) == 10  # one of them was interrupted
    rows = list(csv.DictReader((tmp_path / "run" / "log.csv").open()))
    assert [(r["epoch"], r["step"]) for r in rows] == [("1", "3"), ("2", "6"), ("3", "9")]


def test_a_run_that_was_killed_is_resumed_from_its_last_checkpoint_and_its_log_too(
    folder, tmp_path, tiny, monkeypatch
):
    config = settings(folder, val_every_epochs=2)
    steps, loss = [], PoseTask.loss

    def killed(self, raw, batch):
        steps.append(raw.requires_grad)
        if sum(steps) == 7:  # the first step of the fourth epoch
            raise RuntimeError("killed")
        return loss(self, raw, batch)

    monkeypatch.setattr(PoseTask, "loss", killed)
    with pytest.raises(RuntimeError, match="killed"):
        loop.train(config, tmp_path / "run")
    assert torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)["global_step"] == 4
    loop.train(config, tmp_path / "run", resume=True)
    rows = list(csv.DictReader((tmp_path / "run" / "log.csv").open()))
    assert [(r["epoch"], r["step"]) for r in rows] == [("1", "2"), ("2", "4"), ("3", "6"), ("4", "8")]


def test_a_finished_run_that_is_resumed_has_nothing_left_to_do(folder, tmp_path, tiny):
    loop.train(settings(folder, epochs=1), tmp_path / "run")
    before = weights_of(tiny["module"], "net")
    loop.train(settings(folder, epochs=1), tmp_path / "run", resume=True)
    assert all(torch.equal(v, before[k]) for k, v in weights_of(tiny["module"], "net").items())
    assert len((tmp_path / "run" / "progress.txt").read_text().splitlines()) == 1


def test_where_validations_are_rare_so_are_checkpoints(folder, tmp_path, tiny, monkeypatch):
    saved = []
    monkeypatch.setattr(
        "heightpose.train.callbacks.save_last",
        lambda trainer, folder: saved.append(trainer.current_epoch + 1),
    )
    loop.train(settings(folder, epochs=5, val_every_epochs=2), tmp_path / "run")
    assert saved == [2, 4, 5]


@pytest.mark.parametrize("epochs", [4, 5])
def test_the_last_weights_are_validated_wherever_the_run_ends(folder, tmp_path, tiny, monkeypatch, epochs):
    validations = []
    monkeypatch.setattr(
        PoseTask, "score", lambda self, metrics: float(validations.append(1) or len(validations))
    )
    run = loop.train(settings(folder, epochs=epochs, val_every_epochs=4), tmp_path / "run")
    assert len(validations) == epochs - 3
    assert run.metrics["best"]["step"] == tiny["module"].validated_step == 2 * epochs


def test_epochs_are_varied_differently_and_reproducibly(folder, tmp_path, tiny):
    loop.train(settings(folder, epochs=1), tmp_path / "run")
    training = tiny["training"]
    epochs = []
    for number in (0, 1, 1):
        training.epoch_of = lambda n=number: n
        epochs.append([batch["image"] for batch in training])
    assert torch.equal(epochs[1][0], epochs[2][0])
    assert not torch.equal(epochs[0][0], epochs[1][0])


def test_the_clock_ends_a_run_with_the_learning_rate_at_its_end(folder, tmp_path, tiny, monkeypatch):
    now = [0.0]

    def passing():
        now[0] += 1.0
        return now[0]

    monkeypatch.setattr("heightpose.train.module.time.monotonic", passing)
    config = settings(folder, epochs=1000, max_minutes=2.0, lr=1e-2, final_lr=0.005)
    loop.train(config, tmp_path / "run")
    rows = list(csv.DictReader((tmp_path / "run" / "log.csv").open()))
    assert 1 < len(rows) < 200
    assert float(rows[-1]["lr"]) < 0.02 * 1e-2
    assert float(rows[-1]["elapsed min"]) < 2.5
    assert rows[-1]["MeanSmS@0.1"] != ""
    assert "of 2" in (tmp_path / "run" / "progress.txt").read_text().splitlines()[-1]


def test_learning_rate_warms_up_by_steps_and_falls_with_progress():
    optim = OptimConfig(lr=1.0, warmup_steps=10, final_lr=0.1)
    assert learning_rate(optim, 0, 0.0) == pytest.approx(0.1)
    assert learning_rate(optim, 9, 0.0) == 1.0
    assert learning_rate(optim, 500, 0.5) == pytest.approx(0.55)
    assert learning_rate(optim, 900, 1.0) == learning_rate(optim, 900, 1.7) == pytest.approx(0.1)
    progress = [learning_rate(optim, 99, p / 50) for p in range(51)]
    assert progress == sorted(progress, reverse=True)


def test_validation_columns_that_come_later_are_in_the_log(folder, tmp_path, tiny):
    loop.train(settings(folder, epochs=2, val_every_epochs=2), tmp_path / "run")
    rows = list(csv.DictReader((tmp_path / "run" / "log.csv").open()))
    assert rows[0]["MeanSmS@0.1"] == ""
    assert float(rows[1]["MeanSmS@0.1"]) >= 0


def test_the_average_is_what_is_validated_and_it_lags(folder, tmp_path, tiny):
    loop.train(settings(folder, lr=5e-2, ema_decay=0.99), tmp_path / "run")
    module = tiny["module"]
    first = torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)
    assert any(key.startswith("ema.") for key in first["state_dict"])
    assert not any(p.requires_grad for p in module.ema.parameters())
    assert any(
        not torch.equal(a, b) for a, b in zip(module.net.parameters(), module.ema.parameters(), strict=True)
    )


def test_hidden_joints_weigh_less_or_nothing(folder):
    config = settings(folder)
    visibility = torch.tensor([[0, 1, 2] * 7]).numpy()
    half = PoseTask(config).loss_weight(visibility)
    none = PoseTask(replace(config, loss=replace(config.loss, visible_only=True))).loss_weight(visibility)
    full = PoseTask(config).joint_weights
    assert half[0].tolist() == pytest.approx([w * [0, 0.5, 1][i % 3] for i, w in enumerate(full)])
    assert none[0].tolist() == pytest.approx([w * [0, 0, 1][i % 3] for i, w in enumerate(full)])


def test_a_batch_weighs_hidden_joints_less_and_those_off_the_crop_not_at_all(folder):
    task = PoseTask(settings(folder))
    sample = task.samples(Pictures(Dataset.load(folder).items[:1]), None).sample(0, np.random.default_rng(0))
    kpts, visibility = sample.kpts_crop.copy(), np.full(21, 2)
    visibility[:2] = 1, 0
    kpts[2] = -500
    batch = task.collate([replace(sample, kpts_crop=kpts, visibility=visibility)])
    shares = batch["weights"][0].numpy() / task.joint_weights
    assert shares.tolist() == [0.5, 0.0, 0.0] + [1.0] * 18


def test_a_training_that_diverges_says_so(folder, tmp_path, tiny, monkeypatch):
    monkeypatch.setattr(PoseTask, "loss", lambda self, raw, batch: raw.sum() * float("nan"))
    with pytest.raises(HeightposeError, match="diverged at step 0"):
        loop.train(settings(folder), tmp_path / "run")


def test_folders_and_data_are_checked_before_any_work(folder, tmp_path, tiny):
    with pytest.raises(ConfigError, match="resume"):
        loop.train(settings(folder), tmp_path / "run", resume=True)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "last.ckpt").write_bytes(b"")
    with pytest.raises(ConfigError, match="already holds a run"):
        loop.train(settings(folder), tmp_path / "run")
    with pytest.raises(ConfigError, match="--data"):
        loop.train(TrainConfig(), tmp_path / "other")


def test_auto_precision_is_bf16_only_where_it_is_fast(monkeypatch):
    for amx, avx, expected in (
        (False, False, "32-true"),
        (True, False, "bf16-mixed"),
        (False, True, "bf16-mixed"),
    ):
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda v=amx: v, raising=False)
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda v=avx: v, raising=False)
        assert loop.resolve_precision("auto", "cpu") == expected
    assert loop.resolve_precision("32-true", "cpu") == "32-true"


def test_module_elapsed_time_goes_on_where_the_resumed_run_stopped():
    config = settings("nowhere", max_minutes=10.0)
    module = TrainingModule(TinyNet(), PoseTask(config), config, total_steps=100)
    module.on_load_checkpoint({"heightpose": {"elapsed_s": 300.0, "kind": "pose"}})
    assert module.elapsed_s == 300.0
    with pytest.raises(HeightposeError, match="something else"):
        module.on_load_checkpoint({"heightpose": {"elapsed_s": 1.0, "kind": "detector"}})
