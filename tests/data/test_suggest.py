"""Frames picked for labelling: what is doubted and what is chosen."""

from __future__ import annotations

import json
import logging
import sys
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

sys.path.append(str(Path(__file__).resolve().parents[1] / "runtime"))

import drawn
import makers
from looked import SIZE, a_look, a_pool, lost, moved

from heightpose.data.suggest.advice import Wish, quotas, read_advice
from heightpose.data.suggest.choose import choose
from heightpose.data.suggest.describe import describe
from heightpose.data.suggest.doubt import bones, doubts, neighbours
from heightpose.data.suggest.guess import guess, read_strata
from heightpose.data.suggest.looks import look
from heightpose.data.suggest.run import look_through, suggest
from heightpose.errors import FileFormatError
from heightpose.runtime.networks import Detector, PoseModel
from heightpose.skeleton import INFANT
from heightpose.types import Detection, FrameResult, Pose

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


# --- children -------------------------------------------------------------------------------------------------


def test_clips_called_alike_are_two_children_and_a_clip_that_moved_is_still_one(tmp_path):
    model = PoseModel.load(str(makers.tiny_pose(tmp_path / "pose.onnx")), backend="onnxruntime")
    detector = Detector.load(str(makers.tiny_detector(tmp_path / "detector.onnx")), backend="onnxruntime")
    one, two, stills = (tmp_path / name for name in ("one", "two", "stills"))
    for folder in (one, two, stills):
        folder.mkdir()
    for folder, x in ((one, 60), (two, 80)):
        makers.write_video(folder / "clip.mp4", [makers.scene(SIZE, (x, 50))] * 2, fps=2)
    cv2.imwrite(str(stills / "1.png"), makers.scene(SIZE, (100, 50)))

    def children(*sources):
        return look_through(sources, model, detector).children

    (first,), (second,), (third,) = children(one), children(two), children(stills)
    assert len({first, second, third}) == 3
    (two / "clip.mp4").rename(tmp_path / "another.mp4")
    cv2.imwrite(str(stills / "2.png"), makers.scene(SIZE, (60, 50)))
    assert children(stills, tmp_path / "another.mp4", one) == [third, second, first]


def test_a_copy_of_a_clip_is_not_looked_at_again(tmp_path, caplog):
    """Its frames are the same: each would be handed out to be labelled twice."""
    model = PoseModel.load(str(makers.tiny_pose(tmp_path / "pose.onnx")), backend="onnxruntime")
    detector = Detector.load(str(makers.tiny_detector(tmp_path / "detector.onnx")), backend="onnxruntime")
    for name, x in (("a", 60), ("c", 80)):
        makers.write_video(tmp_path / f"{name}.mp4", [makers.scene(SIZE, (x, 50))] * 2, fps=2)
    (tmp_path / "b.mp4").write_bytes((tmp_path / "a.mp4").read_bytes())
    pool = look_through([tmp_path / f"{name}.mp4" for name in "abc"], model, detector)
    assert [source.name for source in pool.sources] == ["a.mp4", "c.mp4"]
    assert f"{tmp_path / 'b.mp4'} is a copy of {tmp_path / 'a.mp4'}" in caplog.text


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
