"""Shapes, gradients and the equivalences the networks promise."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from heightpose.codec.detection import decode, encode_targets
from heightpose.errors import ConfigError
from heightpose.models.detector_net import DetectorNet
from heightpose.models.pose_net import ConcatHead, PoseNet


def dead_parameters(model, out) -> list[str]:
    """Names of the parameters that a random loss on ``out`` does not reach."""
    (out * torch.randn_like(out)).sum().backward()
    return [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]


@pytest.mark.parametrize("head", ["single", "concat"])
@pytest.mark.parametrize("backbone", ["hrnet_w18_small", "hrnet_w18_small_v2", "hrnet_w32"])
def test_every_pose_parameter_learns(backbone, head):
    torch.manual_seed(0)
    model = PoseNet(backbone, joints=21, head=head)
    out = model(torch.rand(2, 3, 64, 96) * 255)
    assert out.shape == (2, 21, 16, 24)
    assert dead_parameters(model, out) == []


def test_published_trunk_size():
    """HRNet-W32 with the published head has the published 28.5 M parameters (for 17 joints)."""
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
    "kwargs", [{"backbone": "hrnet_w99"}, {"head": "fancy"}, {"joints": 0}], ids=lambda k: next(iter(k))
)
def test_bad_pose_settings_name_the_field(kwargs):
    with pytest.raises(ConfigError, match=next(iter(kwargs))):
        PoseNet(**kwargs)


def test_every_detector_parameter_learns():
    torch.manual_seed(0)
    model = DetectorNet()
    out = model(torch.rand(2, 3, 256, 256) * 255)
    assert out.shape == (2, 7, 32, 32)
    assert dead_parameters(model, out) == []
    assert sum(p.numel() for p in model.parameters()) < 2e6


def test_untrained_detector_sees_almost_nothing_and_is_finite():
    torch.manual_seed(0)
    with torch.no_grad():
        out = DetectorNet().eval().forward_export(torch.rand(1, 3, 256, 256) * 255)
    assert out[:, 0].mean().item() == pytest.approx(0.01, abs=0.005)
    assert out[:, 1:5].mean().item() == pytest.approx(1.0, abs=0.2)
    assert (out[:, 1:5] > 0).all()


def test_detector_can_learn_one_picture():
    """The activated map meets the codec: a few steps on one picture bring box and direction back."""
    torch.manual_seed(0)
    model = DetectorNet(width=32)
    box, angle = np.array([60.0, 40, 170, 220]), 120.0
    t = {k: torch.from_numpy(v) for k, v in encode_targets(box[None], np.array([angle])).items()}
    image = torch.zeros(1, 3, 256, 256)
    image[..., 40:221, 60:171] = 200.0
    optimiser = torch.optim.AdamW(model.parameters(), 3e-3)
    for _ in range(40):
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
