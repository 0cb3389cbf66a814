"""``heightpose infer --resume``: what is finished is kept, where it would be measured the same again."""

from __future__ import annotations

import json

import makers
import pytest


@pytest.fixture
def clips(tmp_path):
    folder = tmp_path / "clips"
    folder.mkdir()
    for name, x in (("a", 60), ("b", 70)):
        pictures = [makers.scene((160, 120), (x + i, 50)) for i in range(3)]
        makers.write_video(folder / f"{name}.mp4", pictures)
    return folder


@pytest.fixture
def infer(here, models, clips, tmp_path):
    """Runs it over the clips. Returns (code, which results were written anew, stdout)."""
    out = tmp_path / "res"

    def run(*args):
        stamps = {path.parent.name: path.stat().st_mtime_ns for path in out.glob("*/height.json")}
        done = here("infer", clips, *models, "--out", out, *args)
        now = {path.parent.name: path.stat().st_mtime_ns for path in out.glob("*/height.json")}
        return done.returncode, {name for name in now if now[name] != stamps.get(name)}, done.stdout

    return run


def test_what_is_finished_is_kept_and_answers_as_it_did(infer):
    first = infer()
    assert infer("--resume") == (first[0], set(), first[2])
    assert infer("--resume", "--json")[1] == set()
    assert infer()[1] == {"a", "b"}


def test_with_processes_too(infer):
    first = infer("--json")
    assert infer("--resume", "--json", "--jobs", "2") == (first[0], set(), first[2])


def test_other_settings_measure_anew(infer):
    infer("--no-overlay")
    for other in (("--every", "2"), ("--tta", "none"), ("--sex", "male", "--age-months", "3")):
        assert infer("--no-overlay", "--resume", *other)[1] == {"a", "b"}, other
    assert infer("--no-overlay", "--resume", *other)[1] == set()


def test_an_overlay_that_is_not_there_is_drawn(infer, tmp_path):
    infer("--no-overlay")
    assert infer("--resume", "--no-overlay")[1] == set()
    assert infer("--resume")[1] == {"a", "b"}
    (tmp_path / "res" / "b" / "overlay.mp4").unlink()
    assert infer("--resume")[1] == {"b"}


def test_another_recording_of_the_name_is_measured(infer, clips):
    infer()
    makers.write_video(clips / "a.mp4", [makers.scene((160, 120), (50, 50))] * 3)
    assert infer("--resume")[1] == {"a"}


def test_a_result_that_is_not_whole_or_not_of_this_code_is_measured(infer, tmp_path):
    infer("--no-overlay")
    changes = {
        "height.json": [{"interrupted": True}, {"frames": None}],
        "provenance.json": [{"interrupted": True}, {"code_sha256": "0" * 64}, {"input": "a.mp4"}],
    }
    for name, others in changes.items():
        path = tmp_path / "res" / "a" / name
        for other in others:
            path.write_text(json.dumps(json.loads(path.read_text()) | other))
            assert infer("--no-overlay", "--resume")[1] == {"a"}, other
        path.write_text("{")
        assert infer("--no-overlay", "--resume")[1] == {"a"}


def test_what_could_not_be_read_is_tried_again(infer, clips):
    whole = (clips / "b.mp4").read_bytes()
    (clips / "b.mp4").write_bytes(b"")
    assert infer()[0] == 2
    (clips / "b.mp4").write_bytes(whole)
    assert infer("--resume")[1] == {"b"}
