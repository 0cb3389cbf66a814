"""Importers: every joint, box and split of tiny sources, and the way out to COCO and back without loss."""

from __future__ import annotations

import json
import math

import foreign
import numpy as np
import pytest
import scipy.io

from heightpose.data.coco import Dataset
from heightpose.data.export import export_coco
from heightpose.data.importers.run import Options, import_labels
from heightpose.data.items import way_up
from heightpose.errors import FileFormatError, InputError
from heightpose.metrics.pckh import head_size_mpii
from heightpose.skeleton import INFANT


def imported(format_, source, out, **options):
    import_labels(format_, source, out, Options(**options))
    return Dataset.load(out)


def joints_of(person):
    """Labelled joints as {name: (x, y, visibility)}; nothing else may carry a coordinate."""
    assert not person.kpts_frame[person.visibility == 0].any()
    rows = zip(INFANT.names, person.kpts_frame.tolist(), person.visibility.tolist(), strict=True)
    return {name: (*xy, seen) for name, xy, seen in rows if seen}


def assert_joints(person, truth):
    found = joints_of(person)
    assert set(found) == set(truth)
    for name, row in truth.items():
        np.testing.assert_allclose(found[name], row, atol=1e-3, err_msg=name)


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


SOURCES = ["lspet", "lsp", "mpii_mat", "mpii_json", "coco17", "labelme", "cvat"]


@pytest.mark.parametrize("pixels", ["centre", "corner"])
@pytest.mark.parametrize("source", SOURCES)
def test_out_to_coco_and_back_nothing_is_lost(tmp_path, source, pixels):
    src = tmp_path / "src"
    getattr(foreign, source)(src)
    format_ = {"lspet": "lsp", "mpii_mat": "mpii", "mpii_json": "mpii", "coco17": "coco"}.get(source, source)
    mapped = src / "joints.yaml"
    before = imported(
        format_, src, tmp_path / "set", joint_map=mapped if mapped.is_file() else None, copy=True
    )
    export_coco(before, tmp_path / "plain", pixel_offset=0.5 if pixels == "corner" else 0.0)
    after = imported("coco", tmp_path / "plain", tmp_path / "again", pixels=pixels)
    by_name = {i.path.name: i for i in after.items}
    assert len(by_name) == len(before.items)
    for item in before.items:
        other = by_name[item.path.name]
        assert other.path.read_bytes() == item.path.read_bytes()
        assert (other.split, other.size_wh) == (item.split, item.size_wh)
        assert other.infants_in_view == item.infants_in_view
        for p, q in zip(item.people, other.people, strict=True):
            np.testing.assert_allclose(q.kpts_frame, p.kpts_frame, atol=1e-3)
            np.testing.assert_array_equal(q.visibility, p.visibility)
            np.testing.assert_array_equal(q.out_of_frame, p.out_of_frame)
            np.testing.assert_allclose(q.bbox_xyxy, p.bbox_xyxy, atol=1e-9)
            assert (q.child, q.strata) == (p.child, p.strata)
            assert (q.head_box_xyxy is None) == (p.head_box_xyxy is None)
            if p.head_box_xyxy is not None:
                np.testing.assert_allclose(q.head_box_xyxy, p.head_box_xyxy, atol=1e-9)


@pytest.mark.parametrize("format_", ["coco", "cvat"])
def test_names_with_windows_separators_are_found_where_none_is_written_so(tmp_path, format_):
    src = tmp_path / "src"
    options = {}
    if format_ == "coco":
        foreign.coco17(src, change=lambda d: d["images"][0].update(file_name="images\\a.jpg"))
    else:
        foreign.cvat(src)
        path = src / "annotations.xml"
        path.write_text(path.read_text().replace('name="a.png"', 'name="images\\a.png"'))
        options["joint_map"] = src / "joints.yaml"
    data = imported(format_, src, tmp_path / "set", **options)
    picture = data.items[0].path
    assert (picture.stem, picture.parent.name) == ("a", "images")
    (src / f"images\\{picture.name}").write_bytes(picture.read_bytes())
    again = imported(format_, src, tmp_path / "again", **options)
    assert again.items[0].path.name == f"images\\{picture.name}"


def test_a_joint_off_the_picture_is_marked_so(tmp_path):
    foreign.lspet(tmp_path / "src", count=1, absent=())
    table = scipy.io.loadmat(tmp_path / "src/joints.mat")["joints"].reshape(14, 3, 1)
    table[0, :2, 0] = (-0.4, 10)
    table[1, :2, 0] = (50, 63.6)
    scipy.io.savemat(tmp_path / "src/joints.mat", {"joints": table}, do_compression=True)
    person = imported("lsp", tmp_path / "src", tmp_path / "set").items[0].people[0]
    assert person.out_of_frame.nonzero()[0].tolist() == [INFANT.index("right_knee")]


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


def _spoil_xml(folder):
    path = folder / "annotations.xml"
    path.write_text(path.read_text().replace("<annotations>", '<!DOCTYPE a [<!ENTITY b "c">]><annotations>'))


def test_what_is_not_the_format_is_said_so(tmp_path):
    foreign.cvat(tmp_path / "c")
    _spoil_xml(tmp_path / "c")
    with pytest.raises(FileFormatError, match="document type"):
        imported("cvat", tmp_path / "c", tmp_path / "set")
    (tmp_path / "c/annotations.xml").write_text("<annotations><track/></annotations>")
    with pytest.raises(FileFormatError, match="CVAT for images"):
        imported("cvat", tmp_path / "c", tmp_path / "set")
    (tmp_path / "joints.mat").write_bytes(b"no matlab")
    with pytest.raises(FileFormatError, match="not a MATLAB file"):
        imported("lsp", tmp_path, tmp_path / "set")
    scipy.io.savemat(tmp_path / "joints.mat", {"joints": np.zeros((3, 3, 3))})
    with pytest.raises(FileFormatError, match="14x3xN or 3x14xN"):
        imported("lsp", tmp_path, tmp_path / "set")
    scipy.io.savemat(tmp_path / "x.mat", {"other": 1})
    with pytest.raises(FileFormatError, match="RELEASE"):
        imported("mpii", tmp_path / "x.mat", tmp_path / "set")
    with pytest.raises(InputError, match="no COCO file"):
        imported("coco", tmp_path / "c/images", tmp_path / "set")


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


def test_a_damaged_matlab_file_is_named_and_does_not_end_the_process(tmp_path):
    foreign.lspet(tmp_path)
    path = tmp_path / "joints.mat"
    scipy.io.savemat(path, {"joints": scipy.io.loadmat(path)["joints"]}, do_compression=False)
    data = bytearray(path.read_bytes())
    data[192:194] = b"\xee\xee"  # a length: scipy's reader then runs off its memory
    path.write_bytes(data)
    with pytest.raises(FileFormatError, match=r"joints\.mat.*damaged"):
        imported("lsp", tmp_path, tmp_path / "set")
