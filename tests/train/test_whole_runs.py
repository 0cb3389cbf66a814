"""Whole runs of the real networks: they learn a batch by heart, and their files work in the runtime."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from heightpose.codec.detection import iou
from heightpose.config import (
    DataConfig,
    DetectorConfig,
    HardwareConfig,
    LossConfig,
    OptimConfig,
    PoseConfig,
    TrainConfig,
)
from heightpose.data.coco import Dataset
from heightpose.data.items import head_angle_deg
from heightpose.data.pictures import Pictures
from heightpose.errors import ConfigError
from heightpose.models.checkpoint import load_weights, save_weights
from heightpose.runtime.networks import Detector, PoseModel
from heightpose.train import loop
from heightpose.train.pose_task import PoseTask
from heightpose.types import Detection, wrap_degrees

#: Steps, which are epochs here, and a learning rate that learn three infants by heart.
BY_HEART = {"epochs": 140, "lr": 1e-2}


@pytest.fixture(scope="module")
def folder(three_infants):
    """Three infants and an empty cot to train on."""
    return three_infants


def settings(folder, task, **optim):
    return TrainConfig(
        task=task,
        data=DataConfig(dirs=(str(folder),)),
        pose=PoseConfig(input_wh=(64, 64), sigma=1.5),
        detector=DetectorConfig(width=32),
        optim=OptimConfig(batch_size=4, **optim),
        hardware=HardwareConfig(threads=1, accelerator="cpu", precision="32-true"),
    )


def training_pictures(folder):
    items = Dataset.load(folder).subset("train").items
    pictures = Pictures(items)
    return [(item, pictures.picture(i)) for i, item in enumerate(items)]


def same_in_torch(run, backend):
    """The exported graph gives what the saved weights give."""
    model, meta = load_weights(run.weights)
    width, height = meta["input_wh"]
    image = torch.rand(2, 3, height, width) * 255
    with torch.no_grad():
        expected = getattr(model, "forward_export", model)(image).numpy()
    # two runtimes sum in another order; a net that learned by heart has large weights (box sides: units of 64 px)
    np.testing.assert_allclose(backend.run(image.numpy()), expected, rtol=0.01, atol=0.02)


@pytest.fixture(scope="module")
def by_heart(folder, tmp_path_factory):
    """A pose net that knows three infants."""
    config = settings(folder, "pose", **BY_HEART)
    return loop.train(config, tmp_path_factory.mktemp("by heart") / "run", overfit_one_batch=True)


def test_the_pose_net_learns_a_batch_by_heart_and_the_runtime_reads_it(folder, by_heart):
    run = by_heart
    config = settings(folder, "pose", **BY_HEART)
    assert run.metrics["last"]["MeanSmS@0.1"] >= 99
    assert run.metrics["last"]["people"] == 3
    assert run.metrics["on train"]["MeanSmS@0.1"] >= 99
    assert abs(run.metrics["overfit"]) < 1  # both figures are of the same pictures here

    written = json.loads((run.folder / "metrics.json").read_text())
    assert written["best"]["step"] <= written["steps"] == config.optim.epochs
    assert written["data"]["train"]["samples"] == 3
    assert TrainConfig.load(run.folder / "config.yaml") == loop.for_one_batch(config)
    assert load_weights(run.weights)[1]["validation"] == written["best"]

    pose = PoseModel.load(str(run.onnx), backend="openvino", tta="none", precision="f32")
    same_in_torch(run, pose.backend)
    for item, rgb in training_pictures(folder):
        for person in item.people:
            angle = head_angle_deg(person.kpts_frame, person.visibility > 0)
            (found,) = pose.estimate([rgb], [Detection(person.bbox_xyxy, angle, 1.0)])
            errors = np.linalg.norm(found.kpts_frame - person.kpts_frame, axis=1)
            assert np.median(errors) < 1.6  # px of the picture; a tenth of the head


def test_the_detector_learns_a_batch_by_heart_and_the_runtime_reads_it(folder, tmp_path):
    run = loop.train(
        settings(folder, "detector", epochs=50, lr=2e-2), tmp_path / "run", overfit_one_batch=True
    )
    with (tmp_path / "run" / "losses.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["epoch", "step", "presence", "box", "angle"]
    assert all(float(rows[-1][p]) < 0.5 * float(rows[0][p]) for p in ("presence", "box", "angle"))
    learnt = run.metrics["last"]
    assert (learnt["infants"], learnt["empties"]) == (3, 1)
    assert learnt["recall@0.5"] == 1.0
    assert learnt["false alarms"] == 0.0
    assert learnt["head >20 deg"] == 0.0

    # It learned three pictures as they are by heart and never saw them mirrored.
    detector = replace(Detector.load(str(run.onnx), backend="onnxruntime"), mirror=False)
    same_in_torch(run, detector.backend)
    for item, rgb in training_pictures(folder):
        (found,) = detector.detect([rgb])
        assert len(found) == len(item.people)
        for one, person in zip(found, item.people, strict=True):
            angle = head_angle_deg(person.kpts_frame, person.visibility > 0)
            assert iou(one.bbox_xyxy, person.bbox_xyxy) > 0.7
            assert abs(wrap_degrees(one.head_angle_deg - angle)) < 15


@pytest.mark.parametrize("task", ["pose", "detector"])
def test_a_time_limit_in_the_first_epoch_still_leaves_validated_weights(folder, tmp_path, task):
    config = settings(folder, task, epochs=1000, max_minutes=1e-6, val_every_epochs=500)
    config = replace(config, optim=replace(config.optim, batch_size=1))
    run = loop.train(config, tmp_path / "run")
    written = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert written["steps"] == 1
    assert written["best"]["step"] == 1
    assert run.onnx.is_file()
    assert load_weights(run.weights)[1]["kind"] == task
    assert "of 1e-06" in (tmp_path / "run" / "progress.txt").read_text()
    assert (tmp_path / "run" / "last.ckpt").is_file()


def test_crops_made_on_the_device_teach_the_same(folder, tmp_path, tiny):
    config = settings(folder, "pose", epochs=130, lr=3e-2)
    data, pose = replace(config.data, on_device=True), replace(config.pose, sigma=1.0)
    # Of the losses on the maps that the device draws the one that learns within the fewest steps.
    config = replace(config, data=data, pose=pose, loss=LossConfig(kind="cross_entropy"))
    run = loop.train(config, tmp_path / "run", overfit_one_batch=True)
    assert run.metrics["last"]["MeanSmS@0.1"] >= 99  # judged on the processor's crops


def test_a_student_learns_its_teachers_answer(folder, tmp_path, by_heart):
    teacher = by_heart.weights
    config = settings(folder, "pose", epochs=20, lr=2e-3)
    # Where the teacher alone is believed, the labels may be anywhere: here they are not looked at.
    loss = replace(config.loss, teacher=str(teacher), teacher_share=1.0)
    task = PoseTask(replace(config, loss=loss))
    samples = task.samples(Pictures(Dataset.load(folder).subset("train").items), None)
    batch = task.collate([samples.sample(i, np.random.default_rng(0)) for i in range(len(samples))])
    taught = task.taught(batch)
    net, _ = load_weights(teacher)
    with torch.no_grad():
        answer = net(batch["image"].float())
    torch.testing.assert_close(taught["heatmaps"], answer.clamp(0, 1))
    assert float(task.loss(answer.clamp(0, 1), taught)) == pytest.approx(0, abs=1e-6)

    half = PoseTask(replace(config, loss=replace(loss, teacher_share=0.25))).taught(batch)
    torch.testing.assert_close(half["heatmaps"], 0.75 * batch["heatmaps"] + 0.25 * answer.clamp(0, 1))
    loss = replace(loss, teacher_share=0.5)
    student = replace(config, loss=loss, start_from=str(teacher))
    run = loop.train(student, tmp_path / "student", overfit_one_batch=True)
    assert run.metrics["last"]["MeanSmS@0.1"] >= 99


def test_a_teacher_must_answer_in_the_students_form(folder, tmp_path):
    config = settings(folder, "pose", epochs=1)
    teacher = loop.train(config, tmp_path / "teacher").weights
    taught = replace(config.loss, teacher=str(teacher))
    wrong = [
        replace(config, pose=replace(config.pose, input_wh=(96, 96)), loss=taught),
        replace(config, pose=replace(config.pose, joints="mpii"), loss=taught),
        replace(config, loss=replace(taught, kind="l1")),
        replace(config, pose=replace(config.pose, head="regression"), loss=taught),
        replace(config, task="detector", loss=taught),
    ]
    for one in wrong:
        with pytest.raises(ConfigError, match=r"teacher"):
            loop.train(one, tmp_path / "student")
    assert not (tmp_path / "student").exists()


@pytest.mark.parametrize(
    "changes", [{"loss": LossConfig(kind="l1")}, {"pose": PoseConfig(head="regression")}]
)
def test_a_teacher_that_was_not_trained_on_heatmaps_is_refused(folder, tmp_path, changes):
    config = settings(folder, "pose", epochs=1)
    pose = replace(config.pose, head=changes["pose"].head) if "pose" in changes else config.pose
    other = replace(config, pose=pose, loss=changes.get("loss", config.loss))
    task = PoseTask(other)
    net = task.net()
    save_weights(tmp_path / "teacher.safetensors", net.state_dict(), task.meta(net))
    taught = replace(config.loss, teacher=str(tmp_path / "teacher.safetensors"))
    with pytest.raises(ConfigError, match=r"another form.*loss.kind heatmap"):
        PoseTask(replace(config, loss=taught))


def test_a_detector_is_not_fed_from_the_device(folder, tmp_path):
    config = settings(folder, "detector", epochs=1)
    config = replace(config, data=replace(config.data, on_device=True))
    with pytest.raises(ConfigError, match=r"data\.on_device"):
        loop.train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
