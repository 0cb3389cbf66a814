"""Data sets: what is read, what is refused and how, and that writing gives back what was read."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import drawn
import numpy as np
import pytest

from heightpose.data.coco import Dataset
from heightpose.data.items import head_angle_deg
from heightpose.data.pictures import Pictures
from heightpose.errors import FileFormatError, HeightposeError
from heightpose.skeleton import INFANT


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "set"
    drawn.nursery(path)
    return path


@pytest.fixture
def folder(made, tmp_path):
    """A copy to spoil."""
    return Path(shutil.copytree(made, tmp_path / "set"))


def test_reads_pictures_infants_and_empty_cots(folder):
    data = Dataset.load(folder)
    assert [len(data.subset(s).items) for s in ("train", "val", "test", "all")] == [7, 3, 0, 10]
    assert [len(i.people) for i in data.items] == [1] * 8 + [0, 0]
    person = data.items[0].people[0]
    assert person.child == "child-0"
    assert person.strata == {"legs": "extended"}
    assert (person.visibility == 2).all()
    inside = (person.kpts_frame >= person.bbox_xyxy[:2]) & (person.kpts_frame <= person.bbox_xyxy[2:])
    assert inside.all()


def test_joints_are_matched_by_name_and_missing_ones_are_not_labelled(folder):
    names = [n for n in reversed(INFANT.names) if n != "left_toe"]

    def change(doc):
        doc["categories"][0]["keypoints"] = names
        for a in doc["annotations"]:
            table = dict(zip(INFANT.names, np.array(a["keypoints"]).reshape(-1, 3).tolist(), strict=True))
            a["keypoints"] = [v for n in names for v in table[n]]
            a["out_of_frame"] = [n == "crown" for n in names]

    before = Dataset.load(folder).items[0].people[0]
    drawn.rewrite(folder, change)
    person = Dataset.load(folder).items[0].people[0]
    toe = INFANT.index("left_toe")
    assert person.visibility[toe] == 0
    assert person.out_of_frame.nonzero()[0].tolist() == [INFANT.index("crown")]
    others = np.arange(len(INFANT)) != toe
    np.testing.assert_allclose(person.kpts_frame[others], before.kpts_frame[others])


def test_written_and_read_again_it_is_the_same(folder, tmp_path):
    data = Dataset.load(folder)
    (tmp_path / "copy").mkdir()
    data.save(tmp_path / "copy")
    again = Dataset.load(tmp_path / "copy")
    # Older sets begin at 0, which COCO takes for no id.
    assert next(p.id for i in data.items for p in i.people) == 0
    ids = [a["id"] for a in json.loads((tmp_path / "copy/annotations.json").read_text())["annotations"]]
    assert ids == list(range(1, len(ids) + 1))
    for a, b in zip(data.items, again.items, strict=True):
        assert (a.id, a.path.resolve(), a.size_wh, a.split) == (b.id, b.path.resolve(), b.size_wh, b.split)
        for p, q in zip(a.people, b.people, strict=True):
            np.testing.assert_allclose(p.kpts_frame, q.kpts_frame, atol=1e-3)
            np.testing.assert_array_equal(p.visibility, q.visibility)
            np.testing.assert_allclose(p.bbox_xyxy, q.bbox_xyxy, atol=1e-2)
            assert (p.child, p.strata) == (q.child, q.strata)


def _nan(doc):
    doc["annotations"][2]["keypoints"][3 * INFANT.index("crown")] = math.nan


def _short(doc):
    doc["annotations"][2]["keypoints"].pop()


def _visibility(doc):
    doc["annotations"][2]["keypoints"][2] = 3


def _box(doc):
    doc["annotations"][2]["bbox"][2] = 0


def _missing(doc):
    doc["images"][2]["file_name"] = "images/gone.png"


def _strata(doc):
    doc["annotations"][2]["strata"] = "extended"


def _number(doc):
    doc["annotations"][2]["id"] = "two"


def _out_of_frame(doc):
    doc["annotations"][2]["out_of_frame"].pop()


def _size(doc):
    doc["images"][2]["height"] = 0


def _half_a_pixel(doc):
    doc["images"][2]["width"] = 960.5


def _flag(doc):
    doc["annotations"][2]["out_of_frame"][INFANT.index("left_knee")] = "no"


def _count(doc):
    doc["images"][2]["infants_in_view"] = "one"


def _split(doc):
    doc["images"][2]["split"] = "training"


def _huge_box(doc):
    doc["annotations"][2]["bbox"] = [0, 0, 1e308, 1e308]


def _huge_whole_number(doc):
    doc["images"][2]["width"] = 10**400


def _endless_name(doc):
    doc["images"][2]["file_name"] = "a" * 5000


BAD_ENTRIES = [
    (_nan, ["field keypoints", "crown", "nan"]),
    (_short, ["field keypoints", "expected 63 numbers, got 62"]),
    (_visibility, ["keypoints", "0, 1 or 2"]),
    (_box, ["field bbox"]),
    (_strata, ["field strata", "extended"]),
    (_number, ["field id", "two"]),
    (_out_of_frame, ["field out_of_frame", "expected 21 numbers, got 20"]),
    (_size, ["fields width, height", "got 160x0"]),
    (_half_a_pixel, ["fields width, height", "whole px", "960.5x120"]),
    (_flag, ["field out_of_frame", "left_knee", "no"]),
    (_count, ["field infants_in_view", "one"]),
    (_missing, ["images/gone.png", "missing"]),
    (_split, ["field split", "training"]),
    (_huge_box, ["field bbox[2]", "impossibly large", "1e+308"]),
    (_huge_whole_number, ["fields width, height[0]", "impossibly large"]),
    (_endless_name, ["aaaa", "missing"]),
]


@pytest.mark.parametrize(("spoil", "words"), BAD_ENTRIES, ids=lambda v: getattr(v, "__name__", ""))
def test_a_bad_entry_is_named(folder, spoil, words):
    drawn.rewrite(folder, spoil)
    with pytest.raises(FileFormatError) as raised:
        Dataset.load(folder)
    message = str(raised.value)
    assert "annotations.json" in message
    assert "image 2" in message  # annotations name theirs too
    for word in words:
        assert word in message


@pytest.mark.parametrize("odd", [math.nan, math.inf, None, 1e300])
def test_where_a_joint_is_that_is_not_labelled_is_not_looked_at_and_written_clean(folder, tmp_path, odd):
    crown = INFANT.index("crown")

    def unlabel(doc):
        doc["annotations"][2]["keypoints"][3 * crown : 3 * crown + 3] = [odd, 7, 0]

    drawn.rewrite(folder, unlabel)
    data = Dataset.load(folder)
    person = data.items[2].people[0]
    assert person.kpts_frame[crown].tolist() == [0, 0]
    person.kpts_frame[crown] = math.nan  # as who makes one may leave it
    text = data.save(tmp_path).read_text()
    table = json.loads(text)["annotations"][2]["keypoints"]
    assert table[3 * crown : 3 * crown + 3] == [0.0, 0.0, 0]


def test_a_size_in_whole_numbers_with_a_point_is_one(folder):
    drawn.rewrite(folder, lambda doc: doc["images"][2].update(width=160.0))
    assert Dataset.load(folder).items[2].size_wh == (160, 120)


@pytest.mark.parametrize("spoil", [s for s, _ in BAD_ENTRIES], ids=lambda s: s.__name__)
def test_skip_bad_drops_the_whole_picture_so_that_it_never_passes_for_an_empty_cot(folder, spoil, caplog):
    drawn.rewrite(folder, spoil)
    data = Dataset.load(folder, skip_bad=True)
    assert [i.id for i in data.items] == [0, 1, 3, 4, 5, 6, 7, 8, 9]
    assert len(data.skipped) == 1
    assert "skipped" in caplog.text


@pytest.mark.parametrize("skip_bad", [False, True])
@pytest.mark.parametrize(
    ("spoil", "word"),
    [
        (lambda d: d["heightpose"].update(schema=2), "heightpose.schema"),
        (lambda d: d.pop("annotations"), "annotations"),
        (lambda d: d["categories"][0]["keypoints"].__setitem__(0, "right_ancle"), "right_ankle"),
        (lambda d: d["images"][1].update(id=0), "images, field id: ids repeat.*2 with the id 0"),
        (lambda d: d["annotations"][1].update(id=3), "annotations, field id: ids repeat.*2 with the id 3"),
        (lambda d: d["annotations"][7].update(child="child-0"), "child-0.*two splits.*train and val"),
        (lambda d: d["images"][7].update(file_name="images/../images/000000.png"), "000000.png.*two splits"),
    ],
    ids=["schema", "list", "joint", "image ids", "annotation ids", "child", "picture"],
)
def test_what_is_wrong_with_the_file_as_a_whole_is_never_skipped(folder, spoil, word, skip_bad):
    drawn.rewrite(folder, spoil)
    with pytest.raises(FileFormatError, match=word):
        Dataset.load(folder, skip_bad=skip_bad)


def test_a_crowd_labels_nobody_and_says_that_more_are_in_view(folder):
    def crowds(document):
        document["annotations"][0] = {"id": 0, "image_id": 0, "category_id": 1, "iscrowd": 1}
        document["annotations"].append(document["annotations"][1] | {"id": 90, "iscrowd": 1})
        document["annotations"].append(document["annotations"][2] | {"id": 91, "iscrowd": 1})
        document["images"][2]["infants_in_view"] = 4

    drawn.rewrite(folder, crowds)
    items = Dataset.load(folder).items
    assert [len(i.people) for i in items[:4]] == [0, 1, 1, 1]
    assert [i.infants_in_view for i in items[:4]] == [1, 2, 4, None]
    assert [i.has_unlabelled for i in items[:4]] == [True, True, True, False]


def test_annotations_of_another_category_are_no_infants(folder):
    def a_toy(document):
        document["categories"].append({"id": 2, "name": "toy"})
        document["annotations"][0] = {"id": 0, "image_id": 0, "category_id": 2, "bbox": [1, 1, 5, 5]}
        del document["annotations"][1]["category_id"]

    drawn.rewrite(folder, a_toy)
    items = Dataset.load(folder).items
    assert [len(i.people) for i in items[:3]] == [0, 1, 1]
    assert items[0].infants_in_view is None


@pytest.mark.parametrize(
    ("joints", "word"),
    [(["nose"], "annotation 3 .*a category whose joints are not read"), (None, "annotation 3 .*no category")],
)
def test_annotations_of_other_joints_or_of_no_category_are_named_or_skipped(folder, joints, word):
    def other(document):
        document["annotations"][3]["category_id"] = 2
        if joints is not None:
            document["categories"].append({"id": 2, "name": "dog", "keypoints": joints})

    drawn.rewrite(folder, other)
    with pytest.raises(FileFormatError, match=word):
        Dataset.load(folder)
    assert 3 not in [item.id for item in Dataset.load(folder, skip_bad=True).items]


def test_a_picture_named_twice_in_one_split_is_read_twice(folder):
    """One entry for each of two infants."""
    drawn.rewrite(folder, lambda d: d["images"][1].update(file_name=d["images"][0]["file_name"]))
    assert len(Dataset.load(folder).items) == 10


def test_an_annotation_of_no_picture_is_named_or_skipped(folder):
    drawn.rewrite(folder, lambda d: d["annotations"].append(d["annotations"][0] | {"id": 50, "image_id": 99}))
    with pytest.raises(FileFormatError, match=r"annotations\.json: annotation 50, field image_id.*99"):
        Dataset.load(folder)
    data = Dataset.load(folder, skip_bad=True)
    assert len(data.items) == 10
    assert len(data.skipped) == 1


@pytest.mark.parametrize("entry", [None, 7, "text", [], {}])
def test_entries_that_are_no_objects_are_refused_not_stumbled_over(folder, entry):
    for part in ("images", "annotations"):
        before = (folder / "annotations.json").read_text()
        drawn.rewrite(folder, lambda d, part=part: d[part].append(entry))
        with pytest.raises(FileFormatError, match=r"annotations\.json: (image|annotation) "):
            Dataset.load(folder)
        assert len(Dataset.load(folder, skip_bad=True).items) == 10
        (folder / "annotations.json").write_text(before)


def test_an_interrupted_save_leaves_the_old_file(folder, monkeypatch):
    data = Dataset.load(folder)
    before = (folder / "annotations.json").read_bytes()

    def broken(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.replace", broken)
    with pytest.raises(KeyboardInterrupt):
        data.save(folder)
    assert (folder / "annotations.json").read_bytes() == before
    assert [p.name for p in folder.iterdir() if p.is_file()] == ["annotations.json"]


def test_no_data_set_and_no_json(tmp_path):
    with pytest.raises(HeightposeError, match="no such data set"):
        Dataset.load(tmp_path)
    for text in ("{", "[" * 100_000 + "]" * 100_000):
        (tmp_path / "annotations.json").write_text(text)
        with pytest.raises(FileFormatError, match="JSON"):
            Dataset.load(tmp_path)


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_a_truncated_picture_is_named_or_skipped(folder, suffix):
    import cv2

    path = folder / f"images/000001.{suffix}"
    image = cv2.imread(str(folder / "images/000001.png"))
    cv2.imwrite(str(path), image)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    drawn.rewrite(folder, lambda d: d["images"][1].update(file_name=f"images/000001.{suffix}"))
    data = Dataset.load(folder)  # not decoded yet
    with pytest.raises(FileFormatError, match=rf"000001\.{suffix}.*truncated"):
        Pictures(data.items)
    kept = Pictures(data.items, skip_bad=True)
    assert [i.id for i in kept.items] == [0, 2, 3, 4, 5, 6, 7, 8, 9]


def test_a_picture_of_another_size_than_its_labels_is_refused(folder):
    drawn.rewrite(folder, lambda d: d["images"][0].update(width=161))
    with pytest.raises(FileFormatError, match=r"000000\.png.*161x120.*160x120"):
        Pictures(Dataset.load(folder).items)


def test_pictures_beyond_the_memory_budget_are_the_same_pictures(folder):
    items = Dataset.load(folder).items
    all_in, none_in = Pictures(items, memory_mb=100), Pictures(items, memory_mb=0)
    for i in range(len(items)):
        np.testing.assert_array_equal(all_in.picture(i), none_in.picture(i))


@pytest.mark.parametrize("angle", [0.0, 30.0, 90.0, 180.0, -135.0])
def test_head_direction_from_pelvis_to_crown_or_its_stand_ins(angle):
    kpts = drawn.infant_kpts((80, 60), 90, angle)
    labelled = np.ones(len(INFANT), dtype=bool)
    for drop in ([], ["crown"], ["crown", "head_top", "upper_neck"], ["pelvis"]):
        labelled[INFANT.indices(*drop)] = False
        error = (head_angle_deg(kpts, labelled) - angle + 180) % 360 - 180
        assert abs(error) < 1e-6
    assert head_angle_deg(kpts, np.zeros(len(INFANT), dtype=bool)) is None


@pytest.mark.parametrize(
    ("spoil", "word"),
    [
        (lambda a: a.update(bbox=[500, 0, 9, 9]), "misses the picture"),
        (lambda a: a.update(bbox=[0.1, 0.1, 0.5, 0.5]), "smaller than two pixels"),
        (lambda a: a.update(keypoints=[0.5, 0.5, 2] * len(INFANT)), "smaller than two pixels"),
        (lambda a: a.update(bbox=[0, 0, 3, 3]), "none of the infant's joints"),
    ],
)
def test_a_label_off_its_picture_or_in_shares_of_it_is_named_or_skipped(folder, spoil, word):
    drawn.rewrite(folder, lambda d: spoil(d["annotations"][0]))
    with pytest.raises(FileFormatError, match=rf"annotation 0 \(image \d+\).*{word}"):
        Dataset.load(folder)
    assert len(Dataset.load(folder, skip_bad=True).items) == 9


def test_an_infant_wholly_out_of_the_frame_may_have_its_box_there(folder):
    outside = {"bbox": [500, 0, 60, 90], "out_of_frame": [True] * len(INFANT)}
    drawn.rewrite(folder, lambda d: d["annotations"][0].update(outside))
    assert not Dataset.load(folder).items[0].people[0].usable.any()


def test_one_infant_labelled_twice_is_named_or_skipped(folder):
    drawn.rewrite(folder, lambda d: d["annotations"].append(d["annotations"][0] | {"id": 99}))
    with pytest.raises(FileFormatError, match=r"labelled twice.* 1 and 2 "):
        Dataset.load(folder)
    assert len(Dataset.load(folder, skip_bad=True).items) == 9
