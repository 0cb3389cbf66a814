"""YAML and JSON files with a key that is there twice, beside those that only look so."""

from __future__ import annotations

import pytest

from heightpose.errors import ConfigError, FileFormatError
from heightpose.textfile import read_json, read_yaml


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("a: 1\nb: 2\na: 3", "a, again in line 3"),
        ("list:\n- {x: 1}\n- {y: {z: 1, z: 1}}", "z, again in line 3"),
        ("7: 1\n0x7: 2", "0x7, again in line 2"),
        ("&k a: 1\n*k : 2", "a, again"),
    ],
)
def test_a_key_twice_is_told_with_its_line(tmp_path, text, key):
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(ConfigError, match=rf"c\.yaml: the layout has a key twice \(got {key}"):
        read_yaml(tmp_path / "c.yaml", "layout", error=ConfigError)


def test_what_is_merged_in_may_be_overridden_and_aliases_are_no_second_key(tmp_path):
    (tmp_path / "c.yaml").write_text("base: &b {a: 1, c: 2}\none: {<<: *b, a: 3}\ntwo: *b\n'1': x\n1: y")
    read = read_yaml(tmp_path / "c.yaml", "layout")
    assert read == {
        "base": {"a": 1, "c": 2},
        "one": {"a": 3, "c": 2},
        "two": {"a": 1, "c": 2},
        "1": "x",
        1: "y",
    }


def test_json_with_a_key_twice(tmp_path):
    (tmp_path / "c.json").write_text('[{"a": {"b": 1, "b": 1}}]')
    with pytest.raises(FileFormatError, match=r"c\.json: the layout has a key twice \(got b\)"):
        read_json(tmp_path / "c.json", "layout")
