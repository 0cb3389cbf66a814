"""Trainings that are really broken, each in its own way, and what is said of them; and one that is not broken."""

from __future__ import annotations

import itertools
import json
import logging
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from diagnosed import LR, config_of, small
from tinynet import TinyNet
from torch import nn

from heightpose.config import DataConfig, DiagnosticsConfig
from heightpose.skeleton import INFANT
from heightpose.train import checkup, diagnostics, loop, observe
from heightpose.train.learning_rate import rate_too_high, rate_too_low
from heightpose.train.observed import DIAGNOSTICS, Evidence, Look, Stretch, Swap, read_evidence
from heightpose.train.pose_task import PoseTask

JOINTS = 21


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


def only_biases_of_the_head():
    net = small().requires_grad_(False)
    net.net[-1].bias.requires_grad_(True)
    return net


def a_third_of_a_layer_dead():
    net = small()
    with torch.no_grad():  # below zero at every input: the unit gets no gradient and never comes back
        net.net[1].weight[:8], net.net[1].bias[:8] = 0.0, -1.0
    return net


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
    # Four pictures are too few.
    assert told(("left_toe", "left_ankle", 0.4, 10), ("left_ankle", "left_toe", 0.4, 10)) is None
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
    # With learned weights a loss may be negative.
    assert told(*(3.0 * fallen - 1.0), *np.full(6, -0.9)) == ""
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


def test_causes_are_told_before_what_follows_from_them(run):
    found, _ = run(lr=1.0)
    assert list(found)[:2] == ["rate-too-high", "collapse"]


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
