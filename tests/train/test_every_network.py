"""Every network learns one batch of drawn infants by heart, from one line of configuration.

The steps are plain ones, without what a whole run writes besides: for HRNet-W48 alone those files are a gigabyte.
Whole runs: test_whole_runs.py, and here of the two kinds of net that answer training in a way of their own.
"""

from __future__ import annotations

from dataclasses import replace

import by_heart
import pytest
import torch

from heightpose.config import TrainConfig, from_dict
from heightpose.errors import FileFormatError
from heightpose.models.checkpoint import load_weights
from heightpose.runtime.networks import PoseModel
from heightpose.train import loop
from heightpose.train.pose_task import PoseTask


def configuration(folder, pose, infants=2):
    values = {
        "data": {"dirs": [str(folder)]},
        "pose": {"input_wh": [64, 64], "sigma": 1.5, **pose},
        "optim": {"batch_size": infants},
        "hardware": {"threads": 1, "accelerator": "cpu", "precision": "32-true"},
    }
    return loop.for_one_batch(from_dict(TrainConfig, values, "test"))


#: The line of configuration, infants, most steps (nets need a quarter to half of them) and learning rate. Most see one
#: infant: a second doubles the arithmetic and proves nothing more than test_whole_runs.py does with three.
NETWORKS = [
    ({"backbone": "hrnet_w18_small", "head": "single"}, 1, 67, 1e-2),
    ({"backbone": "hrnet_w18_small_deep"}, 1, 67, 1e-2),
    ({"backbone": "hrnet_w32"}, 1, 45, 1.5e-3),
    ({"backbone": "hrnet_w48"}, 1, 30, 2e-3),
    ({"backbone": "test_resnet"}, 1, 60, 5e-3),
    ({"backbone": "resnest14d", "heatmap_wh": [32, 32]}, 2, 75, 1e-3),
    ({"backbone": "test_vit2"}, 1, 105, 3e-3),
    ({"backbone": "test_vit2", "head": "upsample", "input_wh": [128, 128], "sigma": 2.0}, 1, 540, 1e-3),
    ({"backbone": "lite_hrnet_18"}, 1, 60, 1.5e-2),
    ({"backbone": "hourglass_2_slim", "input_wh": [128, 128], "sigma": 2.0}, 1, 75, 4e-3),
    ({"backbone": "test_resnet", "head": "regression"}, 2, 105, 1e-2),
]


@pytest.mark.parametrize(
    ("pose", "infants", "steps", "lr"),
    NETWORKS,
    ids=["-".join(str(v) for v in n[0].values()) for n in NETWORKS],
)
def test_a_network_learns_a_batch_by_heart(three_infants, pose, infants, steps, lr):
    task = PoseTask(configuration(three_infants, pose, infants))
    batch = by_heart.first_batch(task)
    net = by_heart.learn(task, batch, steps, lr)
    with torch.no_grad():
        metrics = by_heart.metrics(task, net(batch["image"].float()), batch)
    assert metrics["people"] == infants
    assert metrics["MeanSmS@0.1"] >= by_heart.LEARNED


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
