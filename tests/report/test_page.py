"""The shared page: what comes from data is escaped, pictures are inside the file."""

from __future__ import annotations

import base64
import re

import cv2
import numpy as np

from heightpose.report.page import Html, figure, grid, heading, jpeg, named, page, paragraph, png, table

NASTY = '<script>alert("x")</script>&'


def test_whatever_comes_from_data_is_escaped_everywhere():
    text = page(
        NASTY,
        NASTY,
        heading(NASTY),
        paragraph(NASTY),
        table([NASTY], [[NASTY]]),
        grid([figure("", NASTY, NASTY)]),
    )
    assert "<script" not in text
    assert text.count("&lt;script&gt;") == 9  # title, heading, and every piece


def test_html_is_not_escaped_twice():
    assert "<p><b>bold</b></p>" in page("t", paragraph(Html("<b>bold</b>")))


def test_pictures_survive_and_nothing_is_fetched():
    rgb = np.full((20, 30, 3), (200, 40, 90), np.uint8)
    rgb[:10] = (10, 220, 30)
    for encode, tolerance in ((jpeg, 12), (png, 0)):
        text = page("t", figure(encode(rgb), "caption"))
        data = re.search(r'src="data:image/[a-z]+;base64,([^"]+)"', text).group(1)
        back = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
        assert np.abs(back.astype(int) - rgb)[[2, 17]].max() <= tolerance
        assert "http" not in text


def test_numbers_are_aligned_and_words_are_not():
    text = table(["name", "value"], [["a", 1.23456], ["b", None]])
    assert '<td>a</td><td class="number">1.23</td>' in text
    assert '<td>b</td><td class="number"></td>' in text


def test_a_long_name_wraps_instead_of_pushing_figures_beyond_the_edge():
    assert named("outfit: <long>") == '<span class="name">outfit: &lt;long&gt;</span>'
    text = page("t")
    assert re.search(r"\.name \{[^}]*max-width: [^}]*overflow-wrap: anywhere", text)
    assert "nowrap" not in re.search(r"\.name \{[^}]*\}", text).group()
