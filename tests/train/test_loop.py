"""How a training run goes, with a network of a few convolutions: resuming, the clock, logs, checks."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from functools import partialmethod

import drawn
import numpy as np
import pytest
import torch
from tinynet import TinyNet, settings, weights_of

from heightpose.cli.train import headline
from heightpose.config import TrainConfig
from heightpose.cores import usable_cores
from heightpose.data.coco import Dataset
from heightpose.data.pictures import Pictures
from heightpose.errors import ConfigError, HeightposeError
from heightpose.train import callbacks, loop
from heightpose.train.module import TrainingModule
from heightpose.train.pose_task import PoseTask
from heightpose.train.trainer import resolve_precision


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return drawn.shared_nursery(tmp_path_factory, train=6, val=2)


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
        lambda trainer, folder: saved.append(trainer.global_step),
    )
    loop.train(settings(folder, epochs=5, val_every_epochs=2), tmp_path / "run")
    assert saved == [4, 8, 10, 10]  # and once more with the validation after the last step


@pytest.mark.parametrize("epochs", [4, 5])
def test_the_last_weights_are_validated_wherever_the_run_ends(folder, tmp_path, tiny, monkeypatch, epochs):
    validations = []
    monkeypatch.setattr(
        PoseTask, "score", lambda self, metrics: float(validations.append(1) or len(validations))
    )
    run = loop.train(settings(folder, epochs=epochs, val_every_epochs=4), tmp_path / "run")
    assert len(validations) == epochs - 3
    assert run.metrics["best"]["step"] == tiny["module"].validated_step == 2 * epochs


def test_a_compiled_net_learns_the_same_under_the_same_names(folder, tmp_path, tiny, monkeypatch):
    """Traced forwards and backwards, as for every backend; the default one then keeps a C++ compiler busy for long."""
    traced = partialmethod(torch.nn.Module.compile, backend="aot_eager")
    monkeypatch.setattr(torch.nn.Module, "compile", traced)
    states, answers = [], []
    image = torch.rand(2, 3, 96, 96, generator=torch.Generator().manual_seed(0)) * 255
    for compiled in (False, True):
        config = settings(folder, epochs=2)
        hardware = replace(config.hardware, precision="32-true", compile=compiled)
        loop.train(replace(config, hardware=hardware), tmp_path / f"run {compiled}")
        states.append(weights_of(tiny["module"]))
        answers.append(tiny["module"].ema(image).detach())
    assert states[0].keys() == states[1].keys()
    # A bias in front of a normalisation has rounding for a gradient, so the answers are compared.
    torch.testing.assert_close(answers[1], answers[0], rtol=0.02, atol=0.002)


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


def test_validation_columns_that_come_later_are_in_the_log(folder, tmp_path, tiny):
    loop.train(settings(folder, epochs=2, val_every_epochs=2), tmp_path / "run")
    rows = list(csv.DictReader((tmp_path / "run" / "log.csv").open()))
    assert rows[0]["MeanSmS@0.1"] == ""
    assert float(rows[1]["MeanSmS@0.1"]) >= 0


def test_the_validation_after_the_last_epoch_is_that_epochs_and_in_the_log(folder, tmp_path, tiny):
    run = loop.train(settings(folder, epochs=3, val_every_epochs=2), tmp_path / "run")
    rows = list(csv.DictReader((tmp_path / "run" / "log.csv").open()))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert float(rows[2]["val loss"]) == pytest.approx(run.metrics["last"]["val loss"])
    assert rows[2]["val loss"] != rows[1]["val loss"]
    assert run.metrics["best"]["epoch"] in (2, 3)
    assert (run.metrics["best"]["epoch"] == 3) == (run.metrics["best"]["step"] == int(rows[2]["step"]))


def test_a_run_says_who_it_is_and_how_much_it_overfits_from_the_first_validation_on(folder, tmp_path, tiny):
    loop.train(settings(folder, epochs=2), tmp_path / "run", note="first", labels={"lr": "1"})
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (record["note"], record["labels"], record["seed"]) == ("first", {"lr": "1"}, 1)
    assert record["data"]["train"]["samples"] == 6
    assert len(record["data"]["hash"]) == len(record["code"]["sha256"]) == 64
    for row in csv.DictReader((tmp_path / "run" / "log.csv").open()):
        assert float(row["overfit"]) == pytest.approx(float(row["train Mean@0.1"]) - float(row["Mean@0.1"]))


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
    monkeypatch.setattr(PoseTask, "loss", lambda self, raw, batch, tally=None: raw.sum() * float("nan"))
    with pytest.raises(HeightposeError, match="diverged at step 0"):
        loop.train(settings(folder), tmp_path / "run")


def test_weights_that_are_no_numbers_any_more_are_not_saved(folder, tmp_path, tiny, monkeypatch):
    monkeypatch.setattr(callbacks, "SAVE_EVERY_S", 0.0)
    broken, update = [], TrainingModule._update_ema

    def breaks_after_two_steps(module):
        update(module)
        broken.append(1)
        if len(broken) == 2:
            module.net.net[0].weight.data[:] = float("nan")

    monkeypatch.setattr(TrainingModule, "_update_ema", breaks_after_two_steps)
    with pytest.raises(HeightposeError, match="diverged"):
        loop.train(settings(folder, epochs=4), tmp_path / "run")
    saved = torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)
    assert saved["global_step"] == 1
    assert all(bool(torch.isfinite(v).all()) for v in saved["state_dict"].values())


def test_a_training_that_diverges_between_two_looks_is_told_by_validation(
    folder, tmp_path, tiny, monkeypatch
):
    plain = PoseTask.loss

    def loss(self, raw, batch, tally=None):
        broken = raw.requires_grad and loss.steps >= 1  # not the step that training looks at
        loss.steps += raw.requires_grad
        return plain(self, raw, batch, tally) * (float("nan") if broken else 1.0)

    loss.steps = 0
    monkeypatch.setattr(PoseTask, "loss", loss)
    config = settings(folder)
    config = replace(config, optim=replace(config.optim, epochs=2, val_every_epochs=1))
    with pytest.raises(HeightposeError, match=r"diverged at step [1-9]"):
        loop.train(config, tmp_path / "run")


def test_folders_and_data_are_checked_before_any_work(folder, tmp_path, tiny):
    with pytest.raises(ConfigError, match="resume"):
        loop.train(settings(folder), tmp_path / "run", resume=True)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "last.ckpt").write_bytes(b"")
    with pytest.raises(ConfigError, match="already holds a run"):
        loop.train(settings(folder), tmp_path / "run")


@pytest.mark.parametrize("name", ["metrics.json", "pose.safetensors", "detector.safetensors"])
def test_a_finished_run_without_its_checkpoint_is_not_written_over(folder, tmp_path, tiny, name):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / name).write_bytes(b"")
    with pytest.raises(ConfigError, match=f"already holds a finished run.*{name}"):
        loop.train(settings(folder), tmp_path / "run")
    assert [path.name for path in (tmp_path / "run").iterdir()] == [name]


def hide_all(document):
    for annotation in document["annotations"]:
        annotation["keypoints"][2::3] = [min(v, 1) for v in annotation["keypoints"][2::3]]


def test_what_cannot_be_trained_leaves_no_folder(folder, tmp_path, monkeypatch):
    broken = tmp_path / "broken"
    drawn.nursery(broken, train=2, val=1)
    (broken / "images" / "000001.png").write_bytes(b"no picture")
    unlabelled = tmp_path / "unlabelled"
    drawn.nursery(unlabelled, train=0, val=1, empty=0)
    hidden, one = tmp_path / "hidden", tmp_path / "one"
    drawn.nursery(hidden, train=2, val=1)
    drawn.rewrite(hidden, hide_all)
    drawn.nursery(one, train=1, val=2)
    judged, away = tmp_path / "judged", tmp_path / "away"
    drawn.nursery(judged, train=2, val=1)
    drawn.rewrite(judged, lambda d: hide_all({"annotations": d["annotations"][2:]}))
    drawn.nursery(away, train=2, val=1)
    drawn.rewrite(away, lambda d: d["annotations"][2].update(bbox=[5000, 5000, 100, 100]))
    config = settings(folder)
    two = replace(config.hardware, devices="2")
    cases = [
        (TrainConfig(), "--data"),
        (settings(tmp_path / "nowhere"), "nowhere"),
        (settings(broken), "cannot be decoded|truncated"),
        (settings(unlabelled), "no labelled picture"),
        (replace(config, start_from=str(tmp_path / "none.pth")), "no such weights"),
        (
            replace(
                config,
                optim=replace(config.optim, freeze="all_but_head", milestones=(0.9, 0.5), schedule="step"),
            ),
            "milestones",
        ),
        (replace(config, loss=replace(config.loss, kind="oks", oks_sigmas="file")), "oks_file"),
        (replace(config, loss=replace(config.loss, balance="gradnorm")), "balance"),
        (replace(config, validation=replace(config.validation, tta="banana")), "validation.tta"),
        (
            replace(
                config,
                validation=replace(config.validation, tta="flip"),
                loss=replace(config.loss, kind="wing"),
            ),
            "only heatmaps are merged",
        ),
        (
            replace(settings(hidden), loss=replace(config.loss, visible_only=True)),
            "no label .* weighs anything",
        ),
        (
            replace(settings(hidden), loss=replace(config.loss, hidden_weight=0.0)),
            "no label .* weighs anything",
        ),
        (
            replace(settings(judged), loss=replace(config.loss, visible_only=True)),
            "split 'val'.*no label .* weighs anything.*nothing would be judged",
        ),
        (settings(away), "the box misses the picture"),
        (
            replace(settings(one), pose=replace(config.pose, backbone="hourglass_2_slim", input_wh=(64, 64))),
            "optim.batch_size.*a batch of one sample cannot be normalised",
        ),
        (
            replace(settings(one), hardware=two),
            "fewer samples than .* 1 for 2" if usable_cores() > 1 else "compute",
        ),
        (replace(config, hardware=replace(config.hardware, devices="99999")), "cannot compute so"),
        (replace(config, hardware=replace(config.hardware, devices="0")), "cannot compute so"),
        (replace(config, hardware=replace(config.hardware, devices="banana")), "cannot compute so"),
    ]
    for number, (case, match) in enumerate(cases):
        out = tmp_path / "runs" / str(number)
        with pytest.raises(HeightposeError, match=match):
            loop.train(case, out)
        assert not out.exists()
        assert not out.parent.exists()


def test_the_headline_says_what_the_weights_were_chosen_by():
    best = {"epoch": 3, "val loss": 0.25, "MeanSmS@0.1": 61.23, "Mean@0.1": None}
    assert headline({"kind": "pose", "best": best}) == "MeanSmS@0.1 61.2 at epoch 3"
    unknown = {"kind": "pose", "best": best | {"MeanSmS@0.1": None}}
    assert headline(unknown) == "val loss 0.25 at epoch 3, chosen by the validation loss"
    cots = {"epoch": 1, "val loss": 0.5, "recall@0.5": None, "false alarms": 0.0}
    told = headline({"kind": "detector", "best": cots})
    assert told == "false alarms 0, val loss 0.5 at epoch 1, chosen by the validation loss"


def test_auto_precision_is_bf16_only_where_it_is_fast(monkeypatch):
    for amx, avx, expected in (
        (False, False, "32-true"),
        (True, False, "bf16-mixed"),
        (False, True, "bf16-mixed"),
    ):
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda v=amx: v, raising=False)
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda v=avx: v, raising=False)
        assert resolve_precision("auto", "cpu") == expected
    assert resolve_precision("32-true", "cpu") == "32-true"


def test_the_precision_on_record_is_the_one_computed_in(tmp_path, tiny):
    """A processor has no 16-mixed: bf16-mixed takes its place."""
    folder = tmp_path / "set"
    drawn.nursery(folder, train=3, val=1)
    config = settings(str(folder), epochs=1)
    config = replace(config, hardware=replace(config.hardware, precision="16-mixed", accelerator="cpu"))
    loop.train(config, tmp_path / "run")
    assert tiny["about"]["precision"] == "bf16-mixed"


def test_module_elapsed_time_goes_on_where_the_resumed_run_stopped():
    config = settings("nowhere", max_minutes=10.0)
    module = TrainingModule(TinyNet(), PoseTask(config), config, total_steps=100)
    module.on_load_checkpoint({"heightpose": {"elapsed_s": 300.0, "kind": "pose"}})
    assert module.elapsed_s == 300.0


def test_one_batch_by_heart_is_one_batch_whatever_the_pictures_show(tmp_path, tiny):
    """Cots without an infant give a pose net nothing; a picture of two is two samples."""
    folder = tmp_path / "set"
    drawn.nursery(folder, train=5, val=1)
    path = folder / "annotations.json"
    document = json.loads(path.read_text())
    ids = [image["id"] for image in document["images"] if image["split"] == "train"]
    people = {a["image_id"]: a for a in document["annotations"]}
    shown = [i for i in ids if i in people]
    document["annotations"] += [people[i] | {"id": 900 + i, "child": f"twin-{i}"} for i in shown[:2]]
    path.write_text(json.dumps(document))
    config = settings(folder, epochs=3, batch_size=4)
    config = replace(config, data=replace(config.data, oversample={"way_up=unknown": 3.0}))
    loop.train(config, tmp_path / "run", overfit_one_batch=True)
    training = tiny["training"]
    assert len(training.samples) == training.batch_size == 4
    assert len(training) == 1
