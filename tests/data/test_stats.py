"""Statistics through the command line, against numbers worked out by hand."""

from __future__ import annotations

import json

import cv2
import drawn
import numpy as np
import pytest
from click.testing import CliRunner

from heightpose.cli.data import data as data_group
from heightpose.errors import HeightposeError
from heightpose.skeleton import INFANT

CROWN, PELVIS, TOE = (INFANT.index(n) for n in ("crown", "pelvis", "left_toe"))


def run(*args):
    result = CliRunner().invoke(data_group, ["stats", *map(str, args)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def columns(*args):
    return json.loads(run(*args, "--json"))["columns"]


@pytest.fixture
def by_hand(tmp_path):
    """A black 20x10 picture with an infant to the right, a 10x10 one, half red, with another; an empty cot."""
    folder = tmp_path / "two"
    (folder / "images").mkdir(parents=True)
    black, half, blue = (np.zeros((10, w, 3), np.uint8) for w in (20, 10, 10))
    half[:, :5, 2] = 255  # OpenCV writes BGR
    blue[..., 0] = 51
    images = []
    for i, picture in enumerate((black, half, blue)):
        cv2.imwrite(str(folder / f"images/{i}.png"), picture)
        height, width = picture.shape[:2]
        images.append(
            {"id": i, "file_name": f"images/{i}.png", "width": width, "height": height, "split": "train"}
        )

    def infant(number, image, crown, pelvis, box, child, strata):
        table = np.zeros((len(INFANT), 3))
        table[CROWN], table[PELVIS] = (*crown, 2), (*pelvis, 1)
        table[TOE] = (-4, 3, 1)
        outside = [k == TOE for k in range(len(INFANT))]
        entry = {"id": number, "image_id": image, "category_id": 1, "bbox": box, "child": child}
        return entry | {"keypoints": table.ravel().tolist(), "out_of_frame": outside, "strata": strata}

    annotations = [
        infant(0, 0, (15, 5), (5, 5), [1.5, 1.5, 16, 5], "ann", {"legs": "tucked", "outfit": "nappy"}),
        # This box reaches 3 px over the left edge and 2 px over the lower one: 5 x 4 of 10 x 10 are inside.
        infant(1, 1, (2, 2), (2, 8), [-3.5, 5.5, 8, 6], "ben", {"legs": "extended", "posture": "back"}),
    ]
    (folder / "annotations.json").write_text(json.dumps(drawn.document(images, annotations)))
    return folder


def test_every_number_of_a_hand_made_set(by_hand):
    stats = columns(by_hand)["two"]
    assert stats["counts"] == {
        "children": 2, "items": 3, "labelled": 2, "infants": 2, "empty": 1, "train": 3, "val": 0, "test": 0,
    }  # fmt: skip
    # Of 400 pixels 50 have red 1 and 100 have blue 0.2.
    assert stats["channels"]["mean"] == pytest.approx([0.125, 0, 0.05])
    assert stats["channels"]["std"] == pytest.approx(
        [np.sqrt(0.125 - 0.125**2), 0, np.sqrt(0.25 * 0.04 - 0.05**2)], abs=1e-9
    )
    assert (stats["size_px"]["min"], stats["size_px"]["max"], stats["size_px"]["mean"]) == (8, 16, 12)
    assert stats["share_of_frame"]["max"] == pytest.approx(80 / 200)
    assert stats["share_of_frame"]["min"] == pytest.approx(20 / 100)
    angles = stats["head_angle_deg"]
    hit = [edge for edge, count in zip(angles["edges"], angles["counts"], strict=False) if count]
    assert (hit, angles["unknown"]) == ([0.0, 90.0], 0)
    joints = stats["joints"]
    assert joints["crown"] == {"seen": 2, "hidden": 0, "out_of_frame": 0, "unlabelled": 0}
    assert joints["pelvis"] == {"seen": 0, "hidden": 2, "out_of_frame": 0, "unlabelled": 0}
    assert joints["left_toe"] == {"seen": 0, "hidden": 0, "out_of_frame": 2, "unlabelled": 0}
    assert joints["left_knee"] == {"seen": 0, "hidden": 0, "out_of_frame": 0, "unlabelled": 2}
    one = {"children": 1, "items": 1}
    assert stats["strata"]["legs"] == {"extended": one, "tucked": one}
    assert stats["strata"]["posture"] == {"back": one, "unknown": one}
    assert stats["strata"]["annotator"] == {"unknown": {"children": 2, "items": 2}}
    assert list(stats["strata"])[-1] == "outfit"


def test_the_text_says_the_same_beside_imagenets(by_hand):
    lines = {line[:26].strip(): line[26:].split() for line in run(by_hand).splitlines()}
    assert lines["channel mean R"] == ["0.485", "0.125"]
    assert lines["channel std B"] == ["0.225", "0.087"]
    assert lines["infant px median"] == ["12"]
    assert lines["up"] == ["50%"]
    assert lines["right"] == ["50%"]
    assert lines["left_toe"] == ["0/0/100/0"]


def test_out_holds_the_numbers_and_a_picture(by_hand, tmp_path):
    run(by_hand, "--out", tmp_path / "report")
    document = json.loads((tmp_path / "report/stats.json").read_text())
    assert document["columns"] == columns(by_hand)
    assert document["imagenet"]["mean"] == [0.485, 0.456, 0.406]
    picture = cv2.imread(str(tmp_path / "report/stats.png"))
    assert picture.shape[0] > 600
    assert picture.std() > 20
    assert sorted(p.name for p in (tmp_path / "report").iterdir()) == ["stats.json", "stats.png"]


def test_a_column_for_every_iteration(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    drawn.nursery(tmp_path / "set", train=8, val=2, empty=0)
    for name, share in (("poc", "50%"), ("all", "50%")):
        args = ["iteration", "new", name, "--data", "set", "--share", share]
        assert CliRunner().invoke(data_group, args).exit_code == 0
    stats = columns("--iteration", "all", "--out", "report")
    assert {name: column["counts"]["children"] for name, column in stats.items()} == {"poc": 5, "all": 10}
    assert list(columns("--iteration", "poc")) == ["poc"]
    assert stats["all"]["channels"] == columns("set")["set"]["channels"] != stats["poc"]["channels"]


def test_a_damaged_picture_is_named_and_can_be_left_out(by_hand):
    path = by_hand / "images/1.png"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(HeightposeError, match=r"1\.png"):
        run(by_hand)
    assert columns(by_hand, "--skip-bad")["two"]["channels"]["mean"] == pytest.approx([0, 0, 100 / 300 * 0.2])


def test_a_set_of_empty_cots_has_statistics_too(tmp_path):
    drawn.nursery(tmp_path / "set", train=0, val=0, empty=2)
    stats = columns(tmp_path / "set", "--out", tmp_path / "report")["set"]
    assert stats["counts"]["empty"] == 4
    assert stats["size_px"]["median"] is None
    assert (tmp_path / "report/stats.png").is_file()
    assert "infant px median" in run(tmp_path / "set")


def test_it_wants_data_or_an_iteration_not_both(by_hand):
    with pytest.raises(HeightposeError, match="which data"):
        run()
    with pytest.raises(HeightposeError, match="which data"):
        run(by_hand, "--iteration", "poc")
