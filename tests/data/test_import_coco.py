"""Importing COCO keypoints: anybody's categories, ids, crowds and splits."""

from __future__ import annotations

import json
import math

import foreign
import numpy as np
import pytest
from imported import assert_joints, imported

from heightpose.errors import FileFormatError, InputError


def test_coco_17_joints_the_face_is_left_out_and_a_crowd_only_counted(tmp_path):
    truth = foreign.coco17(tmp_path / "src", "val")
    data = imported("coco", tmp_path / "src", tmp_path / "set")
    assert [len(i.people) for i in data.items] == [1, 1, 0]
    assert [i.infants_in_view for i in data.items] == [None, 2, None]
    assert {i.split for i in data.items} == {"val"}
    for item, expected in zip(data.items, truth, strict=False):
        assert_joints(item.people[0], expected)
        np.testing.assert_allclose(item.people[0].bbox_xyxy, [3.5, 2, 83.75, 57])


def test_coco_without_a_box_and_with_objects_beside(tmp_path):
    def change(document):
        del document["annotations"][0]["bbox"]
        document["categories"].append({"id": 2, "name": "toy"})
        document["annotations"].append({"id": 99, "image_id": 12, "category_id": 2, "bbox": [1, 1, 5, 5]})

    truth = foreign.coco17(tmp_path / "src", change=change)
    data = imported("coco", tmp_path / "src", tmp_path / "set")
    assert len(data.items[2].people) == 0
    points = np.array([row[:2] for row in truth[0].values()])
    box = data.items[0].people[0].bbox_xyxy
    assert (box[:2] < points.min(axis=0)).all()
    assert (box[2:] > points.max(axis=0)).all()


@pytest.mark.parametrize("number", ["none", None, 7, 1.5, "1", True, [1]])
def test_a_coco_infant_of_no_category_is_refused_and_never_makes_an_empty_cot(tmp_path, number):
    def change(document):
        entry = document["annotations"][0]
        entry["category_id"] = number
        if number == "none":
            del entry["category_id"]

    foreign.coco17(tmp_path / "src", change=change)
    with pytest.raises(
        FileFormatError, match=r"train2017\.json: annotation 70 \(image 10\), field category_id"
    ):
        imported("coco", tmp_path / "src", tmp_path / "set")
    data = imported("coco", tmp_path / "src", tmp_path / "set", skip_bad=True)
    assert [i.path.name for i in data.items] == ["b.jpg", "c.jpg"]


@pytest.mark.parametrize("part", ["annotations", "categories"])
def test_category_ids_that_are_whole_floats_are_ids(tmp_path, part):
    key = {"annotations": "category_id", "categories": "id"}[part]
    foreign.coco17(tmp_path / "src", change=lambda d: [e.update({key: 1.0}) for e in d[part]])
    data = imported("coco", tmp_path / "src", tmp_path / "set")
    assert [len(i.people) for i in data.items] == [1, 1, 0]


def test_one_child_in_two_splits_is_refused_and_a_set_is_not_overwritten(tmp_path):
    foreign.coco17(tmp_path, "train", lambda d: [a.update(child="ada") for a in d["annotations"]])
    foreign.coco17(tmp_path, "val", lambda d: [a.update(child="ada") for a in d["annotations"]])
    with pytest.raises(FileFormatError, match=r"ada.*two splits"):
        imported("coco", tmp_path, tmp_path / "set")
    (tmp_path / "annotations/person_keypoints_val2017.json").unlink()
    imported("coco", tmp_path, tmp_path / "set")
    with pytest.raises(InputError, match="already"):
        imported("coco", tmp_path, tmp_path / "set")
    imported("coco", tmp_path, tmp_path / "set", overwrite=True)


def test_one_picture_in_two_splits_is_refused(tmp_path):
    foreign.coco17(tmp_path, "train")
    foreign.coco17(tmp_path, "val", lambda d: d.update(images=d["images"][2:], annotations=[]))
    with pytest.raises(FileFormatError, match=r"c\.jpg.*two splits.*train and val"):
        imported("coco", tmp_path, tmp_path / "set")
    foreign.coco17(tmp_path, "train", lambda d: d["images"].pop())
    assert [i.split for i in imported("coco", tmp_path, tmp_path / "set").items] == ["train", "train", "val"]


def test_of_several_files_one_of_another_version_is_left_out(tmp_path):
    foreign.coco17(tmp_path, "train")
    foreign.coco17(tmp_path, "val", lambda d: d.update(heightpose={"schema": 9}))
    with pytest.raises(FileFormatError, match=r"val2017.json: heightpose.schema.*expected 1, got 9"):
        imported("coco", tmp_path, tmp_path / "set")
    data = imported("coco", tmp_path, tmp_path / "set", skip_bad=True)
    assert {i.split for i in data.items} == {"train"}
    assert json.loads((tmp_path / "set/annotations.json").read_text())["heightpose"]["schema"] == 1


def test_coco_places_of_unlabelled_joints_are_not_looked_at_and_half_a_pixel_is_no_size(tmp_path):
    def unlabel(document):
        document["annotations"][0]["keypoints"][-3:] = [math.nan, None, 0]

    foreign.coco17(tmp_path / "a", change=unlabel)
    assert len(imported("coco", tmp_path / "a", tmp_path / "set").items[0].people) == 1
    foreign.coco17(tmp_path / "b", change=lambda d: d["images"][1].update(width=96.5))
    with pytest.raises(FileFormatError, match=r"image 11, fields width, height.*whole px, got 96\.5x64"):
        imported("coco", tmp_path / "b", tmp_path / "set2")


def test_a_picture_of_another_size_than_its_labels_is_refused(tmp_path):
    foreign.coco17(tmp_path, change=lambda d: d["images"][1].update(width=100))
    with pytest.raises(FileFormatError, match=r"image 11, .*b\.jpg.*expected 100x64, got 96x64"):
        imported("coco", tmp_path, tmp_path / "set")


@pytest.mark.parametrize("also_box", [True, False])
def test_places_that_are_shares_of_the_picture_are_refused(tmp_path, also_box):
    def change(document):
        for entry in document["annotations"][:2]:
            rows = np.array(entry["keypoints"], dtype=float).reshape(-1, 3) / [*foreign.SIZE_WH, 1]
            entry["keypoints"] = rows.ravel().tolist()
            if also_box:
                entry["bbox"] = (np.array(entry["bbox"]) / (foreign.SIZE_WH * 2)).tolist()

    foreign.coco17(tmp_path / "src", change=change)
    with pytest.raises(
        FileFormatError, match=r"image 10: an infant smaller than two pixels.*width and height"
    ):
        imported("coco", tmp_path / "src", tmp_path / "set")
    assert len(imported("coco", tmp_path / "src", tmp_path / "set", skip_bad=True).items) == 1


def test_a_box_that_misses_the_picture_is_refused(tmp_path):
    def change(document):
        document["annotations"][1]["bbox"] = [foreign.SIZE_WH[0], 4, 20, 20]

    foreign.coco17(tmp_path / "src", change=change)
    with pytest.raises(FileFormatError, match=r"image 11.*the box misses the picture.*96x64"):
        imported("coco", tmp_path / "src", tmp_path / "set")


def test_one_infant_labelled_twice_in_a_picture_is_refused(tmp_path):
    def change(document):
        document["annotations"].append(document["annotations"][0] | {"id": 99})

    foreign.coco17(tmp_path / "src", change=change)
    with pytest.raises(FileFormatError, match=r"image 10: one infant is labelled twice.* 1 and 2 "):
        imported("coco", tmp_path / "src", tmp_path / "set")


def test_cvats_attributes_are_child_and_strata_behind_fields_of_our_own(tmp_path):
    def change(document):
        first, second = document["annotations"][:2]
        first["attributes"] = {
            "occluded": False,
            "track_id": 3,
            "child": "ada",
            "posture": "side",
            "dummy": True,
            "x": "",
        }
        second |= {
            "attributes": {"child": "ada", "posture": "side"},
            "child": "bo",
            "strata": {"posture": "back"},
        }

    foreign.coco17(tmp_path / "src", change=change)
    people = [p for i in imported("coco", tmp_path / "src", tmp_path / "set").items for p in i.people]
    assert [p.child for p in people] == ["ada", "bo"]
    assert [p.strata for p in people] == [{"posture": "side", "dummy": "true"}, {"posture": "back"}]


def test_ids_of_pictures_and_infants_that_are_whole_floats_are_ids(tmp_path):
    def change(document):
        for entry in [*document["images"], *document["annotations"]]:
            entry |= {key: float(entry[key]) for key in ("id", "image_id", "category_id") if key in entry}

    foreign.coco17(tmp_path / "src", change=change)
    data = imported("coco", tmp_path / "src", tmp_path / "set")
    assert [len(i.people) for i in data.items] == [1, 1, 0]
