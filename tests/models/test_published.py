"""Published pose HRNets and users' own ImageNet files: what they compute, computed here."""

from __future__ import annotations

import pytest
import timm
import torch
from published_hrnet import forward, random_state

from heightpose.config import PoseConfig, TrainConfig
from heightpose.errors import ConfigError, FileFormatError
from heightpose.models.checkpoint import read_state
from heightpose.models.pose_net import PoseNet
from heightpose.models.transfer import COCO, is_classifier, joints_of, rename_published, start_from
from heightpose.skeleton import INFANT, MPII
from heightpose.train.pose_task import PoseTask

IMAGE = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0)) * 255


def published(width, joints, seed=0):
    """A random checkpoint whose heatmaps are of the order of 1, and those of :data:`IMAGE`."""
    state = random_state(width, joints, seed)
    with torch.no_grad():
        heatmaps = forward(state, IMAGE)
    scale = heatmaps.std()
    for part in ("weight", "bias"):
        state[f"final_layer.{part}"] /= scale
    return state, heatmaps / scale


@pytest.mark.parametrize(
    ("backbone", "width", "names"),
    [("hrnet_w32", 32, MPII.names), ("hrnet_w48", 48, COCO)],
    ids=["pose_hrnet_w32_256x256", "pose_hrnet_w48_256x192"],
)
def test_a_published_checkpoint_gives_the_reference_networks_output(tmp_path, backbone, width, names):
    state, want = published(width, len(names))
    torch.save({f"module.{k}": v for k, v in state.items()}, tmp_path / "pose.pth")
    read, meta = read_state(tmp_path / "pose.pth")
    assert meta is None
    assert joints_of(read) == names
    net = PoseNet(backbone, len(INFANT), head="single").eval()
    report = start_from(net, read, names)
    assert report.fresh == report.unused == ()
    with torch.no_grad():
        got = net(IMAGE)
    assert got.abs().max() > 1
    for k, joint in enumerate(INFANT.names):
        start = report.joints[joint]
        assert start == joint or joint not in names
        torch.testing.assert_close(got[:, k], want[:, names.index(start)], rtol=0, atol=1e-4)


def test_joints_that_coco_lacks_start_from_the_nearest_it_has():
    state = random_state(32, len(COCO))
    net = PoseNet("hrnet_w32", len(INFANT), head="single")
    starts = start_from(net, state, COCO).joints
    assert starts["crown"] == starts["head_top"] == starts["upper_neck"] == "nose"
    assert (starts["pelvis"], starts["thorax"], starts["left_heel"]) == (
        "left_hip",
        "left_shoulder",
        "left_ankle",
    )
    row = net.head.out.bias[INFANT.index("pelvis")].item()
    assert row == state["final_layer.bias"][COCO.index("left_hip")].item()


def test_training_checkpoints_of_the_published_code_are_read(tmp_path):
    state = {"conv1.weight": torch.ones(1), "final_layer.bias": torch.zeros(16)}
    torch.save(
        {"epoch": 3, "model": "pose_hrnet", "state_dict": state, "optimizer": {"state": {}}},
        tmp_path / "a.pth",
    )
    torch.save({"best_state_dict": state, "model": "pose_hrnet"}, tmp_path / "b.pth")
    torch.save({"model": state}, tmp_path / "c.bin")
    assert all(read_state(p)[0].keys() == state.keys() for p in tmp_path.iterdir())


@pytest.mark.parametrize(
    ("backbone", "options"),
    [("hrnet_w18_small", {}), ("test_resnet", {}), ("test_vit2", {"img_size": (64, 96)})],
)
def test_a_users_imagenet_file_fills_the_trunk(tmp_path, backbone, options):
    torch.manual_seed(7)
    source = timm.create_model(backbone, **options).eval()
    torch.save(source.state_dict(), tmp_path / "imagenet.pth")
    net = PoseNet(backbone, pretrained=str(tmp_path / "imagenet.pth"), input_wh=(96, 64)).eval()
    with torch.no_grad():
        x = net.normalise(IMAGE)
        got = net.features(x)[-1]
        if backbone.startswith("hrnet"):
            want = source.stages(
                source.act2(source.bn2(source.conv2(source.act1(source.bn1(source.conv1(x))))))
            )[-1]
        else:
            want = source.forward_features(x)
        if want.ndim == 3:  # tokens, the class token first
            want = want[:, -24:].transpose(1, 2).reshape(2, -1, 4, 6)
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)
    assert not any("state_dict" in str(getattr(m, "pretrained_cfg", "")) for m in net.modules())


def test_position_embeddings_of_another_size_are_resampled(tmp_path):
    torch.save(timm.create_model("test_vit2").state_dict(), tmp_path / "imagenet.pth")  # for 64 x 64
    net = PoseNet("test_vit2", pretrained=tmp_path / "imagenet.pth", input_wh=(128, 96))
    assert net(torch.rand(1, 3, 96, 128) * 255).shape == (1, 21, 24, 32)


def test_files_that_are_no_imagenet_weights_of_this_backbone_are_named(tmp_path):
    state = timm.create_model("test_resnet").state_dict()
    torch.save(state, tmp_path / "resnet.pth")
    with pytest.raises(FileFormatError, match=r"resnet\.pth: the weights are not those of resnet10t"):
        PoseNet("resnet10t", pretrained=tmp_path / "resnet.pth")
    part = {k: v for k, v in state.items() if not k.startswith("layer4")}
    torch.save(part, tmp_path / "part.pth")
    with pytest.raises(FileFormatError, match="layer4"):
        PoseNet("test_resnet", pretrained=tmp_path / "part.pth")
    with pytest.raises(FileFormatError, match="no such"):
        PoseNet("test_resnet", pretrained=tmp_path / "absent.pth")
    with pytest.raises(ConfigError, match=r"pose\.pretrained"):
        PoseNet("lite_hrnet_18", pretrained=tmp_path / "part.pth")


def test_a_timm_classifiers_final_layer_is_not_a_published_head():
    state = timm.create_model("hrnet_w18_small").state_dict()
    assert any(key.startswith("final_layer.") for key in state)
    assert is_classifier(state)
    assert not is_classifier(random_state(32, 16))
    assert not any(key.startswith("head.") for key in rename_published(state))


@pytest.mark.parametrize(
    ("backbone", "prefix"), [("hrnet_w18_small", ""), ("test_resnet", "module."), ("test_vit2", "")]
)
def test_training_starts_from_a_users_imagenet_file_too(tmp_path, backbone, prefix):
    torch.manual_seed(7)
    options = {"img_size": 64} if backbone == "test_vit2" else {}
    state = timm.create_model(backbone, **options).state_dict()
    torch.save({prefix + k: v for k, v in state.items()}, tmp_path / "imagenet.pth")
    pose = PoseConfig(backbone=backbone, input_wh=(64, 64))
    net = PoseTask(TrainConfig(start_from=str(tmp_path / "imagenet.pth"), pose=pose)).net()
    same = PoseNet(backbone, pretrained=tmp_path / "imagenet.pth", input_wh=(64, 64))
    state = net.trunk.state_dict()
    for name, value in same.trunk.state_dict().items():
        assert torch.equal(state[name], value), name


def test_a_file_without_normalisation_statistics_is_named(tmp_path):
    state = timm.create_model("test_resnet").state_dict()
    torch.save({k: v for k, v in state.items() if "running" not in k}, tmp_path / "bare.pth")
    with pytest.raises(FileFormatError, match="normalisation statistics"):
        PoseNet("test_resnet", pretrained=tmp_path / "bare.pth")
