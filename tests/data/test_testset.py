"""Frozen test sets: what changed, is missing or is not listed is refused by name."""

from __future__ import annotations

import json
import shutil

import drawn
import pytest
import yaml
from click.testing import CliRunner

from heightpose.cli.data import data as data_group
from heightpose.data.testset import TestSet, freeze
from heightpose.errors import ConfigError, FileFormatError, HeightposeError, InputError


def write_set(folder, clips=True, annotations=True):
    """A test set of drawn stills and of two clips whose videos are only bytes: nothing here decodes them."""
    folder.mkdir(exist_ok=True)
    if annotations:
        drawn.nursery(folder, train=2, val=0, empty=0)
        drawn.rewrite(folder, lambda d: [i.update(split="test") for i in d["images"]])
    if clips:
        (folder / "clips").mkdir()
        for name in ("a.mp4", "b.mp4", "camera.json", "sheet.yaml", "plane.json"):
            (folder / "clips" / name).write_bytes(name.encode() * 9)
        strata = {"legs": "mixed", "scene": None}
        base = {"camera": "clips/camera.json", "sex": "female", "strata": strata, "remark": "-"}
        first = {"id": "a", "child": "ann", "video": "clips/a.mp4", "sheet": "clips/sheet.yaml"}
        second = {"id": "b", "child": "ben", "video": "clips/b.mp4", "plane": "./clips/plane.json"}
        (folder / "clips.json").write_text(
            json.dumps(
                [
                    base | first | {"length_cm": 61.5, "age_months": 3.2},
                    base | second | {"length_cm": 70, "age_months": 9},
                ]
            )
        )
    return folder


@pytest.fixture
def folder(tmp_path):
    write_set(tmp_path / "set")
    freeze(tmp_path / "set", "tiny", 1)
    return tmp_path / "set"


def manifest(folder, change):
    path = folder / "testset.yaml"
    document = yaml.safe_load(path.read_text())
    change(document)
    path.write_text(yaml.safe_dump(document))


def test_a_frozen_set_loads_with_both_parts(folder):
    loaded = TestSet.load(folder)
    assert (loaded.name, loaded.version) == ("tiny", 1)
    assert [c.id for c in loaded.clips] == ["a", "b"]
    a, b = loaded.clips
    assert (a.video, a.sheet, a.plane) == (folder / "clips/a.mp4", folder / "clips/sheet.yaml", None)
    assert (b.plane, b.sheet, b.length_cm, b.sex) == (folder / "clips/plane.json", None, 70.0, "female")
    assert a.strata == {"legs": "mixed"}
    assert len(loaded.annotations.items) == 2
    assert loaded.children() == {"ann", "ben", "child-0", "child-1"}
    assert set(loaded.files) == {
        "annotations.json", "clips.json", "clips/a.mp4", "clips/b.mp4", "clips/camera.json",
        "clips/plane.json", "clips/sheet.yaml", "images/000000.png", "images/000001.png",
    }  # fmt: skip


@pytest.mark.parametrize(("clips", "annotations"), [(True, False), (False, True)])
def test_either_part_may_be_absent(tmp_path, clips, annotations):
    freeze(write_set(tmp_path / "set", clips, annotations), "part", "2026-11")
    loaded = TestSet.load(tmp_path / "set")
    assert (len(loaded.clips), loaded.annotations is not None) == (2 * clips, annotations)
    assert loaded.version == "2026-11"


@pytest.mark.parametrize("name", ["annotations.json", "clips.json", "clips/b.mp4", "images/000001.png"])
def test_a_changed_file_is_refused_by_its_name(folder, name):
    data = bytearray((folder / name).read_bytes())
    data[-2] ^= 1
    (folder / name).write_bytes(bytes(data))
    with pytest.raises(FileFormatError, match=rf"{name}.*has changed"):
        TestSet.load(folder)


@pytest.mark.parametrize(
    ("recipe", "hint"), [(False, "Copy the whole set"), (True, "heightpose eval make set")]
)
@pytest.mark.parametrize(
    ("name", "verify"), [("clips/camera.json", True), ("clips.json", True), ("clips.json", False)]
)
def test_a_missing_file_is_refused_by_its_name(folder, name, verify, recipe, hint):
    if recipe:
        (folder / "recipe.yaml").touch()
    (folder / name).unlink()
    with pytest.raises(InputError, match=rf"{name}: a file of the test set is missing\. .*{hint}"):
        TestSet.load(folder, verify=verify)


def test_a_file_that_is_used_but_not_listed_is_refused_by_its_name(folder):
    manifest(folder, lambda d: d["files"].pop("clips/sheet.yaml"))
    with pytest.raises(FileFormatError, match=r"clips/sheet\.yaml.*does not list"):
        TestSet.load(folder)
    assert len(TestSet.load(folder, verify=False).clips) == 2


def test_more_keys_and_files_than_the_contract_names_do_no_harm(folder):
    (folder / "README.txt").write_text("not part of it")
    manifest(folder, lambda d: d.update(licence="CC0", files={k: v.upper() for k, v in d["files"].items()}))
    assert TestSet.load(folder).name == "tiny"


def test_nobody_has_to_make_up_a_sex_or_an_age(tmp_path):
    """They serve the null model alone, and were required."""
    folder = write_set(tmp_path / "set", annotations=False)
    clips = json.loads((folder / "clips.json").read_text())
    clips[0] |= {"sex": None, "age_months": None}
    clips[1] |= {"sex": "F"}
    del clips[1]["age_months"]
    (folder / "clips.json").write_text(json.dumps(clips))
    a, b = freeze(folder, "unknown", 1).clips
    assert (a.sex, a.age_months, b.sex, b.age_months) == (None, None, "female", None)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"length_cm": "61"}, "clip 'a', field length_cm"),
        ({"length_cm": float("nan")}, "field length_cm"),
        ({"sex": "x"}, "unknown sex"),
        ({"child": None}, "field child"),
        ({"sheet": None}, "sheet or plane"),
        ({"camera": "clips/nowhere.json"}, "nowhere.json"),
        ({"video": "../b.mp4"}, "not a path inside"),
        ({"id": "b"}, "share an id"),
    ],
)
def test_a_clip_that_breaks_the_contract_is_not_frozen(tmp_path, change, words):
    folder = write_set(tmp_path / "set", annotations=False)
    clips = json.loads((folder / "clips.json").read_text())
    clips[0] |= change
    (folder / "clips.json").write_text(json.dumps(clips))
    with pytest.raises(HeightposeError, match=words):
        freeze(folder, "broken", 1)
    assert not (folder / "testset.yaml").exists()


@pytest.mark.parametrize(
    ("frozen", "refused", "following"),
    [
        (2, [1, 2, "2", "draft"], 3),
        ("1.9", ["1.8", "1.9", 1], "1.10"),
        ("2026-09", ["2026-08", 7], "2026-10"),
        ("draft", ["a", "draft"], "draft-2"),
    ],
)
def test_changed_content_needs_a_later_version(folder, frozen, refused, following):
    freeze(folder, "tiny", frozen)
    before = (folder / "testset.yaml").read_text()
    (folder / "clips/a.mp4").write_bytes(b"another video")
    for version in refused:
        with pytest.raises(ConfigError, match=rf"already frozen.*--version {following}$"):
            freeze(folder, "tiny", version)
        assert (folder / "testset.yaml").read_text() == before
    assert freeze(folder, "tiny", following).files == TestSet.load(folder).files


def test_a_freeze_that_replaces_asks_for_no_later_version(folder):
    freeze(folder, "tiny", 2)
    (folder / "clips/a.mp4").write_bytes(b"another video")
    assert freeze(folder, "tiny", 1, replace=True).files == TestSet.load(folder).files


def test_the_same_content_is_frozen_again_under_its_name_and_version(folder):
    freeze(folder, "mine", 2)
    before = (folder / "testset.yaml").read_text()
    for name, version in (("mine", 2), (None, None), ("mine", None), (None, 2)):
        again = freeze(folder, name, version)
        assert (again.name, again.version) == ("mine", 2)
        assert (folder / "testset.yaml").read_text() == before


def test_a_name_resolves_on_the_shelf_and_a_misspelt_one_gets_a_suggestion(folder, tmp_path, monkeypatch):
    shutil.copytree(folder, tmp_path / "eval/testsets/winter-clips")
    monkeypatch.chdir(tmp_path)
    assert len(TestSet.load("winter-clips").clips) == 2
    with pytest.raises(InputError, match="Did you mean 'winter-clips'"):
        TestSet.load("winter-clip")


def test_a_video_may_be_a_folder_of_pictures_each_of_them_frozen(tmp_path):
    folder = write_set(tmp_path / "set", annotations=False)
    (folder / "clips/b.mp4").unlink()
    (folder / "clips/b.mp4").mkdir()
    (folder / "clips/b.mp4/0.png").write_bytes(b"0")
    assert "clips/b.mp4/0.png" in freeze(folder, "folders", 1).files
    (folder / "clips/b.mp4/1.png").write_bytes(b"1")
    with pytest.raises(FileFormatError, match=r"b\.mp4/1\.png"):
        TestSet.load(folder)


def test_the_verb_freezes_and_checks(tmp_path):
    folder = write_set(tmp_path / "winter")
    result = CliRunner().invoke(data_group, ["freeze", str(folder)])
    assert "winter version 1: 4 children, 2 labelled pictures, 2 clips, 9 files frozen" in result.output
    assert "9 files unchanged" in CliRunner().invoke(data_group, ["freeze", str(folder), "--check"]).output
    (folder / "clips/plane.json").write_text("{}")
    result = CliRunner().invoke(data_group, ["freeze", str(folder), "--check"])
    assert "plane.json" in str(result.exception)
    assert "already frozen" in str(CliRunner().invoke(data_group, ["freeze", str(folder)]).exception)
    CliRunner().invoke(data_group, ["freeze", str(folder), "--version", "2"])
    assert TestSet.load(folder).version == 2


def test_the_verb_keeps_name_and_version_that_are_not_given(tmp_path):
    folder = write_set(tmp_path / "winter")
    freeze(folder, "mine", 2)
    assert "mine version 2" in CliRunner().invoke(data_group, ["freeze", str(folder)]).output
    (folder / "clips/plane.json").write_text("{}")
    for options in ([], ["--version", "1"], ["--name", "mine", "--version", "1"]):
        error = CliRunner().invoke(data_group, ["freeze", str(folder), *options]).exception
        assert isinstance(error, ConfigError)
        assert error.exit_code == 2
        assert str(error).endswith("--version 3")
    assert (
        "mine version 3" in CliRunner().invoke(data_group, ["freeze", str(folder), "--version", "3"]).output
    )


def test_hashes_may_be_a_list_and_parts_go_without_saying(folder):
    def other_form(document):
        files = document.pop("files")
        document["file_hashes"] = [{"path": path, "sha256": digest} for path, digest in files.items()]
        del document["annotations"], document["clips"]

    manifest(folder, other_form)
    loaded = TestSet.load(folder)
    assert (len(loaded.clips), len(loaded.annotations.items), len(loaded.files)) == (2, 2, 9)
    (folder / "clips/sheet.yaml").write_text("other")
    with pytest.raises(FileFormatError, match=r"sheet\.yaml.*has changed"):
        TestSet.load(folder)


@pytest.mark.parametrize(
    "files", [None, {}, {"clips.json": "abc"}, {"../clips.json": "0" * 64}, ["clips.json"]]
)
def test_a_manifest_without_proper_hashes_is_refused(folder, files):
    manifest(folder, lambda d: d.update(files=files))
    with pytest.raises(FileFormatError, match=r"testset\.yaml: files"):
        TestSet.load(folder)


def test_a_set_that_is_only_a_recipe_says_how_it_is_made(folder):
    (folder / "recipe.yaml").write_text("seed: 1\n")
    (folder / "clips" / "a.mp4").unlink()
    with pytest.raises(InputError, match="heightpose eval make set"):
        TestSet.load(folder)


@pytest.mark.parametrize("name", ["../../../evil", "..", ".", "", " ", "a/b", "a\\b", "a\nb"])
def test_a_path_is_no_name_of_a_set(folder, name):
    before = (folder / "testset.yaml").read_bytes()
    with pytest.raises(FileFormatError, match=r"testset\.yaml: name: not a name"):
        freeze(folder, name, 2)
    assert (folder / "testset.yaml").read_bytes() == before
    manifest(folder, lambda d: d.update(name=name))
    with pytest.raises(FileFormatError, match=r"testset\.yaml: name: not a name"):
        TestSet.load(folder)
