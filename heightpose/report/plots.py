"""Small plots as SVG inside the page: no library, no script, readable in light and dark, values as tooltips.

Colours are variables of the page's style; :data:`STYLE` adds those of the plots and belongs once into every page
that holds one.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from heightpose.report.page import Html

#: Series colours that differ in lightness too, for light and for dark paper.
SERIES = ("one", "two", "three", "four")
STYLE = Html(
    "<style>:root { --one: #1f5fa8; --two: #c4561a; --three: #2c7a4b; --four: #7a5aa6; }\n"
    "@media (prefers-color-scheme: dark) { :root { --one: #7ab4f0; --two: #ff9f6b; --three: #7bd39b; "
    "--four: #c3a6ec; } }\n"
    "svg.plot { display: block; width: 100%; height: auto; font: 12px system-ui, sans-serif; }\n"
    "svg.plot text { fill: var(--dim); } svg.plot .grid { stroke: var(--line); }\n"
    ".plots { display: grid; gap: .9rem; grid-template-columns: repeat(auto-fill, minmax(min(100%, 26rem), 1fr)); }"
    "</style>"
)


@dataclass
class Plot:
    """Axes to draw on; data outside the ranges are drawn at the rim's outside and cut off.

    Attributes:
        x, y: (low, high) of the axes.
        size: width and height in the SVG's own px.
        x_ticks: (place, word) of the x axis' marks instead of round numbers.
    """

    x: tuple[float, float]
    y: tuple[float, float]
    x_label: str = ""
    y_label: str = ""
    size: tuple[int, int] = (440, 300)
    x_ticks: Sequence[tuple[float, str]] | None = None
    _parts: list[str] = field(default_factory=list)
    _legend: list[tuple[str, str, str]] = field(default_factory=list)

    _LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 12, 44

    def line(
        self, xs: Sequence[float], ys: Sequence[float | None], colour: str, name: str = "", dash: str = ""
    ) -> None:
        """A curve; None is a gap."""
        runs: list[list[str]] = [[]]
        for x, y in zip(xs, ys, strict=True):
            if y is None:
                runs.append([])
            else:
                runs[-1].append(f"{self._px(x):.1f},{self._py(y):.1f}")
        for run in runs:
            if len(run) > 1:
                self._parts.append(
                    f'<polyline points="{" ".join(run)}" fill="none" stroke="var(--{colour})" stroke-width="2"'
                    f'{_dash(dash)} clip-path="url(#inside)"/>'
                )
        if name:
            self._legend.append((name, colour, dash))

    def level(self, y: float, colour: str, text: str = "", dash: str = "") -> None:
        """A horizontal line across, with a word at its right end."""
        self.line(self.x, (y, y), colour, dash=dash)
        if text:
            self._parts.append(
                f'<text x="{self.size[0] - self._RIGHT - 3}" y="{self._py(y) - 4:.1f}" text-anchor="end">'
                f"{html.escape(text)}</text>"
            )

    def point(
        self,
        x: float,
        y: float,
        colour: str,
        tip: str = "",
        y_range: Sequence[float] | None = None,
        r: float = 4,
        link: str = "",
    ) -> None:
        """A dot, with an upright interval where there is one; ``link`` is a place in the page, such as "#r3"."""
        px, py = self._px(x), self._py(y)
        if y_range is not None:
            self._parts.append(
                f'<line x1="{px:.1f}" x2="{px:.1f}" y1="{self._py(y_range[0]):.1f}" y2="{self._py(y_range[1]):.1f}" '
                f'stroke="var(--{colour})" stroke-width="1.5"/>'
            )
        dot = (
            f'<circle cx="{px:.1f}" cy="{py:.1f}" r="{r}" fill="var(--{colour})" fill-opacity="0.75">'
            f"<title>{html.escape(tip)}</title></circle>"
        )
        self._parts.append(f'<a href="{html.escape(link)}">{dot}</a>' if link else dot)

    def upright(self, x: float, colour: str, text: str) -> None:
        """A dashed line from top to bottom with a word at its upper end."""
        px = self._px(x)
        self._parts.append(
            f'<line x1="{px:.1f}" x2="{px:.1f}" y1="{self._TOP}" y2="{self.size[1] - self._BOTTOM}" '
            f'stroke="var(--{colour})" stroke-dasharray="2 4"/>'
            f'<text x="{px:.1f}" y="{self._TOP - 2}" text-anchor="middle" style="fill: var(--{colour})">'
            f"{html.escape(text)}</text>"
        )

    def svg(self, title: str) -> Html:
        """The drawing; ``title`` is read aloud instead of it."""
        width, height = self.size
        box = (self._LEFT, self._TOP, width - self._LEFT - self._RIGHT, height - self._TOP - self._BOTTOM)
        name = f"inside{abs(hash((title, self.x, self.y))) % 10**9}"
        body = "".join(self._parts).replace("url(#inside)", f"url(#{name})")
        return Html(
            f'<svg class="plot" viewBox="0 0 {width} {height}" role="img" aria-label="{html.escape(title)}">'
            f'<clipPath id="{name}"><rect x="{box[0]}" y="{box[1]}" width="{box[2]}" height="{box[3]}"/></clipPath>'
            f"{self._axes()}{body}{self._legend_svg()}</svg>"
        )

    def _axes(self) -> str:
        width, height = self.size
        parts = []
        marks = [(t, f"{t:g}") for t in ticks(*self.x)] if self.x_ticks is None else self.x_ticks
        for tick, word in marks:
            px = self._px(tick)
            parts.append(
                f'<line class="grid" x1="{px:.1f}" x2="{px:.1f}" y1="{self._TOP}" y2="{height - self._BOTTOM}"/>'
                f'<text x="{px:.1f}" y="{height - self._BOTTOM + 15}" text-anchor="middle">{html.escape(word)}</text>'
            )
        for tick in ticks(*self.y):
            py = self._py(tick)
            parts.append(
                f'<line class="grid" x1="{self._LEFT}" x2="{width - self._RIGHT}" y1="{py:.1f}" y2="{py:.1f}"/>'
                f'<text x="{self._LEFT - 6}" y="{py + 4:.1f}" text-anchor="end">{tick:g}</text>'
            )
        middle = (self._LEFT + width - self._RIGHT) / 2
        parts.append(
            f'<text x="{middle}" y="{height - 8}" text-anchor="middle">{html.escape(self.x_label)}</text>'
        )
        across = (self._TOP + height - self._BOTTOM) / 2
        parts.append(
            f'<text transform="translate(13 {across}) rotate(-90)" text-anchor="middle">'
            f"{html.escape(self.y_label)}</text>"
        )
        return "".join(parts)

    def _legend_svg(self) -> str:
        parts = []
        for row, (name, colour, dash) in enumerate(self._legend):
            y = self.size[1] - self._BOTTOM - 14 - 16 * (len(self._legend) - 1 - row)
            x, words = self.size[0] - self._RIGHT - 30, self.size[0] - self._RIGHT - 35
            parts.append(
                f'<line x1="{x}" x2="{x + 22}" y1="{y - 4}" y2="{y - 4}" stroke="var(--{colour})" stroke-width="3"'
                f'{_dash(dash)}/><text x="{words}" y="{y}" text-anchor="end">{html.escape(name)}</text>'
            )
        return "".join(parts)

    def _px(self, x: float) -> float:
        share = (x - self.x[0]) / (self.x[1] - self.x[0])
        return self._LEFT + share * (self.size[0] - self._LEFT - self._RIGHT)

    def _py(self, y: float) -> float:
        share = (y - self.y[0]) / (self.y[1] - self.y[0])
        return self.size[1] - self._BOTTOM - share * (self.size[1] - self._TOP - self._BOTTOM)


@dataclass(frozen=True)
class Bar:
    """A row of :func:`rows_svg`: a dot with its interval and words at its right end."""

    name: str
    value: float | None
    interval: Sequence[float] | None = None
    note: str = ""
    colour: str = "one"


def rows_svg(bars: Sequence[Bar], span: tuple[float, float], title: str, unit: str = "") -> Html:
    """Dots with intervals, one row each, so that long names stay readable."""
    left, right, row, top = 170, 92, 20, 6
    width, height = 520, top + row * len(bars) + 34

    def at(value: float) -> float:
        share = (min(max(value, span[0]), span[1]) - span[0]) / (span[1] - span[0])
        return left + share * (width - left - right)

    parts = []
    for tick in ticks(*span):
        parts.append(
            f'<line class="grid" x1="{at(tick):.1f}" x2="{at(tick):.1f}" y1="{top}" y2="{height - 30}"/>'
            f'<text x="{at(tick):.1f}" y="{height - 16}" text-anchor="middle">{tick:g}</text>'
        )
    parts.append(
        f'<text x="{(left + width - right) / 2}" y="{height - 2}" text-anchor="middle">{html.escape(unit)}</text>'
    )
    for i, bar in enumerate(bars):
        y = top + row * i + row / 2
        parts.append(
            f'<text x="{left - 8}" y="{y + 4:.1f}" text-anchor="end">{html.escape(_cut(bar.name))}</text>'
        )
        if bar.value is None:
            continue
        if bar.interval is not None:
            parts.append(
                f'<line x1="{at(bar.interval[0]):.1f}" x2="{at(bar.interval[1]):.1f}" y1="{y}" y2="{y}" '
                f'stroke="var(--{bar.colour})" stroke-width="2"/>'
            )
        parts.append(
            f'<circle cx="{at(bar.value):.1f}" cy="{y}" r="4.5" fill="var(--{bar.colour})">'
            f"<title>{html.escape(f'{bar.name}: {bar.value:.3g} {unit}')}</title></circle>"
            f'<text x="{width - right + 8}" y="{y + 4:.1f}">{html.escape(bar.note)}</text>'
        )
    return Html(
        f'<svg class="plot" viewBox="0 0 {width} {height}" role="img" aria-label="{html.escape(title)}">'
        f"{''.join(parts)}</svg>"
    )


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers within a range."""
    step = 10.0 ** np.floor(np.log10((high - low) / about))
    step *= next(m for m in (1, 2, 5, 10) if (high - low) / (step * m) <= about + 1)
    first = np.ceil(low / step - 1e-9)
    return [float(np.round(step * k, 10)) + 0.0 for k in np.arange(first, np.floor(high / step + 1e-9) + 1)]


def framed(drawing: Html, caption: str) -> Html:
    """A drawing with words under it."""
    return Html(f"<figure>{drawing}<figcaption>{html.escape(caption)}</figcaption></figure>")


def plots(figures: Sequence[Html]) -> Html:
    """Plots side by side."""
    return Html('<div class="plots">\n' + "\n".join(figures) + "\n</div>")


def _dash(dash: str) -> str:
    return f' stroke-dasharray="{html.escape(dash)}"' if dash else ""


def _cut(text: str, most: int = 25) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
