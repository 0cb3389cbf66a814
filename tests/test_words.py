"""One of a kind is told as one."""

from __future__ import annotations

import pytest

from heightpose.words import plural, valid_unicode


@pytest.mark.parametrize(
    ("number", "what", "text"),
    [
        (0, "picture", "0 pictures"),
        (1, "picture", "1 picture"),
        (2, "empty cot", "2 empty cots"),
        (1, "child", "1 child"),
        (3, "child", "3 children"),
        (2, "person", "2 people"),
    ],
)
def test_a_number_and_its_word_agree(number, what, text):
    assert plural(number, what) == text


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        (b"caf\xe9.mp4".decode("utf-8", "surrogateescape"), "caf\ufffd.mp4"),
        ("\ud800", "\ufffd"),
        ("café \N{BABY}", "café \N{BABY}"),
    ],
    ids=["an old encoding", "half a character", "as it should be"],
)
def test_text_that_no_encoding_takes_is_replaced(text, valid):
    assert valid_unicode(text) == valid
