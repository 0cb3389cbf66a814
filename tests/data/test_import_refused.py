"""What no import may do with bad labels: write a set that cannot be read again, or end otherwise than by a refusal."""

from __future__ import annotations

import json

import foreign
import pytest
import scipy.io
from imported import imported

from heightpose.errors import FileFormatError


def _rewrite(path, change):
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def _lsp(src, value):
    foreign.lspet(src)
    table = scipy.io.loadmat(src / "joints.mat")["joints"]
    table[0, 0, 0] = value
    scipy.io.savemat(src / "joints.mat", {"joints": table}, do_compression=True)
    return "lsp", {}, r"joint right_ankle"


def _mpii_mat(src, value):
    foreign.mpii_mat(src, lambda rects: rects[2]["annopoints"]["point"][0, 4].__setitem__("x", value))
    return "mpii", {}, r"annolist\(2\) \(b.jpg\), annorect\(1\), joint"


def _mpii_json(src, value):
    foreign.mpii_json(src)
    _rewrite(src / "annot/train.json", lambda d: d[0]["joints"].__setitem__(0, [value, 2]))
    return "mpii", {}, r"entry 0 \(a.jpg\)"


def _mpii_scale(src, value):
    foreign.mpii_json(src)
    _rewrite(src / "annot/train.json", lambda d: d[0].update(scale=value))
    return "mpii", {}, r"entry 0 \(a.jpg\)"


def _labelme(src, value):
    foreign.labelme(src)
    _rewrite(src / "a.json", lambda d: d["shapes"][0].update(points=[[value, 2]]))
    return "labelme", {"joint_map": src / "joints.yaml"}, r"a\.json"


def _cvat(src, value):
    foreign.cvat(src)
    path = src / "annotations.xml"
    path.write_text(path.read_text().replace('xbr="90.50"', f'xbr="{value}"'))
    return "cvat", {"joint_map": src / "joints.yaml"}, r"image 0 \(a\.png\)"


def _label_studio(src, value):
    foreign.label_studio(src)
    _rewrite(src / "export.json", lambda d: d[0]["annotations"][0]["result"][1]["value"].update(x=value))
    return "label-studio", {}, r"export\.json: task 0"


TEXTS = [_mpii_json, _mpii_scale, _labelme, _cvat, _label_studio]
FAR = [(s, v) for s in (_lsp, _mpii_mat, *TEXTS) for v in (1e300, 1e9)] + [(s, 10**400) for s in TEXTS]


@pytest.mark.parametrize(
    ("source", "value"), FAR, ids=lambda v: v.__name__ if callable(v) else f"{len(str(v))}"
)
def test_a_place_beyond_any_picture_is_refused_before_a_set_holds_it(tmp_path, source, value):
    format_, options, words = source(tmp_path / "src", value)
    with pytest.raises(FileFormatError, match=words):
        imported(format_, tmp_path / "src", tmp_path / "set", **options)
    assert not (tmp_path / "set").exists()
    assert imported(format_, tmp_path / "src", tmp_path / "set", skip_bad=True, **options).items


@pytest.mark.parametrize("count", [-1, 1.5, "2", [2]])
def test_coco_infants_in_view_that_are_no_count_are_named(tmp_path, count):
    foreign.coco17(tmp_path / "src", change=lambda d: d["images"][1].update(infants_in_view=count))
    with pytest.raises(FileFormatError, match=r"image 11, field infants_in_view"):
        imported("coco", tmp_path / "src", tmp_path / "set")


@pytest.mark.parametrize("value", [float("inf"), float("nan"), ["side"], {"a": 1}])
def test_a_stratum_that_is_no_value_is_named(tmp_path, value):
    change = {"posture": value}
    foreign.coco17(tmp_path / "src", change=lambda d: d["annotations"][0].update(strata=change))
    with pytest.raises(FileFormatError, match=r"annotation 70 \(image 10\), field strata, posture"):
        imported("coco", tmp_path / "src", tmp_path / "set")


@pytest.mark.parametrize("key", ["id", "parentID"])
@pytest.mark.parametrize("value", [["a"], {}])
def test_a_label_studio_region_whose_id_is_no_id_is_named(tmp_path, key, value):
    foreign.label_studio(tmp_path / "src")
    path = tmp_path / "src/export.json"
    _rewrite(path, lambda d: d[0]["annotations"][0]["result"][1].update({key: value}))
    with pytest.raises(FileFormatError, match=rf"task 0, result\[1\]\.{key}"):
        imported("label-studio", tmp_path / "src", tmp_path / "set")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda r: r.update(image_rotation=90), r"result\[1\]\.image_rotation: labelled on a turned picture"),
        (lambda r: r.update(type="polygonlabels"), "neither joint nor box.*polygonlabels"),
    ],
)
def test_label_studio_regions_that_cannot_be_placed_are_refused_and_make_no_empty_cot(
    tmp_path, change, words
):
    foreign.label_studio(tmp_path / "src")

    def only_joint(document):
        document[0]["annotations"][0]["result"] = [
            {
                "type": "choices",
                "value": {"choices": ["hidden"]},
                "original_width": 96,
                "original_height": 64,
            },
            document[0]["annotations"][0]["result"][1],
        ]
        change(document[0]["annotations"][0]["result"][1])

    _rewrite(tmp_path / "src/export.json", only_joint)
    with pytest.raises(FileFormatError, match=rf"task 0.*{words}"):
        imported("label-studio", tmp_path / "src", tmp_path / "set")
    data = imported("label-studio", tmp_path / "src", tmp_path / "set", skip_bad=True)
    assert [i.path.name for i in data.items] == ["b.png"]


@pytest.mark.parametrize(
    ("image", "words"),
    [("data:image/png;base64," + 999 * "AB", "inside the task"), ("/data/upload/" + 999 * "a", "missing")],
)
def test_a_label_studio_picture_that_is_no_file_is_named_or_skipped(tmp_path, image, words):
    foreign.label_studio(tmp_path / "src")
    _rewrite(tmp_path / "src/export.json", lambda d: d[0]["data"].update(image=image))
    with pytest.raises(FileFormatError, match=rf"task 0, field data\.image.*{words}"):
        imported("label-studio", tmp_path / "src", tmp_path / "set")
    assert len(imported("label-studio", tmp_path / "src", tmp_path / "set", skip_bad=True).items) == 1
