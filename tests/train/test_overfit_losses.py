"""Every loss, and every way to balance the detector's, learns one batch by heart."""

from __future__ import annotations

import csv
from dataclasses import replace

import by_heart
import drawn
import numpy as np
import pytest
import torch
from tinynet import settings

from heightpose.codec.heatmap import EXPECTATION
from heightpose.config import LOSSES, DetectorConfig, LossConfig
from heightpose.data.pictures import Pictures
from heightpose.models.checkpoint import load_weights, save_weights
from heightpose.models.onnx_graph import export_onnx
from heightpose.runtime import networks
from heightpose.runtime.networks import PoseModel
from heightpose.skeleton import INFANT
from heightpose.train import loop
from heightpose.train.pose_task import PoseTask
from heightpose.train.training_data import load_data, load_items
from heightpose.types import Detection


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return drawn.shared_nursery(tmp_path_factory, train=3, val=1)


def pose_settings(folder, loss, steps=250, lr=1e-2):
    """Of so many steps, with which the schedule ends."""
    config = settings(folder, batch_size=4, epochs=steps, lr=lr, warmup_steps=10)
    # A cross-entropy target that the map's border cuts off has its mean elsewhere: on 16 cells it has to be narrow.
    sigma = 1.0 if loss.kind == "cross_entropy" else config.pose.sigma
    pose = replace(config.pose, input_wh=(64, 64), sigma=sigma)
    hardware = replace(config.hardware, precision="32-true")
    return replace(config, pose=pose, loss=loss, hardware=hardware)


#: The shape 0 leaves nothing beside the coordinate itself.
LOSSES_AND_OPTIONS = [
    LossConfig(kind="heatmap"),
    LossConfig(kind="oks"),
    LossConfig(kind="oks", shape=0.0),
    LossConfig(kind="oks", oks_sigmas="uniform"),
    LossConfig(kind="oks", oks_sigmas="third"),
    LossConfig(kind="l1"),
    LossConfig(kind="l1", shape=0.0),
    LossConfig(kind="euclidean"),
    LossConfig(kind="smooth_l1"),
    LossConfig(kind="wing"),
    LossConfig(kind="wing", shape=0.0),
    LossConfig(kind="cross_entropy"),
]


def test_every_loss_is_among_them():
    assert {loss.kind for loss in LOSSES_AND_OPTIONS} == set(LOSSES)


@pytest.mark.parametrize("loss", LOSSES_AND_OPTIONS, ids=lambda c: f"{c.kind}-{c.oks_sigmas}-{c.shape}")
def test_a_pose_loss_learns_a_batch_by_heart(folder, tiny, loss):
    task = PoseTask(loop.for_one_batch(pose_settings(folder, loss)))
    batch = by_heart.first_batch(task)
    image = batch["image"].float()
    net = by_heart.learn(task, batch, steps=300, lr=2e-2)
    with torch.no_grad():
        learned, new = net(image), task.net()(image)
    metrics = by_heart.metrics(task, learned, batch)
    assert metrics["people"] == 3
    assert metrics["MeanSmS@0.1"] >= by_heart.LEARNED
    # every joint's own loss has fallen
    before, after = (task.joint_losses(answer, batch).mean(dim=0) for answer in (new, learned))
    assert (after < before).all()
    assert after.mean() < 0.5 * before.mean()


def test_a_whole_run_learns_a_batch_by_heart_and_logs_every_joints_loss(folder, tmp_path, tiny):
    """Of heatmaps: test_whole_runs.py."""
    steps = 150
    config = pose_settings(folder, LossConfig(kind="smooth_l1"), steps, lr=3e-2)
    run = loop.train(config, tmp_path / "run", overfit_one_batch=True)
    assert run.metrics["last"]["people"] == 3
    assert run.metrics["last"]["MeanSmS@0.1"] >= by_heart.LEARNED
    with (tmp_path / "run" / "losses.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == steps
    assert list(rows[0]) == ["epoch", "step", *INFANT.names]
    assert all(float(rows[-1][name]) < 0.5 * float(rows[0][name]) for name in INFANT.names)


@pytest.mark.parametrize("balance", ["uncertainty", "gradnorm"])  # fixed weights: test_whole_runs.py
def test_the_detector_learns_a_batch_by_heart_however_its_losses_are_balanced(
    folder, tmp_path, monkeypatch, balance
):
    config = settings(folder, batch_size=4, epochs=45, lr=2e-2, warmup_steps=10)
    config = replace(
        config,
        task="detector",
        loss=LossConfig(balance=balance),
        detector=DetectorConfig(width=32),
        hardware=replace(config.hardware, precision="32-true"),
    )
    kept = {}
    monkeypatch.setattr(loop, "_finish", lambda out, task, module, *rest: kept.update(module=module))
    loop.train(config, tmp_path / "run", overfit_one_batch=True)
    learnt = kept["module"].val_metrics
    assert (learnt["infants"], learnt["empties"]) == (3, 1)
    assert learnt["recall@0.5"] == 1.0
    assert learnt["false alarms"] == 0.0
    assert learnt["head >20 deg"] == 0.0
    with (tmp_path / "run" / "losses.csv").open() as file:
        rows = list(csv.DictReader(file))
    parts = ["presence", "box", "angle"]
    weights = [f"{p} weight" for p in parts]
    assert list(rows[0]) == ["epoch", "step", *parts, *weights]
    assert all(float(rows[-1][p]) < 0.5 * float(rows[0][p]) for p in parts)
    assert all(abs(float(rows[-1][w]) - float(rows[0][w])) > 0.01 for w in weights)  # they are learned


def test_files_of_a_net_trained_by_expectation_are_read_by_expectation(folder, tmp_path, monkeypatch):
    """Validation while training, the weights file and the exported graph in the runtime: one decoder."""
    monkeypatch.setattr(networks, "brightened", lambda picture: picture)  # these pictures are dark
    task = PoseTask(pose_settings(folder, LossConfig(kind="smooth_l1")))
    torch.manual_seed(0)
    net = task.net().eval()
    with torch.no_grad():
        net.head.out.weight.mul_(1000.0)  # not next to nothing, as a new net's: maps with a shape
    meta = task.meta(net)
    assert meta["decoder"] == EXPECTATION
    save_weights(tmp_path / "pose.safetensors", net.state_dict(), meta)
    loaded, _ = load_weights(tmp_path / "pose.safetensors")
    export_onnx(loaded, tmp_path / "pose.onnx", meta)

    validation = load_data(task.config, task)[1]
    batch = next(iter(validation))
    with torch.no_grad():
        (validated, _, _), *_ = task.validate(loaded(batch["image"].float()), batch)
    item = validation.samples.item(0)
    picture = validation.samples.pictures.picture(validation.samples.entries[0][0])
    _, person, angle = validation.samples.entries[0]
    assert item.people[0] is person
    for name, backend in (("pose.onnx", "onnxruntime"), ("pose.safetensors", "torch")):
        model = PoseModel.load(str(tmp_path / name), backend=backend, tta="none")
        assert model.codec == task.codec
        (found,) = model.estimate([picture], [Detection(person.bbox_xyxy, angle, 1.0)])
        assert abs(found.kpts_frame - validated).max() < 0.05  # weights are stored in half precision
        assert (found.scores <= 1.0).all()


def test_a_coordinate_loss_leaves_out_joints_off_the_map(folder):
    """The expectation of a map cannot be outside it, however the net answers; a heatmap's flank can."""
    tasks_of = {kind: PoseTask(pose_settings(folder, LossConfig(kind=kind))) for kind in ("heatmap", "l1")}
    sample = tasks_of["l1"].samples(Pictures(load_items(tasks_of["l1"].config.data)[0]), None)
    one = sample.sample(0, np.random.default_rng(0))
    kpts = one.kpts_crop.copy()
    kpts[3] = -3.0, 10.0  # less than a heatmap pixel outside
    weights = {k: t.collate([replace(one, kpts_crop=kpts)])["weights"][0, 3] for k, t in tasks_of.items()}
    assert weights["heatmap"] > 0
    assert weights["l1"] == 0
