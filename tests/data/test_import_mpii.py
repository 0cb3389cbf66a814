"""Importing MPII: the release's structs and HRNet's JSON, joint by joint, boxes and head boxes."""

from __future__ import annotations

import foreign
import numpy as np
import pytest
import scipy.io
from imported import assert_joints, imported

from heightpose.errors import FileFormatError
from heightpose.metrics.pckh import head_size_mpii


def test_mpii_mat_is_moved_to_0_based_pixels_with_box_head_box_and_visibility(tmp_path):
    truth = foreign.mpii_mat(tmp_path / "src")
    data = imported("mpii", tmp_path / "src", tmp_path / "set")
    assert [i.path.name for i in data.items] == ["a.jpg", "b.jpg"]  # c.jpg is withheld
    assert [i.infants_in_view for i in data.items] == [3, 1]
    for item, people in zip(data.items, truth, strict=True):
        for person, expected in zip(item.people, people, strict=True):
            assert_joints(person, expected["joints"])
            np.testing.assert_allclose(person.head_box_xyxy, expected["head"])
            np.testing.assert_allclose(person.bbox_xyxy, expected["box"])
    person = data.items[0].people[0]
    assert head_size_mpii(person.head_box_xyxy[None])[0] == pytest.approx(0.6 * np.hypot(12, 15.5))


def test_mpii_person_without_scale_gets_the_joints_extent(tmp_path):
    def change(rects):
        del rects[2]["scale"], rects[2]["objpos"]

    foreign.mpii_mat(tmp_path / "src", change)
    person = imported("mpii", tmp_path / "src", tmp_path / "set").items[1].people[0]
    labelled = person.kpts_frame[person.visibility > 0]
    low, high = labelled.min(axis=0), labelled.max(axis=0)
    margin = 0.1 * (high - low).max()
    np.testing.assert_allclose(person.bbox_xyxy, [*(low - margin), *(high + margin)])


def test_hrnet_json_is_1_based_and_takes_head_boxes_from_gt_valid(tmp_path):
    truth = foreign.mpii_json(tmp_path / "src")
    data = imported("mpii", tmp_path / "src", tmp_path / "set")
    assert [i.split for i in data.items] == ["train", "val"]
    for item, expected in zip(data.items, truth, strict=True):
        assert_joints(item.people[0], expected["joints"])
        np.testing.assert_allclose(item.people[0].bbox_xyxy, expected["box"])
        if expected["head"] is None:
            assert item.people[0].head_box_xyxy is None
        else:
            np.testing.assert_allclose(item.people[0].head_box_xyxy, expected["head"])


def test_gt_valid_of_other_people_is_refused(tmp_path):
    foreign.mpii_json(tmp_path)
    scipy.io.savemat(tmp_path / "annot/gt_valid.mat", {"headboxes_src": np.ones((2, 2, 5))})
    with pytest.raises(FileFormatError, match=r"headboxes_src.*2x2x1"):
        imported("mpii", tmp_path, tmp_path / "set")


def test_a_bad_point_in_mpii_names_picture_person_and_joint(tmp_path):
    def change(rects):
        rects[1]["annopoints"]["point"][0, 3]["x"] = np.nan

    foreign.mpii_mat(tmp_path / "src", change)
    with pytest.raises(FileFormatError, match=r"annolist\(1\) \(a.jpg\), annorect\(3\), joint left_knee"):
        imported("mpii", tmp_path / "src", tmp_path / "set")
    data = imported("mpii", tmp_path / "src", tmp_path / "set", skip_bad=True)
    assert [i.path.name for i in data.items] == ["b.jpg"]  # the bad infant takes its picture along
