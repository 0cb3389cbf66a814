"""Suggested frames go to a labelling tool and come back corrected; what a person sees of them on the way."""

from __future__ import annotations

import csv
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import test_testset
from click.testing import CliRunner

sys.path.append(str(Path(__file__).resolve().parents[1] / "runtime"))

import makers
from looked import SIZE, a_pool

from heightpose.cli.main import cli
from heightpose.data.coco import Dataset
from heightpose.data.draw import draw
from heightpose.data.importers.run import Options, import_labels
from heightpose.data.suggest.back import Suggested
from heightpose.data.suggest.run import suggest
from heightpose.data.suggest.write import write_picks
from heightpose.data.testset import freeze
from heightpose.errors import ConfigError, FileFormatError
from heightpose.report.suggestions import write_sheet
from heightpose.skeleton import INFANT
from heightpose.types import Pose

CROWN = INFANT.index("crown")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder of suggestions, its picks and its pre-annotated pictures; one joint is unsure, one off the picture."""
    place = tmp_path_factory.mktemp("suggested")
    pool = a_pool(place)
    odd = pool.clips[0][2]
    kpts, scores = odd.pose.kpts_frame.copy(), np.full(len(INFANT), 0.9)
    kpts[INFANT.index("left_wrist")] = (400.0, 20.0)
    scores[INFANT.index("left_elbow")] = 0.05
    pool.clips[0][2] = replace(odd, result=replace(odd.result, pose=Pose(kpts, scores, odd.pose.detection)))
    picks = suggest(pool, 16)
    return place / "next", picks, write_picks(place / "next", picks, {"seed": 0})


@pytest.fixture
def written(made, tmp_path):
    """A copy that a test may change."""
    folder, picks, items = made
    shutil.copytree(folder, tmp_path / "next")
    moved_ = [replace(i, path=tmp_path / "next" / i.path.relative_to(folder)) for i in items]
    return tmp_path / "next", picks, moved_


def by_frame(items):
    return {"/".join(item.path.parts[-2:]): item for item in items}


def test_the_pictures_written_are_the_videos_frames(written):
    import cv2

    from heightpose.runtime.video import open_clip

    folder, picks, items = written
    frames = {p: {f.index: f.rgb for f in open_clip(p).frames()} for p in {pick.source for pick in picks}}
    for pick, item in zip(picks, items, strict=True):
        assert (cv2.imread(str(item.path))[..., ::-1] == frames[pick.source][pick.frame]).all()
    rows = list(csv.DictReader((folder / "suggestions.csv").open()))
    assert [int(r["rank"]) for r in rows] == list(range(1, 17))
    assert all(r["why"] for r in rows)
    with pytest.raises(ConfigError, match="already"):
        write_picks(folder, picks, {})


def test_unsure_joints_are_handed_over_as_hidden_and_joints_off_the_picture_not_at_all(written):
    item = by_frame(written[2])["light/000002.png"]
    seen = dict(zip(INFANT.names, item.people[0].visibility.tolist(), strict=True))
    assert (seen["left_wrist"], seen["left_elbow"], seen["crown"]) == (0, 1, 2)
    assert by_frame(written[2])["dark/000007.png"].people == ()


def corrected(kpts):
    """What the annotator moves: the crown, by 3 px."""
    moved_ = kpts.copy()
    moved_[CROWN] += (3.0, -2.0)
    return moved_


def check_came_back(report, items):
    """Every joint where it was but the corrected one; each clip shows one child, in one split."""
    before = by_frame(items)
    found = by_frame(report.items)
    assert set(found) >= {name for name, item in before.items() if item.people}
    splits = {}
    for name, item in found.items():
        for person in item.people:
            want = before[name].people[0]
            assert person.visibility.tolist() == want.visibility.tolist()
            known = want.visibility > 0
            assert np.abs(person.kpts_frame - corrected(want.kpts_frame))[known].max() < 2e-3
            assert person.child == f"child of {name.split('/')[0]}"
            assert splits.setdefault(person.child, item.split) == item.split
        assert item.recording_sha256 == before[name].recording_sha256 is not None
    assert set(splits) == {"child of light", "child of dark"}


@pytest.mark.parametrize("drops_our_fields", [False, True])
def test_a_corrected_coco_file_comes_back_as_the_next_iteration(written, tmp_path, drops_our_fields):
    folder, _, items = written
    path = folder / "annotations" / "person_keypoints_default.json"
    document = json.loads(path.read_text())
    for entry in document["annotations"]:
        entry["keypoints"][3 * CROWN] += 3.0
        entry["keypoints"][3 * CROWN + 1] -= 2.0
        if drops_our_fields:  # as CVAT does
            for field in ("child", "strata", "out_of_frame"):
                del entry[field]
    for image in document["images"] if drops_our_fields else ():
        del image["recording_sha256"]
    path.write_text(json.dumps(document))
    options = Options(suggested=folder, val_share=0.5, copy=True)
    report = import_labels("coco", folder / "annotations", tmp_path / "set", options)
    check_came_back(report, items)
    drawn_ = draw("plus16", [tmp_path / "set"], share=1.0, root=tmp_path / "iterations")
    assert sum(len(entries) for entries in drawn_.manifest.chunk.values()) == 16
    assert drawn_.added.children == 2


def test_suggested_frames_of_a_test_sets_video_are_never_drawn(written, tmp_path):
    """The frames are pictures of their own, and the infant has got a name that the test set does not know."""
    folder, picks, items = written
    video = next(p.source for p in picks if p.clip == "dark")
    held = tmp_path / "held"
    test_testset.write_set(held, annotations=False)
    clips = json.loads((held / "clips.json").read_text())
    shutil.copy(video, held / "clips" / "renamed.mp4")
    clips[0]["video"] = "clips/renamed.mp4"
    (held / "clips.json").write_text(json.dumps(clips))
    freeze(held, "held", 1)
    options = Options(suggested=folder, split="train", copy=True)
    import_labels("coco", folder / "annotations", tmp_path / "set", options)
    drawn_ = draw("next", [tmp_path / "set"], share=1.0, testsets=[held], root=tmp_path / "iterations")
    assert drawn_.left_out == ("child of dark", "picture set/images/dark/000007.png")
    (chunk,) = drawn_.manifest.chunk.values()
    assert len(chunk) == sum(item.path.parent.name == "light" for item in items)
    later = draw("all", [tmp_path / "set"], share=1.0, root=tmp_path / "others")
    assert later.added.children == 2
    with pytest.raises(FileFormatError, match="a picture of this iteration is also in a frozen test set"):
        draw("more", (), share=1.0, testsets=[held], root=tmp_path / "others")


def test_a_label_studio_export_comes_back_as_the_next_iteration(written, tmp_path):
    folder, _, items = written
    tasks = json.loads((folder / "label-studio.json").read_text())
    assert sum("predictions" in task for task in tasks) == 15
    width, height = SIZE
    for number, task in enumerate(tasks):
        result = task.pop("predictions")[0]["result"] if "predictions" in task else []
        for region in result:
            if region["type"] == "keypointlabels" and region["value"]["keypointlabels"] == ["crown"]:
                region["value"]["x"] += 100 * 3.0 / width
                region["value"]["y"] -= 100 * 2.0 / height
        task |= {"id": number, "annotations": [{"result": [], "was_cancelled": True}, {"result": result}]}
    # Nobody looked at this one: what the model said is no label.
    tasks.append(
        {
            **tasks[0],
            "id": 99,
            "annotations": [],
            "predictions": [{"result": tasks[0]["annotations"][1]["result"]}],
        }
    )
    export = folder / "export.json"
    export.write_text(json.dumps(tasks))
    (folder / "label-studio.json").unlink()
    report = import_labels("label-studio", export, tmp_path / "set", Options(val_share=0.5))
    assert len(report.items) == 16
    assert sum(not item.people for item in report.items) == 1  # annotated with nothing: an empty cot
    check_came_back(report, items)
    assert draw("plus16", [tmp_path / "set"], share=1.0, root=tmp_path / "iterations").added.children == 2
    assert len(Dataset.load(tmp_path / "set").items) == 16


def ls_region(kind, label, x, y, **more):
    value = {"x": x, "y": y, "width": more.pop("width", 1), kind: [label], **more.pop("value", {})}
    return {"type": kind, "original_width": 160, "original_height": 120, "value": value, **more}


@pytest.mark.parametrize(
    ("regions", "words"),
    [
        ([ls_region("keypointlabels", "nose", 5, 5)], "unknown joint"),
        ([ls_region("keypointlabels", "crown", place, place) for place in (5, 6)], "twice"),
        ([ls_region("keypointlabels", "crown", "x", 5)], "not a number"),
        ([ls_region("rectanglelabels", "infant", 5, 5, id=i, value={"height": 5}) for i in "ab"]
         + [ls_region("keypointlabels", "crown", 5, 5)], "whose joint"),
        ("none", "not a result"),
    ],
)  # fmt: skip
def test_a_broken_label_studio_region_is_named(made, tmp_path, regions, words):
    folder = tmp_path
    name = "/data/upload/1/0123abcd-000001.png"
    (folder / "000001.png").write_bytes((made[0] / "images" / "light" / "000001.png").read_bytes())
    path = folder / "export.json"
    path.write_text(json.dumps([{"data": {"image": name}, "annotations": [{"result": regions}]}]))
    with pytest.raises(FileFormatError, match=words) as error:
        import_labels("label-studio", path, tmp_path / "set", Options())
    assert "task 0" in str(error.value)


def test_the_contact_sheet_shows_every_pick_and_its_faces_blurred(written, tmp_path):
    folder, picks, items = written
    for name, blur in (("a.html", True), ("b.html", False)):
        write_sheet(folder / name, picks, items, 99, blur=blur)
    page, sharp = ((folder / name).read_text() for name in ("a.html", "b.html"))
    assert page.count("<figure>") == sharp.count("<figure>") == 16
    assert page.count('src="data:image/jpeg') == 16
    pictures = [[p.split('"')[0] for p in text.split('src="')[1:]] for text in (page, sharp)]
    assert all(a != b for a, b in zip(*pictures, strict=True))
    assert "no infant found, though this clip shows one" in page


def test_the_verb_from_video_to_folder(tmp_path):
    makers.write_video(
        tmp_path / "clip.mp4", [makers.scene(SIZE, (60 + 2 * i, 50)) for i in range(10)], fps=5
    )
    pose, detector = (
        makers.tiny_pose(tmp_path / "pose.onnx"),
        makers.tiny_detector(tmp_path / "detector.onnx"),
    )
    args = [
        "data",
        "suggest",
        "--unlabelled",
        tmp_path / "clip.mp4",
        "--budget",
        "3",
        "--out",
        tmp_path / "next",
    ]
    args += ["--model", pose, "--detector", detector, "--backend", "onnxruntime", "--step", "0.4"]
    done = CliRunner().invoke(cli, [str(a) for a in args])
    assert done.exit_code == 0, done.output
    assert "3 of 5 frames from 1 of 1 clip" in done.output
    out = tmp_path / "next"
    assert {p.name for p in out.iterdir()} == {
        "images", "annotations", "label-studio.json", "label-studio-config.xml", "suggestions.json", "suggestions.csv",
        "contact-sheet.html",
    }  # fmt: skip
    record = json.loads((out / "suggestions.json").read_text())
    assert (record["frames"], record["clips"], record["budget"]) == (5, 1, 3)
    assert all((out / row["file"]).is_file() and row["frame"] % 2 == 0 for row in record["picks"])
    again = CliRunner().invoke(cli, [str(a) for a in args])
    assert isinstance(again.exception, ConfigError)


@pytest.mark.parametrize(
    ("pick", "words"),
    [
        (1, r"picks\[0\]: not a pick"),
        ({"child": "a", "given": {}}, r"picks\[0\]\.file: no file"),
        ({"file": 3, "child": "a", "given": {}}, r"picks\[0\]\.file: .* got 3"),
        ({"file": "images/a/1.png", "given": {}}, r"picks\[0\]\.child: no child"),
        ({"file": "images/a/1.png", "child": "a"}, r"picks\[0\]\.given: no given"),
        ({"file": "images/a/1.png", "child": "a", "given": {"legs": [1]}}, r"picks\[0\], field strata, legs"),
    ],
)
def test_a_damaged_record_of_suggestions_is_named(tmp_path, pick, words):
    (tmp_path / "suggestions.json").write_text(json.dumps({"schema": 1, "picks": [pick]}))
    with pytest.raises(FileFormatError, match=words):
        Suggested(tmp_path)
