from __future__ import annotations

import numpy as np
import pytest

from heightpose.skeleton import EDGE_JOINTS, INFANT, MPII, Skeleton


def test_mpii_order_then_edge_joints() -> None:
    assert len(MPII) == 16
    assert len(INFANT) == 21
    assert INFANT.names[:16] == MPII.names
    assert INFANT.names[16:] == ("crown", "left_heel", "right_heel", "left_toe", "right_toe")
    assert [INFANT.index(n) for n in ("right_ankle", "left_ankle", "pelvis", "head_top", "left_wrist")] == [
        0,
        5,
        6,
        9,
        15,
    ]


def test_flip_map_swaps_sides_and_is_an_involution() -> None:
    flip = INFANT.flip_map
    assert (flip[flip] == np.arange(21)).all()
    assert flip[INFANT.index("left_heel")] == INFANT.index("right_heel")
    assert flip[INFANT.index("crown")] == INFANT.index("crown")


def test_a_one_sided_skeleton_is_refused() -> None:
    with pytest.raises(ValueError, match="mirror"):
        Skeleton(("left_hip", "pelvis"))
    with pytest.raises(ValueError, match="repeat"):
        Skeleton(("pelvis", "pelvis"))


def test_what_hangs_on_a_joint() -> None:
    below = INFANT.below(INFANT.index("left_knee"))
    assert [INFANT.names[k] for k in below] == ["left_knee", "left_ankle", "left_heel", "left_toe"]
    assert INFANT.below(INFANT.index("crown")) == [INFANT.index("crown")]
    assert sorted(INFANT.below(INFANT.index("pelvis"))) == list(range(len(INFANT)))


def test_chain_height_joints_and_weights() -> None:
    assert [INFANT.names[i] for i in INFANT.chain("left")] == [
        "crown", "upper_neck", "thorax", "pelvis", "left_hip", "left_knee", "left_ankle", "left_heel",
    ]  # fmt: skip
    assert len(INFANT.height_joints) == 12
    assert INFANT.loss_weights[INFANT.index("left_heel")] > INFANT.loss_weights[INFANT.index("left_hip")]
    assert set(INFANT.init_from) == set(EDGE_JOINTS)
    with pytest.raises(ValueError, match="side"):
        INFANT.chain("up")
    with pytest.raises(KeyError, match="no joint 'tail'"):
        INFANT.index("tail")
