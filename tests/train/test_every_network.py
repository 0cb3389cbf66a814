"""Every network learns one batch of drawn infants by heart, from one line of configuration.

The steps are plain ones (the task's own batch, loss and validation, AdamW and a cosine) without what a whole run writes
besides: for HRNet-W48 alone those files are a gigabyte. Whole runs: test_whole_runs.py, and here of the two kinds of
net that answer training in a way of their own.
"""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from heightpose.config import TrainConfig, from_dict
from heightpose.errors import FileFormatError
from heightpose.models.checkpoint import load_weights
from heightpose.runtime.networks import PoseModel
from heightpose.train import loop
from heightpose.train.pose_task import PoseTask
from heightpose.train.training_data import load_data


def configuration(folder, pose, infants=2):
    values = {
        "data": {"dirs": [str(folder)]},
        "pose": {"input_wh": [64, 64], "sigma": 1.5, **pose},
        "optim": {"batch_size": infants},
        "hardware": {"threads": 1, "accelerator": "cpu", "precision": "32-true"},
    }
    return loop.for_one_batch(from_dict(TrainConfig, values, "test"))


def learn(config, steps, lr):
    """Metrics after so many steps on the first batch, judged on that batch in evaluation mode."""
    torch.manual_seed(1)
    torch.set_num_threads(1)
    task = PoseTask(config)
    batch = next(iter(load_data(config, task, same=True)[1]))
    image = batch["image"].float()
    net = task.net().train().to(memory_format=torch.channels_last)
    # Squared gradients that are forgotten within the few steps there are: fewer are enough.
    optimiser = torch.optim.AdamW(net.parameters(), lr, betas=(0.9, 0.99), weight_decay=0.0, fused=True)
    for step in range(steps):
        rate = (
            lr * min(1.0, (step + 1) / 4) * (0.005 + 0.995 * (0.5 + 0.5 * math.cos(math.pi * step / steps)))
        )
        for group in optimiser.param_groups:
            group["lr"] = rate
        optimiser.zero_grad()
        task.loss(net(image), batch).backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 2.0)
        optimiser.step()
    settle(net, image)
    with torch.no_grad():
        return task.metrics(task.validate(net(image), batch))


def settle(net, image):
    """Evaluation with the very statistics of the batch: what normalisation keeps for it is an average over steps and
    an unbiased variance, which over the few values of so small a batch is far from the one it learned with."""
    norms = [m for m in net.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    values = {}
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.register_forward_hook(
            lambda m, inputs, _: values.update({m: inputs[0].numel() / m.num_features})
        )
    with torch.no_grad():
        net.train()(image)
    for norm in norms:
        norm.running_var *= (values[norm] - 1) / values[norm]
    net.eval()


#: The line of configuration, infants, steps and learning rate. Most see one infant: a second doubles the arithmetic and
#: proves nothing more than test_whole_runs.py does with three.
NETWORKS = [
    ({"backbone": "hrnet_w18_small", "head": "single"}, 1, 45, 1e-2),
    ({"backbone": "hrnet_w18_small_deep"}, 1, 45, 1e-2),
    ({"backbone": "hrnet_w32"}, 1, 30, 1.5e-3),
    ({"backbone": "hrnet_w48"}, 1, 20, 2e-3),
    ({"backbone": "test_resnet"}, 1, 40, 5e-3),
    ({"backbone": "resnest14d", "heatmap_wh": [32, 32]}, 2, 50, 1e-3),
    ({"backbone": "test_vit2"}, 1, 70, 3e-3),
    ({"backbone": "test_vit2", "head": "upsample", "input_wh": [128, 128], "sigma": 2.0}, 1, 360, 1e-3),
    ({"backbone": "lite_hrnet_18"}, 1, 40, 1.5e-2),
    ({"backbone": "hourglass_2_slim", "input_wh": [128, 128], "sigma": 2.0}, 1, 50, 4e-3),
    ({"backbone": "test_resnet", "head": "regression"}, 2, 70, 1e-2),
]


@pytest.mark.parametrize(
    ("pose", "infants", "steps", "lr"),
    NETWORKS,
    ids=["-".join(str(v) for v in n[0].values()) for n in NETWORKS],
)
def test_a_network_learns_a_batch_by_heart(three_infants, pose, infants, steps, lr):
    metrics = learn(configuration(three_infants, pose, infants), steps, lr)
    assert metrics["people"] == infants
    assert metrics["MeanSmS@0.1"] >= 99


@pytest.mark.parametrize(
    ("pose", "output"),
    [
        ({"backbone": "hourglass_2_slim", "heatmap_wh": [16, 16]}, "heatmaps"),
        ({"backbone": "test_resnet", "head": "regression"}, "coordinates"),
    ],
)
def test_a_whole_run_of_nets_that_answer_training_in_their_own_way(three_infants, tmp_path, pose, output):
    config = configuration(three_infants, pose)
    run = loop.train(replace(config, optim=replace(config.optim, epochs=2)), tmp_path / "run")
    model, meta = load_weights(run.weights)
    assert (model.output, meta.get("output", "heatmaps")) == (output, output)
    assert model.heatmap_wh == tuple(meta["heatmap_wh"]) == (16, 16)
    assert run.metrics["last"]["val loss"] > 0
    assert run.metrics["last"]["people"] == 1
    written = TrainConfig.load(tmp_path / "run" / "config.yaml")
    assert written.pose == config.pose
    if output == "heatmaps":
        assert PoseModel.load(str(run.onnx), backend="onnxruntime").codec.heatmap_wh == (16, 16)
    else:
        with pytest.raises(FileFormatError, match="coordinates instead of heatmaps"):
            PoseModel.load(str(run.onnx), backend="onnxruntime")
