"""Pictures copied by an import: all of them or none, and nobody's else."""

from __future__ import annotations

import json

import cv2
import drawn
import foreign
import numpy as np
import pytest
from imported import imported

from heightpose.data.coco import Dataset
from heightpose.data.importers import copying
from heightpose.data.pictures import read_picture
from heightpose.errors import HeightposeError, InputError


def left(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*"))


def test_a_copy_that_fails_takes_those_before_it_along_and_leaves_what_was_there(tmp_path):
    foreign.lspet(tmp_path / "src")
    (tmp_path / "set/images/im00002.jpg").mkdir(parents=True)
    with pytest.raises(HeightposeError, match=r"im00002\.jpg: cannot be written"):
        imported("lsp", tmp_path / "src", tmp_path / "set", copy=True)
    assert left(tmp_path / "set") == ["images", "images/im00002.jpg"]


def test_an_interrupted_copy_leaves_nothing(tmp_path, monkeypatch):
    foreign.labelme(tmp_path / "src/one")
    options = {"joint_map": tmp_path / "src/one/joints.yaml", "copy": True}

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Dataset, "save", stop)
    with pytest.raises(KeyboardInterrupt):
        imported("labelme", tmp_path / "src", tmp_path / "new/set", **options)
    assert not (tmp_path / "new").exists()


def test_a_file_where_the_folder_of_pictures_belongs_is_named(tmp_path):
    foreign.lspet(tmp_path / "src")
    (tmp_path / "set").mkdir()
    (tmp_path / "set/images").write_text("x")
    with pytest.raises(HeightposeError, match=r"set/images: cannot be written"):
        imported("lsp", tmp_path / "src", tmp_path / "set", copy=True)
    assert left(tmp_path / "set") == ["images"]


def test_a_picture_of_somebody_else_is_not_replaced_unasked(tmp_path):
    foreign.lspet(tmp_path / "src")
    (tmp_path / "set/images").mkdir(parents=True)
    theirs = tmp_path / "set/images/im00002.jpg"
    theirs.write_bytes(b"another")
    with pytest.raises(InputError, match=r"im00002\.jpg: another picture is there already"):
        imported("lsp", tmp_path / "src", tmp_path / "set", copy=True)
    assert left(tmp_path / "set") == ["images", "images/im00002.jpg"]
    assert theirs.read_bytes() == b"another"
    imported("lsp", tmp_path / "src", tmp_path / "set", copy=True, overwrite=True)
    assert theirs.read_bytes() == (tmp_path / "src/images/im00002.jpg").read_bytes()


def test_a_picture_that_several_entries_name_is_copied_once(tmp_path, monkeypatch):
    foreign.coco17(tmp_path / "src", change=lambda d: d["images"][1].update(file_name="a.jpg"))
    taken, copy = [], copying._copy
    monkeypatch.setattr(
        copying, "_copy", lambda source, *rest: (taken.append(source.name), copy(source, *rest))
    )
    data = imported("coco", tmp_path / "src", tmp_path / "set", copy=True)
    assert [i.path.name for i in data.items] == ["a.jpg", "a.jpg", "c.jpg"]
    assert taken == ["a.jpg", "c.jpg"]


def test_a_name_made_for_one_picture_is_not_anothers(tmp_path):
    """The second x.jpg became x-3.jpg, which there was, and its picture took that one's place."""
    (tmp_path / "src").mkdir()
    names = ["x-3.jpg", "x.jpg", "clips/x.jpg", "clips/x.jpg"]
    images = [{"id": k, "file_name": n, "width": 8, "height": 8} for k, n in enumerate(names)]
    document = drawn.document(images, [])
    (tmp_path / "src/annotations.json").write_text(json.dumps(document))
    for grey, name in enumerate(names):
        (tmp_path / "src" / name).parent.mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / "src" / name), np.full((8, 8, 3), 60 * grey, np.uint8))
    data = imported("coco", tmp_path / "src", tmp_path / "set", copy=True)
    read = [round(read_picture(item.path).mean() / 60) for item in data.items]
    assert read == [0, 1, 3, 3]
    assert len({item.path for item in data.items}) == 3


def test_a_folder_that_cannot_be_written_is_noticed_before_anything_is_read(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(HeightposeError, match="cannot be written"):
        imported("lsp", tmp_path, tmp_path / "file/set")
