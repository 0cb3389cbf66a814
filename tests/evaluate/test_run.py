"""A tiny drawn test set through real networks, all the way to records and back after an interruption."""

from __future__ import annotations

import csv
import json
import os
import shutil
from dataclasses import replace

import makers
import numpy as np
import PIL.Image
import pytest
from evaluated import clip, spot_set

from heightpose.data.testset import freeze
from heightpose.errors import ConfigError, FileFormatError
from heightpose.evaluate.known import measure_known
from heightpose.evaluate.records import Log, read_records
from heightpose.evaluate.result import Choice, evaluate, write_baseline, write_tables
from heightpose.evaluate.run import Evaluation, match, truth_of
from heightpose.evaluate.subject import Subject
from heightpose.geometry.lift import LIFT_FILE
from heightpose.metrics.height import null_length
from heightpose.report.evaluation import write_report
from heightpose.runtime.clip import Missing
from heightpose.runtime.output import sha256
from heightpose.skeleton import INFANT


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """(folder of the set, choice of tiny networks)."""
    folder = tmp_path_factory.mktemp("set")
    spot_set(folder / "spots")
    models = tmp_path_factory.mktemp("models")
    pose, detector = makers.tiny_pose(models / "pose.onnx"), makers.tiny_detector(models / "detector.onnx")
    return folder / "spots", {"model": str(pose), "detector": str(detector)}


def test_records_of_pictures_and_of_a_clips_own_frames(scene, tmp_path):
    folder, nets = scene
    result, out, whole = evaluate(
        Subject.of_testset(str(folder)), Choice(**nets, truth_crops=True), tmp_path / "out"
    )
    assert whole
    assert result["models"]["elevation"] == {"name": LIFT_FILE.name, "sha256": sha256([LIFT_FILE])}
    frames, clips = read_records(out / "records")
    assert sorted(f.key for f in frames) == [
        "clip.mp4#1", "clip.mp4#4", "images/0.png", "images/1.png", "images/2.png", "images/3.png", "images/4.png",
    ]  # fmt: skip
    by_key = {f.key: f for f in frames}
    assert by_key["images/3.png"].guess is None
    assert [key for key, f in by_key.items() if f.unlabelled] == ["images/2.png"]
    spot = np.array(by_key["clip.mp4#4"].guess.kpts)
    assert np.abs(spot - [68, 50]).max() < 1.0  # the joints of that very frame
    assert [c.measured_cm for c in clips] == [None]
    assert clips[0].reasons
    assert clips[0].frames == 6
    at = result["pose"]["pckh"]["0.1"]
    # crown and knee lie on the spot, the neck is one head size away; one person of six is missed
    assert at["counts"]["crown"] == 6
    assert at["per_joint"]["crown"] == at["per_joint"]["left_knee"] == pytest.approx(500 / 6)
    assert at["per_joint"]["upper_neck"] == 0.0
    assert result["pose"]["found"]["missed"] == 1
    assert result["empty_frames"] == {"frames": 1, "false_alarms": 0}
    assert result["strata"]["lit"]["dark"]["pose"]["found"]["share"] == 0.0
    assert result["height"]["yield"] == 0.0
    assert result["height"]["null_mae_all_cm"] == pytest.approx(abs(65.7 - 65.0), abs=0.1)
    assert result["truth_crops"]["pckh"]["0.1"]["people"] == 6


@pytest.fixture(scope="module")
def judged(scene, tmp_path_factory):
    """The result of the whole set and its folder, which a test copies."""
    return evaluate(Subject.of_testset(str(scene[0])), Choice(**scene[1]), tmp_path_factory.mktemp("judged"))[
        :2
    ]


def test_an_interrupted_run_goes_on_and_ends_with_the_same_figures(scene, judged, tmp_path):
    folder, nets = scene
    straight, out = judged
    records = shutil.copytree(out, tmp_path / "b") / "records"
    lines = (records / "frames.jsonl").read_text().splitlines(keepends=True)
    # as if killed in the middle of a line, before the clip was done
    (records / "frames.jsonl").write_text("".join(lines[:3]) + lines[3][:40])
    (records / "clips.jsonl").write_text("")
    again, _, _ = evaluate(Subject.of_testset(str(folder)), Choice(**nets), tmp_path / "b")
    for part in ("pose", "height", "strata", "empty_frames"):
        assert again[part] == straight[part]
    assert len(read_records(records)[0]) == 7


def test_records_of_other_code_are_judged_anew(scene, judged, tmp_path):
    folder, nets = scene
    subject = Subject.of_testset(str(folder))
    straight, out = judged
    records = shutil.copytree(out, tmp_path / "a") / "records"
    lines = (records / "frames.jsonl").read_text().splitlines(keepends=True)
    first = json.loads(lines[0])
    first["guess"] = None
    (records / "frames.jsonl").write_text(json.dumps(first) + "\n" + "".join(lines[1:]))
    kept, _, _ = evaluate(subject, Choice(**nets), tmp_path / "a")
    assert kept["pose"]["found"]["missed"] == straight["pose"]["found"]["missed"] + 1  # taken for its own
    (records / "made_by.json").write_text(
        json.dumps({"sources": "of last week", "elevation_model": "another"})
    )
    again, _, _ = evaluate(subject, Choice(**nets), tmp_path / "a")
    assert again["pose"] == straight["pose"]


def test_judged_anew_and_interrupted_leaves_no_result_of_before(scene, judged, tmp_path, monkeypatch):
    folder, nets = scene
    subject = Subject.of_testset(str(folder))
    shutil.copytree(judged[1], tmp_path / "a")
    assert {"result.json", "people.csv", "clips.csv"} < {p.name for p in (tmp_path / "a").iterdir()}
    (tmp_path / "a" / "records" / "made_by.json").write_text("{}")
    monkeypatch.setattr(Evaluation, "run", lambda self: False)
    assert evaluate(subject, Choice(**nets), tmp_path / "a")[2] is False
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["records"]


def test_a_folder_of_another_setting_is_refused(scene, tmp_path):
    folder, nets = scene
    subject = Subject.of_testset(str(folder))
    evaluate(subject, Choice(**nets, limit=1), tmp_path / "a")
    with pytest.raises(ConfigError, match="another model"):
        evaluate(subject, Choice(**nets, limit=2), tmp_path / "a")


@pytest.mark.parametrize("name", ["../../evil", "..", "spots 2"])
def test_baselines_and_results_stay_in_their_folders(scene, tmp_path, monkeypatch, name):
    folder, nets = scene
    subject = replace(Subject.of_testset(str(folder)), name=name)
    (tmp_path / "a/b/c").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a/b/c")
    result, out, _ = evaluate(subject, Choice(**nets), None)
    assert len(out.parts) == 3
    assert ".." not in out.parts
    write_baseline(result, "tiny")
    (written,) = tmp_path.rglob("tiny.json")
    assert written.parent.parent == tmp_path / "a/b/c/eval/baselines"
    with pytest.raises(ConfigError, match="a word, not a path"):
        write_baseline(result, "..")


def test_a_limit_keeps_the_clips_own_frames(scene):
    limited = Subject.of_testset(str(scene[0])).limited(1)
    assert [i.name for i in limited.items] == ["clip.mp4 frame 1", "clip.mp4 frame 4", "0.png"]
    assert len(limited.clips) == 1


def test_a_result_without_out_lies_where_the_same_command_finds_it_again(scene, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    subject = Subject.of_data(scene[0], "test").limited(1)
    result, out, _ = evaluate(subject, Choice(**scene[1], tta="flip,rotate"), None)
    pose, detector = (result["models"][part]["sha256"][:6] for part in ("pose", "detector"))
    assert out.as_posix() == f"eval-results/spots-test/pose-{pose}-{detector}-flip-rotate"


def test_a_plain_data_set_by_split(scene):
    subject = Subject.of_data(scene[0], "test")
    assert len(subject.items) == 7
    assert subject.clips == ()
    whole = Subject.of_data(scene[0], "all")
    assert (len(whole.items), whole.name, whole.split) == (7, scene[0].name, None)
    with pytest.raises(ConfigError, match="split"):
        Subject.of_data(scene[0], "val")


def test_other_pictures_under_the_same_labels_are_not_answered_with_old_figures(scene, tmp_path):
    folder, nets = tmp_path / "set", scene[1]
    shutil.copytree(scene[0], folder)
    straight, _, _ = evaluate(Subject.of_data(folder, "test"), Choice(**nets), tmp_path / "a")
    again, _, _ = evaluate(Subject.of_data(folder, "test"), Choice(**nets), tmp_path / "a")
    assert again["testset"] == straight["testset"]
    shutil.copy(folder / "images" / "4.png", folder / "images" / "0.png")  # nobody is there any more
    with pytest.raises(ConfigError, match="the pictures are not those"):
        evaluate(Subject.of_data(folder, "test"), Choice(**nets), tmp_path / "a")
    changed, _, _ = evaluate(Subject.of_data(folder, "test"), Choice(**nets), tmp_path / "b")
    assert changed["pose"]["found"]["missed"] == straight["pose"]["found"]["missed"] + 1


def test_a_picture_whose_note_mirrors_it_is_refused(scene, tmp_path):
    """Its labels are for what viewers show, the mirror image of what infer sees."""
    shutil.copytree(scene[0], tmp_path / "set")
    note = PIL.Image.Exif()
    note[0x0112] = 2
    PIL.Image.open(scene[0] / "images/0.png").save(tmp_path / "set/images/0.png", exif=note)
    with pytest.raises(FileFormatError, match=r"0\.png: the picture's EXIF note mirrors it"):
        evaluate(Subject.of_data(tmp_path / "set", "test"), Choice(**scene[1]), tmp_path / "out")


def test_a_clip_that_cannot_be_read_counts_against_the_yield(scene, judged, tmp_path):
    folder, nets = scene
    subject = Subject.of_testset(str(folder))
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    clip = subject.clips[0]
    bad = type(clip)(**(vars(clip) | {"id": "bad", "video": broken}))
    # An infant of it is in view that nobody labelled: it is no empty cot.
    unlabelled = replace(subject.items[0], path=broken, frame=1, people=(), infants_in_view=1)
    whole = Subject(**(vars(subject) | {"clips": (clip, bad), "items": (*subject.items, unlabelled)}))
    result, out, _ = evaluate(whole, Choice(**nets), tmp_path / "out")
    assert result["height"]["reasons"]["unreadable"] == 1
    assert result["height"]["clips"] == 2
    (record,) = [frame for frame in read_records(out / "records")[0] if "broken" in frame.file]
    assert record.unlabelled
    assert result["empty_frames"] == judged[0]["empty_frames"]


@pytest.mark.parametrize(
    ("change", "words"),
    [({"frame": 9}, "ends before a labelled frame"), ({"width": 120, "height": 160}, "size is not the one")],
)
def test_labels_that_do_not_fit_their_clip_are_no_fault_of_the_models(scene, tmp_path, change, words):
    """They counted as infants missed and clips not measured."""
    folder, nets = scene
    document = json.loads((folder / "annotations.json").read_text())
    document["images"][-1] |= change
    shutil.copytree(folder, tmp_path / "set")
    (tmp_path / "set/annotations.json").write_text(json.dumps(document))
    freeze(tmp_path / "set", "spots", 2)
    with pytest.raises(FileFormatError, match=words):
        evaluate(Subject.of_testset(str(tmp_path / "set")), Choice(**nets), tmp_path / "out")


def test_a_clip_whose_end_is_lost_is_measured_as_infer_measures_it(scene, judged, tmp_path, monkeypatch):
    """Labelled frames of the lost part are not seen."""
    folder, nets = scene
    subject = Subject.of_testset(str(folder))
    items = [replace(item, frame=9) if item.frame == 4 else item for item in subject.items]
    cut = Missing("cut_short", 6, "cut short after 6 frames")
    monkeypatch.setattr(
        "heightpose.evaluate.run.measure_known",
        lambda *a, **k: replace(measure_known(*a, **k), missing=(cut,)),
    )
    result, out, _ = evaluate(replace(subject, items=tuple(items)), Choice(**nets), tmp_path / "out")
    assert result["height"]["reasons"] == judged[0]["height"]["reasons"]
    found = {f.key: f.guess is not None for f in read_records(out / "records")[0] if f.frame is not None}
    assert found == {"clip.mp4#1": True, "clip.mp4#9": False}


def test_matching_is_by_the_largest_overlap(scene):
    people = [p for item in Subject.of_testset(str(scene[0])).items[:2] for p in item.people]
    first, second = (p.bbox_xyxy for p in people)
    assert match(second, people) == (1, 1.0)
    assert match(first + [4, 0, 4, 0], people)[0] == 0
    assert match(first + 500, people)[0] is None
    assert match(first, []) == (None, 0.0)


@pytest.mark.parametrize(("share", "found"), [(0.101, True), (0.1, True), (0.099, False)])
def test_a_box_is_somebodys_from_a_tenth_of_overlap_on(scene, share, found):
    (person,) = Subject.of_testset(str(scene[0])).items[0].people
    person = replace(person, bbox_xyxy=np.array([0.0, 0.0, 1000.0, 10.0]))
    whose, overlap = match(np.array([0.0, 0.0, 1000.0 * share, 10.0]), [person])
    assert (whose, overlap) == (0 if found else None, pytest.approx(share))


def test_a_label_says_who_it_is_what_shows_and_how_large_the_head_is(scene):
    (person,) = Subject.of_testset(str(scene[0])).items[0].people
    crown, knee = INFANT.index("crown"), INFANT.index("left_knee")
    assert (truth_of(person, "0.png").child, truth_of(person, "0.png").head_size_px) == ("child-0", 24.0)
    assert truth_of(replace(person, child=None), "0.png#None/0").child == "0.png#None/0"
    out = np.zeros(len(INFANT), bool)
    out[[crown, knee]] = True
    beyond = truth_of(replace(person, out_of_frame=out), "0.png")
    assert [beyond.visibility[k] for k in (crown, knee, INFANT.index("upper_neck"))] == [0, 0, 2]
    boxed = replace(person, head_box_xyxy=np.array([10.0, 20.0, 40.0, 60.0]))
    assert truth_of(boxed, "0.png").head_size_px == 24.0  # crown and neck tell better
    headless = np.where(np.arange(len(INFANT)) == crown, 0, person.visibility)
    assert truth_of(replace(person, visibility=headless), "0.png").head_size_px is None
    assert truth_of(replace(boxed, visibility=headless), "0.png").head_size_px == pytest.approx(0.6 * 50.0)


def test_the_tables_say_of_each_clip_whether_its_interval_holds_the_truth(tmp_path):
    clips = [
        clip("in", "a", 1.0),
        clip("below", "b", -1.25),
        clip("above", "c", 1.25),
        clip("none", "d", None),
    ]
    write_tables(tmp_path, [], clips)
    rows = list(csv.DictReader((tmp_path / "clips.csv").open()))
    assert [row["covered"] for row in rows] == ["1", "0", "0", ""]
    assert [row["error_cm"] for row in rows] == ["1.0", "-1.25", "1.25", ""]
    assert (rows[1]["low_cm"], rows[1]["measured_cm"], rows[1]["high_cm"]) == ("62.75", "63.75", "64.75")
    assert float(rows[0]["null_error_cm"]) == pytest.approx(null_length("female", 6.0) - 65.0, abs=1e-4)
    assert rows[3]["reasons"] == "legs_not_seen"


def test_the_log_keeps_one_record_per_frame(scene, tmp_path):
    folder, nets = scene
    _, out, _ = evaluate(Subject.of_testset(str(folder)), Choice(**nets, limit=1), tmp_path / "out")
    log = Log(out / "records")
    log.add(log.frames[:1])
    assert len(read_records(out / "records")[0]) == 3


def relabelled(source, folder, names, *, people=None):
    """The labels of a spot set's pictures 0, 1, ... in a set of their own, the pictures under other names.

    Args:
        people: image number -> numbers of the infants in it, where not its own.
    """
    document = json.loads((source / "annotations.json").read_text())
    people = {n: [n] for n in range(len(names))} if people is None else people
    of = {a["image_id"]: a for a in document["annotations"]}
    document["images"] = [
        document["images"][n] | {"id": n, "file_name": name} for n, name in enumerate(names)
    ]
    document["annotations"] = [
        of[k] | {"id": 10 * n + k, "image_id": n} for n, those in people.items() for k in those
    ]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "annotations.json").write_text(json.dumps(document))
    return folder


def shown(folder, subject):
    """How many pictures the report of a result holds."""
    return write_report(folder, subject.folder).read_text().count("data:image/jpeg")


def test_pictures_outside_of_the_sets_folder_keep_records_of_their_own(scene, tmp_path):
    source, nets = scene
    names = [f"../store/child-{n}/0.png" for n in range(3)]
    for n, name in enumerate(names):
        (tmp_path / "set" / name).parent.mkdir(parents=True)
        shutil.copy(source / f"images/{n}.png", tmp_path / "store" / f"child-{n}" / "0.png")
    folder = relabelled(source, tmp_path / "set", names)
    (tmp_path / "deep/er").mkdir(parents=True)
    (tmp_path / "deep/er/link").symlink_to(folder)
    for given in (folder, tmp_path / "deep/er/link"):
        subject = Subject.of_data(given, "test")
        result, out, _ = evaluate(subject, Choice(**nets), tmp_path / f"out-{given.name}")
        assert [f.key for f in read_records(out / "records")[0]] == names
        assert result["pose"]["people"] == 3
        with (out / "people.csv").open() as file:
            assert [row["file"] for row in csv.DictReader(file)] == names
        assert shown(out, subject) == 3


def test_pictures_that_are_links_keep_the_names_that_the_set_has(scene, tmp_path):
    source, nets = scene
    folder = relabelled(source, tmp_path / "set", ["0.png", "1.png"])
    for n in range(2):
        (tmp_path / f"store-{n}").mkdir()
        shutil.copy(source / f"images/{n}.png", tmp_path / f"store-{n}" / "picture.png")
        (folder / f"{n}.png").symlink_to(tmp_path / f"store-{n}" / "picture.png")
    freeze(folder, "links", 1)
    subject = Subject.of_testset(str(folder))
    _, out, _ = evaluate(subject, Choice(**nets), tmp_path / "out")
    assert [f.key for f in read_records(out / "records")[0]] == ["0.png", "1.png"]
    assert shown(out, subject) == 2


def test_two_entries_of_one_picture_are_judged_and_blurred_as_one(scene, tmp_path, caplog):
    source, nets = scene
    folder = relabelled(source, tmp_path / "set", ["0.png", "./0.png"], people={0: [0], 1: [0, 3]})
    shutil.copy(source / "images/0.png", folder)
    result, out, _ = evaluate(Subject.of_data(folder, "test"), Choice(**nets), tmp_path / "out")
    (record,) = read_records(out / "records")[0]
    assert [p.child for p in record.people] == ["child-0", "child-3"]  # child-0, labelled twice, counts once
    assert result["pose"]["found"]["missed"] == 1
    assert "1 label left out" in caplog.text


def test_an_infant_without_a_name_that_two_entries_label_at_one_place_counts_once(scene, tmp_path, caplog):
    """Labelled by two people, or exported twice: the second label was an infant that was always missed."""
    source, nets = scene
    folder = relabelled(source, tmp_path / "set", ["0.png", "./0.png"], people={0: [0], 1: [0, 3]})
    shutil.copy(source / "images/0.png", folder)
    document = json.loads((folder / "annotations.json").read_text())
    first, second, other = document["annotations"]
    del first["child"], second["child"], other["child"]
    second["bbox"][0] += 6.0
    other["bbox"][0] += 20.0
    (folder / "annotations.json").write_text(json.dumps(document))
    result, _, _ = evaluate(Subject.of_data(folder, "test"), Choice(**nets), tmp_path / "out")
    assert (result["pose"]["people"], result["pose"]["found"]["missed"]) == (2, 1)
    assert "1 label left out" in caplog.text
    second["child"] = "named"
    (folder / "annotations.json").write_text(json.dumps(document))
    assert len(Subject.of_data(folder, "test").items[0].people) == 2


def test_what_stands_for_a_child_without_a_name_is_what_was_recorded_of_it(scene, tmp_path):
    """Frames of one video are no children of their own: as such they made intervals several times too narrow."""
    source, nets = scene
    shutil.copytree(source, tmp_path / "set")
    document = json.loads((source / "annotations.json").read_text())
    for annotation in document["annotations"]:
        del annotation["child"]
    (tmp_path / "set/annotations.json").write_text(json.dumps(document))
    freeze(tmp_path / "set", "spots", 2)
    subject = Subject.of_testset(str(tmp_path / "set"))
    _, out, _ = evaluate(subject, Choice(**nets), tmp_path / "out")
    names = {f.key: [p.child for p in f.people] for f in read_records(out / "records")[0]}
    assert names["clip.mp4#1"] == names["clip.mp4#4"] == ["child-clip"]  # as its clip says
    still, *_, one, other = subject.items
    of_no_clip = replace(subject, clips=())
    assert of_no_clip.stand_in(one, 0) == of_no_clip.stand_in(other, 1) == "clip.mp4"
    assert subject.stand_in(still, 0) != subject.stand_in(still, 1)
    assert subject.stand_in(replace(still, recording="a night"), 1) == "a night"


def test_two_pictures_that_the_records_could_not_tell_apart_are_refused(scene, tmp_path):
    source, _ = scene
    folder = relabelled(source, tmp_path / "set", ["0.png", "sub/../0.png"])
    (tmp_path / "elsewhere/deeper").mkdir(parents=True)
    (folder / "sub").symlink_to(tmp_path / "elsewhere/deeper")
    shutil.copy(source / "images/0.png", folder / "0.png")
    shutil.copy(source / "images/1.png", tmp_path / "elsewhere/0.png")
    assert not os.path.samefile(folder / "0.png", folder / "sub/../0.png")
    with pytest.raises(FileFormatError, match="two pictures have one path"):
        Subject.of_data(folder, "test")


def test_a_stratum_without_a_value_is_left_out(scene):
    (person,) = Subject.of_testset(str(scene[0])).items[0].people
    truth = truth_of(replace(person, strata={"legs": None, "posture": "back", "count": 2}), "0.png")
    assert truth.strata == {"posture": "back", "count": "2"}
