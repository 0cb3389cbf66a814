"""Importing LSP and LSPET: both layouts of their joints, the splits kept back, damaged files."""

from __future__ import annotations

import foreign
import numpy as np
import pytest
import scipy.io
from imported import assert_joints, imported

from heightpose.data.items import way_up
from heightpose.errors import FileFormatError
from heightpose.skeleton import INFANT


def test_lspet_masks_flag_0_and_keeps_left_and_right(tmp_path):
    truth = foreign.lspet(tmp_path / "src")
    data = imported("lsp", tmp_path / "src", tmp_path / "set")
    assert [i.path.name for i in data.items] == ["im00001.jpg", "im00002.jpg", "im00003.jpg"]
    for item, expected in zip(data.items, truth, strict=True):
        assert_joints(item.people[0], expected)
        assert len(expected) == 12  # and none of crown, pelvis, thorax, heels, toes is invented
        assert item.size_wh == foreign.SIZE_WH


def test_lsp_third_row_is_occlusion(tmp_path):
    truth = foreign.lsp(tmp_path / "src")
    for item, expected in zip(imported("lsp", tmp_path / "src", tmp_path / "set").items, truth, strict=True):
        assert_joints(item.people[0], expected)
        person = item.people[0]
        way = way_up(person.kpts_frame, person.visibility > 0)
        assert way is not None
        assert person.strata == {"source": "lsp", "way_up": way}


@pytest.mark.parametrize(
    ("turn_deg", "expected"),
    [
        (0, "upright"),
        (44, "upright"),
        (-46, "sideways"),
        (134, "sideways"),
        (-136, "upside_down"),
        (180, "upside_down"),
    ],
)
def test_way_up_is_where_the_head_points(turn_deg, expected):
    kpts, labelled = np.zeros((len(INFANT), 2)), np.zeros(len(INFANT), dtype=bool)
    turn = np.radians(turn_deg)
    kpts[INFANT.index("head_top")] = 100 * np.sin(turn), -100 * np.cos(turn)
    labelled[INFANT.indices("head_top", "left_hip", "right_hip")] = True
    assert way_up(kpts, labelled) == expected
    assert way_up(kpts, np.zeros_like(labelled)) is None


def test_lspet_pictures_from_9001_on_are_test_and_the_rest_is_split_by_seed(tmp_path):
    foreign.lspet(tmp_path / "src", count=1)
    picture = (tmp_path / "src/images/im00001.jpg").read_bytes()
    table = np.zeros((14, 3, 9003))
    table[:, 0], table[:, 1], table[:, 2] = np.linspace(10, 60, 14)[:, None], 20.0, 1
    for number in [*range(2, 60), 9000, 9001, 9003]:  # all others are missing, and left out
        (tmp_path / f"src/images/im{number:05d}.jpg").write_bytes(picture)
    scipy.io.savemat(tmp_path / "src/joints.mat", {"joints": table}, do_compression=True)
    for options in ({"val_share": 0.2}, {"split": "train"}):
        data = imported("lsp", tmp_path / "src", tmp_path / f"set{len(options)}{'split' in options}",
                        skip_bad=True, **options)  # fmt: skip
        split_of = {i.path.name: i.split for i in data.items}
        kept_back = {"im09001.jpg", "im09003.jpg"}
        assert {n for n, s in split_of.items() if s == "test"} == kept_back
        if "val_share" in options:
            share = np.mean([s == "val" for n, s in split_of.items() if n not in kept_back])
            assert 0.05 < share < 0.4


def test_a_joint_off_the_picture_is_marked_so(tmp_path):
    foreign.lspet(tmp_path / "src", count=1, absent=())
    table = scipy.io.loadmat(tmp_path / "src/joints.mat")["joints"].reshape(14, 3, 1)
    table[0, :2, 0] = (-0.4, 10)
    table[1, :2, 0] = (50, 63.6)
    scipy.io.savemat(tmp_path / "src/joints.mat", {"joints": table}, do_compression=True)
    person = imported("lsp", tmp_path / "src", tmp_path / "set").items[0].people[0]
    assert person.out_of_frame.nonzero()[0].tolist() == [INFANT.index("right_knee")]


def test_a_damaged_matlab_file_is_named_and_does_not_end_the_process(tmp_path):
    foreign.lspet(tmp_path)
    path = tmp_path / "joints.mat"
    scipy.io.savemat(path, {"joints": scipy.io.loadmat(path)["joints"]}, do_compression=False)
    data = bytearray(path.read_bytes())
    data[192:194] = b"\xee\xee"  # a length: scipy's reader then runs off its memory
    path.write_bytes(data)
    with pytest.raises(FileFormatError, match=r"joints\.mat.*damaged"):
        imported("lsp", tmp_path, tmp_path / "set")
