"""Importing LabelMe and CVAT: points, boxes, groups and joint maps."""

from __future__ import annotations

import json
import math

import foreign
import numpy as np
import pytest
from imported import assert_joints, imported

from heightpose.errors import FileFormatError


@pytest.mark.parametrize("format_", ["labelme", "cvat"])
def test_annotation_tools_with_a_joint_map(tmp_path, format_):
    src = tmp_path / "src"
    truth = getattr(foreign, format_)(src)
    data = imported(format_, src, tmp_path / "set", joint_map=src / "joints.yaml")
    assert [i.path.name for i in data.items] == ["a.png", "b.png"]  # c.png has no labels: not an empty cot
    for item, people in zip(data.items, truth, strict=False):
        for person, expected in zip(item.people, people, strict=True):
            assert_joints(person, expected)
    kept = imported(format_, src, tmp_path / "kept", joint_map=src / "joints.yaml", keep_empty=True)
    assert [len(i.people) for i in kept.items][2] == 0


def test_labelme_and_cvat_boxes_and_attributes(tmp_path):
    foreign.labelme(tmp_path / "l")
    data = imported("labelme", tmp_path / "l", tmp_path / "lset", joint_map=tmp_path / "l/joints.yaml")
    boxes = [p.bbox_xyxy.tolist() for p in data.items[0].people]
    assert boxes == [[2, 1.5, 90, 60], [2, 1.5, 80, 50]]
    foreign.cvat(tmp_path / "c")
    data = imported("cvat", tmp_path / "c", tmp_path / "cset", joint_map=tmp_path / "c/joints.yaml")
    person = data.items[0].people[0]
    assert (person.child, person.strata) == ("ada", {"posture": "back"})
    assert person.bbox_xyxy.tolist() == [2, 3, 90.5, 60]
    assert person.head_box_xyxy.tolist() == [2, 3, 20.5, 30]


def test_copied_pictures_of_one_name_do_not_overwrite_each_other(tmp_path):
    src = tmp_path / "src"
    for sub in ("one", "two"):
        foreign.labelme(src / sub)
        foreign.pictures(src / sub, ["a.png"] if sub == "one" else ["a.png", "b.png"])
    data = imported("labelme", src, tmp_path / "set", joint_map=src / "one/joints.yaml", copy=True)
    assert sorted(i.path.relative_to(tmp_path / "set/images").as_posix() for i in data.items) == [
        "one/a.png", "one/b.png", "two/a.png", "two/b.png",
    ]  # fmt: skip
    assert data.items[0].path.read_bytes() == (src / "one/a.png").read_bytes()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Top: crwn", ["joints.yaml: Top", "'crwn'", "Did you mean 'crown'"]),
        ("- Top", ["joints.yaml", "their name: our name"]),
        ("nose: null\nTop: crown\nLHeel: crown", ["a.json", "twice", "crown"]),
        ("nose: null\nTop: crown", ["a.json", "LHeel", "--map"]),
    ],
)
def test_a_bad_map_is_named(tmp_path, text, words):
    foreign.labelme(tmp_path)
    (tmp_path / "joints.yaml").write_text(text)
    with pytest.raises(FileFormatError) as raised:
        imported("labelme", tmp_path, tmp_path / "set", joint_map=tmp_path / "joints.yaml")
    for word in words:
        assert word in str(raised.value)
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize("value", [math.inf, math.nan, 0, "x", 96.5])
def test_a_size_that_is_none_is_named(tmp_path, value):
    foreign.labelme(tmp_path / "l")
    document = json.loads((tmp_path / "l/a.json").read_text())
    (tmp_path / "l/a.json").write_text(json.dumps(document | {"imageWidth": value}))
    with pytest.raises(FileFormatError, match=r"a\.json, fields imageWidth, imageHeight"):
        imported("labelme", tmp_path / "l", tmp_path / "set", joint_map=tmp_path / "l/joints.yaml")
    foreign.cvat(tmp_path / "c")
    path = tmp_path / "c/annotations.xml"
    path.write_text(path.read_text().replace('width="96"', f'width="{value}"', 1))
    with pytest.raises(FileFormatError, match=r"image 0 \(a.png\), width, height"):
        imported("cvat", tmp_path / "c", tmp_path / "set", joint_map=tmp_path / "c/joints.yaml")


@pytest.mark.parametrize(
    ("subset", "split"),
    [("Train", "train"), ("Validation", "val"), ("Test", "test"), ("test", "test"), ("default", None)],
)
def test_a_subset_of_cvat_that_is_called_after_a_split_is_that_split(tmp_path, subset, split):
    foreign.cvat(tmp_path)
    path = tmp_path / "annotations.xml"
    path.write_text(path.read_text().replace('name="b.png"', f'name="b.png" subset="{subset}"'))
    data = imported(
        "cvat", tmp_path, tmp_path / "set", joint_map=tmp_path / "joints.yaml", split="val", keep_empty=True
    )
    assert [i.split for i in data.items] == ["val", "val" if split is None else split, "val"]


def test_a_box_whose_label_the_map_leaves_out_is_nobodys(tmp_path):
    foreign.cvat(tmp_path / "c")
    path = tmp_path / "c/annotations.xml"
    path.write_text(path.read_text().replace('<box label="infant"', '<box label="toy"'))
    foreign.labelme(tmp_path / "l")
    label = tmp_path / "l/a.json"
    label.write_text(label.read_text().replace('"label": "infant"', '"label": "toy"'))
    foreign.label_studio(tmp_path / "s")
    export = tmp_path / "s/export.json"
    export.write_text(export.read_text().replace('"infant"', '"toy"'))
    (tmp_path / "joints.yaml").write_text(foreign.MAP + "toy: null\n")
    for format_, source in (("cvat", "c"), ("labelme", "l"), ("label-studio", "s")):
        out = tmp_path / f"{source}-set"
        data = imported(format_, tmp_path / source, out, joint_map=tmp_path / "joints.yaml")
        for person in data.items[0].people:
            known = person.kpts_frame[person.visibility > 0]
            span = np.ptp(known, axis=0).max()
            np.testing.assert_allclose(person.bbox_xyxy[:2], known.min(axis=0) - 0.1 * span, atol=0.02)
    path.write_text(
        path.read_text().replace("<box", '<box label="toy" xtl="1" ytl="1" xbr="9" ybr="9"/><box', 1)
    )
    with pytest.raises(FileFormatError, match=r"2 boxes.*its label: null"):
        imported("cvat", tmp_path / "c", tmp_path / "two", joint_map=tmp_path / "c/joints.yaml")


def test_a_turned_box_of_cvat_is_named(tmp_path):
    foreign.cvat(tmp_path)
    path = tmp_path / "annotations.xml"
    upright = path.read_text().replace('<box label="infant"', '<box label="infant" rotation="0.00"')
    path.write_text(upright)
    imported("cvat", tmp_path, tmp_path / "set", joint_map=tmp_path / "joints.yaml")
    path.write_text(upright.replace('rotation="0.00"', 'rotation="45.00"'))
    with pytest.raises(FileFormatError, match=r"image 0 \(a.png\), box, rotation: a turned box"):
        imported("cvat", tmp_path, tmp_path / "other", joint_map=tmp_path / "joints.yaml")
