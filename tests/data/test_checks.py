"""Label checks on drawn infants with planted errors; without ``--fix`` nothing on disk changes."""

from __future__ import annotations

import json
import sys
import tracemalloc
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

sys.path.append(str(Path(__file__).resolve().parents[1] / "runtime"))

import drawn
import makers
import planting

from heightpose.cli.data_verbs.check import check as verb
from heightpose.data.checks import check, duplicates
from heightpose.data.checks.bodies import Bodies
from heightpose.data.checks.fix import apply_fixes
from heightpose.data.checks.prediction import Predictions
from heightpose.data.checks.shape import Shape
from heightpose.data.checks.swaps import find_swaps
from heightpose.data.coco import Dataset
from heightpose.skeleton import INFANT

SIZE_WH = (224, 224)


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    """120 drawn infants in postures of their own, as JPEGs."""
    folder = tmp_path_factory.mktemp("clean")
    rng = np.random.default_rng(5)
    images, annotations = [], []
    for i in range(120):
        kpts = drawn.infant_kpts(rng.uniform(100, 124, 2), rng.uniform(110, 140), rng.uniform(-180, 180), rng)
        cv2.imwrite(str(folder / f"{i}.jpg"), drawn.draw(SIZE_WH, kpts, rng))
        size = dict(zip(("width", "height"), SIZE_WH, strict=True))
        images.append({"id": i, "file_name": f"{i}.jpg", "split": "train", **size})
        annotations.append(drawn.annotation(i, i, kpts, f"child-{i}"))
    (folder / "annotations.json").write_text(json.dumps(drawn.document(images, annotations)))
    return folder


@pytest.fixture
def planted(clean, tmp_path):
    for picture in clean.glob("*.jpg"):
        (tmp_path / picture.name).symlink_to(picture)
    document = json.loads((clean / "annotations.json").read_text())
    truth = planting.plant(document, tmp_path, np.random.default_rng(1))
    (tmp_path / "annotations.json").write_text(json.dumps(document))
    return tmp_path, truth


def test_clean_labels_give_few_findings(clean):
    assert len(check(Dataset.load(clean), model=None)) <= 6


def test_what_is_not_checked_in_few_pictures_is_said(planted, caplog):
    folder, _ = planted
    document = json.loads((folder / "annotations.json").read_text())
    document["annotations"] = document["annotations"][:6]
    (folder / "annotations.json").write_text(json.dumps(document))
    check(Dataset.load(folder), model=None)
    assert "swaps, places, bones and predictions are not checked" in caplog.text


def test_planted_errors_come_first(planted):
    folder, truth = planted
    findings = check(Dataset.load(folder), model=None)
    assert len(truth) == 20
    assert sum(planting.hits(findings, truth)) >= 18
    severities = [f.severity for f in findings]
    assert severities == sorted(severities, reverse=True)


def test_a_turned_or_shifted_picture_is_judged_alike(clean):
    """The body frame does not depend on where and how the infant lies, even with joints missing."""
    upright = Bodies.of(Dataset.load(clean)).xy
    document = json.loads((clean / "annotations.json").read_text())
    for n, a in enumerate(document["annotations"]):
        table = np.array(a["keypoints"]).reshape(-1, 3)
        table[:, :2] = table[:, [1, 0]] * [-1, 1] + [224, 0] if n % 2 else table[:, :2]
        a["keypoints"] = table.ravel().tolist()
    turned = clean / "turned.json"
    turned.write_text(json.dumps(document))
    np.testing.assert_allclose(Bodies.of(Dataset.load(turned)).xy, upright, atol=1e-6)
    crown = INFANT.index("crown")
    for a in document["annotations"]:
        a["keypoints"][3 * crown + 2] = 0
    turned.write_text(json.dumps(document))
    without = Bodies.of(Dataset.load(turned)).xy
    kept = [k for k in range(len(INFANT)) if k != crown]
    assert np.abs(without - upright)[:, kept].max() < 0.02


def test_nothing_is_altered_without_fix_and_copies_go_with_it(planted):
    folder, _ = planted
    path = folder / "annotations.json"
    before, documents = path.read_bytes(), json.loads(path.read_text())
    report = folder / "report"
    done = CliRunner().invoke(verb, [str(folder), "--no-model", "--rows", "5", "--out", str(report)])
    assert done.exit_code == 0, done.output
    assert path.read_bytes() == before
    assert not (report / "annotations.json").exists()
    page = (report / "findings.html").read_text()
    assert page.count("<figure>") == 5
    assert page.count("data:image/jpeg") == 5
    assert len(json.loads((report / "findings.json").read_text())["findings"]) >= 18
    # Now a copy: byte-identical pictures go, the rest and the original stay.
    done = CliRunner().invoke(verb, [str(folder), "--no-model", "--fix", "--out", str(report)])
    assert done.exit_code == 0, done.output
    assert path.read_bytes() == before
    exact = sum(
        (folder / i["file_name"]).read_bytes() == (folder / f"{j['id']}.jpg").read_bytes()
        for i in documents["images"] if i["file_name"].startswith("copy-")
        for j in documents["images"] if j["id"] < 120
    )  # fmt: skip
    assert exact > 0
    assert len(Dataset.load(report).items) == len(documents["images"]) - exact
    done = CliRunner().invoke(verb, [str(folder), "--no-model", "--fix"])
    assert done.exit_code == 0, done.output
    assert (folder / "annotations.json.bak").read_bytes() == before
    assert path.read_bytes() != before


def test_broken_entries_that_are_skipped_stay_in_the_repaired_file_as_they_were(planted):
    folder, _ = planted
    path = folder / "annotations.json"
    broken_image, broken = [7, {"id": 900, "file_name": 3}], [None, {"id": 901, "keypoints": []}]
    drawn.rewrite(folder, lambda d: (d["images"].extend(broken_image), d["annotations"].extend(broken)))
    before = json.loads(path.read_text())
    for more in (["--out", str(folder / "report")], []):
        done = CliRunner().invoke(verb, [str(folder), "--no-model", "--fix", "--skip-bad", *more])
        assert done.exit_code == 0, done.output
    for file in (path, folder / "report/annotations.json"):
        after = json.loads(file.read_text())
        assert len(after["images"]) < len(before["images"])
        assert after["images"][-2:] == broken_image
        assert after["annotations"][-2:] == broken


def test_a_swap_that_model_and_shapes_agree_on_is_repaired_and_no_other_label_changes(clean, tmp_path):
    """The model is played by the truth with a net's errors on it; what it is asked on is the swapped labels."""
    rng = np.random.default_rng(3)
    document = json.loads((clean / "annotations.json").read_text())
    original = [list(a["keypoints"]) for a in document["annotations"]]
    truth = Bodies.of(Dataset.load(clean)).kpts_frame
    swapped = rng.choice(len(original), 8, replace=False)
    for n in swapped:
        planting.swap(document["annotations"][n], rng)
    for picture in clean.glob("*.jpg"):
        (tmp_path / picture.name).symlink_to(picture)
    path = tmp_path / "annotations.json"
    path.write_text(json.dumps(document))
    bodies = Bodies.of(Dataset.load(tmp_path))
    seen = truth + rng.normal(0, 2.5, truth.shape)
    model = Predictions(bodies, seen, np.ones(truth.shape[:2]))
    findings = find_swaps(bodies, Shape.learn(bodies), model)
    repaired = apply_fixes(path, findings, None)
    after = [a["keypoints"] for a in json.loads(path.read_text())["annotations"]]
    restored = [n for n in swapped if after[n] == original[n]]
    assert len(restored) >= 6  # a swap of two joints that lie close together is nobody's certainty
    assert len(repaired) >= len(restored)
    others = [n for n in range(len(original)) if n not in swapped]
    assert [after[n] for n in others] == [original[n] for n in others]


def test_a_swap_that_only_one_witness_sees_is_reported_and_left_alone(clean):
    bodies = Bodies.of(Dataset.load(clean))
    seen = bodies.kpts_frame.copy()
    seen[5] = seen[5][INFANT.flip_map]  # the model alone sees this infant the other way round
    model = Predictions(bodies, seen, np.ones(seen.shape[:2]))
    assert all(f.fix is None for f in find_swaps(bodies, Shape.learn(bodies), model))


def test_a_file_that_begins_with_a_byte_order_mark_is_repaired_too(planted):
    folder, _ = planted
    path = folder / "annotations.json"
    path.write_text(path.read_text(), encoding="utf-8-sig")
    done = CliRunner().invoke(verb, [str(folder), "--no-model", "--fix"])
    assert done.exit_code == 0, done.output
    assert "0 repaired" not in done.output


@pytest.mark.parametrize(
    ("change", "fixable"),
    [
        (None, True),
        (lambda a: a["keypoints"].__setitem__(0, a["keypoints"][0] + 0.4), True),
        (lambda a: a["keypoints"].__setitem__(0, a["keypoints"][0] + 5), False),
        (lambda a: a["keypoints"].__setitem__(2, 1), False),
        (lambda a: a.update(child="another"), False),
        (lambda a: a["bbox"].__setitem__(2, a["bbox"][2] + 9), False),
        (lambda a: a.update(strata={"posture": "side"}), False),
        ("gone", False),
        ("gone from the first", False),
    ],
)
def test_a_copy_goes_only_where_its_labels_say_the_same(clean, tmp_path, change, fixable):
    """Labels that exist nowhere else stay, whichever copy has more of them."""
    document = json.loads((clean / "annotations.json").read_text())
    image, label = document["images"][0], document["annotations"][0]
    (tmp_path / "0.jpg").write_bytes((clean / "0.jpg").read_bytes())
    (tmp_path / "copy.jpg").write_bytes((clean / "0.jpg").read_bytes())
    document["images"] = [image, {**image, "id": 500, "file_name": "copy.jpg"}]
    again = json.loads(json.dumps({**label, "id": 900, "image_id": 500}))
    document["annotations"] = [label, again]
    if callable(change):
        change(again)
    elif change is not None:
        document["annotations"] = [label] if change == "gone" else [again]
    (tmp_path / "annotations.json").write_text(json.dumps(document))
    (found,) = [f for f in check(Dataset.load(tmp_path), model=None) if f.kind == "duplicate"]
    assert (found.fix is not None) == fixable


def test_a_video_frame_that_is_named_twice_is_found(clean, tmp_path):
    """Labelled by two people, or exported twice; frames beside it look the same and are not meant."""
    pictures = [cv2.imread(str(clean / "0.jpg"))] * 3
    makers.write_video(tmp_path / "clip.mp4", [picture[..., ::-1] for picture in pictures])
    document = json.loads((clean / "annotations.json").read_text())
    size = {"width": SIZE_WH[0], "height": SIZE_WH[1], "split": "train"}
    images = [{"id": k, "video": "clip.mp4", "frame": frame, **size} for k, frame in enumerate((0, 1, 1))]
    labels = [{**document["annotations"][0], "id": 10 + k, "image_id": k} for k in range(3)]
    (tmp_path / "annotations.json").write_text(json.dumps(drawn.document(images, labels)))
    (found,) = [f for f in check(Dataset.load(tmp_path), model=None) if f.kind == "duplicate"]
    assert found.place(tmp_path) == "clip.mp4#1, annotation 12"
    assert found.text == "the same frame as clip.mp4#1"
    assert found.fix is not None


def test_findings_name_pictures_of_one_name_by_their_folders(clean, tmp_path):
    document = json.loads((clean / "annotations.json").read_text())
    images = [{**document["images"][0], "id": k, "file_name": f"{name}/0.jpg"} for k, name in enumerate("ab")]
    labels = [{**document["annotations"][0], "id": k, "image_id": k} for k in range(2)]
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "0.jpg").write_bytes((clean / "0.jpg").read_bytes())
    (tmp_path / "annotations.json").write_text(json.dumps(drawn.document(images, labels)))
    done = CliRunner().invoke(verb, [str(tmp_path), "--no-model", "--out", str(tmp_path / "report")])
    assert "b/0.jpg, annotation 1: the same file as a/0.jpg" in done.output
    (found,) = json.loads((tmp_path / "report/findings.json").read_text())["findings"]
    assert (found["file"], found["other_files"]) == ("b/0.jpg", ["a/0.jpg"])
    assert "b/0.jpg, annotation 1" in (tmp_path / "report/findings.html").read_text()
    assert b"\r" not in (tmp_path / "report/findings.csv").read_bytes()  # as every other table


def test_copies_are_looked_for_in_one_picture_after_the_other(tmp_path, monkeypatch):
    """Not with the bytes of all of them in memory."""
    rng, images, size = np.random.default_rng(0), [], 0
    for k in range(12):
        cv2.imwrite(str(tmp_path / f"{k}.png"), rng.integers(0, 255, (300, 300, 3), np.uint8))
        size += (tmp_path / f"{k}.png").stat().st_size
        images.append({"id": k, "file_name": f"{k}.png", "width": 300, "height": 300})
    (tmp_path / "annotations.json").write_text(json.dumps(drawn.document(images, [])))
    dataset = Dataset.load(tmp_path)
    held, decode = [], duplicates.decode

    def decoded(*args):
        held.append(tracemalloc.get_traced_memory()[0])
        return decode(*args)

    monkeypatch.setattr(duplicates, "decode", decoded)
    tracemalloc.start()
    try:
        duplicates.find_duplicates(dataset)
    finally:
        tracemalloc.stop()
    assert len(held) == 12
    assert max(held) < size / 3
