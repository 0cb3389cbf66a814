"""``heightpose data import | export | validate`` with the four kinds of broken files."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "data"))
import drawn
import foreign

from heightpose.data.coco import Dataset


@pytest.fixture
def data(here):
    """Run ``heightpose data ARGS``; returns (exit code, stdout, stderr)."""

    def run(*args):
        done = here("data", *args)
        assert "unexpected" not in done.stderr
        return done.returncode, done.stdout, done.stderr

    return run


def _truncate(folder):
    path = folder / "images/000002.png"
    path.write_bytes(path.read_bytes()[:900])


def _nan(folder):
    drawn.rewrite(folder, lambda d: d["annotations"][2]["keypoints"].__setitem__(0, math.nan))


def _missing(folder):
    (folder / "images/000002.png").unlink()


BROKEN = [
    (_truncate, ["image 2", "000002.png", "truncated"]),
    (_nan, ["annotation 2 (image 2)", "field keypoints", "right_ankle", "nan"]),
    (_missing, ["image 2", "000002.png", "missing"]),
]


@pytest.mark.parametrize(("spoil", "words"), BROKEN, ids=lambda v: getattr(v, "__name__", "").strip("_"))
def test_a_broken_item_is_named_and_the_rest_loads_with_skip_bad(data, tmp_path, caplog, spoil, words):
    folder = tmp_path / "set"
    drawn.nursery(folder)
    spoil(folder)
    code, out, _ = data("validate", folder)
    assert code == 2
    bad = [line for line in out.splitlines() if line.startswith("bad: ")]
    assert len(bad) == 1
    assert all(word in bad[0] for word in ["annotations.json", *words])
    assert "9 pictures with 7 infants load, 1 bad" in out
    code, out, _ = data("validate", folder, "--skip-bad")
    assert code == 0
    assert "9 pictures with 7 infants load, 1 left out" in out

    code, out, err = data("import", "coco", folder, "--out", tmp_path / "new")
    assert (code, out) == (2, "")
    assert all(word in err for word in ["annotations.json", *words])
    assert not (tmp_path / "new").exists()
    caplog.clear()
    code, out, _ = data("import", "coco", folder, "--out", tmp_path / "new", "--skip-bad")
    assert code == 0
    assert all(word in caplog.text for word in words)
    assert "9 pictures with 7 infants" in out
    assert {i.path.name for i in Dataset.load(tmp_path / "new").items} == {
        f"{i:06d}.png" for i in range(10) if i != 2
    }


def test_a_wrong_schema_version_is_named_and_other_sets_are_still_read(data, heightpose, tmp_path):
    for name in ("good", "old"):
        drawn.nursery(tmp_path / name)
    drawn.rewrite(tmp_path / "old", lambda d: d["heightpose"].update(schema=7))
    for options in ([], ["--skip-bad"]):
        code, out, _ = data("validate", tmp_path / "old", tmp_path / "good", *options)
        assert code == 2
        first, second = out.splitlines()
        assert all(
            word in first for word in ["old/annotations.json", "heightpose.schema", "expected 1, got 7"]
        )
        assert "10 pictures with 8 infants load, 0" in second
    code, _, err = data("import", "coco", tmp_path / "old", "--out", tmp_path / "new")
    assert code == 2
    assert "heightpose.schema" in err
    # Of several files one may be of another version: the rest is read.
    foreign.coco17(tmp_path / "src", "train")
    foreign.coco17(tmp_path / "src", "val", lambda d: d.update(heightpose={"schema": 7}))
    done = heightpose("data", "import", "coco", "src", "--out", "new", "--skip-bad")
    assert done.returncode == 0
    assert "heightpose.schema" in done.stderr
    assert "Traceback" not in done.stderr
    assert "3 pictures with 2 infants" in done.stdout


def test_all_bad_items_are_listed_at_once(data, tmp_path):
    drawn.nursery(tmp_path / "set")
    drawn.rewrite(tmp_path / "set", lambda d: d["annotations"][4].update(bbox=[0, 0, 0, 5]))
    (tmp_path / "set/images/000001.png").unlink()
    (tmp_path / "set/images/000007.png").write_bytes(b"")
    code, out, _ = data("validate", tmp_path / "set")
    assert code == 2
    assert sum(line.startswith("bad: ") for line in out.splitlines()) == 3
    assert "7 pictures with 5 infants load, 3 bad" in out


def test_import_export_and_back_with_a_map(data, heightpose, tmp_path):
    foreign.cvat(tmp_path / "src")
    mapped = ("--map", "src/joints.yaml")
    done = heightpose("data", "import", "cvat", "src", "--out", "set", "--copy", *mapped)
    assert done.returncode == 0, done.stderr
    assert "2 pictures with 3 infants" in done.stdout
    assert "1 picture without labels left out" in done.stdout
    code, out, _ = data("export", tmp_path / "set", "--out", tmp_path / "plain", "--for", "cvat")
    assert code == 0
    assert "2 pictures with 3 infants" in out
    code, _, _ = data("import", "coco", tmp_path / "plain", "--out", tmp_path / "again")
    assert code == 0
    assert json.loads((tmp_path / "again/annotations.json").read_text())["images"][0]["file_name"].startswith(
        ".."
    )
    code, _, err = data("import", "coco", tmp_path / "nowhere", "--out", tmp_path / "x")
    assert code == 2
    assert "nowhere" in err


def test_a_picture_that_cannot_be_read_is_not_handed_on(data, tmp_path):
    drawn.nursery(tmp_path / "set")
    _truncate(tmp_path / "set")
    code, _, err = data("export", tmp_path / "set", "--out", tmp_path / "out")
    assert code == 2
    assert "image 2" in err
    assert not (tmp_path / "out").exists()
    code, out, err = data("export", tmp_path / "set", "--out", tmp_path / "out", "--skip-bad")
    assert code == 0
    assert "000002.png" in err
    assert "9 pictures with 7 infants" in out
