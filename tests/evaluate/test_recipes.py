"""Recipes of rendered test sets: read strictly, really rendered, and checked against their manifest."""

from __future__ import annotations

import json
import shutil

import pytest

from heightpose.data.testset import MANIFEST, TestSet
from heightpose.errors import ConfigError, FileFormatError, InputError
from heightpose.evaluate.recipes import MADE_WITH, Recipe, make

TINY = """name: tiny
version: 3
synth: {seed: 11, count: 1, clips: true, frames: 1, size: 96x96, samples: 1, split: test}
"""


def write(folder, text=TINY):
    folder.mkdir(exist_ok=True)
    (folder / "recipe.yaml").write_text(text)
    return folder


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    """The folder of a rendered set, read only, and what :func:`make` said of it."""
    folder = write(tmp_path_factory.mktemp("rendered") / "tiny")
    return folder, make(Recipe.load(str(folder)), jobs=1)


def test_a_set_is_rendered_frozen_and_proven_the_same(rendered, tmp_path):
    folder, (made, new) = rendered
    assert new
    folder = shutil.copytree(folder, tmp_path / "tiny")
    assert (made.name, made.version) == ("tiny", 3)
    assert TestSet.load(folder).files == made.files
    assert (folder / MADE_WITH).is_file()
    recorded = (folder / MANIFEST).read_bytes()
    again, new = make(Recipe.load(str(folder)), jobs=1)
    assert not new
    assert again.files == made.files
    clip = folder / "clips" / "000000.mp4"
    clip.write_bytes(clip.read_bytes() + b"\0")
    with pytest.raises(FileFormatError, match=r"1 of \d files .* clips/000000.mp4"):
        make(Recipe.load(str(folder)), jobs=1)
    assert (folder / MANIFEST).read_bytes() == recorded


def test_a_rendering_that_ends_before_the_comparison_leaves_the_manifest(rendered, tmp_path, here):
    folder = shutil.copytree(rendered[0], tmp_path / "tiny")
    recorded = (folder / MANIFEST).read_bytes()
    clip = folder / "clips" / "000000.mp4"
    clip.write_bytes(clip.read_bytes() + b"\0")
    # What is left of a process that was killed while its renderer went on.
    assert here(*Recipe.load(str(folder)).command(1)).returncode == 0
    assert (folder / MANIFEST).read_bytes() == recorded


def test_the_set_of_the_same_recipe_that_this_machine_can_make_is_named(rendered, tmp_path, caplog):
    elsewhere, _ = (shutil.copytree(rendered[0], tmp_path / name) for name in ("tiny", "tiny-here"))
    (tmp_path / "tiny-here" / "recipe.yaml").write_text(TINY.replace("tiny", "tiny-here"))
    write(tmp_path / "other", TINY.replace("11", "12").replace("tiny", "other"))
    write(tmp_path / "broken", "no recipe")
    make(Recipe.load(str(elsewhere)), jobs=1)
    assert not caplog.messages
    made_with = json.loads((elsewhere / MADE_WITH).read_text())
    made_with["processor"] = made_with["processor"].replace(" SSE3 ", " ") + " *AVX1024 AVX2048?"
    (elsewhere / MADE_WITH).write_text(json.dumps(made_with))
    clip = elsewhere / "clips" / "000000.mp4"
    clip.write_bytes(clip.read_bytes() + b"\0")
    with pytest.raises(FileFormatError, match="tiny-here is the same recipe as rendered on a machine like"):
        make(Recipe.load(str(elsewhere)), jobs=1)
    assert "processor with AVX1024 then, without now; without SSE3 then, with it now" in caplog.text
    assert "tiny-here is the same recipe" in caplog.text


def test_a_set_of_ones_own_has_its_own_name_and_hashes(rendered, tmp_path):
    recipe = Recipe.load(str(write(tmp_path / "tiny")))
    own = recipe.for_oneself(tmp_path / "mine" / "tiny")
    for name in ("items", "clips", "recipe.json"):  # as by an interrupted rendering, but for the last step
        copy = shutil.copytree if (rendered[0] / name).is_dir() else shutil.copyfile
        copy(rendered[0] / name, own.folder / name)
    made, new = make(own, jobs=1)
    assert new
    assert (made.name, made.version) == ("tiny-own", 3)
    assert not (recipe.folder / MANIFEST).exists()
    again = recipe.for_oneself(own.folder)
    assert again == own == Recipe.load(str(own.folder)) == own.for_oneself(own.folder)
    other = Recipe.load(str(write(tmp_path / "other", TINY.replace("11", "12"))))
    with pytest.raises(ConfigError, match="another recipe"):
        other.for_oneself(own.folder)


def test_options_become_the_renderers(tmp_path):
    text = "name: a\nversion: 1\nsynth: {seed: 1, clips: true, easy: false, size: 96x96}\n"
    recipe = Recipe.load(str(write(tmp_path / "a", text)))
    assert recipe.command(2) == [
        "synth", "--out", str(tmp_path / "a"), "--seed", "1", "--clips", "--size", "96x96", "--jobs", "2",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: a\nversion: 1\n", "the fields name, version, synth"),
        ("name: a\nversion: x\nsynth: {}\n", "version"),
        ("name: a\nversion: 1\nsynth: {out: elsewhere}\n", "synth.out"),
        ("name: a\nversion: 1\nsynth: {seed: [1]}\n", "synth.seed"),
        ("name: [\n", "YAML"),
    ],
)
def test_bad_recipes_are_named(tmp_path, text, words):
    with pytest.raises(FileFormatError, match=words):
        Recipe.load(str(write(tmp_path / "bad", text)))


def test_the_shipped_recipes_are_whole_and_of_seeds_of_their_own():
    recipes = [Recipe.load(name) for name in ("nursery-easy", "nursery-varied", "nursery-stills")]
    assert [[twin.name for twin in r.twins()] for r in recipes] == [[f"{r.name}-avx2"] for r in recipes]
    assert [r.name for r in recipes] == [r.folder.name for r in recipes]
    assert all(r.synth["split"] == "test" for r in recipes)
    assert len({r.synth["seed"] for r in recipes}) == 3
    with pytest.raises(InputError, match="nursery-easy"):
        Recipe.load("nursery")
