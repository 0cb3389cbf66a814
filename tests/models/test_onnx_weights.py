"""Weights read back from an ONNX graph, whose normalisations are folded into the convolutions."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from heightpose.codec.heatmap import HeatmapCodec
from heightpose.config import OptimConfig, PoseConfig, TrainConfig
from heightpose.errors import ConfigError, FileFormatError
from heightpose.models.checkpoint import load_weights, save_weights
from heightpose.models.description import detector_meta, pose_meta
from heightpose.models.detector_net import DetectorNet
from heightpose.models.ensemble import ensemble
from heightpose.models.onnx_graph import export_onnx
from heightpose.models.onnx_weights import read_onnx
from heightpose.models.pose_net import PoseNet
from heightpose.runtime.backends import load_backend
from heightpose.skeleton import INFANT
from heightpose.train.module import TrainingModule
from heightpose.train.optimise import with_statistics
from heightpose.train.pose_task import PoseTask

WH = (64, 64)


def lived_in(backbone="test_resnet", head="auto"):
    """A network whose normalisations are those of no new one; a channel of it learned nothing, one next to nothing."""
    torch.manual_seed(3)
    net = PoseNet(backbone, 21, head, input_wh=WH).eval()
    for norm in (part for part in net.modules() if isinstance(part, nn.BatchNorm2d)):
        nn.init.normal_(norm.running_mean)
        nn.init.uniform_(norm.running_var, 0.5, 2.0)
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
        norm.weight.data[:2] = torch.tensor([0.0, 1e-30])
    return net


def about(net, **extra):
    return pose_meta(net, INFANT.names, HeatmapCodec(WH, net.heatmap_wh), **extra)


@pytest.fixture(scope="module")
def batch():
    return np.random.default_rng(0).uniform(0, 255, (2, 3, *WH)).astype(np.float32)


def answer(net, batch):
    with torch.inference_mode():
        return net.forward_export(torch.from_numpy(batch)).numpy()


@pytest.mark.parametrize(
    ("backbone", "head"),
    [
        ("hrnet_w18_small", "concat"),
        ("hourglass_2_slim", "auto"),
        ("test_resnet", "deconv"),
        ("test_resnet", "regression"),
    ],
)
def test_the_network_answers_as_before(backbone, head, batch, tmp_path):
    net = lived_in(backbone, head)
    export_onnx(net, tmp_path / "pose.onnx", about(net), half=False)
    again, meta = load_weights(tmp_path / "pose.onnx")
    assert meta["arch"] == net.arch
    assert again.state_dict().keys() == net.state_dict().keys()
    expected = answer(net, batch)
    np.testing.assert_allclose(answer(again, batch), expected, atol=1e-5 * np.abs(expected).max())


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """As ``accurate`` is shipped: a graph of one member, its weights in bytes."""
    folder = tmp_path_factory.mktemp("stored")
    net = lived_in()
    export_onnx(net, folder / "half.onnx", about(net, run="one"))
    ensemble([folder / "half.onnx"], [1.0], folder / "pose.onnx", in_bytes=True)
    return folder / "pose.onnx"


def test_one_stored_in_bytes_answers_as_its_graph_does_on_every_backend(stored, batch):
    of_graph = load_backend(stored, "onnxruntime")[0].run(batch)
    by_torch = load_backend(stored, "torch")[0].run(batch)
    np.testing.assert_allclose(by_torch, of_graph, atol=1e-5 * np.abs(of_graph).max())


def test_what_was_read_can_be_written_and_read_again(stored, batch, tmp_path):
    net, meta = load_weights(stored)
    assert (meta["run"], meta["arch"]["backbone"]) == ("one", "test_resnet")
    assert "ensemble" not in meta
    expected = answer(net, batch)
    save_weights(tmp_path / "pose.safetensors", net.state_dict(), meta)
    export_onnx(net, tmp_path / "pose.onnx", meta, half=False)
    for name, part in (("pose.safetensors", 1e-2), ("pose.onnx", 1e-5)):
        found = answer(load_weights(tmp_path / name)[0], batch)
        np.testing.assert_allclose(found, expected, atol=part * np.abs(expected).max())


def test_a_rate_means_the_same_to_every_channel(stored):
    """However little a channel's folded weights are, its own have the length that new ones are drawn with."""
    net = load_weights(stored)[0]
    conv = net.get_submodule("trunk.model.model.layer1.0.conv2")
    length = conv.weight.flatten(1).norm(dim=1)
    expected = (2.0 * conv.out_channels / conv.weight[0].numel()) ** 0.5
    torch.testing.assert_close(length[2:], torch.full_like(length[2:], expected))
    assert length[:2].max() < 1e-6  # what says nothing goes on saying nothing


def test_training_starts_from_it_with_kept_statistics_alone(stored, batch):
    config = TrainConfig(
        start_from=str(stored),
        pose=PoseConfig(backbone="test_resnet", input_wh=WH, sigma=1.5),
        optim=OptimConfig(norm="kept"),
    )
    task = PoseTask(config)
    net = task.net()
    expected = load_backend(stored, "onnxruntime")[0].run(batch)
    np.testing.assert_allclose(answer(net.eval(), batch), expected, atol=1e-5 * np.abs(expected).max())
    TrainingModule(net, task, config, 1)
    norms = [part for part in net.modules() if isinstance(part, nn.BatchNorm2d)]
    assert with_statistics(net) == norms  # none is taken for a new one, which would learn each batch's
    with pytest.raises(ConfigError, match=r"optim\.norm.*no data's statistics"):
        TrainingModule(net, task, replace(config, optim=OptimConfig()), 1)


def test_what_cannot_be_told_is_refused(stored, tmp_path):
    half = stored.with_name("half.onnx")
    ensemble([half, half], [0.5, 0.5], tmp_path / "two.onnx")
    with pytest.raises(FileFormatError, match="no common weights"):
        read_onnx(tmp_path / "two.onnx")
    detector = DetectorNet("hrnet_w18_small")  # has layers that its answer does not need
    export_onnx(detector, tmp_path / "detector.onnx", detector_meta(detector))
    vit = PoseNet("test_vit2", 21, input_wh=WH)
    export_onnx(vit, tmp_path / "vit.onnx", about(vit))
    renamed = onnx.load(str(half))
    for number, node in enumerate(renamed.graph.node):
        node.name = f"n{number}"
    onnx.save(renamed, str(tmp_path / "renamed.onnx"))
    for name in ("detector.onnx", "vit.onnx", "renamed.onnx"):
        with pytest.raises(FileFormatError, match="does not tell which weights are which layer's"):
            read_onnx(tmp_path / name)


def test_one_with_channels_cut_is_told_of(tmp_path):
    net = PoseNet("test_resnet", 21, input_wh=WH)
    export_onnx(net, tmp_path / "narrow.onnx", about(net) | {"export": {"pruned": 0.25}})
    with pytest.raises(FileFormatError, match=r"narrower.*25% of its blocks' channels cut.*exported from"):
        read_onnx(tmp_path / "narrow.onnx")


def test_weights_of_another_shape_than_described_are_refused(stored, tmp_path):
    proto = onnx.load(str(stored.with_name("half.onnx")))
    weights = {tensor.name: tensor for tensor in proto.graph.initializer}
    conv = next(node for node in proto.graph.node if node.op_type == "Conv" and len(node.input) == 3)
    bias = weights[conv.input[2]]
    bias.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(bias)[:-1], bias.name))
    onnx.save(proto, str(tmp_path / "cut.onnx"))
    with pytest.raises(FileFormatError, match="does not tell"):
        read_onnx(tmp_path / "cut.onnx")
