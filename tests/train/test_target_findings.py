"""Targets, mirrored labels and joints' names: right ones are told nothing, mistakes are named."""

from __future__ import annotations

from dataclasses import replace

import drawn
import numpy as np
import pytest
import torch
from diagnosed import config_of
from torch import nn

from heightpose.codec.heatmap import HeatmapCodec
from heightpose.data.samples import PoseSamples
from heightpose.skeleton import INFANT, Skeleton
from heightpose.train import diagnostics
from heightpose.train.gaze import Gaze
from heightpose.train.observed import Evidence, Look
from heightpose.train.pose_task import PoseTask
from heightpose.train.target_tally import TargetTally, reach, share_off_picture
from heightpose.train.training_data import load_data

JOINTS = 21


def batches(folder, epochs=3):
    config = config_of(folder)
    task = PoseTask(config)
    training, _, _ = load_data(config, task)
    tally = TargetTally(task)
    for _ in range(epochs):
        for batch in training:
            tally.add(batch, maps=True)
    names = task.skeleton.names
    return Evidence(targets=tally.targets(), joints=names, flip_map=tuple(task.skeleton.flip_map.tolist()))


def test_targets_and_mirrored_labels_that_are_right(folder):
    evidence = batches(folder)
    assert diagnostics.flip_map(evidence) is None
    assert diagnostics.target_scale(evidence) is None
    assert min(evidence.targets.plain_n) >= 8
    assert min(evidence.targets.mirrored_n) >= 8


def test_flip_pairs_that_are_not_the_names(folder, monkeypatch):
    wrong = INFANT.flip_map.copy()
    a, b = INFANT.indices("left_wrist", "left_elbow")
    wrong[[a, b]] = wrong[[b, a]]
    monkeypatch.setitem(INFANT.__dict__, "flip_map", wrong)
    found = diagnostics.flip_map(batches(folder))
    assert "left_wrist with right_elbow" in found.seen


@pytest.mark.parametrize("mistake", ["none swapped", "wrist with elbow"])
def test_flip_pairs_that_only_the_mirrored_labels_betray(folder, monkeypatch, mistake):
    wrong = Skeleton(INFANT.names, INFANT.init_from, INFANT.loss_weights)
    order = np.arange(JOINTS)
    if mistake != "none swapped":
        order = INFANT.flip_map.copy()
        ours = INFANT.indices("left_wrist", "left_elbow")
        order[ours] = order[ours[::-1]]
    wrong.__dict__["flip_map"] = order
    monkeypatch.setattr(
        PoseTask, "samples", lambda self, pictures, how: PoseSamples(pictures, self.codec, how, wrong)
    )
    # Two joints of one arm lie close together: that takes more samples to tell.
    found = diagnostics.flip_map(batches(folder, epochs=3 if mistake == "none swapped" else 12))
    assert found.severity == 3
    swapped = [("left_wrist", "right_elbow")] if mistake != "none swapped" else [("right_knee", "right_knee")]
    for joint, other in swapped:
        assert f"{joint} is the mirror image of {other}" in found.seen


def scaled_encode(place, height):
    whole = HeatmapCodec.encode

    def encode(self, kpts_crop, labelled):
        maps, weights = whole(self, np.asarray(kpts_crop) * place, labelled)
        return maps * np.float32(height), weights

    return encode


@pytest.mark.parametrize(
    ("place", "height", "words"), [(2.0, 1.0, "lie at 2"), (0.5, 1.0, "lie at 0.5"), (1.0, 2.0, "peak at 2")]
)
def test_targets_off_by_a_scale(folder, monkeypatch, place, height, words):
    monkeypatch.setattr(HeatmapCodec, "encode", scaled_encode(place, height))
    found = diagnostics.target_scale(batches(folder))
    assert found.name == "target-scale"
    assert words in found.seen


def test_a_joint_that_no_picture_teaches_is_named(run, folder, tmp_path):
    drawn.nursery(tmp_path / "set", train=8, val=4)
    heel = INFANT.index("left_heel")

    def without_heel(document):
        for annotation in document["annotations"]:
            annotation["keypoints"][3 * heel : 3 * heel + 3] = [0, 0, 0]

    drawn.rewrite(tmp_path / "set", without_heel)
    found, e = run(config=config_of(tmp_path / "set", epochs=2))
    assert "no training picture teaches left_heel:" in found["unlabelled-joint"]["seen"]
    assert e.targets.learners[heel] == 0 < min(n for k, n in enumerate(e.targets.learners) if k != heel)
    unweighed = config_of(folder, epochs=2)
    unweighed = replace(unweighed, loss=replace(unweighed.loss, edge_weight=0.0))
    found, _ = run(name="other", config=unweighed)
    assert "crown, left_heel, right_heel, left_toe, right_toe" in found["unlabelled-joint"]["seen"]


def test_labels_of_pictures_of_another_size(folder, tmp_path):
    drawn.nursery(tmp_path / "big", train=6, val=1)

    def twice(document):
        for annotation in document["annotations"]:
            kpts = np.array(annotation["keypoints"], dtype=float).reshape(-1, 3)
            kpts[:, :2] *= 2
            annotation["keypoints"] = kpts.ravel().tolist()
            annotation["bbox"] = [2 * v for v in annotation["bbox"]]

    drawn.rewrite(tmp_path / "big", twice)
    share = share_off_picture(drawn_items(tmp_path / "big"))
    assert share > 0.3
    assert share_off_picture(drawn_items(folder)) < 0.05
    found = diagnostics.target_scale(
        replace(Evidence(), targets=replace(Evidence().targets, off_picture=share))
    )
    assert "off their picture" in found.seen


def test_labels_of_pictures_half_as_large_end_in_the_middle(run, folder, tmp_path):
    drawn.nursery(tmp_path / "half", train=24, val=2)

    def halved(document):
        for annotation in document["annotations"]:
            kpts = np.array(annotation["keypoints"], dtype=float).reshape(-1, 3)
            kpts[:, :2] /= 2
            annotation["keypoints"] = kpts.ravel().tolist()
            annotation["bbox"] = [v / 2 for v in annotation["bbox"]]

    drawn.rewrite(tmp_path / "half", halved)
    assert reach(drawn_items(folder)) > 0.8
    found, _ = run(config=config_of(tmp_path / "half", epochs=1, val_every_epochs=1))
    assert "no label lies further right or down than 4" in found["target-scale"]["seen"]
    assert reach(drawn_items(tmp_path / "half")[:3]) == 1.0  # too few to tell


def drawn_items(path):
    from heightpose.data.coco import Dataset

    return Dataset.load(path).items


def test_predictions_off_by_a_scale_and_joints_taken_for_others(folder):
    """A net whose answers are known: the truth, then twice as far out, then with sides swapped."""
    config = config_of(folder)
    task = PoseTask(config)
    _, validation, _ = load_data(config, task)
    batch = next(iter(validation))
    truth = batch["kpts_crop"]

    def seen(kpts):
        maps, _ = task.codec.encode(kpts, np.ones(kpts.shape[:2], dtype=bool))
        net = nn.Identity()
        gaze = Gaze(net, task)
        net(torch.from_numpy(maps))
        gaze.add(batch)
        gaze.close()
        return Evidence(looks=(gaze.into(Look(100, 1.0)),))

    right = seen(truth)
    assert diagnostics.diagnose(right) == []
    assert right.looks[0].scale == pytest.approx(1.0, abs=0.03)
    half = seen(0.5 * truth)
    assert half.looks[0].scale == pytest.approx(0.5, abs=0.03)
    assert "predictions lie at 0.4" in diagnostics.target_scale(half).seen
    sides = seen(truth[:, INFANT.flip_map])
    found = diagnostics.taken_for(sides)
    assert found.name == "joints-swapped"
    assert "heightpose data check" in found.advice[0]
    assert diagnostics.taken_for(replace(sides, looks=(replace(sides.looks[0], midline_error=0.3),))) is None
