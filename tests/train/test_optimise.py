"""Learning rates, optimizers, and what stands still when it is frozen."""

from __future__ import annotations

from dataclasses import replace

import drawn
import pytest
import torch
from tinynet import TinyNet, settings
from torch import nn

from heightpose.config import FREEZE, OptimConfig, from_dict
from heightpose.errors import ConfigError
from heightpose.models.pose_net import PoseNet
from heightpose.train import loop
from heightpose.train.module import TrainingModule
from heightpose.train.optimise import check_schedule, freeze, frozen_parts, learning_rate, make_optimizer
from heightpose.train.pose_task import PoseTask


def test_learning_rate_warms_up_by_steps_and_falls_with_progress():
    optim = OptimConfig(lr=1.0, warmup_steps=10, final_lr=0.1)
    assert learning_rate(optim, 0, 0.0) == pytest.approx(0.1)
    assert learning_rate(optim, 9, 0.0) == 1.0
    assert learning_rate(optim, 500, 0.5) == pytest.approx(0.55)
    assert learning_rate(optim, 900, 1.0) == learning_rate(optim, 900, 1.7) == pytest.approx(0.1)
    progress = [learning_rate(optim, 99, p / 50) for p in range(51)]
    assert progress == sorted(progress, reverse=True)


def test_a_step_schedule_falls_at_its_milestones():
    optim = OptimConfig(
        lr=2.0, warmup_steps=4, schedule="step", milestones=(0.5, 0.8), step_factor=0.1, final_lr=0.0
    )
    assert learning_rate(optim, 1, 0.0) == pytest.approx(1.0)
    rates = [learning_rate(optim, 100, p) for p in (0.0, 0.49, 0.5, 0.79, 0.8, 1.0)]
    assert rates == pytest.approx([2.0, 2.0, 0.2, 0.2, 0.02, 0.02])
    assert learning_rate(replace(optim, final_lr=0.05), 100, 1.0) == pytest.approx(0.1)


@pytest.mark.parametrize("milestones", [(0.8, 0.5), (0.0, 0.5), (0.5, 1.0), (0.5, 0.5)])
def test_milestones_are_shares_of_the_run_in_order(milestones):
    with pytest.raises(ConfigError, match="milestones"):
        check_schedule(OptimConfig(schedule="step", milestones=milestones))
    check_schedule(OptimConfig(schedule="cosine", milestones=milestones))  # which does not look at them


@pytest.mark.parametrize(
    ("name", "kind"),
    [("adamw", torch.optim.AdamW), ("adam", torch.optim.Adam), ("sgd", torch.optim.SGD)],
)
def test_optimizers_decay_what_has_dimensions_and_nothing_else(name, kind):
    net, own = TinyNet(), torch.nn.Parameter(torch.zeros(3))
    optimizer = make_optimizer(
        OptimConfig(optimizer=name, weight_decay=0.1), net.parameters(), [own], fused=False
    )
    assert type(optimizer) is kind
    decay = {id(p): g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}
    assert all(decay[id(p)] == (0.1 if p.ndim > 1 else 0.0) for p in net.parameters())
    assert decay[id(own)] == 0.0
    assert optimizer.param_groups[0].get("momentum", 0.9) == 0.9


def test_an_optimizer_nobody_has_is_refused():
    with pytest.raises(ConfigError, match="'sgd'"):
        from_dict(OptimConfig, {"optimizer": "sdg"}, "x")


#: What learns under each policy, by the beginning of its name; of HRNet-W18-small-v2, whose stage 4 has two modules.
LEARNS = {
    "none": ("trunk.", "head."),
    "all_but_stages_3_4": ("trunk.stage3.", "trunk.transition3.", "trunk.stage4.", "head."),
    "all_but_stage4": ("trunk.stage4.", "head."),
    "all_but_stage4_last_module": ("trunk.stage4.1.", "head."),
    "all_but_stage4_exchange": ("trunk.stage4.1.fuse_layers.", "head."),
    "all_but_head": ("head.",),
}


def test_every_policy_is_tested():
    assert set(LEARNS) == set(FREEZE)


@pytest.mark.parametrize("policy", FREEZE)
def test_what_is_frozen_stays_to_the_bit_and_the_rest_moves(policy):
    """Weights and normalisation statistics, over two steps of the real network."""
    torch.manual_seed(0)
    net = PoseNet("hrnet_w18_small_v2", 21, "concat", input_wh=(32, 32))
    parts = frozen_parts(net, policy)
    freeze(parts)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    optimizer = make_optimizer(OptimConfig(lr=1e-2), net.parameters(), (), fused=False)
    for _ in range(2):
        net.train()
        freeze(parts)  # as the training module does whenever it is set to train
        net(torch.rand(2, 3, 32, 32) * 255).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    after = net.state_dict()
    moved = {k for k in before if not torch.equal(before[k], after[k])}
    # A convolution in front of a normalisation may have next to no gradient, but never none.
    assert moved == {k for k in before if k.startswith(LEARNS[policy])}
    assert {k for k in moved if "running_mean" in k or "running_var" in k} or policy == "none"


def test_a_run_keeps_what_is_frozen_through_training_validation_and_averaging(tmp_path, tiny, monkeypatch):
    """The training module itself: the average of what is frozen does not move either."""

    class Parted(TinyNet):
        def __init__(self):
            super().__init__(width=16)
            self.trunk, self.head = self.net[:-3], self.net[-3:]

    monkeypatch.setattr(PoseTask, "net", lambda self: Parted())
    drawn.nursery(tmp_path / "set", train=3, val=1)
    config = settings(tmp_path / "set", epochs=2, batch_size=3, freeze="all_but_head")
    with pytest.raises(ConfigError, match="has learned nothing"):
        loop.train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    (tmp_path / "weights").write_bytes(b"")  # the net above has its own
    config = replace(config, start_from=str(tmp_path / "weights"))
    start, init = {}, TrainingModule.on_train_start
    monkeypatch.setattr(
        TrainingModule,
        "on_train_start",
        lambda self: (start.update({k: v.clone() for k, v in self.state_dict().items()}), init(self))[1],
    )
    loop.train(config, tmp_path / "run")
    end = tiny["module"].state_dict()
    for which in ("net.", "ema."):
        frozen = [k for k in start if k.startswith(f"{which}trunk.")]
        learnt = [k for k in start if k.startswith(f"{which}head.") and "num_batches" not in k]
        assert all(torch.equal(start[k], end[k]) for k in frozen)
        assert not any(torch.equal(start[k], end[k]) for k in learnt)


def with_weights_statistics():
    """A net as weights fill it, but for its last normalisation, which they lack."""
    torch.manual_seed(0)
    net = TinyNet()
    for norm in [part for part in net.modules() if isinstance(part, nn.BatchNorm2d)][:-1]:
        norm.running_mean.normal_(std=0.1)
        norm.running_var.uniform_(0.5, 1.5)
    return net


def test_statistics_that_are_kept_stay_to_the_bit_and_are_what_training_sees(tmp_path, tiny, monkeypatch):
    """Each kept layer computes in training as it will be used, whatever the batch; one without weights learns."""
    drawn.nursery(tmp_path / "set", train=4, val=1)
    config = settings(tmp_path / "set", epochs=1, batch_size=4, lr=1e-2)
    with pytest.raises(ConfigError, match="statistics to keep"):
        loop.train(replace(config, optim=replace(config.optim, norm="kept")), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    (tmp_path / "weights.safetensors").write_bytes(b"")
    config = replace(config, start_from=str(tmp_path / "weights.safetensors"))
    for norm in ("batch", "kept"):
        task, net = PoseTask(config), with_weights_statistics()
        module = TrainingModule(net, task, replace(config, optim=replace(config.optim, norm=norm)), 10)
        before = {k: v.clone() for k, v in module.net.state_dict().items()}
        image = torch.rand(4, 3, 96, 96, generator=torch.Generator().manual_seed(1)) * 255
        seen = module.net.net[:-3](image)
        used = module.eval().net.net[:-3](image)
        assert torch.equal(seen, used) == (norm == "kept")
        module.train().net(image)
        after = module.net.state_dict()
        same = {k: torch.equal(before[k], after[k]) for k in before if "running" in k}
        assert [k for k, unmoved in same.items() if unmoved] == (list(same)[:-2] if norm == "kept" else [])
        assert all(p.requires_grad for p in module.net.parameters())
    monkeypatch.setattr(PoseTask, "net", lambda self: with_weights_statistics())
    loop.train(replace(config, optim=replace(config.optim, norm="kept")), tmp_path / "run")
    learnt = tiny["module"].net.state_dict()
    same = [torch.equal(learnt[k], before[k]) for k in before if "running" in k]
    assert same == [True] * (len(same) - 2) + [False] * 2
    assert not torch.equal(learnt["net.0.weight"], before["net.0.weight"])


@pytest.mark.parametrize("policy", ["all_but_stage4", "all_but_head"])
def test_a_network_without_such_parts_says_so(policy):
    with pytest.raises(ConfigError, match="freez"):
        frozen_parts(TinyNet(), policy)
