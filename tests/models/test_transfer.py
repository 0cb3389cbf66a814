"""Edge joints start as exact copies of their nearest joints, by name."""

import pytest
import torch

from heightpose.errors import ConfigError, FileFormatError
from heightpose.models.pose_net import PoseNet
from heightpose.models.transfer import extend_head, source_of_each, start_from
from heightpose.skeleton import INFANT, MPII

IMAGE = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 255


def randomised(seed: int, **kwargs) -> PoseNet:
    torch.manual_seed(seed)
    model = PoseNet(**kwargs).eval()
    torch.nn.init.normal_(model.head.out.weight)
    torch.nn.init.normal_(model.head.out.bias)
    return model


@pytest.mark.parametrize("head", ["single", "concat"])
def test_new_channels_equal_the_old_ones_before_training(head):
    old = randomised(1, joints=16, head=head)
    new = randomised(2, joints=21, head=head)
    report = start_from(new, old.state_dict(), MPII.names)
    with torch.no_grad():
        before, after = old(IMAGE)[0], new(IMAGE)[0]
    for joint in INFANT.names:
        start = INFANT.init_from.get(joint, joint)
        assert report.joints[joint] == start
        torch.testing.assert_close(
            after[INFANT.index(joint)], before[MPII.index(start)], rtol=1e-4, atol=1e-5
        )
        for part in ("weight", "bias"):
            rows = (
                getattr(new.head.out, part)[INFANT.index(joint)],
                getattr(old.head.out, part)[MPII.index(start)],
            )
            assert torch.equal(*rows)
    assert report.fresh == ()
    assert report.unused == ()


@pytest.mark.parametrize("backbone", ["hourglass_2_slim", "test_resnet"])
def test_other_networks_carry_over_too(backbone):
    """An hourglass reads its own early answer, so a map that two joints share must count once there."""
    head = "regression" if backbone == "test_resnet" else "auto"
    old = randomised(1, backbone=backbone, joints=16, head=head, input_wh=(64, 64))
    new = randomised(2, backbone=backbone, joints=21, head=head, input_wh=(64, 64))
    report = start_from(new, old.state_dict(), MPII.names)
    with torch.no_grad():
        before, after = old(IMAGE)[0], new(IMAGE)[0]
    for joint, start in report.joints.items():
        torch.testing.assert_close(
            after[INFANT.index(joint)], before[MPII.index(start)], rtol=1e-3, atol=1e-3
        )
    assert report.fresh == report.unused == ()


def test_a_deeper_net_starts_as_good_as_the_shallower_one():
    """Its further modules are the only fresh weights, and pass their branches on."""
    old = randomised(1, backbone="hrnet_w18_small", head="concat")
    new = randomised(2, backbone="hrnet_w18_small_deep", head="concat")
    report = start_from(new, old.state_dict(), INFANT.names)
    assert {name.rsplit(".", 1)[0].split(".branches")[0].split(".fuse")[0] for name in report.fresh} == {
        "trunk.stage3.1", "trunk.stage3.2", "trunk.stage4.1"
    }  # fmt: skip
    assert report.unused == ()
    with torch.no_grad():
        torch.testing.assert_close(new(IMAGE), old(IMAGE), rtol=0, atol=0)


def test_names_decide_not_positions():
    shuffled = tuple(reversed(MPII.names))
    old = randomised(1, joints=16)
    state = extend_head(old.state_dict(), shuffled, INFANT.names)
    row = shuffled.index("left_ankle")
    assert torch.equal(state["head.out.bias"][INFANT.index("left_toe")], old.head.out.bias[row])


def test_copies_are_independent():
    """Training the crown must not move head_top."""
    state = extend_head(randomised(1, joints=16).state_dict(), MPII.names, INFANT.names)
    before = state["head.out.weight"][INFANT.index("head_top")].clone()
    state["head.out.weight"][INFANT.index("crown")] += 1
    assert torch.equal(state["head.out.weight"][INFANT.index("head_top")], before)


def test_published_names_are_understood():
    old = randomised(1, joints=16, head="single")
    published = {
        "module." + k.removeprefix("trunk.").replace("head.out.", "final_layer."): v
        for k, v in old.state_dict().items()
    }
    new = randomised(2, joints=21, head="single")
    report = start_from(new, published, MPII.names)
    assert report.fresh == ()
    assert report.unused == ()


def test_other_head_leaves_the_head_fresh():
    report = start_from(
        randomised(2, head="concat"), randomised(1, joints=16, head="single").state_dict(), MPII.names
    )
    assert report.joints == {}
    assert report.fresh
    assert all(name.startswith("head.") or "fuse_layers" in name for name in report.fresh)


def test_joint_without_a_neighbour_is_an_error():
    with pytest.raises(ConfigError, match="pelvis"):
        source_of_each([n for n in MPII.names if n != "pelvis"], INFANT.names)
    assert source_of_each(["right_hip"], ["pelvis"], {"pelvis": "right_hip"}) == {"pelvis": "right_hip"}


def test_circular_neighbours_are_an_error():
    with pytest.raises(ConfigError, match="'a'"):
        source_of_each(["c"], ["a"], {"a": "b", "b": "a"})


def test_wrong_checkpoints_are_named():
    state = randomised(1, joints=16).state_dict()
    with pytest.raises(FileFormatError, match="expected 21 channels, got 16"):
        extend_head(state, INFANT.names, INFANT.names)
    with pytest.raises(FileFormatError, match="not a pose network"):
        extend_head({}, MPII.names, INFANT.names)
    with pytest.raises(FileFormatError, match="no layer in common"):
        start_from(PoseNet(), {"fc.weight": torch.zeros(3)}, MPII.names)
    stem = {k: v for k, v in state.items() if k.startswith(("trunk.conv", "trunk.bn", "head."))}
    assert any(k.startswith("trunk.") for k in stem)
    # As weights of another width have, whose first layers fit.
    with pytest.raises(FileFormatError, match="no layer in common"):
        start_from(randomised(1, joints=21), stem, MPII.names)


def test_weights_that_start_anew_are_told(caplog):
    whole = randomised(1, joints=21)
    start_from(PoseNet(joints=21), whole.state_dict(), INFANT.names)
    assert caplog.text == ""
    part = {name: value for name, value in whole.state_dict().items() if "stage4" not in name}
    start_from(PoseNet(joints=21), part, INFANT.names)
    assert "start anew" in caplog.text
    assert "trunk.stage4" in caplog.text
