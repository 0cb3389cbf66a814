"""One of a kind is told as one."""

from __future__ import annotations

import pytest

from heightpose.words import plural


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
