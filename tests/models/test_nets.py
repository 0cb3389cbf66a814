"""Shapes, gradients and the equivalences the networks promise."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from heightpose.codec.detection import decode, encode_targets
from heightpose.codec.heatmap import HeatmapCodec
from heightpose.config import DetectorConfig, TrainConfig
from heightpose.errors import ConfigError
from heightpose.models.checkpoint import load_weights, save_weights
from heightpose.models.description import pose_meta
from heightpose.models.detector_net import BACKBONES, DetectorNet
from heightpose.models.heads import ConcatHead
from heightpose.models.pose_net import PoseNet
from heightpose.skeleton import INFANT
from heightpose.train.detector_task import DetectorTask


def dead_parameters(model, *outs) -> list[str]:
    """Names of the parameters that a random loss on ``outs`` does not reach."""
    sum((out * torch.randn_like(out)).sum() for out in outs).backward()
    learning = ((n, p) for n, p in model.named_parameters() if p.requires_grad)
    return [n for n, p in learning if p.grad is None or not p.grad.abs().sum() > 0]


def alive(model):
    """Every unit takes part: timm starts residual branches at exactly 0, and a gate may start closed."""
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.constant_(module.weight, 0.5)
        elif isinstance(module, torch.nn.ReLU):
            module.inplace = False
    return model


#: Of one kind each; input 96 x 64.
NETS = [
    ("hrnet_w18_small", "single", None),
    ("hrnet_w18_small", "concat", None),
    ("hrnet_w18_small", "concat", (36, 24)),
    ("hrnet_w18_small", "regression", None),
    ("hrnet_w18_small_v2", "auto", None),
    ("hrnet_w18_small_deep", "concat", None),
    ("lite_hrnet_18", "auto", None),
    ("lite_hrnet_18", "concat", None),
    ("test_resnet", "auto", None),
    ("test_resnet", "deconv", (12, 8)),
    ("test_resnet", "upsample", (30, 20)),
    ("test_resnet", "regression", None),
    ("resnest14d", "auto", None),
    ("test_vit2", "auto", None),
    ("test_vit2", "upsample", (48, 32)),
]


@pytest.mark.parametrize(("backbone", "head", "heatmap_wh"), NETS)
def test_every_pose_parameter_learns(backbone, head, heatmap_wh):
    torch.manual_seed(0)
    model = alive(PoseNet(backbone, 21, head, input_wh=(96, 64), heatmap_wh=heatmap_wh))
    torch.nn.init.normal_(model.head.out.weight, std=0.1)
    out = model(torch.rand(4, 3, 64, 96) * 255)
    width, height = model.heatmap_wh
    assert out.shape == ((4, 21, 2) if head == "regression" else (4, 21, height, width))
    dead = dead_parameters(model, out)
    # a squeezing ReLU of five units may be shut for all four pictures
    assert [n for n in dead if ".spatial." not in n] == []
    assert len(dead) <= 8


def test_an_hourglass_answers_with_every_stack_in_training_and_every_parameter_learns():
    torch.manual_seed(0)
    model = alive(PoseNet("hourglass_2_slim", input_wh=(128, 64)))
    image = torch.rand(4, 3, 64, 128) * 255
    first, last = model(image)
    assert first.shape == last.shape == (4, 21, 16, 32)
    assert dead_parameters(model, first, last) == []
    # The second stack knows what the first one answered.
    model.eval()
    before = model(image)
    with torch.no_grad():
        model.head.early[0].bias += 1.0
    assert (model(image) - before).abs().max() > 1e-6


@pytest.mark.parametrize("backbone", ["hiera_tiny_224", "sam2_hiera_tiny"])
def test_networks_without_a_last_normalisation_of_their_own_answer_too(backbone):
    model = PoseNet(backbone, input_wh=(64, 64)).eval()
    with torch.no_grad():
        assert model(torch.rand(1, 3, 64, 64) * 255).shape == (1, 21, 16, 16)


@pytest.mark.parametrize(
    ("backbone", "joints", "millions"),
    [
        ("lite_hrnet_18", 17, 1.1),  # tables 1 and 2 of the papers
        ("lite_hrnet_30", 17, 1.8),
        ("resnet50", 17, 34.0),
        ("hourglass_2", 16, 6.6),
    ],
)
def test_networks_have_the_published_size(backbone, joints, millions):
    with torch.device("meta"):
        count = sum(p.numel() for p in PoseNet(backbone, joints).parameters())
    assert round(count / 1e6, 1) == millions


@pytest.mark.parametrize(
    ("size", "heatmap"),
    [((128, 128), None), ((192, 192), (48, 48)), ((192, 192), (32, 32)), ((128, 128), (48, 48))],
)
def test_heatmaps_of_other_sizes_are_the_same_answer_at_another_resolution(size, heatmap):
    torch.manual_seed(0)
    own = PoseNet(input_wh=size).eval()
    torch.nn.init.normal_(own.head.out.weight, std=0.1)
    other = PoseNet(input_wh=size, heatmap_wh=heatmap).eval()
    other.load_state_dict(own.state_dict())
    image = F.interpolate(torch.rand(1, 3, 6, 6) * 255, size=size, mode="bicubic")
    with torch.no_grad():
        want, got = own(image), other(image)
    assert tuple(got.shape[2:]) == ((32, 32) if heatmap is None else heatmap)
    want = F.interpolate(want, size=got.shape[2:], mode="bilinear", align_corners=False)
    assert torch.corrcoef(torch.stack([want.flatten(), got.flatten()]))[0, 1] > 0.98


def test_published_trunk_size():
    """HRNet-W32 with the published head has the published 28.5 M parameters (for 17 joints)."""
    with torch.device("meta"):
        count = sum(p.numel() for p in PoseNet("hrnet_w32", joints=17, head="single").parameters())
    assert round(count / 1e6, 1) == 28.5


def test_normalisation_lives_inside():
    model = PoseNet(head="single").eval()
    grey = torch.tensor([123.675, 116.28, 103.53]).view(1, 3, 1, 1).expand(1, 3, 32, 32)
    assert model.normalise(grey).abs().max() < 1e-6
    assert model.normalise(grey + 58.395)[:, 0].mean().item() == pytest.approx(1.0)
    assert not any("mean" in k and "running" not in k for k in model.state_dict())


def test_concat_head_equals_the_textbook_form():
    """Project-then-upsample-then-add gives the numbers of upsample-then-concatenate-then-project."""
    torch.manual_seed(0)
    channels = [16, 32, 64, 128]
    head = ConcatHead(channels, 5).eval()
    branches = [torch.randn(2, c, 32 >> i, 24 >> i) for i, c in enumerate(channels)]
    up = [F.interpolate(b, size=(32, 24), mode="bilinear", align_corners=False) for b in branches]
    weight = torch.cat([p.weight for p in head.project], dim=1)
    want = head.out(F.relu(head.norm(F.conv2d(torch.cat(up, dim=1), weight))))
    torch.testing.assert_close(head(branches), want, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("field", "kwargs"),
    [
        ("backbone", {"backbone": "hrnet_w99"}),
        ("backbone", {"backbone": "hf-hub:somebody/resnet50"}),
        ("backbone", {"backbone": "resnet50.a1_in1k"}),
        ("head", {"head": "fancy"}),
        ("head", {"backbone": "test_resnet", "head": "concat"}),
        ("head", {"backbone": "hourglass_2", "head": "single"}),
        ("backbone", {"backbone": "inception_v3", "head": "upsample", "input_wh": (96, 96)}),  # maps of 1 x 1
        ("joints", {"joints": 0}),
        ("input_wh", {"input_wh": (100, 96)}),
        ("input_wh", {"backbone": "hourglass_2_slim", "input_wh": (96, 96)}),
        ("input_wh", {"backbone": "test_vit2", "input_wh": (72, 64)}),
        ("heatmap_wh", {"heatmap_wh": (300, 300)}),
        ("heatmap_wh", {"backbone": "test_resnet", "heatmap_wh": (96, 96)}),
        ("heatmap_wh", {"backbone": "test_resnet", "heatmap_wh": (64, 32)}),
        ("heatmap_wh", {"backbone": "test_resnet", "head": "upsample", "heatmap_wh": (4, 4)}),
        ("heatmap_wh", {"backbone": "hourglass_2_slim", "heatmap_wh": (96, 96)}),
    ],
    ids=lambda v: v if isinstance(v, str) else "-".join(map(str, v.values())),
)
def test_impossible_pose_settings_name_the_field_in_one_line(field, kwargs):
    with pytest.raises(ConfigError, match=rf"pose\.{field}: ") as raised:
        PoseNet(**kwargs)
    assert raised.value.expected is not None


@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_detector_parameter_learns(backbone):
    torch.manual_seed(0)
    model = DetectorNet(backbone)
    out = model(torch.rand(2, 3, 256, 256) * 255)
    assert out.shape == (2, 7, 32, 32)
    assert dead_parameters(model, out) == []
    assert sum(p.numel() for p in model.parameters()) < 2e6


def test_a_detector_starts_from_a_pose_nets_trunk(tmp_path):
    torch.manual_seed(0)
    pose, file = PoseNet("hrnet_w18_small"), tmp_path / "pose.safetensors"
    save_weights(file, pose.state_dict(), pose_meta(pose, INFANT.names, HeatmapCodec()))
    trunk = DetectorConfig(backbone="hrnet_w18_small")
    detector = DetectorTask(TrainConfig(task="detector", detector=trunk, start_from=str(file))).net()
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        expected, given = (net.eval().trunk(image) for net in (load_weights(file)[0], detector))
    for a, b in zip(expected, given, strict=True):
        torch.testing.assert_close(b, a)


def test_untrained_detector_sees_almost_nothing_and_is_finite():
    torch.manual_seed(0)
    with torch.no_grad():
        out = DetectorNet().eval().forward_export(torch.rand(1, 3, 256, 256) * 255)
    assert out[:, 0].mean().item() == pytest.approx(0.01, abs=0.005)
    assert out[:, 1:5].mean().item() == pytest.approx(1.0, abs=0.2)
    assert (out[:, 1:5] > 0).all()


@pytest.mark.parametrize("backbone", BACKBONES)
def test_detector_can_learn_one_picture(backbone):
    """The activated map meets the codec: a few steps on one picture bring box and direction back."""
    torch.manual_seed(0)
    model = DetectorNet(backbone, width=32)
    box, angle = np.array([60.0, 40, 170, 220]), 120.0
    t = {k: torch.from_numpy(v) for k, v in encode_targets(box[None], np.array([angle])).items()}
    image = torch.zeros(1, 3, 256, 256)
    image[..., 40:221, 60:171] = 200.0
    optimiser = torch.optim.AdamW(model.parameters(), 6e-3)
    for _ in range(22):
        out = model.activate(model(image))[0]
        loss = F.binary_cross_entropy(out[0], t["centre"], reduction="sum") / 10
        loss = loss + (t["weight"] * (out[1:] - t["regression"]).abs()).sum() / t["weight"].sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():  # still in training mode: its statistics are this one picture's
        [(found, found_angle, score), *_] = decode(model.forward_export(image)[0].numpy(), 0.3)
    assert np.abs(found - box).max() < 12
    assert found_angle == pytest.approx(angle, abs=10)
    assert score > 0.5


@pytest.mark.parametrize("net", [PoseNet, DetectorNet, lambda **o: DetectorNet("hrnet_w18_small", **o)])
def test_imagenet_weights_that_cannot_be_downloaded_are_told_in_a_line(net, monkeypatch):
    def offline(*_, **__):
        raise FileNotFoundError(
            "An error happened while trying to locate the file on the Hub"
        )  # the hub's own has no errno

    monkeypatch.setattr("timm.create_model", offline)
    with pytest.raises(
        ConfigError, match=r"ImageNet weights of .* cannot be downloaded.*leave pretrained out"
    ):
        net(pretrained=True)
