"""One self-contained HTML page: style, figures and tables inside the file, nothing fetched, nothing scripted.

Every report is built from these pieces, so that all of them read alike, wide and narrow, light and dark. A text that
comes from a data set is escaped by the piece that takes it; pieces return HTML, marked as :class:`Html`, and only
that is put into a page unescaped.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np

from heightpose.runtime.atomic import write_text


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


_CSS = """
:root { color-scheme: light dark; --ink: #1c2430; --dim: #5b6675; --paper: #fbfbf9; --card: #fff; --line: #dfe2e6;
  --mark: #b4431f; --good: #2c7a4b; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ee; --dim: #9aa5b4; --paper: #14181e; --card: #1c222b;
  --line: #323b47; --mark: #ff9a6b; --good: #7bd39b; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.2rem clamp(.8rem, 3vw, 2.5rem) 4rem; max-width: 90rem; background: var(--paper);
  color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: .2rem 0 .4rem; }
h2 { font-size: 1.2rem; margin: 2rem 0 .6rem; }
p { max-width: 48rem; margin: .4rem 0; overflow-wrap: anywhere; }
.dim { color: var(--dim); }
.mark { color: var(--mark); font-weight: 600; }
.good { color: var(--good); font-weight: 600; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .92rem; }
th, td { padding: .3rem .7rem; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line); }
th { color: var(--dim); font-weight: 600; white-space: nowrap; }
.name { display: inline-block; width: max-content; max-width: 20rem; overflow-wrap: anywhere; }
@media (max-width: 44rem) { .name { max-width: 10rem; } }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.grid { display: grid; gap: .9rem; grid-template-columns: repeat(auto-fill, minmax(min(100%, 19rem), 1fr)); }
figure { margin: 0; background: var(--card); border: 1px solid var(--line); border-radius: .5rem; overflow: hidden; }
figure img { display: block; width: 100%; height: auto; }
figcaption { padding: .5rem .75rem .7rem; font-size: .88rem; line-height: 1.4; overflow-wrap: anywhere; }
figcaption b { font-size: .95rem; }
"""


def page(title: str, *parts: str) -> Html:
    """A whole document.

    Args:
        title: heading and window title.
        parts: the body in order; plain strings become paragraphs, :class:`Html` is put in as it is.
    """
    body = "\n".join(part if isinstance(part, Html) else paragraph(part) for part in parts)
    return Html(
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>{_CSS}</style>\n</head>\n<body>\n"
        f"<h1>{html.escape(title)}</h1>\n{body}\n</body>\n</html>\n"
    )


def write_page(final: Path, title: str, *parts: str) -> None:
    """Write :func:`page` atomically."""
    write_text(final, page(title, *parts))


def heading(text: str) -> Html:
    """A section's heading."""
    return Html(f"<h2>{html.escape(text)}</h2>")


def paragraph(text: str, style: str = "") -> Html:
    """A paragraph; ``style`` is empty, "dim", "mark" or "good"."""
    return Html(f"<p{_class(style)}>{_escaped(text)}</p>")


def span(text: str, style: str) -> Html:
    """Words of a style: "dim", "mark" or "good"."""
    return Html(f"<span{_class(style)}>{_escaped(text)}</span>")


def named(text: str) -> Html:
    """A name in a table's cell: on one line unless it is so long that it would push the figures out."""
    return Html(f'<span class="name">{html.escape(text)}</span>')


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Html:
    """A table; numbers are right-aligned, floats keep what the caller formatted or three digits.

    Args:
        columns: headings.
        rows: cells; :class:`Html` as it is, None empty, all else escaped.
    """
    listed = [list(row) for row in rows]
    numeric = [
        bool(listed) and all(isinstance(r[i], (int, float)) or r[i] is None for r in listed)
        for i in range(len(columns))
    ]
    style = [' class="number"' if n else "" for n in numeric]
    head = "".join(f"<th{s}>{html.escape(c)}</th>" for s, c in zip(style, columns, strict=True))
    lines = (
        "<tr>" + "".join(f"<td{s}>{_cell(v)}</td>" for s, v in zip(style, row, strict=True)) + "</tr>"
        for row in listed
    )
    return Html(
        '<div class="wide"><table>\n<thead><tr>'
        + head
        + "</tr></thead>\n<tbody>"
        + "\n".join(lines)
        + "</tbody></table></div>"
    )


def figure(source: str | None, caption: str, alt: str = "") -> Html:
    """A picture with words under it; ``source`` as :func:`jpeg` or :func:`png` give it, None of one that is gone."""
    picture = (
        "<p>The picture is not where it was.</p>"
        if source is None
        else f'<img loading="lazy" src="{html.escape(source)}" alt="{html.escape(alt)}">'
    )
    return Html(f"<figure>{picture}<figcaption>{_escaped(caption)}</figcaption></figure>")


def grid(figures: Iterable[str]) -> Html:
    """Figures side by side, as many as the window is wide."""
    return Html('<div class="grid">\n' + "\n".join(figures) + "\n</div>")


def jpeg(rgb: np.ndarray) -> str:
    """``(H, W, 3)`` uint8 RGB as a data address, for photographs."""
    return _data_address(rgb, ".jpg", "image/jpeg", [cv2.IMWRITE_JPEG_QUALITY, 80])


def png(rgb: np.ndarray) -> str:
    """``(H, W, 3)`` uint8 RGB as a data address, for drawings."""
    return _data_address(rgb, ".png", "image/png", [])


def svg(text: str) -> str:
    """An SVG document as a data address."""
    return "data:image/svg+xml;base64," + base64.b64encode(text.encode()).decode()


def _data_address(rgb: np.ndarray, suffix: str, media: str, options: list[int]) -> str:
    done, data = cv2.imencode(suffix, np.ascontiguousarray(rgb[..., ::-1]), options)
    if not done:
        raise ValueError(f"a picture of shape {rgb.shape} and type {rgb.dtype} cannot be written as {media}")
    return f"data:{media};base64,{base64.b64encode(data.tobytes()).decode()}"


def _class(style: str) -> str:
    return f' class="{html.escape(style)}"' if style else ""


def _escaped(text: str) -> str:
    return text if isinstance(text, Html) else html.escape(text)


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.3g}"
    return _escaped(value) if isinstance(value, str) else html.escape(str(value))
