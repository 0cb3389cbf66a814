"""Iterations aimed by the dashboard's advice: every stratum its share, whole children, and a manifest that says so."""

from __future__ import annotations

import json
from collections import Counter

import drawn
import pytest
from click.testing import CliRunner

from heightpose.cli.data import data as data_group
from heightpose.data import iterations
from heightpose.data.advice import read_advice
from heightpose.errors import HeightposeError


@pytest.fixture(scope="module")
def nursery(tmp_path_factory):
    """60 children: 12 on the side, 12 with tucked legs, 36 plain ones."""
    folder = tmp_path_factory.mktemp("data") / "nursery"
    drawn.nursery(folder, train=60, val=0, empty=2, size_wh=(48, 32))

    def add_strata(document):
        for number, a in enumerate(document["annotations"]):
            kind = number % 5
            a["strata"] = {
                "posture": "side" if kind == 0 else "back",
                "legs": "tucked" if kind == 1 else "extended",
            }

    drawn.rewrite(folder, add_strata)
    return folder


def advice(path, **weights):
    strata = [
        {"key": k.replace("__", "="), "score": 1.0, "weight": w, "reasons": []} for k, w in weights.items()
    ]
    path.write_text(json.dumps({"schema": 1, "strata": strata}))
    return path


def draw(tmp_path, name, *args):
    command = ["iteration", "new", name, "--root", tmp_path / "it", *args]
    result = CliRunner().invoke(data_group, [str(a) for a in command])
    if isinstance(result.exception, HeightposeError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def kinds(tmp_path, name):
    added = iterations.load(name, tmp_path / "it").added
    return Counter(
        "side" if p.strata["posture"] == "side" else p.strata["legs"] for item in added for p in item.people
    )


def test_strata_get_the_shares_that_were_advised(nursery, tmp_path):
    file = advice(tmp_path / "a.json", posture__side=0.75, legs__tucked=0.25)
    draw(tmp_path, "first", "--data", nursery, "--share", "20%", "--advice", file, "--seed", 1)
    found = kinds(tmp_path, "first")
    assert sum(found.values()) == 12
    assert found["extended"] == 0  # nobody was advised to take plain ones
    assert found["side"] > found["tucked"] > 0


def test_what_has_run_out_passes_its_share_on_and_at_last_anybody_is_taken(nursery, tmp_path):
    file = advice(tmp_path / "a.json", posture__side=0.9, legs__tucked=0.1, sensor__nobody=1.0)
    said = draw(tmp_path, "first", "--data", nursery, "--share", "50%", "--advice", file)
    assert kinds(tmp_path, "first") == {"side": 12, "tucked": 12, "extended": 6}
    # The manifest holds what was asked for, so that it is told what came of it.
    assert "posture=side: 12 of the 13 children that the advice asks for were left; others instead" in said
    assert "sensor=nobody: 0 of the 15 children that the advice asks for were left; others instead" in said
    assert said.count("others instead") == 2


def test_the_manifest_says_what_it_was_aimed_at_and_its_hash_covers_it(nursery, tmp_path):
    file = advice(tmp_path / "a.json", posture__side=3.0, legs__tucked=1.0)
    draw(tmp_path, "first", "--data", nursery, "--share", "10%", "--advice", file)
    (manifest,) = iterations.manifests(tmp_path / "it")
    assert manifest.weights == {"posture=side": 0.75, "legs=tucked": 0.25}
    listed = CliRunner().invoke(data_group, ["iteration", "list", "--root", str(tmp_path / "it")])
    assert "posture=side 75%, legs=tucked 25%" in listed.output
    path = tmp_path / "it" / "first.json"
    document = json.loads(path.read_text())
    document["aim"]["weights"]["posture=side"] = 0.5
    path.write_text(json.dumps(document))
    with pytest.raises(HeightposeError, match="edited"):
        iterations.manifests(tmp_path / "it")


def test_iterations_without_advice_keep_the_hash_they_had(nursery, tmp_path):
    draw(tmp_path, "plain", "--data", nursery, "--share", "10%")
    document = json.loads((tmp_path / "it" / "plain.json").read_text())
    assert set(document["aim"]) == {"share", "where"}


def test_no_advice_yet_is_a_draw_at_random(nursery, tmp_path):
    said = draw(
        tmp_path, "first", "--data", nursery, "--share", "50%", "--advice", advice(tmp_path / "a.json")
    )
    assert "advises nothing yet" in said
    assert kinds(tmp_path, "first")["extended"] > 6


def test_advice_and_strata_by_hand_exclude_each_other(nursery, tmp_path):
    file = advice(tmp_path / "a.json", posture__side=1.0)
    with pytest.raises(HeightposeError, match="aimed twice"):
        draw(tmp_path, "f", "--data", nursery, "--share", "10%", "--advice", file, "--where", "legs=tucked")


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("{", "advice"),
        ('{"schema": 2, "strata": []}', "schema 1"),
        ('{"schema": 1}', "strata"),
        ('{"schema": 1, "strata": [{"key": "side", "weight": 1}]}', "posture=side"),
        ('{"schema": 1, "strata": [{"key": "a=b", "weight": -1}]}', "weight"),
        ('{"schema": 1, "strata": [{"key": "a=b", "weight": true}]}', "weight"),
        ('{"schema": 1, "strata": ["a=b"]}', "stratum"),
    ],
)
def test_what_is_no_advice_is_named(tmp_path, text, word):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(HeightposeError, match=word):
        read_advice(tmp_path / "a.json")
