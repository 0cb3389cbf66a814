"""A run that was stopped goes on to the bit: weights, average, optimizer and log are those of one that was not."""

from __future__ import annotations

import csv
import json
import logging
import os
import shutil
import signal
from dataclasses import replace

import drawn
import pytest
import torch
from tinynet import TinyNet, settings
from torch import nn

from heightpose.errors import ConfigError, FileFormatError, HeightposeError
from heightpose.models.checkpoint import read_state
from heightpose.runtime.interrupt import raise_on_request
from heightpose.train import callbacks, loop
from heightpose.train.module import TrainingModule
from heightpose.train.pose_task import PoseTask
from heightpose.train.resume import judged_on

#: Columns of the log that tell the time.
CLOCK = ("images/s", "elapsed min")


class ForgetfulNet(TinyNet):
    """With dropout: a resumed run must also go on with the same random numbers."""

    def __init__(self):
        super().__init__(width=24)
        self.net.insert(len(self.net) - 1, nn.Dropout2d(0.2))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return drawn.shared_nursery(tmp_path_factory, train=6, val=2)


@pytest.fixture
def forgetful(tiny, monkeypatch):
    monkeypatch.setattr(PoseTask, "net", lambda self: ForgetfulNet())
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background shell's child ignores it
    raise_on_request()  # as the command does
    yield tiny
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


def four_epochs(folder, **optim):
    """Eight steps, a mixture of all that draws random numbers."""
    config = settings(folder, batch_size=2, epochs=4, **optim)
    return replace(
        config, data=replace(config.data, repeat=(0.75,)), pose=replace(config.pose, input_wh=(64, 64))
    )


def rows(path):
    return [{k: v for k, v in row.items() if k not in CLOCK} for row in csv.DictReader(path.open())]


def during(step, happens):
    """A loss during whose computation, of that training step, something happens."""
    seen = []

    def loss(self, raw, batch, tally=None):
        if raw.requires_grad:
            seen.append(1)
            if len(seen) == step:
                happens()
        return PoseTask.plain_loss(self, raw, batch, tally)

    return loss


def stop_with_ctrl_c(step):
    return during(step, lambda: os.kill(os.getpid(), signal.SIGINT)), KeyboardInterrupt


def terminate(step):
    """SIGTERM, as docker, systemd and ``timeout`` send it."""
    return during(step, lambda: os.kill(os.getpid(), signal.SIGTERM)), KeyboardInterrupt


def kill(step):
    """As if the machine were switched off: nothing of the run is asked."""

    def happens():
        raise RuntimeError("killed")

    return during(step, happens), RuntimeError


@pytest.mark.parametrize(
    ("how", "step", "goes_on_at", "save_every_s", "optim"),
    [
        (stop_with_ctrl_c, 5, 5, 300, {}),  # inside the third epoch of two steps
        (
            stop_with_ctrl_c,
            4,
            4,
            300,
            {"optimizer": "sgd", "schedule": "step", "lr": 1e-2},
        ),  # an epoch's last step
        (terminate, 3, 3, 300, {}),
        (
            kill,
            7,
            4,
            300,
            {"val_every_epochs": 2},
        ),  # in the fourth epoch; the last checkpoint is of the second
        (kill, 6, 5, 0, {"val_every_epochs": 2}),  # of the last step, inside an epoch
        (kill, 8, 6, 300, {"optimizer": "adam"}),
    ],
)
def test_a_stopped_run_goes_on_to_the_bit(
    folder, tmp_path, forgetful, monkeypatch, how, step, goes_on_at, save_every_s, optim
):
    config = four_epochs(folder, **optim)
    loop.train(config, tmp_path / "whole")
    whole, best = forgetful["module"], forgetful["best"]

    monkeypatch.setattr(PoseTask, "plain_loss", PoseTask.loss, raising=False)
    loss, error = how(step)
    monkeypatch.setattr(PoseTask, "loss", loss)
    monkeypatch.setattr(callbacks, "SAVE_EVERY_S", save_every_s)
    with pytest.raises(error):
        loop.train(config, tmp_path / "part")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    last = torch.load(tmp_path / "part" / "last.ckpt", weights_only=True)
    assert last["global_step"] == goes_on_at
    monkeypatch.setattr(PoseTask, "loss", PoseTask.plain_loss)
    if how is kill:
        for log in ("log.csv", "losses.csv", "progress.txt"):
            with (tmp_path / "part" / log).open("a") as file:
                file.write("1\0\0")  # a row that was not whole when the power went
    loop.train(config, tmp_path / "part", resume=True)
    resumed = forgetful["module"]

    assert resumed.elapsed_before_s > 0
    for name in ("net", "ema"):
        expected, got = (getattr(m, name).state_dict() for m in (whole, resumed))
        assert all(torch.equal(v, got[k]) for k, v in expected.items()), name
    states = [torch.load(tmp_path / run / "last.ckpt", weights_only=True) for run in ("whole", "part")]
    moments = [list(s["optimizer_states"][0]["state"].values()) for s in states]
    assert len(moments[0]) == len(moments[1]) > 0
    for a, b in zip(*moments, strict=True):
        assert all(torch.equal(torch.as_tensor(v), torch.as_tensor(b[k])) for k, v in a.items())
    for log in ("log.csv", "losses.csv"):
        assert rows(tmp_path / "whole" / log) == rows(tmp_path / "part" / log), log
    assert len(rows(tmp_path / "part" / "log.csv")) == 4
    assert forgetful["best"] == best
    for run in ("whole", "part"):
        lines = (tmp_path / run / "progress.txt").read_text().splitlines()
        assert [line.split("  ")[0] for line in lines] == [f"epoch {n}" for n in (1, 2, 3, 4)]


@pytest.mark.parametrize("norm", ["batch", "kept"])
def test_the_weights_that_a_run_started_from_may_be_gone(folder, tmp_path, forgetful, monkeypatch, norm):
    """Which statistics are kept, all but those of the layer that the weights lack, is told by the checkpoint."""
    weights = tmp_path / "weights.pt"
    torch.save(ForgetfulNet().state_dict(), weights)

    def net(self):
        own = ForgetfulNet()
        if self.config.start_from is not None:
            own.load_state_dict(torch.load(self.config.start_from, weights_only=True))
            for layer in [m for m in own.modules() if isinstance(m, nn.BatchNorm2d)][:-1]:
                layer.running_mean.fill_(3.0)
        return own

    monkeypatch.setattr(PoseTask, "net", net)
    config = replace(four_epochs(folder, norm=norm), start_from=str(weights))
    loop.train(config, tmp_path / "whole")
    whole = forgetful["module"].net.state_dict()
    monkeypatch.setattr(PoseTask, "plain_loss", PoseTask.loss, raising=False)
    loss, error = stop_with_ctrl_c(5)
    monkeypatch.setattr(PoseTask, "loss", loss)
    with pytest.raises(error):
        loop.train(config, tmp_path / "part")
    began = json.loads((tmp_path / "part" / "run.json").read_text())
    monkeypatch.setattr(PoseTask, "loss", PoseTask.plain_loss)
    weights.unlink()
    loop.train(config, tmp_path / "part", resume=True)
    resumed = forgetful["module"].net.state_dict()
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())
    means = [bool((value == 3.0).all()) for name, value in resumed.items() if name.endswith("running_mean")]
    assert means == [norm == "kept"] * (len(means) - 1) + [False]
    assert json.loads((tmp_path / "part" / "run.json").read_text())["parent"] == began["parent"]


def test_a_second_ctrl_c_does_not_wait(folder, tmp_path, forgetful, monkeypatch):
    steps, loss = [], PoseTask.loss

    def twice(self, raw, batch, tally=None):
        if raw.requires_grad:
            steps.append(1)
        if len(steps) == 3:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
        return loss(self, raw, batch, tally)

    monkeypatch.setattr(PoseTask, "loss", twice)
    with pytest.raises(KeyboardInterrupt):
        loop.train(four_epochs(folder), tmp_path / "run")
    assert len(steps) == 3
    assert torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)["global_step"] == 2


@pytest.fixture(scope="module")
def finished(folder, tmp_path_factory):
    """A run of one epoch, to be copied."""
    path = tmp_path_factory.mktemp("runs") / "finished"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PoseTask, "net", lambda self: TinyNet())
        patch.setattr(PoseTask, "meta", lambda self, net, **extra: {"kind": "pose", **extra})
        patch.setattr(loop, "_finish", lambda *_: None)
        loop.train(settings(folder, epochs=1), path)
    return path


def cut_off(path):
    path.write_bytes(path.read_bytes()[:3000])


def a_state_dict(path):
    torch.save({"state_dict": TinyNet().state_dict()}, path)


@pytest.mark.parametrize(
    ("change", "damage", "match"),
    [
        (lambda c: replace(c, task="detector"), None, "something else"),
        (lambda c: replace(c, pose=replace(c.pose, joints="mpii")), None, "another network"),
        (lambda c: replace(c, optim=replace(c.optim, optimizer="sgd")), None, "optimizer 'adamw' -> 'sgd'"),
        (lambda c: replace(c, loss=replace(c.loss, kind="wing")), None, "loss.kind 'heatmap' -> 'wing'"),
        (lambda c: c, cut_off, "cannot be read"),
        (lambda c: c, a_state_dict, "not the checkpoint of a training"),
        (lambda c: c, lambda path: path.write_bytes(b""), "cannot be read"),
    ],
)
def test_a_resume_that_is_refused_leaves_the_run_as_it_was(
    finished, folder, tmp_path, monkeypatch, change, damage, match
):
    run = shutil.copytree(finished, tmp_path / "run")
    monkeypatch.setattr(PoseTask, "net", lambda self: TinyNet(joints=len(self.skeleton)))
    if damage is not None:
        damage(run / "last.ckpt")
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with pytest.raises(HeightposeError, match=match):
        loop.train(change(settings(folder, epochs=2)), run, resume=True)
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_a_run_is_not_resumed_with_fewer_epochs_than_it_has_behind_it(finished, folder, tmp_path, tiny):
    run = shutil.copytree(finished, tmp_path / "run")
    loop.train(settings(folder, epochs=3), run, resume=True)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with pytest.raises(ConfigError, match=r"more epochs behind it.*at most 2, got 3.*--epochs 3"):
        loop.train(settings(folder, epochs=2), run, resume=True)
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    loop.train(settings(folder, epochs=3), run, resume=True)  # nothing left to do is no mistake


@pytest.mark.parametrize("left", ["epochs", "minutes"])
@pytest.mark.parametrize("other", ["data", "decoder"])
def test_a_finished_run_is_not_resumed_for_other_pictures(finished, folder, tmp_path, tiny, other, left):
    run = shutil.copytree(finished, tmp_path / "run")
    config = settings(folder, epochs=1) if left == "epochs" else settings(folder, epochs=9, max_minutes=1e-6)
    if other == "data":
        drawn.nursery(tmp_path / "other", train=6, val=2, seed=9)
        config = replace(config, data=replace(config.data, dirs=(str(tmp_path / "other"),)))
    else:
        config = replace(config, validation=replace(config.validation, decode="argmax"))
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with pytest.raises(ConfigError, match=r"nothing left to train.*more epochs or minutes"):
        loop.train(config, run, resume=True)
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_an_epoch_that_is_over_when_a_run_goes_on_has_no_speed(folder, tmp_path, forgetful, monkeypatch):
    monkeypatch.setattr(PoseTask, "plain_loss", PoseTask.loss, raising=False)
    monkeypatch.setattr(PoseTask, "loss", stop_with_ctrl_c(2)[0])
    with pytest.raises(KeyboardInterrupt):
        loop.train(settings(folder, batch_size=2, epochs=2), tmp_path / "run")  # in an epoch of three steps
    monkeypatch.setattr(PoseTask, "loss", PoseTask.plain_loss)
    loop.train(settings(folder, batch_size=6, epochs=2), tmp_path / "run", resume=True)
    first, second = csv.DictReader((tmp_path / "run" / "log.csv").open())
    assert first["images/s"] == ""
    assert first["loss"] != ""
    assert float(second["images/s"]) > 0


def test_a_runs_own_checkpoint_is_no_weights_to_start_from(finished):
    with pytest.raises(
        FileFormatError, match=r"checkpoint of a run of heightpose.*best\.safetensors.*--resume"
    ):
        read_state(finished / "last.ckpt")


def test_what_changed_since_is_said_where_a_run_goes_on(finished, folder, tmp_path, tiny, caplog):
    run, other = shutil.copytree(finished, tmp_path / "run"), tmp_path / "other"
    drawn.nursery(other, train=6, val=2, seed=9)
    same = settings(folder, epochs=2)
    loop.train(same, run, resume=True)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    config = settings(other, epochs=3, lr=1e-4)
    loop.train(replace(config, loss=replace(config.loss, edge_weight=3.0)), run, resume=True)
    told = "\n".join(record.getMessage() for record in caplog.records)
    assert "loss.edge_weight 1.0 -> 3.0" in told
    assert "optim.lr 0.0015 -> 0.0001" in told
    assert "other data" in told
    assert "epochs" not in told
    assert "dirs" not in told
    assert "chosen anew" in told


@pytest.mark.parametrize("other", ["data", "decoder"])
def test_the_best_of_other_pictures_is_no_measure_for_what_follows(finished, folder, tmp_path, tiny, other):
    run, config = shutil.copytree(finished, tmp_path / "run"), settings(folder, epochs=2)
    checkpoint = torch.load(run / "last.ckpt", weights_only=True)
    own = next(state for state in checkpoint["callbacks"].values() if "best_score" in state)
    own["best_score"] = 99.9  # of an easier set
    torch.save(checkpoint, run / "last.ckpt")
    loop.train(config, run, resume=True)
    before = (run / "best.safetensors").read_bytes()
    assert before == (finished / "best.safetensors").read_bytes()
    if other == "data":
        drawn.nursery(tmp_path / "other", train=6, val=2, seed=9)
        config = settings(tmp_path / "other", epochs=3)
    else:
        config = replace(settings(folder, epochs=3), validation=replace(config.validation, decode="argmax"))
    loop.train(config, run, resume=True)
    assert (run / "best.safetensors").read_bytes() != before


def test_checkpoints_without_random_state_still_go_on():
    """Those that were written before runs went on to the bit."""
    config = settings("nowhere")
    module = TrainingModule(TinyNet(), PoseTask(config), config, total_steps=100)
    module.on_load_checkpoint({"heightpose": {"elapsed_s": 3.0, "kind": "pose"}})
    assert module.elapsed_s == 3.0
    assert module.val_metrics is None


def test_the_best_may_be_of_a_validation_after_the_last_epoch(folder, tmp_path, tiny, monkeypatch):
    """That one is not in a checkpoint of an epoch's end; what goes on would take worse weights for better ones."""
    scores = iter([1.0, 5.0, 3.0])  # after the epochs 2, 3 and 4
    monkeypatch.setattr(PoseTask, "score", lambda self, metrics: next(scores))
    loop.train(settings(folder, epochs=3, val_every_epochs=2), tmp_path / "run")
    best = (tmp_path / "run" / "best.safetensors").read_bytes()
    assert tiny["best"]["epoch"] == 3
    loop.train(settings(folder, epochs=4, val_every_epochs=2), tmp_path / "run", resume=True)
    assert tiny["best"]["epoch"] == 3
    assert (tmp_path / "run" / "best.safetensors").read_bytes() == best
    assert [row["epoch"] for row in csv.DictReader((tmp_path / "run" / "log.csv").open())] == list("1234")


def test_a_resume_on_other_data_that_was_killed_at_once_is_one_the_next_time_too(
    finished, folder, tmp_path, tiny, monkeypatch, caplog
):
    run, other = shutil.copytree(finished, tmp_path / "run"), tmp_path / "other"
    drawn.nursery(other, train=6, val=2, seed=9)
    checkpoint = torch.load(run / "last.ckpt", weights_only=True)
    next(state for state in checkpoint["callbacks"].values() if "best_score" in state)["best_score"] = 99.9
    torch.save(checkpoint, run / "last.ckpt")
    with monkeypatch.context() as patch:
        patch.setattr(PoseTask, "loss", kill(1)[0])
        with pytest.raises(RuntimeError, match="killed"):
            loop.train(settings(other, epochs=2), run, resume=True)
    caplog.clear()
    loop.train(settings(other, epochs=2), run, resume=True)
    assert "chosen anew" in caplog.text
    assert tiny["best"]["epoch"] == 2


def test_a_detector_is_judged_on_other_pictures_where_others_are_not_infants():
    config = replace(
        settings("nowhere"), data=replace(settings("nowhere").data, not_infants=("source=lspet",))
    )
    pose, detector = (judged_on(replace(config, task=task), {"hash": "1"}) for task in ("pose", "detector"))
    assert pose == judged_on(settings("nowhere"), {"hash": "1"})
    assert detector != pose
