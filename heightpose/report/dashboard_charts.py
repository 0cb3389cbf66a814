"""The dashboard's drawings: development, overfit, learning curves, correlation."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence

from heightpose.metrics.correlation import Correlation
from heightpose.report.dashboard_sources import Record, Sources
from heightpose.report.page import Html
from heightpose.report.plots import SERIES, Plot
from heightpose.report.run_model import TrainRun
from heightpose.report.timeline import ALGORITHM, BOTH, DATA, Step, TestSet, Timeline
from heightpose.words import plural

_WIDE = (900, 270)
#: How far the series of one step stand apart, in steps.
_BESIDE = 0.1
#: What stands above a step: its kind as a letter, and the colour of its line.
LETTERS = {DATA: ("D", "three"), ALGORITHM: ("A", "four"), BOTH: ("D A", "two")}
#: More steps leave no room for letters: their lines' colours are explained below the drawing.
_LETTERED = 32
#: A chart with more series is unreadable; tables have all of them.
_MOST_SERIES = 3

Value = tuple[Record, float, Sequence[float] | None]


def development(
    line: Timeline, testsets: Sequence[TestSet], key: str, label: str, numbers: Sources, *, validation: bool = False,
    null: bool = False,
) -> Html:  # fmt: skip
    """A headline figure over steps, a colour per test set: every repetition a dot, their mean the line.

    Args:
        validation: also MeanSmS@0.1 on the trainings' own validation split.
        null: also the null model's error, dashed, and the error of all lengths that the geometry had, refused ones too,
            dotted: the two that a gate cannot flatter.
    """
    values: list[float] = []
    series: list[tuple[str, str, Callable[[Step], list[Value]]]] = []
    for colour, testset in zip(SERIES, testsets[:_MOST_SERIES], strict=False):
        series.append((_name(testset), colour, lambda s, t=testset: _values(s, key, t)))  # type: ignore[misc]
    if validation:
        series.append(("validation, true boxes", "four", _validation))
    drawn = [[(s, of(s)) for s in line.steps] for _, _, of in series]
    for points in drawn:
        values += [v for _, each in points for _, value, around in each for v in (value, *(around or ()))]
    beside_it = [("null_mae_cm", "3 4"), ("height_estimate_mae_cm", "1 4")] if null else []
    others = [
        (colour, dash, [s.mean(other, t) for s in line.steps])
        for other, dash in beside_it
        for colour, t in zip(SERIES, testsets[:_MOST_SERIES], strict=False)
    ]
    values += [v for _, _, row in others for v in row if v is not None]
    low, high = _range(values, zero=null)
    plot = _plot(line, (low, high), label)
    for number, ((name, colour, _), points) in enumerate(zip(series, drawn, strict=True)):
        means = [sum(v for _, v, _ in each) / len(each) if each else None for _, each in points]
        # Aside, so that whiskers of one step do not lie on each other.
        beside = _BESIDE * (number - (len(series) - 1) / 2)
        _joined(plot, means, colour, shift=beside)
        for x, (step, each) in enumerate(points, 1):
            for record, value, around in each:
                tip = f"step {x}, {step.label}\n{name}: {_of(value, around)}\n{numbers.of(record).tip}"
                plot.point(x + beside, value, colour, tip, around, r=4.5, link=f"#{numbers.of(record).ref}")
    for colour, dash, row in others:
        _joined(plot, row, colour, dash)
    known = [any(each for _, each in points) for points in drawn]
    keys = [(name, colour) for (name, colour, _), there in zip(series, known, strict=True) if there]
    if null:
        keys += [("dashed: the null model", "dim"), ("dotted: refused lengths included", "dim")]
    return Html(_scrolled(plot.svg(f"{label} over steps")) + legend(keys + _kinds(line)))


def overfit(line: Timeline, numbers: Sources) -> Html:
    """Overfit over steps, of all joints and of the height joints."""
    both = (("all joints", "one", "overfit"), ("height joints", "two", "overfit_sms"))
    values = [getattr(r, key) for s in line.steps for r in s.runs for _, _, key in both]
    plot = _plot(line, _range([v for v in values if v is not None], zero=True), "train minus validation")
    plot.level(0.0, "dim")
    for name, colour, key in both:
        rows = [[(r, getattr(r, key)) for r in s.runs if getattr(r, key) is not None] for s in line.steps]
        _joined(plot, [sum(v for _, v in row) / len(row) if row else None for row in rows], colour)
        for x, (step, row) in enumerate(zip(line.steps, rows, strict=True), 1):
            for run, value in row:
                tip = f"step {x}, {step.label}\noverfit, {name}: {value:+z.1f}\n{numbers.of(run).tip}"
                plot.point(x, value, colour, tip, link=f"#{numbers.of(run).ref}")
    keys = [(name, colour) for name, colour, _ in both]
    return Html(_scrolled(plot.svg("Overfit over steps")) + legend(keys + _kinds(line)))


def learning(run: TrainRun) -> Html | None:
    """Mean@0.1 on train and validation over one run's epochs; None where its log has neither."""
    names = (("Mean@0.1", "one", "validation"), ("train Mean@0.1", "two", "train"))
    rows = [r for r in run.log if r.get("epoch") is not None and r.get("Mean@0.1") is not None]
    if len(rows) < 2:
        return None
    values = [v for r in rows for name, _, _ in names if (v := r.get(name)) is not None]
    epochs = [float(r["epoch"] or 0) for r in rows]
    plot = Plot((epochs[0], epochs[-1]), _range(values), "epoch", "Mean@0.1")
    for name, colour, words in names:
        if any(r.get(name) is not None for r in rows):
            plot.line(epochs, [r.get(name) for r in rows], colour, words)
    return plot.svg(f"Learning curve of {run.name}")


def scatter(
    points: Sequence[tuple[Step, Record, float, float]], numbers: Sources, found: Correlation
) -> Html:
    """MeanSmS@0.1 against height error, a dot per run."""
    xs, ys = [p[2] for p in points], [p[3] for p in points]
    plot = Plot(_range(xs), _range(ys, zero=True), "MeanSmS@0.1", "height MAE, cm")
    for step, record, x, y in points:
        tip = f"{step.label}\nMeanSmS@0.1 {x:.1f}, MAE {y:.2f} cm\n{numbers.of(record).tip}"
        plot.point(x, y, "one", tip, r=5, link=f"#{numbers.of(record).ref}")
    return plot.svg(f"MeanSmS@0.1 and height error of {plural(found.n, 'run')}")


def _plot(line: Timeline, y: tuple[float, float], label: str) -> Plot:
    number = len(line.steps)
    every = 1 + number // 25
    marks = [(float(x), str(x)) for x in range(1, number + 1) if (x - 1) % every == 0]
    plot = Plot((0.5, number + 0.5), y, "step", label, _WIDE, x_ticks=marks)
    for x, step in enumerate(line.steps, 1):
        if step.kind in LETTERS:
            letter, colour = LETTERS[step.kind]
            plot.upright(x, colour, letter if number <= _LETTERED else "")
    return plot


def _kinds(line: Timeline) -> list[tuple[str, str]]:
    """Names and colours of the upright lines where they bear no letters."""
    if len(line.steps) <= _LETTERED:
        return []
    there = {step.kind for step in line.steps}
    return [(f"upright: {kind}", colour) for kind, (_, colour) in LETTERS.items() if kind in there]


def legend(keys: Sequence[tuple[str, str]]) -> Html:
    """Names and colours under a drawing, where they hide nothing."""
    words = "".join(
        f'<span><i style="background: var(--{colour})"></i>{html.escape(name)}</span>'
        for name, colour in keys
    )
    return Html(f'<div class="legend">{words}</div>')


def _scrolled(drawing: Html) -> str:
    """A wide drawing that scrolls by itself on a narrow screen."""
    return f'<div class="wide">{drawing}</div>'


def _joined(
    plot: Plot, values: Sequence[float | None], colour: str, dash: str = "", shift: float = 0.0
) -> None:
    """A line through the steps that have a value, over those that have none."""
    known = [(x + shift, v) for x, v in enumerate(values, 1) if v is not None]
    if dash and len(known) == 1:  # a level that only one step has is a short line there
        known = [(known[0][0] + side, known[0][1]) for side in (-0.25, 0.25)]
    plot.line([x for x, _ in known], [v for _, v in known], colour, dash=dash)


def _values(step: Step, key: str, testset: TestSet) -> list[Value]:
    part, name = ("height", "mae_cm_interval") if key == "height_mae_cm" else ("pose", "mean_sms_interval")
    found: list[Value] = []
    for result, value in step.figures(key, testset):
        block = result.document[part] if part == "height" else result.document[part]["pckh"]["0.1"]
        # One run's spread over children; of several runs their own spread is seen.
        found.append((result, value, block[name] if len(step.results[testset]) == 1 else None))
    return found


def _validation(step: Step) -> list[Value]:
    return [(r, r.best["MeanSmS@0.1"], None) for r in step.runs if r.best.get("MeanSmS@0.1") is not None]


def _range(values: Sequence[float], zero: bool = False) -> tuple[float, float]:
    """An axis around some values; with ``zero`` it holds 0."""
    if not values:
        return 0.0, 1.0
    low, high = min(values), max(values)
    if zero:
        low, high = min(low, 0.0), max(high, 0.0)
    margin = 0.08 * (high - low) or 1.0
    return (low if zero and low == 0.0 else low - margin), high + margin


def _name(testset: TestSet) -> str:
    name, _, split, limit, _ = testset
    return name + (f" {split}" if split else "") + ("" if limit is None else f", first {limit}")


def _of(value: float, around: Sequence[float] | None) -> str:
    return f"{value:.2f}" + ("" if around is None else f" ({around[0]:.2f} to {around[1]:.2f})")
