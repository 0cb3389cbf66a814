"""Lengths on the WHO curves, as SVG and as pixels, from one list of shapes: no plotting library is needed.

A clinic has the base install only, so the few lines, dots and words of the chart are drawn here.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from heightpose.metrics import who
from heightpose.metrics.growth import Visit

#: WHO percentiles drawn, with their z-scores.
CURVES = ((3, -1.880794), (15, -1.036433), (50, 0.0), (85, 1.036433), (97, 1.880794))
WORDS = {"female": "girls", "male": "boys"}
_SIZE = (900, 600)
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 56, 56, 58
_PNG_SCALE = 2
_LEAST_MONTHS = 6.0


@dataclass(frozen=True)
class _Role:
    """How a kind of shape looks on light and dark paper."""

    light: str
    dark: str
    width: float = 1.0


_ROLES = {
    "paper": _Role("#fbfbf9", "#14181e"),
    "ink": _Role("#1c2430", "#e6e9ee", 1.2),
    "dim": _Role("#5b6675", "#9aa5b4"),
    "grid": _Role("#e3e6ea", "#28303a"),
    "outer": _Role("#9db4cf", "#3f5a7d", 1.4),
    "inner": _Role("#6d93c2", "#5b82b3", 1.4),
    "median": _Role("#2f62a3", "#86b2e8", 2.2),
    "join": _Role("#d9a48f", "#8a5a44", 1.4),
    "visit": _Role("#b4431f", "#ff9a6b", 2.2),
}


@dataclass
class _Shapes:
    """Everything in the chart, in chart pixels, in drawing order."""

    lines: list[tuple[str, np.ndarray]] = field(default_factory=list)
    dots: list[tuple[float, float, str]] = field(default_factory=list)
    words: list[tuple[float, float, str, str, str, int]] = field(default_factory=list)


@dataclass(frozen=True)
class _Axes:
    """Months and centimetres to chart pixels."""

    months: tuple[float, float]
    cm: tuple[float, float]

    def x(self, months: float) -> float:
        low, high = self.months
        return _LEFT + (months - low) / (high - low) * (_SIZE[0] - _LEFT - _RIGHT)

    def y(self, cm: float) -> float:
        low, high = self.cm
        return _SIZE[1] - _BOTTOM - (cm - low) / (high - low) * (_SIZE[1] - _TOP - _BOTTOM)


def chart_svg(visits: Sequence[Visit]) -> str:
    """The chart as a standalone SVG document that follows the reader's light or dark setting."""
    shapes = _compose(visits)
    colours = {
        True: "".join(f".gc-{name}{{--c:{role.dark}}}" for name, role in _ROLES.items()),
        False: "".join(f".gc-{name}{{--c:{role.light}}}" for name, role in _ROLES.items()),
    }
    style = (
        f"{colours[False]}@media (prefers-color-scheme: dark){{{colours[True]}}}"
        ".gc-l{fill:none;stroke:var(--c);stroke-linejoin:round}.gc-d,.gc-t{fill:var(--c)}"
        ".gc-t{font-family:system-ui,sans-serif}"
    )
    width, height = _SIZE
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="Lengths on the WHO curves" style="width:100%;height:auto;display:block">',
        f"<style>{style}</style>",
        f'<rect class="gc-d gc-paper" width="{width}" height="{height}"/>',
    ]
    for role, points in shapes.lines:
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points.tolist())
        parts.append(
            f'<polyline class="gc-l gc-{role}" stroke-width="{_ROLES[role].width}" points="{path}"/>'
        )
    for x, y, title in shapes.dots:
        words = f"<title>{html.escape(title)}</title>"
        parts.append(f'<circle class="gc-d gc-visit" cx="{x:.1f}" cy="{y:.1f}" r="5">{words}</circle>')
    for x, y, text, role, anchor, size in shapes.words:
        parts.append(
            f'<text class="gc-t gc-{role}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" '
            f'font-size="{size}">{html.escape(text)}</text>'
        )
    return "\n".join([*parts, "</svg>"]) + "\n"


def chart_picture(visits: Sequence[Visit]) -> np.ndarray:
    """The chart ``(1200, 1800, 3)`` uint8 RGB on light paper."""
    shapes, scale = _compose(visits), _PNG_SCALE
    image = np.empty((_SIZE[1] * scale, _SIZE[0] * scale, 3), np.uint8)
    image[:] = _rgb("paper")
    for role, points in shapes.lines:
        fixed = np.round(points * scale * 16).astype(np.int32)  # 4 fractional bits
        thickness = max(1, round(_ROLES[role].width * scale))
        cv2.polylines(image, [fixed], False, _rgb(role), thickness, cv2.LINE_AA, shift=4)
    for x, y, _ in shapes.dots:
        centre = (round(x * scale * 16), round(y * scale * 16))
        cv2.circle(image, centre, 5 * scale * 16, _rgb("visit"), -1, cv2.LINE_AA, shift=4)
    font = cv2.FONT_HERSHEY_SIMPLEX
    for x, y, text, role, anchor, size in shapes.words:
        height = size * scale / 31.0  # a Hershey letter of scale 1 is as high as one of a 31 px font
        wide = cv2.getTextSize(text, font, height, scale)[0][0]
        left = x * scale - {"start": 0.0, "middle": 0.5, "end": 1.0}[anchor] * wide
        cv2.putText(
            image, text, (round(left), round(y * scale)), font, height, _rgb(role), scale, cv2.LINE_AA
        )
    return image


def _rgb(role: str) -> tuple[int, int, int]:
    code = _ROLES[role].light
    return int(code[1:3], 16), int(code[3:5], 16), int(code[5:7], 16)


def _compose(visits: Sequence[Visit]) -> _Shapes:
    sex = visits[0].sex
    axes = _axes(visits)
    shapes = _Shapes()
    _grid(shapes, axes)
    ages = np.arange(axes.months[0], axes.months[1] + 1e-9, 0.25)
    for percent, z in CURVES:
        role = {50: "median", 15: "inner", 85: "inner"}.get(percent, "outer")
        curve = np.array([(axes.x(m), axes.y(who.length_for_z(sex, m, z))) for m in ages.tolist()])
        shapes.lines.append((role, curve))
        end = curve[-1]
        shapes.words.append((end[0] + 6, end[1] + 4, f"P{percent}", "dim", "start", 13))
    points = np.array([(axes.x(v.age_months), axes.y(v.length_cm)) for v in visits])
    if len(points) > 1:
        shapes.lines.append(("join", points))
    for visit, (x, y) in zip(visits, points.tolist(), strict=True):
        low, high = (axes.y(end) for end in visit.interval_cm)
        for bar in ([(x, low), (x, high)], [(x - 5, low), (x + 5, low)], [(x - 5, high), (x + 5, high)]):
            shapes.lines.append(("visit", np.array(bar)))
        text = (
            f"{visit.name}: {visit.length_cm:.1f} cm ({visit.interval_cm[0]:.1f}-{visit.interval_cm[1]:.1f}) "
            f"at {visit.age_months:g} months"
        )
        shapes.dots.append((x, y, text))
        shapes.words.append((x + 10, y + 18, f"{visit.length_cm:.1f}", "ink", "start", 13))
        if who.flagged(visit.z_score):
            right = x < (_LEFT + _SIZE[0] - _RIGHT) / 2
            note = f"z {visit.z_score:+.2f}: check age, sex, length"
            shapes.words.append(
                (x + (10 if right else -10), y - 8, note, "visit", "start" if right else "end", 13)
            )
    level = round(100 * visits[0].interval_level)
    title = f"Crown-heel length on the WHO standard, {WORDS[sex]}"
    shapes.words += [
        (_LEFT, 24, title, "ink", "start", 18),
        (_LEFT, 43, f"curves: WHO Child Growth Standards 2006; bars: {level} % interval", "dim", "start", 13),
        ((_LEFT + _SIZE[0] - _RIGHT) / 2, _SIZE[1] - 14, "age, months", "dim", "middle", 13),
        (_LEFT - 8, _TOP - 13, "cm", "dim", "end", 13),
    ]
    return shapes


def _axes(visits: Sequence[Visit]) -> _Axes:
    """Two months around the visits and at least half a year, within what the standard covers."""
    ages = [v.age_months for v in visits]
    start, end = max(0.0, np.floor(min(ages) - 2)), min(24.0, np.ceil(max(ages) + 2))
    end = min(24.0, max(end, start + _LEAST_MONTHS))
    start = max(0.0, min(start, end - _LEAST_MONTHS))
    sex = visits[0].sex
    low = min(who.length_for_z(sex, start, CURVES[0][1]), *(v.interval_cm[0] for v in visits))
    high = max(who.length_for_z(sex, end, CURVES[-1][1]), *(v.interval_cm[1] for v in visits))
    return _Axes((float(start), float(end)), (float(np.floor(low - 1)), float(np.ceil(high + 1))))


def _grid(shapes: _Shapes, axes: _Axes) -> None:
    left, right = axes.x(axes.months[0]), axes.x(axes.months[1])
    bottom, top = axes.y(axes.cm[0]), axes.y(axes.cm[1])
    for month in _ticks(axes.months, (1, 2, 3)):
        x = axes.x(month)
        shapes.lines.append(("grid", np.array([(x, bottom), (x, top)])))
        shapes.words.append((x, bottom + 20, f"{month:g}", "dim", "middle", 13))
    for cm in _ticks(axes.cm, (1, 2, 5, 10)):
        y = axes.y(cm)
        shapes.lines.append(("grid", np.array([(left, y), (right, y)])))
        shapes.words.append((left - 8, y + 4, f"{cm:g}", "dim", "end", 13))
    shapes.lines.append(("dim", np.array([(left, top), (left, bottom), (right, bottom)])))


def _ticks(span: tuple[float, float], steps: tuple[int, ...]) -> list[float]:
    """Whole multiples of the first step that gives at most twelve."""
    step = next((s for s in steps if (span[1] - span[0]) / s <= 12), steps[-1])
    first = int(np.ceil(span[0] / step))
    return [float(step * i) for i in range(first, int(np.floor(span[1] / step)) + 1)]
