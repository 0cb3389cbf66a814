"""Exports as one .zip."""

from __future__ import annotations

import zipfile

import foreign
import numpy as np
import pytest

from heightpose.data.coco import Dataset
from heightpose.data.importers.run import Options, import_labels
from heightpose.errors import FileFormatError, HeightposeError


def _zipped(folder, path, inside=""):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(p for p in folder.rglob("*") if p.is_file()):
            archive.write(file, inside + file.relative_to(folder).as_posix())
    return path


@pytest.mark.parametrize("inside", ["", "task_7/"])
def test_an_archive_imports_as_its_folder_does_and_brings_its_pictures(tmp_path, inside):
    foreign.cvat(tmp_path / "c")
    options = Options(joint_map=tmp_path / "c/joints.yaml")
    plain = import_labels("cvat", tmp_path / "c", tmp_path / "plain", options)
    report = import_labels(
        "cvat", _zipped(tmp_path / "c", tmp_path / "e.zip", inside), tmp_path / "set", options
    )
    assert len(report.items) == len(plain.items)
    back = Dataset.load(tmp_path / "set")  # after the unpacked folder is gone
    for item, other in zip(back.items, plain.items, strict=True):
        assert item.path.is_file()
        assert (tmp_path / "set" / "images") in item.path.parents
        for mine, theirs in zip(item.people, other.people, strict=True):
            np.testing.assert_array_equal(mine.kpts_frame, theirs.kpts_frame)


@pytest.mark.parametrize("inside", ["", "task_7/"])
def test_what_macos_adds_is_passed_over(tmp_path, inside):
    foreign.coco17(tmp_path / "c")
    beside = tmp_path / "c/annotations/._person_keypoints_train2017.json"
    beside.write_bytes(b"\x00\x05\x16\x07")
    archive = _zipped(tmp_path / "c", tmp_path / "e.zip", inside)
    with zipfile.ZipFile(archive, "a") as more:
        more.write(beside, f"__MACOSX/{inside}annotations/{beside.name}")
        more.write(beside, ".DS_Store")
    for number, source in enumerate((archive, tmp_path / "c")):
        report = import_labels("coco", source, tmp_path / f"set{number}", Options())
        assert [i.path.name for i in report.items] == ["a.jpg", "b.jpg", "c.jpg"]


def test_errors_and_skipped_items_name_the_archive_and_not_where_it_was_unpacked(tmp_path, caplog):
    foreign.coco17(tmp_path / "c", change=lambda d: d["images"][0].update(file_name="gone.jpg"))
    archive = _zipped(tmp_path / "c", tmp_path / "e.zip")
    named = rf"^{archive}/annotations/person_keypoints_train2017\.json: image 10, {archive}/"
    with pytest.raises(FileFormatError, match=named) as raised:
        import_labels("coco", archive, tmp_path / "set", Options())
    report = import_labels("coco", archive, tmp_path / "set", Options(skip_bad=True))
    for text in (str(raised.value), *report.bad, caplog.text):
        assert "gone.jpg" in text
        assert "heightpose-import-" not in text


def test_damaged_and_hostile_archives_are_named_and_leave_nothing_behind(tmp_path):
    foreign.cvat(tmp_path / "c")
    whole = _zipped(tmp_path / "c", tmp_path / "whole.zip").read_bytes()
    bad = tmp_path / "bad.zip"
    bad.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FileFormatError, match=r"bad\.zip.*not a whole \.zip"):
        import_labels("cvat", bad, tmp_path / "set", Options())
    bomb = tmp_path / "bomb.zip"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("annotations.xml", b" " * 60_000_000)
    with pytest.raises(FileFormatError, match="unfolds"):
        import_labels("cvat", bomb, tmp_path / "set", Options())
    climbing = tmp_path / "climbing.zip"
    with zipfile.ZipFile(climbing, "w") as archive:
        archive.writestr("../../escaped.xml", b"<annotations/>")
    with pytest.raises(HeightposeError):
        import_labels("cvat", climbing, tmp_path / "set", Options())
    assert not list(tmp_path.parent.rglob("escaped.xml"))
    assert not (tmp_path / "set").exists()
