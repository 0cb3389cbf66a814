"""Splits where a source gives none, or gives them to a part of its pictures only."""

from __future__ import annotations

import foreign
import pytest
from imported import imported


def _named(*children, splits=(None, None, None)):
    """Whom each of the pictures a, b, c shows, and their splits."""

    def change(document):
        template = document["annotations"][0]
        document["annotations"] = [
            template | {"id": 10 * i + k, "image_id": 10 + i, "child": child}
            for i, names in enumerate(children)
            for k, child in enumerate(names)
        ]
        for image, split in zip(document["images"], splits, strict=True):
            image |= {} if split is None else {"split": split}

    return change


def split_of(data):
    return {i.path.name: i.split for i in data.items}


def _coco(folder, change):
    """COCO's layout, in a file whose name tells no split."""
    foreign.coco17(folder, change=change)
    path = next((folder / "annotations").iterdir())
    path.rename(folder / "annotations/person_keypoints_default.json")


@pytest.mark.parametrize("seed", range(8))
def test_twins_and_the_pictures_of_either_are_in_one_split(tmp_path, seed):
    _coco(tmp_path / "src", _named(["ada", "bob"], ["bob"], ["ada"]))
    data = imported("coco", tmp_path / "src", tmp_path / "set", seed=seed, val_share=0.5)
    assert len(set(split_of(data).values())) == 1


def test_a_child_alone_is_split_as_before_whatever_its_company(tmp_path):
    _coco(tmp_path / "src", _named(["ada"], ["bob"], ["cleo"]))
    alone = split_of(imported("coco", tmp_path / "src", tmp_path / "set", val_share=0.5))
    assert alone == {"a.jpg": "val", "b.jpg": "train", "c.jpg": "train"}


@pytest.mark.parametrize("given", ["train", "val", "test"])
def test_pictures_of_a_child_whose_split_is_given_follow_it(tmp_path, given):
    _coco(tmp_path / "src", _named(["ada", "bob"], ["bob"], ["ada"], splits=(None, given, None)))
    data = imported("coco", tmp_path / "src", tmp_path / "set", val_share=0.5)
    assert set(split_of(data).values()) == {given}
