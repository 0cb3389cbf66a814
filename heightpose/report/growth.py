"""One child's lengths over time: a table for the terminal, a chart, a page and a CSV."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from heightpose.metrics.growth import Change, Visit, changes, contradictions
from heightpose.metrics.who import flag_text, flagged, percentile_text, rounded_percentile
from heightpose.report import page
from heightpose.report.growth_chart import WORDS, chart_picture, chart_svg
from heightpose.report.growth_visits import Refused
from heightpose.runtime.atomic import write_csv, write_text
from heightpose.runtime.output import write_picture
from heightpose.words import valid_unicode

FILES = ("growth.svg", "growth.png", "growth.csv", "growth.html")
_COLUMNS = ("age", "length", "interval", "z", "percentile", "change since last visit", "measurement")


def table_rows(visits: Sequence[Visit]) -> list[tuple[str, ...]]:
    """The table's cells, in the order of the columns."""
    return [
        (
            f"{v.age_months:.1f} mo",
            f"{v.length_cm:.1f} cm",
            f"{v.interval_cm[0]:.1f}-{v.interval_cm[1]:.1f}",
            f"{v.z_score:+z.2f}{' (check)' if flagged(v.z_score) else ''}",
            _percentiles(v),
            change_text(change),
            v.name,
        )
        for v, change in zip(visits, changes(visits), strict=True)
    ]


def _percentiles(visit: Visit) -> str:
    own, low, high = (f"P{percentile_text(p)}" for p in (visit.percentile, *visit.percentile_range))
    return f"{own} ({low}-{high})"


def change_text(change: Change | None) -> str:
    """``+3.1 cm (+1.9 to +4.3)``, or that none is shown, or that the two contradict each other."""
    if change is None:
        return ""
    numbers = f"{change.length_cm:+z.1f} cm ({change.interval_cm[0]:+z.1f} to {change.interval_cm[1]:+z.1f})"
    if change.contradictory:
        return f"contradictory at one age: {numbers}"
    return numbers if change.shown else f"no change shown: {numbers}"


def text_table(visits: Sequence[Visit]) -> str:
    """The table for a terminal."""
    rows = [_COLUMNS, *table_rows(visits)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(_COLUMNS))]
    lines = ("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows)
    return "\n".join(lines)


def doubts(visits: Sequence[Visit]) -> list[str]:
    """A line for each visit that cannot be right.

    Lengths that the WHO flags, visits at which the child would have shrunk, and pairs at one age that contradict
    each other.
    """
    implausible = [
        f"{v.name}: {v.length_cm:.1f} cm at {v.age_months:.1f} months, {flag_text(v.z_score)}"
        for v in visits
        if flagged(v.z_score)
    ]
    shrunk = [
        f"{later.name} is {earlier.length_cm - later.length_cm:.1f} cm shorter than {earlier.name} before it, and no "
        "infant shrinks: are both of this child, and are the ages right?"
        for earlier, later, change in zip(visits, visits[1:], changes(visits)[1:], strict=False)
        if change is not None and change.shrunk
    ]
    contradictory = [
        f"{a.name} and {b.name} are {abs(a.length_cm - b.length_cm):.1f} cm apart at one age and contradict each "
        "other: are both of this child, and are the ages right?"
        for a, b in contradictions(visits)
    ]
    return implausible + shrunk + contradictory


def refused_text(refused: Refused) -> str:
    """One line on a measurement that is not on the chart."""
    if refused.visit is not None:
        v = refused.visit
        ends = f"{v.interval_cm[0]:.1f}-{v.interval_cm[1]:.1f}"
        why = "; ".join(text for _, text in refused.reasons)
        return f"not plotted: {v.name} at {v.age_months:.2f} months: {v.length_cm:.1f} cm ({ends}); {why}"
    words = (
        "; ".join(f"{code}: {text}" if text else code for code, text in refused.reasons) or "no reason given"
    )
    age = "" if refused.age_months is None else f" at {refused.age_months:.1f} months"
    return f"not plotted: {refused.name}{age}: rejected ({words})"


def write_growth(
    folder: Path, visits: Sequence[Visit], refused: Sequence[Refused], files: Sequence[Path]
) -> None:
    """Write growth.svg, growth.png, growth.csv and growth.html, each atomically.

    Args:
        visits: at least one, in order of age; files: where each came from.
    """
    drawing = chart_svg(visits)
    write_text(folder / "growth.svg", drawing)
    write_picture(folder / "growth.png", chart_picture(visits))
    write_csv(folder / "growth.csv", _rows(visits, refused, files), _CSV_COLUMNS)
    _write_page(folder / "growth.html", visits, refused, drawing)


def _write_page(path: Path, visits: Sequence[Visit], refused: Sequence[Refused], drawing: str) -> None:
    level = round(100 * visits[0].interval_level)
    last = visits[-1]
    parts: list[str] = [
        f"Last: {last.length_cm:.1f} cm ({last.interval_cm[0]:.1f}-{last.interval_cm[1]:.1f}) at "
        f"{last.age_months:.1f} months, percentile {percentile_text(last.percentile)} of {WORDS[last.sex]}.",
        *(page.paragraph(doubt, "mark") for doubt in doubts(visits)),
        page.Html(f'<figure style="max-width:60rem">{drawing}</figure>'),
        page.heading("Visits"),
        page.table(_COLUMNS, table_rows(visits)),
        page.paragraph(
            f"Intervals hold the true length with {level} % probability. A change's interval adds those of its two "
            "visits in quadrature; where the visits' intervals overlap, or both are of one age, the measurements show "
            "no change. Curves: WHO Child Growth Standards 2006, length for age. Age and sex place a length on the "
            "curves; they take no part in measuring it.",
            "dim",
        ),
    ]
    if refused:
        parts += [
            page.heading("Not plotted"),
            page.table(
                ("age", "length", "measurement", "why"),
                [
                    (
                        "" if r.age_months is None else f"{r.age_months:.1f} mo",
                        "" if r.visit is None else f"{r.visit.length_cm:.1f} cm",
                        r.name,
                        " ".join(text or code for code, text in r.reasons),
                    )
                    for r in refused
                ],
            ),
        ]
    page.write_page(path, "Growth", *parts)


_CSV_COLUMNS = (
    "file", "input", "status", "sex", "age_months", "length_cm", "low_cm", "high_cm", "interval_level",
    "z_score", "z_flagged", "percentile", "change_cm", "change_low_cm", "change_high_cm", "change_shown", "reasons",
)  # fmt: skip


def _rows(
    visits: Sequence[Visit], refused: Sequence[Refused], files: Sequence[Path]
) -> list[dict[str, object]]:
    """``growth.csv``: what is plotted, then what is not, of which most is left empty."""
    found: list[tuple[object, ...]] = []
    for visit, file, change in zip(visits, files, changes(visits), strict=True):
        moved: tuple[object, ...] = ("", "", "", "")
        if change is not None:
            ends = (f"{v:z.2f}" for v in (change.length_cm, *change.interval_cm))
            moved = (*ends, "yes" if change.shown else "no")
        found.append(
            (valid_unicode(str(file)), visit.name, "measured", visit.sex, f"{visit.age_months:g}",
             *_length_cells(visit), f"{visit.z_score:z.2f}", "yes" if flagged(visit.z_score) else "no",
             f"{rounded_percentile(visit.percentile)}", *moved, "")
        )  # fmt: skip
    for item in refused:
        age = "" if item.age_months is None else f"{item.age_months:g}"
        codes = " ".join(code for code, _ in item.reasons)
        status = "rejected" if item.visit is None else "left_out"
        length = [""] * 4 if item.visit is None else _length_cells(item.visit)
        found.append(
            (valid_unicode(str(item.path)), item.name, status, item.sex, age, *length, *[""] * 7, codes)
        )
    return [dict(zip(_CSV_COLUMNS, row, strict=True)) for row in found]


def _length_cells(visit: Visit) -> list[str]:
    numbers = (visit.length_cm, *visit.interval_cm)
    return [*(f"{value:.2f}" for value in numbers), f"{visit.interval_level:g}"]
