"""Trainings that are really broken, each in its own way, and what is said of them; and one that is not broken."""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import math
from dataclasses import replace

import drawn
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from tinynet import TinyNet, settings
from torch import nn

from heightpose.cli.doctor_verbs.train import train as doctor_train
from heightpose.codec.heatmap import HeatmapCodec
from heightpose.config import DataConfig, DiagnosticsConfig
from heightpose.data.samples import PoseSamples
from heightpose.errors import FileFormatError, HeightposeError, InputError
from heightpose.models.checkpoint import save_weights
from heightpose.models.description import pose_meta
from heightpose.models.pose_net import PoseNet
from heightpose.skeleton import INFANT, Skeleton
from heightpose.train import checkup, diagnostics, loop, observe
from heightpose.train.gaze import Gaze
from heightpose.train.learning_rate import rate_too_high, rate_too_low
from heightpose.train.observed import DIAGNOSTICS, Evidence, Look, Stretch, Swap, read_evidence
from heightpose.train.pose_task import PoseTask
from heightpose.train.target_tally import TargetTally, reach, share_off_picture
from heightpose.train.training_data import load_data

JOINTS = 21
LR = 1e-2


class OnePose(nn.Module):
    """The same maps whatever it sees: what it learns is the mean pose."""

    def __init__(self):
        super().__init__()
        self.maps = nn.Parameter(0.01 * torch.randn(1, JOINTS, 16, 16))

    def forward(self, image):
        return self.maps.expand(len(image), -1, -1, -1)


class Silenced(TinyNet):
    """One joint's map is cut off."""

    def forward(self, image):
        keep = torch.ones(JOINTS)
        keep[INFANT.index("left_knee")] = 0.0
        return super().forward(image) * keep[:, None, None]


def small(width=24):
    return TinyNet(width=width)


def only_biases_of_the_head():
    net = small().requires_grad_(False)
    net.net[-1].bias.requires_grad_(True)
    return net


def a_third_of_a_layer_dead():
    net = small()
    with torch.no_grad():  # below zero at every input: the unit gets no gradient and never comes back
        net.net[1].weight[:8], net.net[1].bias[:8] = 0.0, -1.0
    return net


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "set"
    drawn.nursery(path, train=24, val=12)
    return path


def config_of(folder, **optim):
    optim = {"epochs": 16, "batch_size": 8, "lr": LR, "val_every_epochs": 8, "ema_decay": 0.9} | optim
    config = settings(folder, **optim)
    return replace(config, pose=replace(config.pose, input_wh=(64, 64)))


@pytest.fixture
def run(folder, tmp_path, tiny, monkeypatch):
    """Trains and returns what ``diagnostics.json`` holds, as (findings by name, evidence)."""

    def go(net=small, name="run", config=None, one_batch=False, **optim):
        monkeypatch.setattr(PoseTask, "net", lambda self: net())
        config = config_of(folder, **optim) if config is None else config
        with contextlib.suppress(HeightposeError):  # of a loss that broke off, which the evidence tells
            loop.train(config, tmp_path / name, overfit_one_batch=one_batch)
        found = json.loads((tmp_path / name / DIAGNOSTICS).read_text())["findings"]
        return {f["name"]: f for f in found}, read_evidence(tmp_path / name / DIAGNOSTICS)

    return go


def test_a_healthy_run_is_told_nothing(run, tmp_path, caplog):
    with caplog.at_level(logging.WARNING, logger="heightpose"):
        found, evidence = run()
    assert found == {}
    assert not caplog.records
    assert [look.step for look in evidence.looks] == [24, 48]
    assert [s.first for s in evidence.stretches] == list(range(1, 49))
    assert evidence.stretches[-1].loss < evidence.stretches[0].loss
    assert (evidence.looks[-1].samples, evidence.looks[-1].channels) == (12, 96)
    assert evidence.targets.map_scale == pytest.approx(1.0, abs=0.02)
    assert evidence.targets.peak == pytest.approx(1.0, abs=0.05)
    assert json.loads(json.dumps(diagnostics.report(evidence)))["findings"] == []


@pytest.mark.parametrize("kind", ["l1", "cross_entropy"])
def test_a_young_net_that_is_read_by_its_expectation_is_told_nothing(run, folder, kind):
    """Its places are drawn to the middle, and its toes lie on ankles before they lie on toes."""
    config = config_of(folder)
    found, evidence = run(config=replace(config, loss=replace(config.loss, kind=kind)))
    assert found == {}
    last = evidence.looks[-1]
    assert last.mean_scale == pytest.approx(1.0, abs=0.05)
    if kind == "cross_entropy":
        assert last.scale < 0.85
        off = replace(evidence, looks=(replace(last, mean_scale=0.8),))
        assert "predictions lie at 0." in diagnostics.target_scale(off).seen


def test_one_way_a_joint_is_not_found_yet_and_both_ways_names_are_mixed_up():
    def told(*swaps):
        look = Look(100, 1.0, swaps=tuple(Swap(*s) for s in swaps))
        return diagnostics.taken_for(Evidence(looks=(look,)))

    assert told(("left_toe", "left_ankle", 0.4, 30)) is None
    assert (
        told(("left_toe", "left_ankle", 0.4, 10), ("left_ankle", "left_toe", 0.4, 10)) is None
    )  # 4 pictures
    assert (
        "left_toe on" in told(("left_toe", "left_ankle", 0.4, 30), ("left_ankle", "left_toe", 0.2, 30)).seen
    )
    assert "left_toe on" in told(("left_toe", "left_ankle", 0.7, 30)).seen


def test_one_pose_for_all_is_a_collapse_and_is_told_once(run, tmp_path, caplog):
    with caplog.at_level(logging.WARNING, logger="heightpose"):
        found, evidence = run(OnePose, lr=0.1, val_every_epochs=4)
    assert "hardly vary" in found["collapse"]["seen"]
    assert evidence.looks[-1].pred_spread == 0.0
    assert len(evidence.looks) == 4
    told = [r.getMessage() for r in caplog.records if r.getMessage().startswith("collapse")]
    assert len(told) == 1
    assert "Try: train longer: 24 steps are few; run --overfit-one-batch" in told[0]
    assert "train longer: 48 steps are few" in found["collapse"]["advice"]
    early, last = replace(evidence.looks[0], progress=0.5), evidence.looks[-1]
    for looks in ((replace(early, progress=0.01),) * 2, (early,)):  # one validation may be a bad moment
        assert diagnostics.collapse(replace(evidence, looks=looks)) is None
    assert diagnostics.collapse(replace(evidence, looks=(early, early))) is not None
    assert diagnostics.collapse(replace(evidence, looks=(early, early), warmup_steps=80)) is None
    assert diagnostics.collapse(replace(evidence, looks=(last,), warmup_steps=80)) is not None


def test_one_batch_that_is_not_learned_by_heart(run):
    found, evidence = run(OnePose, lr=0.1, epochs=30, one_batch=True, batch_size=6)
    assert "cannot overfit one batch" in found["one-batch"]["seen"]
    assert "overfit" not in found
    learned = replace(evidence.looks[-1], score=99.5)
    assert diagnostics.one_batch(replace(evidence, looks=(learned,))) is None
    assert diagnostics.one_batch(replace(evidence, one_batch=False)) is None


def test_a_net_that_is_frozen_does_not_move(run):
    found, _ = run(only_biases_of_the_head)
    assert "do not move at all" in found["rate-too-low"]["seen"]


@pytest.mark.parametrize(
    ("factor", "optimizer", "name"),
    [(100, "adamw", "rate-too-high"), (1e-3, "adamw", "rate-too-low"), (1e-4, "sgd", "rate-too-low")],
)
def test_a_learning_rate_far_off(run, factor, optimizer, name):
    found, evidence = run(lr=LR * factor, optimizer=optimizer, epochs=12)
    rates = {"rate-too-high", "rate-too-low"}
    assert rates & set(found) == {name}
    assert f"{LR * factor:.2g}" in found[name]["seen"]
    # Small steps are no fault of a run whose loss comes down with them, and large ones of none that stays whole.
    fine = tuple(replace(s, loss=10.0 / s.last) for s in evidence.stretches)
    assert rate_too_low(replace(evidence, stretches=fine)) is None
    fine = tuple(replace(s, update=0.1, length=1.5) for s in fine)
    assert rate_too_high(replace(evidence, stretches=fine)) is None


def test_a_loss_says_that_steps_throw_the_weights_about():
    def told(*losses):
        steps = tuple(Stretch(k, k, float(loss), 0.1, 0.1, 1.0) for k, loss in enumerate(losses, 1))
        finding = rate_too_high(Evidence(stretches=steps))
        return "" if finding is None else finding.seen

    fallen = np.geomspace(1.0, 0.01, 30)
    # HRNet and the like under a rate 100 times too high: up at once, and back when the rate is down again.
    assert "rose from 0.98 to" in told(0.98, 40, 17, 7, 20, 6, 4, 3, 1.5, *np.full(20, 0.9))
    assert told(0.98, 40, 17, 7, 20, 6, 4, 3, 1.5, *fallen) == ""
    assert "had come down to 0.01" in told(*fallen, *np.full(6, 0.5))
    assert told(*fallen, *np.full(6, 0.04)) == ""  # four-fold, and next to nothing
    assert (
        told(*(3.0 * fallen - 1.0), *np.full(6, -0.9)) == ""
    )  # learned weights of losses: it may be negative
    assert "had come down to -" in told(*(3.0 * fallen - 1.0), *np.full(6, 0.5))


def test_a_loss_that_is_no_number_any_more(run, monkeypatch):
    whole = PoseTask.loss

    def broken(self, raw, batch, tally=None):
        loss = whole(self, raw, batch, tally)
        return loss * (1.0 if raw.mean() < 1e9 and broken.calls() < 20 else math.nan)

    count = iter(range(10**6))
    broken.calls = lambda: next(count)
    monkeypatch.setattr(PoseTask, "loss", broken)
    found, evidence = run(val_every_epochs=16)
    assert evidence.diverged is not None
    assert "not a number" in found["rate-too-high"]["seen"]


def test_a_loss_that_only_the_validation_sees_break_off(run, monkeypatch, tmp_path):
    whole = PoseTask.loss

    def broken(self, raw, batch, tally=None):
        return whole(self, raw, batch, tally) * (1.0 if raw.requires_grad else math.inf)

    monkeypatch.setattr(PoseTask, "loss", broken)
    found, evidence = run(val_every_epochs=1)
    assert evidence.diverged == 3
    assert "step 3" in found["rate-too-high"]["seen"]
    assert "rate-too-high" in [
        finding.name for finding in checkup.check(tmp_path / "run", look=False).findings
    ]


@pytest.mark.parametrize(
    ("net", "words"), [(Silenced, "left_knee"), (a_third_of_a_layer_dead, "8 of 24 in net.2")]
)
def test_dead_channels_are_named(run, net, words):
    found, evidence = run(net, epochs=4, val_every_epochs=4)
    assert words in found["dead-channels"]["seen"]
    early = replace(evidence, looks=(replace(evidence.looks[0], progress=0.1, silent=()),))
    assert diagnostics.dead_channels(early) is None
    alive = replace(evidence.looks[-1], dead=(), silent=())
    assert diagnostics.dead_channels(replace(evidence, looks=(alive,))) is None


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


def test_causes_are_told_before_what_follows_from_them(run):
    found, _ = run(lr=1.0)
    assert list(found)[:2] == ["rate-too-high", "collapse"]


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


def test_overfit_is_judged_by_the_setting(run, folder):
    config = config_of(folder, epochs=100, batch_size=3, val_every_epochs=100)
    config = replace(
        config,
        pose=replace(config.pose, input_wh=(96, 96)),
        data=DataConfig(dirs=config.data.dirs, limit=3),
        augment=replace(config.augment, enabled=False),
        diagnostics=DiagnosticsConfig(overfit_limit=8.0),
    )
    found, evidence = run(TinyNet, config=config)
    gap = evidence.looks[-1].overfit
    assert gap > 8
    assert f"{gap:.1f} points lower on validation" in found["overfit"]["seen"]
    assert diagnostics.overfit(replace(evidence, overfit_limit=gap + 1)) is None


def test_what_was_seen_before_a_stop_counts_after_it(run, folder, tmp_path, tiny):
    run(epochs=2, val_every_epochs=1)
    loop.train(config_of(folder, epochs=3, val_every_epochs=1), tmp_path / "run", resume=True)
    evidence = read_evidence(tmp_path / "run" / DIAGNOSTICS)
    assert [s.last for s in evidence.stretches] == list(range(1, 10))
    assert [look.step for look in evidence.looks] == [3, 6, 9]


def test_long_runs_are_told_in_few_rows():
    steps = tuple(Stretch(k, k, float(k), 1.0, 0.5) for k in range(1, 5001))
    rows = observe.joined(steps)
    assert len(rows) < 250
    assert [r.first for r in rows[:50]] == list(range(1, 51))
    assert all(a.last + 1 == b.first for a, b in itertools.pairwise(rows))
    assert rows[-1].last == 5000
    assert rows[100].loss == pytest.approx((rows[100].first + rows[100].last) / 2)


def test_doctor_reads_a_run_with_its_weights(folder, tmp_path):
    """A real network whose left knee is cut off and whose log says that it overfits."""
    path, config = tmp_path / "run", config_of(folder)
    path.mkdir()
    config = replace(config, pose=replace(config.pose, backbone="hrnet_w18_small"))
    task = PoseTask(config)
    torch.manual_seed(0)
    net = task.net().eval()
    assert isinstance(net, PoseNet)
    last = [m for m in net.modules() if isinstance(m, nn.Conv2d)][-1]
    with torch.no_grad():
        last.weight[4] = 0.0
    save_weights(path / "pose.safetensors", net.state_dict(), pose_meta(net, INFANT.names, task.codec))
    (path / "config.yaml").write_text(json.dumps(config.to_dict()))
    log_rows = ["epoch,step,loss,lr,Mean@0.1,MeanSmS@0.1,train Mean@0.1,overfit,val loss"]
    log_rows += ["1,10,1.0,0.001,,,,,", "2,20,0.5,0.001,30.0,35.0,60.0,30.0,0.6"]
    (path / "log.csv").write_text("\n".join(log_rows) + "\n")
    found = checkup.check(path)
    assert {"dead-channels", "overfit"} <= {f.name for f in found.findings}
    dead = next(f for f in found.findings if f.name == "dead-channels")
    assert INFANT.names[4] in dead.seen
    assert "pose.safetensors on 12 validation samples" in found.sources
    severities = [f.severity for f in found.findings]
    assert severities == sorted(severities, reverse=True)

    records = checkup.check(path, look=False)
    assert [f.name for f in records.findings] == ["overfit"]
    assert checkup.check(path, look=False, limit=50.0).findings == ()


def test_doctor_on_the_command_line(run, tmp_path):
    run(epochs=2, val_every_epochs=2)
    folder = tmp_path / "run"

    def call(*options):
        return CliRunner().invoke(doctor_train, [str(folder), *options], standalone_mode=False)

    fine = call("--no-look", "--strict")
    assert fine.return_value == 0
    assert "nothing found" in fine.output
    # Nothing that this version can load: the records are read all the same.
    assert "not looked at: weights" in call().output

    document = json.loads((folder / DIAGNOSTICS).read_text())
    document["evidence"]["looks"][-1]["overfit"] = 40.0
    (folder / DIAGNOSTICS).write_text(json.dumps(document))
    found = call("--no-look")
    assert found.return_value == 0
    assert "1. overfit" in found.output
    assert "try: " in found.output
    strict = call("--no-look", "--strict", "--json")
    assert strict.return_value == 1
    assert [f["name"] for f in json.loads(strict.stdout)["findings"]] == ["overfit"]


@pytest.mark.parametrize(
    "text", ["", "[]", '{"schema": 2}', '{"schema": 1, "evidence": {"looks": [{"stp": 1}]}}']
)
def test_damaged_records_are_named(tmp_path, text):
    with pytest.raises(InputError, match="no training run"):
        checkup.check(tmp_path)
    (tmp_path / "config.yaml").write_text("task: pose\n")
    (tmp_path / DIAGNOSTICS).write_text(text)
    with pytest.raises(FileFormatError, match=r"diagnostics\.json"):
        checkup.check(tmp_path, look=False)


def test_a_run_that_recorded_no_step_is_not_called_sound(folder, tmp_path):
    (tmp_path / "config.yaml").write_text(json.dumps(config_of(folder).to_dict()))
    told = CliRunner().invoke(doctor_train, [str(tmp_path)], standalone_mode=False).output
    assert "nothing to examine yet" in told
    assert "not looked at: steps: the run recorded none" in told
