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


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda r: r[0]["annopoints"].update(point=3.0), r"annorect\(1\), annopoints\.point: not a struct"),
        (lambda r: r[0].update(annopoints="x"), r"annorect\(1\), annopoints: not a struct"),
        (lambda r: _point(r, id=4), r"annorect\(1\), joint left_knee: a person has a joint twice"),
        (lambda r: _point(r, is_visible=np.nan), r"joint left_hip, is_visible: not a flag"),
        (lambda r: _point(r, is_visible=2), r"joint left_hip, is_visible: not a flag \(expected 0 or 1"),
    ],
)
def test_labels_of_a_release_that_can_be_read_in_two_ways_are_refused(tmp_path, change, words):
    foreign.mpii_mat(tmp_path / "src", change)
    with pytest.raises(FileFormatError, match=words):
        imported("mpii", tmp_path / "src", tmp_path / "set")


def _point(rects, **fields):
    """Change the left hip of the first person; the right ankle is not annotated, so it is the third point."""
    for key, value in fields.items():
        rects[0]["annopoints"]["point"][0, 2][key] = value


@pytest.mark.parametrize(
    ("release", "words"),
    [
        ({"annolist": 5, "img_train": 1}, "RELEASE.annolist: not a struct"),
        ({"annolist": {"image": {"name": "a.jpg"}}, "img_train": "x"}, "RELEASE.img_train: not numbers"),
        ({"annolist": {"image": {"name": "a.jpg"}}, "img_train": np.nan}, r"img_train\(1\): not a flag"),
        ({"annolist": {"image": {"name": "a.jpg"}}, "img_train": np.eye(2)}, "got 1 and 2x2"),
        (
            {"annolist": {"image": {"name": ""}}, "img_train": 1},
            r"annolist\(1\), image.name: names no picture",
        ),
        (
            {"annolist": {"image": {"name": "a.jpg"}, "annorect": 5}, "img_train": 1},
            r"annorect: not a struct",
        ),
    ],
)
def test_a_release_of_another_build_is_told_where(tmp_path, release, words):
    scipy.io.savemat(tmp_path / "release.mat", {"RELEASE": release}, do_compression=True)
    with pytest.raises(FileFormatError, match=words):
        imported("mpii", tmp_path / "release.mat", tmp_path / "set")


def test_the_release_is_found_beside_other_mat_files_and_in_the_folder_of_its_archive(tmp_path):
    foreign.mpii_mat(tmp_path / "src")
    scipy.io.savemat(tmp_path / "src/a_detections.mat", {"other": 1})
    assert len(imported("mpii", tmp_path / "src", tmp_path / "set").items) == 2
    (tmp_path / "src/mpii_human_pose_v1_u12_2").mkdir()
    for path in (tmp_path / "src").glob("*.mat"):
        path.rename(path.parent / "mpii_human_pose_v1_u12_2" / path.name)
    assert len(imported("mpii", tmp_path / "src", tmp_path / "other").items) == 2


def test_hrnet_flags_and_head_boxes_that_are_none_are_named(tmp_path):
    foreign.mpii_json(tmp_path / "src")
    path = tmp_path / "src/annot/train.json"
    good = path.read_text()
    path.write_text(good.replace('"joints_vis": [1', '"joints_vis": [0.5'))
    with pytest.raises(FileFormatError, match=r"field joints_vis, joint right_ankle: not a flag"):
        imported("mpii", tmp_path / "src", tmp_path / "set")
    path.write_text(good)
    boxes = np.array([[{"a": 1}, 2], [3, 4]], dtype=object)
    scipy.io.savemat(tmp_path / "src/annot/gt_valid.mat", {"headboxes_src": boxes})
    with pytest.raises(FileFormatError, match=r"headboxes_src: not numbers"):
        imported("mpii", tmp_path / "src", tmp_path / "set")
