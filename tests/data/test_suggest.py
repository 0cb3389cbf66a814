"""Frames picked for labelling: what is doubted, what is chosen, and how corrected labels come back."""

from __future__ import annotations

import csv
import json
import logging
import shutil
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

sys.path.append(str(Path(__file__).resolve().parents[1] / "runtime"))

import drawn
import makers

from heightpose.cli.main import cli
from heightpose.data.coco import Dataset
from heightpose.data.draw import draw
from heightpose.data.importers.run import Options, import_labels
from heightpose.data.suggest.advice import Wish, quotas, read_advice
from heightpose.data.suggest.choose import choose
from heightpose.data.suggest.describe import describe
from heightpose.data.suggest.doubt import bones, doubts, neighbours
from heightpose.data.suggest.guess import guess, read_strata
from heightpose.data.suggest.looks import Look, look
from heightpose.data.suggest.run import Pool, suggest
from heightpose.data.suggest.write import write_picks
from heightpose.errors import ConfigError, FileFormatError
from heightpose.geometry.crop import crop_from_box
from heightpose.report.suggestions import write_sheet
from heightpose.runtime.networks import PoseModel
from heightpose.skeleton import INFANT
from heightpose.types import Detection, FrameResult, Pose

SIZE = (160, 120)
CROWN = INFANT.index("crown")


def a_look(
    index=0, *, kpts=None, flip=0.01, turns=0.01, grey=90.0, colour=20.0, mirrored=False, score=0.9, t_s=None
):
    """What a model might say of one frame; ``mirrored`` shows the infant's back."""
    kpts = drawn.infant_kpts((80, 60), 90, 0) if kpts is None else kpts
    kpts = kpts[INFANT.flip_map] if mirrored else kpts
    box = np.concatenate([kpts.min(axis=0) - 3, kpts.max(axis=0) + 3])
    pose = Pose(kpts, np.full(len(INFANT), score), Detection(box, 0.0, 0.9))
    crop = crop_from_box(box, 0.0, (64, 64))
    thumb = np.zeros((8, 8, 3)) + [grey, 128.0 + colour, 128.0]
    result = FrameResult(index, 0.2 * index if t_s is None else t_s, pose, 1)
    return Look(result, flip, turns, crop.to_crop(kpts) / 64.0, thumb)


def lost(index=0):
    thumb = np.zeros((8, 8, 3)) + 128.0
    return Look(
        FrameResult(index, 0.2 * index, None, 0), np.nan, np.nan, np.full((len(INFANT), 2), np.nan), thumb
    )


def moved(look_, joint, by):
    kpts = look_.pose.kpts_frame.copy()
    kpts[INFANT.index(joint)] += by
    return a_look(look_.result.index, kpts=kpts)


# --- doubt ----------------------------------------------------------------------------------------------------


def test_views_of_a_clear_picture_agree_and_those_of_an_ambiguous_one_do_not(tmp_path):
    model = PoseModel.load(str(makers.tiny_pose(tmp_path / "pose.onnx")), backend="onnxruntime")
    clear = makers.scene(SIZE, (70, 50))
    double = np.maximum(makers.scene(SIZE, (60, 60)), makers.scene(SIZE, (100, 60)))
    kpts = drawn.infant_kpts((80, 60), 90, 0)
    pose = Pose(kpts, np.zeros(len(INFANT)), Detection(np.array([30.0, 10.0, 130.0, 110.0]), 0.0, 0.9))
    one, two = look(model, [(FrameResult(0, 0.0, pose, 1), rgb) for rgb in (clear, double)])
    assert max(one.flip, one.turns) < 0.01
    assert two.flip > 0.1


def test_a_joint_that_jumps_is_doubted_and_steady_motion_is_not():
    steady = [a_look(i, kpts=drawn.infant_kpts((60 + 3 * i, 60), 90, 0)) for i in range(7)]
    assert np.nanmax(neighbours(steady)) < 1e-9
    jumps = [*steady[:3], moved(steady[3], "left_knee", (0, 25)), *steady[4:]]
    found = neighbours(jumps)
    assert int(np.nanargmax(found)) == 3
    assert np.isnan(found[[0, -1]]).all()
    far = [a_look(i, t_s=5.0 * i) for i in range(3)]
    assert np.isnan(neighbours(far)).all()


def test_a_bone_longer_than_the_childs_own_is_a_violation_and_a_shorter_one_is_not():
    clip = [a_look(i) for i in range(6)]
    pool = np.zeros(len(INFANT.edges))
    shank = (
        clip[0].pose.kpts_frame[INFANT.index("left_ankle")]
        - clip[0].pose.kpts_frame[INFANT.index("left_knee")]
    )
    feet = ("left_ankle", "left_heel", "left_toe")
    longer, shorter = clip[2], clip[4]
    for joint in feet:
        longer, shorter = moved(longer, joint, 0.8 * shank), moved(shorter, joint, -0.6 * shank)
    found = bones([*clip[:2], longer, clip[3], shorter, clip[5]], pool)
    assert found[2] > 0.01
    assert np.allclose(np.delete(found, 2), 0.0)


def test_stills_are_measured_by_the_pools_proportions():
    pool = [[a_look()] for _ in range(20)]
    wild = moved(pool[0][0], "right_wrist", (-60, 0))
    assert int(np.argmax(doubts([*pool, [wild]]).signals["bones"])) == 20


def test_doubt_ranks_agreeing_signals_first_and_lost_frames_by_what_their_clip_shows():
    sure, unsure = a_look(0, flip=0.01, turns=0.01), a_look(0, flip=0.2, turns=0.2)
    found = doubts([[sure], [unsure], [a_look(0), lost(1), a_look(2)], [lost(0)]])
    assert found.total[1] > found.total[0]
    assert found.total[[3, 5]].tolist() == [1.0, 0.5]
    assert found.lost.tolist() == [False, False, False, True, False, True]
    assert ((found.total >= 0) & (found.total <= 1)).all()


# --- choice ---------------------------------------------------------------------------------------------------


def test_choice_covers_what_differs_before_it_repeats():
    rng = np.random.default_rng(0)
    groups = np.repeat([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0], [10.0, 10.0]], (70, 20, 8, 2), axis=0)
    vectors = groups + rng.normal(0, 0.05, groups.shape)
    for seed in range(5):
        picked = choose(vectors, np.ones(100), 4, seed)
        assert len({tuple(groups[i]) for i in picked}) == 4
        later = choose(vectors, np.ones(100), 3, seed, given=vectors[:1])
        assert {tuple(groups[i]) for i in later} == {(10.0, 0.0), (0.0, 10.0), (10.0, 10.0)}
    assert choose(vectors, np.ones(100), 9, 3) == choose(vectors, np.ones(100), 9, 3)


def test_choice_prefers_weight_among_equals_and_never_takes_what_weighs_nothing():
    vectors = np.random.default_rng(0).normal(size=(200, 3))
    weights = np.where(np.arange(200) < 100, 1.0, 0.05)
    picked = choose(vectors, weights, 40, 0)
    assert sum(i < 100 for i in picked) > 30
    weights[:190] = 0.0
    assert sorted(choose(vectors, weights, 50, 0)) == list(range(190, 200))
    same = choose(np.zeros((5, 2)), np.ones(5), 5, 0)  # copies of one frame
    assert sorted(same) == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="weight"):
        choose(vectors, np.full(200, np.nan), 2, 0)


def test_descriptions_tell_postures_and_pictures_apart():
    bent = moved(a_look(), "left_knee", (30, 0))
    rows = describe([a_look(), a_look(), bent, a_look(grey=200.0), lost()])
    gap = np.linalg.norm(rows[:, None] - rows[None], axis=-1)
    assert gap[0, 1] < 1e-9
    assert gap[0, 2] > 0.1
    assert gap[0, 3] > 0.1
    assert np.isfinite(rows).all()


def test_strata_are_guessed_from_joints_and_colour():
    assert guess(a_look()) == {"posture": "back", "legs": "extended"}
    assert guess(a_look(mirrored=True))["posture"] == "front"
    assert guess(a_look(colour=0.0))["sensor"] == "infrared"
    assert guess(a_look(score=0.1))["legs"] == "covered"
    kpts = drawn.infant_kpts((80, 60), 90, 0)
    narrow = np.column_stack([80 + 0.2 * (kpts[:, 0] - 80), kpts[:, 1]])
    assert guess(a_look(kpts=narrow))["posture"] == "side"
    bent = kpts.copy()
    for side in ("left", "right"):
        bent[INFANT.index(f"{side}_ankle")] = bent[INFANT.index(f"{side}_hip")]
    assert guess(a_look(kpts=bent))["legs"] == "tucked"


# --- advice ---------------------------------------------------------------------------------------------------


def test_advice_becomes_quotas(tmp_path):
    path = tmp_path / "advice.json"
    rows = [
        {"key": "posture=side", "score": 0.8, "weight": 0.6, "reasons": ["why"]},
        {"key": "legs=bent", "weight": 0.3},
    ]
    path.write_text(json.dumps({"schema": 1, "strata": [*rows, {"key": "sensor=infrared", "weight": 0.1}]}))
    wishes = read_advice(path)
    assert [(w.key, round(w.weight, 3)) for w in wishes] == [
        ("posture=side", 0.6), ("legs=bent", 0.3), ("sensor=infrared", 0.1),
    ]  # fmt: skip
    assert [quotas(wishes, n) for n in (10, 7, 1)] == [[6, 3, 1], [4, 2, 1], [1, 0, 0]]
    assert wishes[1].met_by({"legs": "tucked"})
    assert not wishes[0].met_by({"posture": "back"})
    path.write_text(json.dumps({"strata": []}))
    assert read_advice(path) == []


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"rows": []}, "not advice"),
        ({"schema": 9, "strata": []}, "not advice"),
        ({"strata": [{"key": "side", "weight": 1}]}, r"strata\[0\].key"),
        ({"strata": [{"key": "posture=side"}]}, r"strata\[0\].weight"),
        ({"strata": [{"key": "posture=side", "weight": -1}]}, r"strata\[0\].weight"),
    ],
)
def test_damaged_advice_is_named(tmp_path, document, words):
    (tmp_path / "a.json").write_text(json.dumps(document))
    with pytest.raises(FileFormatError, match=words):
        read_advice(tmp_path / "a.json")


def a_pool(folder, frames=8):
    """Two videos: in one the infant lies on its back, in the other on its front and in the dark."""
    pool = Pool()
    rng = np.random.default_rng(0)
    for number, (name, front) in enumerate((("light", False), ("dark", True))):
        kpts = [drawn.infant_kpts((75 + i, 60), 80 + 3 * i, 0, rng) for i in range(frames)]
        pictures = [drawn.draw(SIZE, k, rng) for k in kpts]
        pool.names.append(name)
        pool.sources.append(makers.write_video(folder / f"{name}.mp4", pictures, fps=5))
        grey = {"colour": 0.0, "grey": 40.0} if front else {}
        clip = [
            a_look(i, kpts=k, flip=rng.uniform(0, 0.2), mirrored=front, **grey) for i, k in enumerate(kpts)
        ]
        pool.clips.append(clip if number == 0 else [*clip[:-1], replace(lost(frames - 1))])
    return pool


def test_each_wish_gets_its_share_and_what_nobody_can_tell_goes_to_all(tmp_path, caplog):
    pool = a_pool(tmp_path)
    wishes = [Wish("posture=front", 0.5), Wish("scene=no tags", 0.5)]
    with caplog.at_level(logging.WARNING):
        picks = suggest(pool, 8, wishes=wishes)
    assert "scene=no tags cannot be told" in caplog.text
    assert [p.wish for p in picks] == ["posture=front"] * 4 + [None] * 4
    assert {p.clip for p in picks[:4]} == {"dark"}
    # A table says what no picture shows, and overrules a guess.
    table = tmp_path / "strata.csv"
    table.write_text("file,scene,posture\nlight.mp4,no tags,\ndark.mp4,tags,back\n")
    picks = suggest(
        pool, 8, wishes=[Wish("scene=no tags", 0.5), Wish("posture=front", 0.5)], strata=read_strata(table)
    )
    assert Counter(p.wish for p in picks) == {"scene=no tags": 4, None: 4}
    assert {p.clip for p in picks if p.wish == "scene=no tags"} == {"light"}
    assert len({(p.clip, p.frame) for p in picks}) == 8


def test_what_is_labelled_already_is_not_picked_again(tmp_path):
    pool = a_pool(tmp_path)
    for seed in range(3):
        picks = suggest(pool, 3, labelled=pool.clips[0], seed=seed)
        assert {p.clip for p in picks} == {"dark"}


# --- there and back -------------------------------------------------------------------------------------------


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
    """Every joint where it was but the corrected one; the clip is the child, in one split."""
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
            assert person.child == name.split("/")[0]
            assert splits.setdefault(person.child, item.split) == item.split
    assert set(splits) == {"light", "dark"}


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
    path.write_text(json.dumps(document))
    options = Options(suggested=folder, val_share=0.5, copy=True)
    report = import_labels("coco", folder / "annotations", tmp_path / "set", options)
    check_came_back(report, items)
    drawn_ = draw("plus16", [tmp_path / "set"], share=1.0, root=tmp_path / "iterations")
    assert sum(len(entries) for entries in drawn_.manifest.chunk.values()) == 16
    assert drawn_.children == 2


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
    assert draw("plus16", [tmp_path / "set"], share=1.0, root=tmp_path / "iterations").children == 2
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
    assert "3 of 5 frames from 1 of 1 clips" in done.output
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
