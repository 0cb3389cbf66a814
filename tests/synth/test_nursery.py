"""The nursery, really rendered at a tiny size: bodies, postures, truth and the sheet all agree."""

from __future__ import annotations

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest

pytest.importorskip("anny")
pytest.importorskip("mitsuba")

from heightpose.errors import ConfigError
from heightpose.geometry.camera import Camera
from heightpose.geometry.lift import group_lengths
from heightpose.geometry.plane import Plane
from heightpose.geometry.plane_fit import plane_from_tags
from heightpose.geometry.sheet import SheetLayout, detect_tags, shipped_sheet
from heightpose.metrics.pckh import head_size_mpii
from heightpose.metrics.who import median_and_spread
from heightpose.skeleton import INFANT
from heightpose.synth.generate import generate
from heightpose.synth.index import write_index
from heightpose.synth.nursery import Nursery, Recipe
from heightpose.synth.scenario import MATTRESS_CM, Options


@pytest.fixture(scope="module")
def nursery() -> Nursery:
    options = replace(Options().easy(), size_wh=(800, 450), samples=2, infrared=0.0)
    return Nursery(
        Recipe(seed=3, kind="clips", options=options, frames=1, sheet=str(shipped_sheet())), threads=2
    )


def test_a_child_has_the_who_length_it_was_drawn_with(nursery: Nursery) -> None:
    lengths = []
    for seed in range(12):
        child = nursery.model.sample_child(seed, sex="female", age_months=6.0)
        assert nursery.model.crown_heel_length_cm(child) == pytest.approx(child.length_cm, abs=1e-6)
        lengths.append(child.length_cm)
    median, spread = median_and_spread("female", 6.0)
    assert abs(np.mean(lengths) - median) < 3 * median * spread / np.sqrt(12)
    assert len({round(v, 3) for v in lengths}) == 12


def test_longer_shanks_make_a_longer_child_and_nothing_else(nursery: Nursery) -> None:
    child = nursery.model.sample_child(1, age_months=8.0)
    longer = replace(child, local_changes=child.local_changes | {"lowerlegs-height-incr": 0.6})
    grown = nursery.model.crown_heel_length_cm(longer) - nursery.model.crown_heel_length_cm(child)
    before, after = (group_lengths(nursery.model.pose(c).joints_cm) for c in (child, longer))
    assert after[2] - before[2] == pytest.approx(grown, abs=0.05)
    assert after[[0, 1, 3]] == pytest.approx(before[[0, 1, 3]], abs=0.05)


def test_a_rendered_frame_agrees_with_its_truth(nursery: Nursery) -> None:
    image, record = next(nursery.item(0))
    camera = Camera.from_dict(record["camera"])
    truth = Plane(R=np.array(record["plane"]["R"]), t_cm=np.array(record["plane"]["t_cm"]))
    layout = SheetLayout.load(shipped_sheet())
    seen = detect_tags(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), layout)
    assert len(seen.ids) >= 6
    plane = plane_from_tags([seen], camera, layout)
    assert plane.height_cm == pytest.approx(truth.height_cm, rel=0.005)
    infant = record["infants"][0]
    joints = np.array(infant["joints_cm"])
    kpts = np.array(infant["keypoints"])
    assert np.abs(truth.to_frame(camera, joints) - kpts[:, :2]).max() < 0.02
    assert np.abs(plane.to_mattress(camera, kpts[:, :2], joints[:, 2]) - joints).max() < 0.3
    assert (np.abs(joints[:, :2]) < np.array(MATTRESS_CM) / 2).all()
    assert (joints[:, 2] > 0).all()
    crown = INFANT.index("crown")
    assert kpts[crown, 2] == 2, "on the back, uncovered: the crown is seen"
    body, head = np.reshape(infant["bbox_xyxy"], (2, 2)), np.reshape(infant["head_box_xyxy"], (2, 2))
    assert (head[0] >= body[0]).all()
    assert (head[1] <= body[1]).all()
    assert (head[0] <= kpts[crown, :2] + 0.01).all()
    assert (kpts[crown, :2] - 0.01 <= head[1]).all()
    thorax, neck = (kpts[INFANT.index(name), :2] for name in ("thorax", "upper_neck"))
    assert ((thorax < head[0]) | (thorax > head[1])).any(), "the neck is no part of it"
    size = np.linalg.norm(kpts[crown, :2] - neck)
    assert 0.7 < head_size_mpii(head.reshape(1, 4))[0] / size < 1.6


def test_a_blanket_hides_the_legs_and_the_renderer_says_so() -> None:
    options = replace(
        Options().easy(),
        size_wh=(64, 48),
        samples=1,
        blanket=1.0,
        blanket_extent="knees",
        keep_cot_in_view=True,
    )
    covered = Nursery(Recipe(seed=4, kind="stills", options=options, sheet=str(shipped_sheet())), threads=2)
    ends = INFANT.indices("left_ankle", "right_ankle", "left_heel", "right_heel")
    hidden = []
    for index in range(4):
        _, record = next(covered.item(index))
        assert record["strata"]["occlusion"] == "blanket"
        visible = np.array(record["infants"][0]["keypoints"])[:, 2]
        hidden.append((visible[ends] == 1).mean())
        assert visible[INFANT.index("crown")] == 2
    assert np.mean(hidden) > 0.7, "a narrow or skewed blanket may leave a foot out"
    assert max(hidden) == 1.0


def in_this_process(function, work, jobs, start, *share):
    """As ``side_by_side``, which in a new process takes long to load what is loaded here."""
    start(*share)
    return map(function, work)


def test_a_run_resumes_without_rendering_twice_and_refuses_another_recipe(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("heightpose.synth.generate.side_by_side", in_this_process)
    monkeypatch.setattr("heightpose.synth.generate._worker", None)
    options = replace(Options(), size_wh=(96, 72), samples=1)
    recipe = Recipe(seed=6, kind="clips", options=options, frames=2, split="test", sheet=str(shipped_sheet()))
    generate(recipe, tmp_path, 1, jobs=1)
    first = (tmp_path / "items" / "000000.json").stat().st_mtime_ns
    generate(recipe, tmp_path, 2, jobs=1)
    assert (tmp_path / "items" / "000000.json").stat().st_mtime_ns == first
    clips = json.loads((tmp_path / "clips.json").read_text())
    assert [c["id"] for c in clips] == ["000000", "000001"]
    assert all(40 < c["length_cm"] < 100 and (tmp_path / c["video"]).stat().st_size > 0 for c in clips)
    coco = json.loads((tmp_path / "annotations.json").read_text())
    assert len(coco["images"]) == 4
    assert [a["id"] for a in coco["annotations"]] == [1, 2, 3, 4]
    stored = json.loads((tmp_path / "recipe.json").read_text())
    del stored["options"]["near"]  # as written before there was such an option
    (tmp_path / "recipe.json").write_text(json.dumps(stored))
    generate(recipe, tmp_path, 2, jobs=1)
    assert (tmp_path / "testset.yaml").exists()
    assert cv2.imread(str(tmp_path / "contact_sheet.png")) is not None
    with pytest.raises(ConfigError, match="another recipe"):
        generate(replace(recipe, seed=7), tmp_path, 2, jobs=1)


def test_empty_cots_and_twins_are_in_the_labels_and_no_clips_of_known_length(tmp_path) -> None:
    infant = {
        "child": "a", "bbox_xyxy": [1, 1, 9, 9], "keypoints": [[2.0 + k % 6, 5.0, 2] for k in range(len(INFANT))],
        "out_of_frame": [False] * len(INFANT), "length_cm": 60.0, "sex": "female", "age_months": 3.0,
        "leg_extended": True, "legs_covered": False,
    }  # fmt: skip
    for index, infants in enumerate(([], [infant], [infant, infant | {"child": "b"}])):
        record = {"index": index, "frame": 0, "split": "test", "strata": {}, "infants": infants}
        (tmp_path / "items").mkdir(exist_ok=True)
        item = json.dumps([record | {"camera": {"width": 64, "height": 64}}])
        (tmp_path / "items" / f"{index:06d}.json").write_text(item)
        for name in (f"{index:06d}.mp4", f"{index:06d}.camera.json", "sheet.yaml"):
            (tmp_path / "clips").mkdir(exist_ok=True)
            (tmp_path / "clips" / name).write_text("")
    write_index(tmp_path, Recipe(seed=6, kind="clips", options=Options(), sheet=None), 3)
    assert [c["id"] for c in json.loads((tmp_path / "clips.json").read_text())] == ["000001"]
    assert len(json.loads((tmp_path / "annotations.json").read_text())["annotations"]) == 3
    assert (tmp_path / "testset.yaml").exists()


@pytest.mark.parametrize("name", ["annotations.json", "images/000000.jpg"])
def test_another_data_set_is_not_written_over(tmp_path, name) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("labelled by hand")
    (tmp_path / "notes.txt").write_text("whatever else lies there stays")
    with pytest.raises(ConfigError, match="another data set"):
        generate(Recipe(seed=6, kind="stills", options=Options(), sheet=None), tmp_path, 1, jobs=1)
    assert (tmp_path / name).read_text() == "labelled by hand"
    assert not (tmp_path / "recipe.json").exists()


def test_several_items_of_a_child_differ_in_all_but_the_child(nursery: Nursery) -> None:
    once = nursery.recipe
    nursery.recipe = replace(once, per_child=2, options=replace(once.options, size_wh=(96, 64), samples=1))
    try:
        (first, a), (second, b), (_, c) = (next(nursery.item(i)) for i in (0, 1, 2))
    finally:
        nursery.recipe = once
    (one,), (two,), (other,) = a["infants"], b["infants"], c["infants"]
    assert (one["child"], one["length_cm"]) == (two["child"], two["length_cm"])
    assert one["child"] != other["child"]
    assert one["joints_cm"] != two["joints_cm"]
    assert first.shape != second.shape or not np.array_equal(first, second)
