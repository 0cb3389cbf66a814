"""Data iterations through the command line: shares, supersets, hashes, and who must never be trained on."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import drawn
import numpy as np
import pytest
import test_testset
from click.testing import CliRunner

from heightpose.cli.data import data as data_group
from heightpose.config import DataConfig, from_dict
from heightpose.data import iterations
from heightpose.data.coco import Dataset
from heightpose.data.groups import groups_of
from heightpose.data.items import Item, Person
from heightpose.data.iterations import labels_hash
from heightpose.data.testset import freeze
from heightpose.errors import ConfigError, HeightposeError
from heightpose.skeleton import INFANT

TRAIN, VAL, EMPTY = 30, 10, 10


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """40 children with one picture each, a third of them with tucked legs, and 20 empty cots."""
    folder = tmp_path_factory.mktemp("data") / "nursery"
    drawn.nursery(folder, train=TRAIN, val=VAL, empty=EMPTY, size_wh=(64, 48))

    def add_strata(document):
        for a in document["annotations"]:
            a["strata"] = {"legs": "tucked" if a["id"] % 3 == 0 else "extended", "posture": "back"}

    drawn.rewrite(folder, add_strata)
    return folder


@pytest.fixture
def nursery(original, tmp_path, monkeypatch):
    """A copy to spoil, in the folder the test runs in."""
    shutil.copytree(original, tmp_path / "nursery")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "nursery"


def run(*args):
    return CliRunner().invoke(data_group, ["iteration", *map(str, args)], catch_exceptions=True)


def good(*args):
    result = run(*args)
    assert result.exit_code == 0, result.output + repr(result.exception)
    return result.output


def refused(*args):
    """The error of a command that must be refused."""
    result = run(*args)
    assert isinstance(result.exception, HeightposeError), result.output
    return str(result.exception)


def children(name, root="iterations"):
    return {p.child for i in iterations.load(name, root).items for p in i.people}


def ids(name, root="iterations"):
    return [i.id for i in iterations.load(name, root).items]


def test_ten_forty_and_fifty_percent_make_the_whole_and_each_holds_the_one_before(nursery):
    good("new", "poc", "--data", nursery, "--share", "10%")
    assert len(children("poc")) == 4
    good("new", "second", "--share", "0.4")
    good("new", "third", "--share", "50%")
    assert (len(children("second")), len(children("third"))) == (20, 40)
    assert set(ids("poc")) < set(ids("second")) < set(ids("third"))
    assert len(ids("third")) == len(set(ids("third"))) == TRAIN + VAL + 2 * EMPTY
    splits = [i.split for i in iterations.load("second").items if i.people]
    assert (splits.count("train"), splits.count("val")) == (15, 5)
    assert "nothing is left" in refused("new", "fourth", "--share", "10%")
    rows = json.loads(good("list", "--json"))
    # Of the empty cots one is in train, 19 are in val: 1 + 2, 0 + 8 and the 9 that are left.
    added = [(r["order"], r["name"], r["added"]) for r in rows]
    assert added == [(1, "poc", 4 + 3), (2, "second", 16 + 8), (3, "third", 20 + 9)]
    assert len({r["hash"] for r in rows}) == 3


def test_a_share_is_told_as_given_and_nobody_is_missing_where_only_its_rounding_was_more(nursery):
    assert "fewer" not in good("new", "poc", "--data", nursery, "--share", "92.5%")
    # Of the 30 and 10 children that is 28 and 10, one more than 37 of 40, and two of train are left.
    assert "fewer" not in good("new", "rest", "--share", "2.5%")
    assert "fewer than the 3 that 7.5% asks for" in good("new", "last", "--share", "7.5%")
    assert [line.split()[2] for line in good("list").splitlines()[1:]] == ["92.5%", "2.5%", "7.5%"]


def test_the_seed_decides_and_nothing_else(nursery):
    for root, seed in (("a", 5), ("b", 5), ("c", 6)):
        good("new", "poc", "--data", nursery, "--share", "20%", "--seed", seed, "--root", root)
    assert ids("poc", "a") == ids("poc", "b") != ids("poc", "c")
    hashes = [iterations.load("poc", root).hash for root in "abc"]
    assert hashes[0] == hashes[1] != hashes[2]


def test_an_aimed_iteration_takes_only_what_it_aims_at_and_fill_tops_it_up(nursery):
    output = good("new", "tucked", "--data", nursery, "--share", "50%", "--where", "legs=tucked")
    wanted = {f"child-{i}" for i in range(TRAIN + VAL) if i % 3 == 0}
    assert children("tucked") == wanted
    assert "fewer than the 20" in output
    assert "age_band is unknown for 14 infants" in output
    good("new", "more", "--share", "50%", "--where", "legs=tucked", "--fill")
    assert len(children("more") - wanted) == 20
    assert "Did you mean 'legs'" in refused("new", "x", "--share", "1%", "--where", "leg=tucked")
    assert "Did you mean 'tucked'" in refused("new", "x", "--share", "1%", "--where", "legs=tuckd")


def test_a_child_is_never_split_and_twins_stay_together(nursery):
    def fewer_children(document):
        for a in document["annotations"]:
            a["child"] = f"child-{a['image_id'] % 30 // 3}" if a["image_id"] < TRAIN else a["child"]
        twin = dict(document["annotations"][0], id=99, child="child-9")  # beside child-0 in its picture
        document["annotations"].append(twin)

    drawn.rewrite(nursery, fewer_children)
    everything = Dataset.load(nursery).items
    for seed in range(6):
        root = f"root-{seed}"
        good("new", "poc", "--data", nursery, "--share", "30%", "--seed", seed, "--root", root)
        chosen, items = children("poc", root), set(ids("poc", root))
        assert ("child-0" in chosen) == ("child-9" in chosen)
        whole = {i.id for i in everything for p in i.people if p.child in chosen}
        assert whole == {i for i in items if i < TRAIN + VAL}


def test_twins_are_counted_as_two_children_everywhere(nursery):
    def twins(document):
        for a in list(document["annotations"][:TRAIN]):  # every child of train has one
            document["annotations"].append(dict(a, id=100 + a["id"], child=f"twin-{a['id']}"))

    drawn.rewrite(nursery, twins)
    output = good("new", "poc", "--data", nursery, "--share", "10%")
    # Of 60 children in train 6, as three pairs, and of 10 in val one.
    assert f"+7 of {2 * TRAIN + VAL} children" in output
    assert len(children("poc")) == 7
    assert "added: 7 children" in good("show", "poc")
    output = good("new", "one", "--share", "1%")  # one child of each split, a pair in train
    assert f"+3 of {2 * TRAIN + VAL} children" in output
    assert "fewer" not in output
    assert "+3 items, +3 children" in good("diff", "poc", "one")
    assert "twins are two" in good("new", "--help")


def test_infants_without_a_name_are_counted_as_files(nursery):
    drawn.rewrite(nursery, lambda d: [a.pop("child") for a in d["annotations"][5:]])
    output = good("new", "all", "--data", nursery, "--share", "100%")
    assert (
        f"+5 of 5 children, +{TRAIN + VAL - 5} of {TRAIN + VAL - 5} files of unnamed infants, +20 empty cots"
        in output
    )
    assert "fewer" not in output
    assert "added: 5 children" in good("show", "all")


def test_a_changed_label_is_refused_by_its_file_and_image(nursery):
    good("new", "poc", "--data", nursery, "--share", "100%")

    def move_a_joint(document):
        document["annotations"][7]["keypoints"][0] += 0.5

    drawn.rewrite(nursery, move_a_joint)
    assert "nursery/annotations.json: the labels of image 7 (000007.png) have changed" in refused(
        "show", "poc"
    )


@pytest.mark.parametrize("field", ["strata", "recording"])
def test_a_changed_stratum_or_recording_of_a_picture_is_a_changed_label(nursery, field):
    good("new", "poc", "--data", nursery, "--share", "100%")
    value = {"sensor": "infrared"} if field == "strata" else "another video"
    drawn.rewrite(nursery, lambda d: d["images"][0].update({field: value}))
    assert "the labels of image 0 (000000.png) have changed" in refused("show", "poc")


def test_an_iteration_of_schema_1_is_read_and_checked_as_it_was_hashed(nursery, tmp_path):
    good("new", "poc", "--data", nursery, "--share", "100%")
    new = iterations.chain("poc")[0]
    items = {item.id: item for item in Dataset.load(nursery).items}
    ((place, entries),) = new.chunk.items()
    old_entries = tuple(replace(e, labels=labels_hash(items[e.id], nursery, 1)) for e in entries)
    replace(new, schema=1, chunk={place: old_entries}).save()
    assert json.loads((tmp_path / "iterations/poc.json").read_text())["schema"] == 1
    drawn.rewrite(nursery, lambda d: d["images"][0].update(recording="another video"))
    assert iterations.load("poc").name == "poc"
    drawn.rewrite(nursery, lambda d: d["images"][0].update(infants_in_view=2))
    assert "the labels of image 0 (000000.png) have changed" in refused("show", "poc")


def test_hashes_of_schema_1_are_those_of_older_versions():
    kpts = np.arange(2.0 * len(INFANT)).reshape(-1, 2)
    nowhere, seen = np.zeros(len(INFANT), dtype=bool), np.full(len(INFANT), 2)
    person = Person(kpts, seen, nowhere, np.array([0.0, 1, 40, 41]), "a", {"legs": "tucked"}, 7)
    item = Item(
        3, Path("set/images/3.png"), None, (64, 48), "train", (person,), 1, 1.0, {"sensor": "ir"}, "cam"
    )
    boxed = replace(item, people=(replace(person, head_box_xyxy=np.array([1.0, 2, 3, 4])),))
    hashes = [labels_hash(one, Path("set"), 1)[:16] for one in (item, boxed)]
    assert hashes == ["d622f07b9500fb9f", "4e7505b15cd52474"]


def test_a_set_that_grew_keeps_its_iterations_and_its_new_pictures_join_the_pool(nursery):
    good("new", "poc", "--data", nursery, "--share", "100%")
    before = ids("poc")
    shutil.copy(nursery / "images/000001.png", nursery / "images/new.png")

    def grow(document):
        image = dict(document["images"][1], id=500, file_name="images/new.png")
        document["images"].insert(0, image)
        document["annotations"].append(dict(document["annotations"][1], id=500, image_id=500, child="new"))

    drawn.rewrite(nursery, grow)
    assert ids("poc") == before
    good("new", "next", "--share", "1%")
    assert ids("next") == [*before, 500]


def test_a_changed_picture_is_refused_by_its_name(nursery):
    good("new", "poc", "--data", nursery, "--share", "100%")
    path = nursery / "images/000011.png"
    picture = cv2.imread(str(path))
    picture[0, 0] ^= 1
    cv2.imwrite(str(path), picture)
    assert "000011.png: the picture has changed" in refused("show", "poc", "--verify")
    assert "000011.png: the picture has changed" in refused("new", "next", "--share", "10%")
    path.unlink()
    assert "image 11 of the data iteration 'poc' is gone" in refused("show", "poc")


def test_an_edited_or_removed_manifest_is_refused(nursery, tmp_path):
    good("new", "poc", "--data", nursery, "--share", "50%")
    good("new", "rest", "--share", "50%")
    path = tmp_path / "iterations/poc.json"
    whole = path.read_text()
    document = json.loads(whole)
    document["chunk"][0]["items"].pop()
    path.write_text(json.dumps(document))
    assert "poc.json: the data iteration's manifest was edited" in refused("list")
    path.unlink()
    assert "rest.json: does not follow" in refused("list")
    path.write_text(whole)
    assert "such an iteration already" in refused("new", "poc", "--share", "1%")
    # A disk that takes no notice of case would lose poc.json to it.
    assert "iterations/poc.json: there is such an iteration already" in refused("new", "PoC", "--share", "1%")
    assert "Did you mean 'rest'" in refused("show", "rst")


def test_children_and_pictures_of_a_frozen_test_set_are_never_drawn(nursery, tmp_path):
    testset = test_testset.write_set(tmp_path / "held")

    def rename(document):  # one child of the nursery by name, another's picture under a new name
        for a in document["annotations"]:
            a["child"] = {"child-0": "child-3", "child-1": "somebody"}[a["child"]]

    drawn.rewrite(testset, rename)
    shutil.copy(nursery / "images/000005.png", testset / "images/000001.png")
    drawn.rewrite(testset, lambda d: d["images"][1].update(width=64, height=48))
    freeze(testset, "held", 1)
    output = good("new", "poc", "--data", nursery, "--share", "100%", "--testset", testset)
    assert children("poc") == {f"child-{i}" for i in range(40)} - {"child-3", "child-5"}
    assert "held by a frozen test set: 2 (child-3, child-5)" in output
    # Recorded in the root: still held out where the next iteration does not name it.
    assert "nothing is left" in refused("new", "next", "--share", "100%")


def test_pictures_of_a_test_sets_clip_are_never_drawn_by_whatever_name(nursery, tmp_path):
    """A clip may be a folder of pictures; they were held out by their child's name alone."""
    testset = test_testset.write_set(tmp_path / "held", annotations=False)
    clips = json.loads((testset / "clips.json").read_text())
    clips[1]["video"] = "clips/b"
    (testset / "clips.json").write_text(json.dumps(clips))
    (testset / "clips/b").mkdir()
    for number in (3, 5):
        shutil.copy(nursery / f"images/{number:06d}.png", testset / f"clips/b/{number}.png")
    freeze(testset, "held", 1)
    output = good("new", "poc", "--data", nursery, "--share", "100%", "--testset", testset)
    assert "held by a frozen test set: 2 (child-3, child-5)" in output
    assert children("poc") == {f"child-{i}" for i in range(40)} - {"child-3", "child-5"}


def test_why_nothing_can_be_drawn_is_told_as_it_is(nursery, tmp_path):
    """Not that all was drawn already, where nothing ever was."""
    testset = shutil.copytree(nursery, tmp_path / "held")
    drawn.rewrite(nursery, lambda d: d.update(images=[i for i in d["images"] if i["id"] in labelled(d)]))
    freeze(testset, "held", 1)
    message = refused("new", "poc", "--data", nursery, "--share", "10%", "--testset", testset)
    assert "40 groups, all held out" in message
    drawn.rewrite(nursery, lambda d: [i.update(split="test") for i in d["images"]])
    for aim in ([], ["--where", "legs=tucked"]):
        message = refused("new", "poc", "--data", nursery, "--share", "10%", *aim)
        assert "40 pictures of the split test or of none" in message


def labelled(document):
    return {a["image_id"] for a in document["annotations"]}


def test_a_test_set_with_a_child_that_was_trained_on_is_refused(nursery, tmp_path):
    good("new", "poc", "--data", nursery, "--share", "50%")
    trained = sorted(children("poc"))[0]
    testset = test_testset.write_set(tmp_path / "held", annotations=False)
    clips = json.loads((testset / "clips.json").read_text())
    clips[1]["child"] = trained
    (testset / "clips.json").write_text(json.dumps(clips))
    freeze(testset, "held", 3)
    message = refused("new", "next", "--share", "10%", "--testset", testset)
    assert f"the child '{trained}' is in this iteration and in a frozen test set" in message
    assert "held version 3" in message


def test_a_child_in_train_of_one_set_and_test_of_another_is_refused(nursery, tmp_path):
    other = tmp_path / "other"
    drawn.nursery(other, train=2, val=0, empty=0)
    drawn.rewrite(other, lambda d: [i.update(split="test") for i in d["images"]])
    message = refused("new", "poc", "--data", nursery, "--data", other, "--share", "10%")
    assert "the child 'child-0' is in two splits" in message


def test_a_picture_in_train_of_one_set_and_val_of_another_is_refused(nursery, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(nursery / "annotations.json", other)

    def all_val(document):
        document["annotations"] = []  # to this set they are empty cots
        for image in document["images"]:
            image.update(split="val", file_name=f"../nursery/{image['file_name']}")

    drawn.rewrite(other, all_val)
    message = refused("new", "poc", "--data", nursery, "--data", other, "--share", "10%")
    assert "the picture '000000.png' is in two splits" in message


def test_data_and_iterations_may_move_together(nursery, tmp_path, monkeypatch):
    good("new", "poc", "--data", nursery, "--share", "10%")
    before = iterations.load("poc")
    (tmp_path / "elsewhere").mkdir()
    for name in ("nursery", "iterations"):
        shutil.move(tmp_path / name, tmp_path / "elsewhere" / name)
    monkeypatch.chdir(tmp_path / "elsewhere")
    after = iterations.load("poc")
    assert after.hash == before.hash
    assert [i.path.name for i in after.items] == [i.path.name for i in before.items]


def test_two_sets_with_the_same_ids_and_file_names_stay_apart(nursery, tmp_path):
    other = tmp_path / "other"
    drawn.nursery(other, train=4, val=2, empty=2, seed=9)
    drawn.rewrite(other, lambda d: [a.update(child=f"other-{a['child']}") for a in d["annotations"]])
    good("new", "all", "--data", nursery, "--data", other, "--share", "100%")
    assert len(children("all")) == 46
    assert len(ids("all")) == TRAIN + VAL + 2 * EMPTY + 10


def test_infants_without_a_name_of_two_sets_in_folders_of_one_name_stay_apart(nursery, tmp_path):
    """They had one key, so pictures that lie in val of the one set were drawn and counted with train of the other."""
    drawn.rewrite(nursery, lambda d: [a.pop("child") for a in d["annotations"]])
    again = tmp_path / "again" / "nursery"
    shutil.copytree(nursery, again)
    drawn.rewrite(again, lambda d: [i.update(split="val") for i in d["images"]])
    groups = groups_of([(f, item) for f in (nursery, again) for item in Dataset.load(f).items])
    assert all(len(g.members) == 1 and g.split == g.members[0][1].split for g in groups)
    own = [g.key for g in groups_of([(nursery, item) for item in Dataset.load(nursery).items])]
    assert own == [f"picture nursery/images/{k:06d}.png" for k in range(len(own))]  # no longer than needed
    assert f"{tmp_path.name}/nursery" in groups[-1].key
    assert "again/nursery" in groups[0].key
    assert not any(str(tmp_path) in g.key for g in groups)
    infants = TRAIN + VAL
    output = good("new", "all", "--data", nursery, "--data", again, "--share", "100%")
    assert f"+{2 * infants} of {2 * infants} files of unnamed infants" in output


def test_pictures_named_by_their_whole_path_are_drawn_too(nursery, tmp_path):
    shutil.move(nursery / "images", tmp_path / "pictures")

    def elsewhere(document):
        for image in document["images"]:
            image["file_name"] = str(tmp_path / "pictures" / image["file_name"].removeprefix("images/"))

    drawn.rewrite(nursery, elsewhere)
    good("new", "all", "--data", nursery, "--share", "100%")
    assert len(ids("all")) == TRAIN + VAL + 2 * EMPTY


def test_diff_names_what_came_and_how_the_strata_shift(nursery):
    good("new", "poc", "--data", nursery, "--share", "10%")
    good("new", "tucked", "--share", "20%", "--where", "legs=tucked")
    document = json.loads(good("diff", "poc", "tucked", "--json"))
    assert {r["id"] for r in document["added"]} == set(ids("tucked")) - set(ids("poc"))
    assert document["removed"] == []
    legs = {name: table["legs"] for name, table in document["strata"].items()}
    grown = legs["tucked"]["tucked"]["children"] - legs["poc"].get("tucked", {"children": 0})["children"]
    assert grown == len(document["added"]) == 8
    assert "+8 items, +8 children" in good("diff", "poc", "tucked")
    assert "-8 items, -8 children" in good("diff", "tucked", "poc")


def test_training_takes_exactly_the_items_and_refuses_what_changed(nursery):
    load_items = pytest.importorskip("heightpose.train.training_data").load_items
    good("new", "poc", "--data", nursery, "--share", "20%")
    settings = from_dict(DataConfig, {"iteration": "poc"}, "test")
    items, about = load_items(settings)
    assert [i.id for i in items] == ids("poc")
    assert about == {"iteration": {"name": "poc", "hash": iterations.load("poc").hash}}
    with pytest.raises(ConfigError, match="Did you mean 'poc'"):
        load_items(DataConfig(iteration="pok"))
    with pytest.raises(ConfigError, match="both"):
        load_items(DataConfig(dirs=("nursery",), iteration="poc"))
    first = items[0]
    cv2.imwrite(str(first.path), np.zeros((48, 64, 3), np.uint8))
    with pytest.raises(HeightposeError, match=f"{first.path.name}: the picture has changed"):
        load_items(settings)
