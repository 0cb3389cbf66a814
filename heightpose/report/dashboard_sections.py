"""The dashboard's sections, one function each: from what was read to HTML."""

from __future__ import annotations

import html
import shlex
from datetime import UTC, datetime
from pathlib import Path

from heightpose import __version__
from heightpose.errors import HeightposeError
from heightpose.metrics.correlation import FEWEST, Correlation
from heightpose.report.dashboard_charts import development, learning, overfit, scatter
from heightpose.report.dashboard_sources import pictures_of
from heightpose.report.dashboard_tables import (
    ablation_parts,
    advice_table,
    findings_parts,
    steps_table,
    strata_over_steps,
    strata_table,
)  # fmt: skip
from heightpose.report.dashboard_view import Options, View, correlations
from heightpose.report.page import Html, grid, paragraph, table
from heightpose.report.plots import framed, plots
from heightpose.report.run_model import UNKNOWN_PLACE, EvalRun
from heightpose.report.timeline import HEIGHT_ERRORS, TestSet
from heightpose.words import plural

#: How many people and clips are shown as worst cases.
_PEOPLE, _CLIPS = 8, 4
#: Runs whose learning curves are drawn.
_CURVES = 2
#: A longer list of records is folded up.
_OPEN = 20


def summary(view: View) -> Html:
    runs, line = view.runs, view.line
    made = datetime.now(UTC)
    words = (
        f"{plural(len(line.steps), 'step')} from {plural(len(runs.trainings), 'training')} "
        f"and {plural(len(runs.evaluations), 'evaluation')}; {plural(len(runs.ablations), 'ablation')}. "
        f"heightpose {__version__}, {made:%Y-%m-%d %H:%M} UTC. "
        "Brackets and whiskers are 90 % intervals, by child."
    )
    parts: list[str] = [paragraph(words, "dim")]
    if runs.skipped:
        parts.append(
            paragraph(f"skipped: {plural(len(runs.skipped), 'record')}, named under Records.", "mark")
        )
    if view.behind:
        parts.append(paragraph(f"{view.behind[0].upper()}{view.behind[1:]}.", "mark"))
    cards = [
        _card(view, "MeanSmS@0.1", "mean_sms_0.1", view.joints, 1),
        _card(view, "height MAE, cm", "height_mae_cm", view.heights, 2),
        _card(view, "clips measured, %", "height_yield", view.heights, 0, 100.0),
        _overfit_card(view),
    ]
    if view.ranking.advice:
        first = view.ranking.advice[0]
        words = f"{100 * first.weight:.0f} % of the budget, by the ranking below"
        words += f"; but {first.caveat}: collect test data first" if first.caveat else ""
        cards.append(_box("annotate next", first.key, words))
    return Html("\n".join(parts) + '<div class="cards">' + "".join(c for c in cards if c) + "</div>")


def _card(view: View, name: str, key: str, testset: TestSet | None, digits: int, scale: float = 1.0) -> str:
    """The newest step's figure, and what it was one step and all steps before."""
    steps = [] if testset is None else view.line.judged(key, testset)
    if not steps or testset is None:
        return ""
    values = [scale * (s.mean(key, testset) or 0.0) for s in steps]
    words = f"step {view.line.steps.index(steps[-1]) + 1} on {testset[0]}"
    if key == "height_mae_cm":
        null = steps[-1].mean("null_mae_cm", testset)
        words += "" if null is None else f"; null model {null:.2f}"
    if len(values) > 1:
        last, whole = values[-1] - values[-2], values[-1] - values[0]
        words += f"; {last:+.{digits}f} in the last step, {whole:+.{digits}f} in all"
    refs = view.numbers.links(list(steps[-1].results[testset]))
    return _box(name, f"{values[-1]:.{digits}f}", words, refs)


def _overfit_card(view: View) -> str:
    steps = [s for s in view.line.steps if s.overfit() is not None]
    if not steps:
        return ""
    value = steps[-1].overfit() or 0.0
    words = f"step {view.line.steps.index(steps[-1]) + 1}: Mean@0.1 on train minus validation"
    return _box("overfit", f"{value:+z.1f}", words, view.numbers.links(list(steps[-1].runs)))


def _box(name: str, value: str, words: str, refs: str = "") -> str:
    return (
        f'<div class="card"><span class="dim">{html.escape(name)}{refs}</span><b>{html.escape(value)}</b>'
        f'<span class="dim">{html.escape(words)}</span></div>'
    )


def development_parts(view: View) -> list[Html]:
    line = view.line
    if not line.steps:
        where = ", ".join(str(r) for r in view.runs.roots)
        return [
            paragraph(f"No run record was found in {where}. heightpose train and heightpose eval write them.")
        ]
    sms = [t for t in line.testsets if line.judged("mean_sms_0.1", t)]
    mae = [t for t in line.testsets if any(line.judged(key, t) for key in HEIGHT_ERRORS)]
    upper = development(line, sms, "mean_sms_0.1", "MeanSmS@0.1", view.numbers, validation=True)
    drawn = [
        framed(
            upper,
            "MeanSmS@0.1 of every step. D: data added or changed, A: algorithm changed. Point at a dot for its record, "
            "click for its row. The validation split changes with the data.",
        )
    ]
    if mae:
        lower = development(line, mae, "height_mae_cm", "height MAE, cm", view.numbers, null=True)
        drawn.append(
            framed(
                lower,
                "Height error of the same steps and the null model's, on the clips measured: read it beside the yield. "
                "Dotted: with the lengths that were worked out and refused.",
            )
        )
    else:
        drawn.append(
            paragraph("No clip of known length was measured in these steps: no height error to draw.", "dim")
        )
    made = steps_table(line, view.numbers, view.joints, view.heights)
    return [Html('<div class="stack">' + "".join(drawn) + "</div>"), made, _comparing(view)]


def _comparing(view: View) -> Html:
    """The command that says whether the last step shows a difference."""
    testset = view.joints if view.joints is not None else view.heights
    if testset is None:
        return Html("")
    steps = [s for s in view.line.steps if testset in s.results][-2:]
    if len(steps) < 2:
        return Html("")
    a, b = (s.results[testset][-1].folder for s in steps)
    command = shlex.join(["heightpose", "eval", "compare", str(a), str(b)])
    return paragraph(f"Whether the last step shows a difference, paired: {command}", "dim")


def overfit_parts(view: View) -> list[Html]:
    if not any(s.overfit() is not None for s in view.line.steps):
        return [paragraph("No training record with figures on train and on validation.")]
    chart = framed(
        overfit(view.line, view.numbers), "Train minus validation at the best weights, true boxes."
    )
    curves: list[Html] = []
    for run in reversed([r for s in view.line.steps for r in s.runs if r.task == "pose"]):
        drawing = learning(run)
        if drawing is not None and len(curves) < _CURVES:
            ref = view.numbers.of(run).ref
            curves.append(framed(drawing, f"{run.name} ({ref}): Mean@0.1 over its epochs."))
    return [Html(f'<div class="stack">{chart}</div>'), plots(curves)]


def correlation_parts(view: View) -> list[Html]:
    parts: list[Html] = []
    for joints, heights, points, found in correlations(view):
        words = f"MeanSmS@0.1 on {joints[0]} against height MAE on {heights[0]}: {correlation_words(found)}"
        if len(points) >= 2:
            drawing = framed(scatter(points, view.numbers, found), words)
            parts.append(drawing)
        else:
            parts.append(paragraph(words))
    if not parts:
        return [paragraph("No run was judged by joints and by heights.")]
    note = paragraph(
        "Whether better joints mean better heights: then r is negative. Pearson's r over runs with Fisher's 90 % "
        "interval; runs that grew out of each other are not independent, so it is rather too narrow. Each MAE is over "
        "the clips that its run measured.",
        "dim",
    )
    return [note, plots(parts)]


def correlation_words(found: Correlation) -> str:
    """r with its interval, or why there is none."""
    if found.r is None:
        return f"too few runs ({found.n}), or nothing varies"
    if found.interval is None:
        return (
            f"r = {found.r:.2f} over {plural(found.n, 'run')}: too few for an interval, which needs {FEWEST}"
        )
    low, high = found.interval
    verdict = "; no correlation shown" if low <= 0 <= high else ""
    few = "; few runs, so the interval says most" if found.n < 10 else ""
    return f"r = {found.r:.2f} ({low:.2f} to {high:.2f}) over {plural(found.n, 'run')}{verdict}{few}"


def strata(view: View) -> list[Html]:
    parts: list[Html] = []
    for testset in dict.fromkeys(t for t in (view.joints, view.heights) if t is not None):
        steps = [s for s in view.line.steps if testset in s.results]
        now, before = steps[-1], steps[-2] if len(steps) > 1 else None
        index = view.line.steps.index(now) + 1
        change = "" if before is None else f"; change: since step {view.line.steps.index(before) + 1}"
        parts.append(paragraph(f"Step {index}, {now.label}, on {testset[0]}{change}."))
        parts.append(strata_table(now, before, testset, view.numbers))
        if len(view.line.judged("mean_sms_0.1", testset)) > 1:
            inside = strata_over_steps(view.line, testset, view.numbers)
            parts.append(
                Html(f"<details><summary>MeanSmS@0.1 by stratum, step by step</summary>{inside}</details>")
            )
    return parts or [paragraph("No evaluation.")]


def advice(view: View) -> list[Html]:
    ranking = view.ranking
    if ranking.step is None or ranking.testset is None:
        return [paragraph("Nothing can be said before a model is judged on a test set with strata.")]
    index = view.line.steps.index(ranking.step) + 1
    if not ranking.advice:
        return [
            paragraph(
                f"Step {index} on {ranking.testset[0]}: of no value of a stratum are more children expected to bring "
                "more than as many drawn at random."
            )
        ]
    curve = (
        f"fitted to {ranking.iterations} data iterations: exponent {ranking.exponent:.2f}"
        if ranking.fitted
        else f"assumed (exponent {ranking.exponent:g}) until two data iterations were judged"
    )
    mixed = (
        " Settings differed between those iterations too, so the curve mixes both." if ranking.mixed else ""
    )
    return [
        paragraph(
            f"Step {index} on {ranking.testset[0]}. Gain: points of MeanSmS@0.1 over the target distribution that "
            f"{plural(ranking.part, 'child')} more of a stratum can be expected to bring: share x error x what the "
            f"learning curve takes off; as many at random bring {ranking.at_random:.3f}, strata that bring no more are "
            f"not listed. The curve is {curve}.{mixed} The budget goes part by part to whichever then gains most. "
            "Strata overlap, so gains do not add up."
        ),
        advice_table(ranking, view.numbers),
        paragraph(
            "As JSON for heightpose data iteration new and data suggest: heightpose dashboard --advice FILE",
            "dim",
        ),
    ]


def checks(options: Options) -> list[Html]:
    if not options.checks:
        return [
            paragraph(
                "None given: heightpose data check DATA --out REPORT, then --checks REPORT/findings.json.",
                "dim",
            )
        ]
    return findings_parts(options.checks)


def worst(view: View, options: Options) -> list[Html]:
    """The newest results' worst people and clips, where their pictures lie on this machine."""
    parts: list[Html] = []
    for testset in dict.fromkeys(t for t in (view.joints, view.heights) if t is not None):
        result = [s for s in view.line.steps if testset in s.results][-1].results[testset][-1]
        folder = pictures_of(result, options.pictures)
        if folder is None:
            parts.append(
                paragraph(
                    f"The pictures of {testset[0]} were not found: name its folder with --pictures.", "dim"
                )
            )
            continue
        try:
            shown = _pictures(result, folder, options.blur)
        except HeightposeError as error:
            parts.append(paragraph(str(error), "mark"))
            continue
        ref = view.numbers.links([result])
        parts += [
            Html(
                f"<p>On {html.escape(testset[0])}, faces of infants "
                f"{'blurred' if options.blur else 'not blurred'}.{ref}</p>"
            ),
            grid(shown),
        ]
    return parts or [paragraph("No evaluation.")]


def _pictures(result: EvalRun, folder: Path, blur: bool) -> list[Html]:
    from heightpose.evaluate.people import People, lengths_of
    from heightpose.evaluate.records import require_records
    from heightpose.metrics.height import worst
    from heightpose.report.worst import clip_figure, person_figure, worst_people

    frames, clips = require_records(result.folder)
    shown = [person_figure(case, folder, blur=blur) for case in worst_people(People.of(frames), _PEOPLE)]
    chosen = [clips[int(i)] for i in worst(lengths_of(clips), _CLIPS)] if clips else []
    shown += [clip_figure(clip, frames, folder, blur=blur) for clip in chosen]
    return [one for one in shown if one]


def ablations(view: View) -> list[Html]:
    parts: list[Html] = []
    for ablation in view.runs.ablations:
        parts += [
            Html(f"<h3>{html.escape(ablation.name)}</h3>"),
            *ablation_parts(ablation, view.numbers),
        ]
    return parts or [paragraph("None: heightpose ablate writes them.", "dim")]


def records(view: View) -> list[Html]:
    words = "Every figure names its record; the command makes it again from the same inputs."
    if any(f" {UNKNOWN_PLACE}/" in one["command"] for one in view.numbers.document().values()):
        words += f" {UNKNOWN_PLACE} stands for where a set lies that was not found: name its folder with --pictures."
    parts = [paragraph(words)]
    if view.runs.skipped:
        rows = [(str(s.path), s.why) for s in view.runs.skipped]
        parts += [paragraph("Skipped:", "mark"), table(["record", "why it is not used"], rows)]
    state = " open" if len(view.numbers) <= _OPEN else ""
    inside = f"<summary>{plural(len(view.numbers), 'record')}</summary>{view.numbers.table()}"
    return [*parts, Html(f"<details{state}>{inside}</details>")]
