"""The dashboard's tables: steps, strata, advice, label findings, ablations."""

from __future__ import annotations

import html
import json
import shlex
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from heightpose.ablate.figures import BETTER, WORSE, cell_names, rows
from heightpose.errors import FileFormatError
from heightpose.evaluate.text import figure as number
from heightpose.report.advice import Ranking
from heightpose.report.advice_measured import children_in_train
from heightpose.report.dashboard_sources import Sources
from heightpose.report.page import Html, named, paragraph, span, table
from heightpose.report.plots import Bar, framed, rows_svg
from heightpose.report.run_model import Ablation
from heightpose.report.timeline import Step, TestSet, Timeline
from heightpose.textfile import read_json
from heightpose.words import plural

#: Steps side by side in the table of strata over time, advice and findings shown at first.
_STEPS, _ADVICE, _FINDINGS = 10, 6, 15
#: Whom ``heightpose data check`` asks where nobody is named.
CHECKS_BY = "fast"
#: On a phone the style puts some of them before the cells, by their place.
ADVICE_COLUMNS = ("rank", "stratum", "share of the budget", "gain", "why", "from")
#: Figures of heights in the table of strata: name, digits, factor.
_HEIGHTS = (("mae_cm", 2, 1.0), ("null_mae_cm", 2, 1.0), ("yield", 0, 100.0))


def steps_table(line: Timeline, numbers: Sources, joints: TestSet | None, heights: TestSet | None) -> Html:
    """Every step with what changed and its figures on the main test sets."""
    shown = []
    for index, step in enumerate(line.steps, 1):
        changes = "".join(f"<li>{html.escape(c)}</li>" for c in step.changes) + _replaced(step, numbers)
        words = Html(
            f'<div class="changes"><b title="{html.escape(step.name)}">{html.escape(step.label)}</b> '
            f'<span class="dim">{html.escape(step.kind)}</span>'
            f"<ul>{changes}</ul></div>"
        )
        when = Html(f'{index}<br><span class="dim nowrap">{step.created:%Y-%m-%d}</span>')
        figures = [
            _whole(_figure(step, "mean_sms_0.1", joints, 1)), _heights(step, heights),
            _whole(_figure(step, "null_mae_cm", heights, 2)), _whole(_share(step, "height_yield", heights)),
            _whole(_figure(step, "mean_0.1", joints, 1)), _whole(_figure_or_nothing(step.validation())),
            _whole(_figure_or_nothing(step.overfit())),
        ]  # fmt: skip
        records = [*step.runs, *(e for t in (joints, heights) if t for e in step.results.get(t, ()))]
        source = numbers.links(list({id(r): r for r in records}.values()))
        shown.append([when, words, max(1, len(step.runs)), source, *figures])
    columns = [
        "step", "what changed", "runs", "from", "MeanSmS@0.1", "height MAE cm", "null cm", "yield %", "Mean@0.1",
        "MeanSmS@0.1 val", "overfit",
    ]  # fmt: skip
    made = table(columns, shown[-_STEPS:])
    if len(shown) <= _STEPS:
        return made
    earlier = table(columns, shown[:-_STEPS])
    return Html(
        f"<details><summary>{plural(len(shown) - _STEPS, 'earlier step')}</summary>{earlier}</details>{made}"
    )


def _replaced(step: Step, numbers: Sources) -> str:
    """Results that say something else than those shown, which took their places."""
    return "".join(
        f'<li class="mark">judged again on {html.escape(was.testset[0])}: {numbers.link(now)} is shown, '
        f"{numbers.link(was)} is not and may differ"
        f"{html.escape(': ' + ', '.join(words) if words else '')}</li>"
        for was, now, words in step.told_otherwise()
    )


def strata_table(step: Step, before: Step | None, testset: TestSet, numbers: Sources) -> Html:
    """Every value of every stratum: children in train and in test, figures, change since the step before."""
    results = step.results[testset]
    shown: list[Sequence[object]] = []
    for stratum, values in results[0].document["strata"].items():
        for value, both in values.items():
            pose, h = both["pose"], both["height"]
            now, was = (_stratum_mean(s, testset, stratum, value) for s in (step, before))
            alone = (
                pose["pckh"]["0.1"]["mean_sms_interval"] if pose is not None and len(results) == 1 else None
            )
            train = children_in_train(step, stratum, value)
            shown.append(
                [
                    named(f"{stratum}: {value}"), "?" if train is None else str(train),
                    str(pose["children"] if pose is not None else h["children"]),
                    _whole(number(now, alone)), "" if now is None or was is None else f"{now - was:+z.1f}",
                    "" if h is None else str(h["clips"]),
                    *(_height(step, testset, stratum, value, *k) for k in _HEIGHTS), numbers.links(list(results)),
                ]
            )  # fmt: skip
    columns = [
        "stratum", "children in train", "in test", "MeanSmS@0.1", "change", "clips", "height MAE cm", "null cm",
        "yield %", "from",
    ]  # fmt: skip
    return table(columns, shown)


def strata_over_steps(line: Timeline, testset: TestSet, numbers: Sources) -> Html:
    """MeanSmS@0.1 of every stratum's value, a column per step; darker is worse."""
    steps = line.judged("mean_sms_0.1", testset)[-_STEPS:]
    names: dict[tuple[str, str], None] = {}
    for step in steps:
        for stratum, values in step.results[testset][0].document["strata"].items():
            names |= {(stratum, value): None for value in values}
    head = "".join(
        f"<th>step {line.steps.index(s) + 1}{numbers.links(list(s.results[testset]))}</th>" for s in steps
    )
    lines = []
    for stratum, value in names:
        cells = "".join(_tinted(_stratum_mean(s, testset, stratum, value)) for s in steps)
        lines.append(f"<tr><td>{named(f'{stratum}: {value}')}</td>{cells}</tr>")
    return Html(
        f'<div class="wide"><table>\n<thead><tr><th>stratum</th>{head}</tr></thead>\n<tbody>{"".join(lines)}</tbody>'
        "</table></div>"
    )


def advice_table(ranking: Ranking, numbers: Sources) -> Html:
    """The ranked strata with their reasons."""
    if ranking.step is None or ranking.testset is None:
        return Html("")
    trained = [] if ranking.step.trained is None else [ranking.step.trained]
    source = numbers.links([*ranking.step.results[ranking.testset], *ranking.step.runs, *trained])
    most = max((a.weight for a in ranking.advice), default=1.0)
    lines = []
    for place, a in enumerate(ranking.advice, 1):
        bar = f'<span class="meter" style="width: {5 * a.weight / most:.2f}rem"></span>{100 * a.weight:.0f} %'
        why = "<ul>" + "".join(f"<li>{html.escape(r)}</li>" for r in a.reasons) + "</ul>"
        lines.append(
            [
                place,
                named(a.key),
                Html(bar),
                f"{a.score:.3f}",
                Html(f'<div class="reasons">{why}</div>'),
                source,
            ]
        )
    columns = ADVICE_COLUMNS
    if len(lines) <= _ADVICE:
        return table(columns, lines)
    rest = table(columns, lines[_ADVICE:])
    return Html(
        f"{table(columns, lines[:_ADVICE])}<details><summary>{len(lines) - _ADVICE} more</summary>{rest}</details>"
    )


def findings_parts(files: Sequence[Path]) -> list[Html]:
    """What ``heightpose data check`` found: a count per kind, the worst first."""
    parts: list[Html] = []
    for path in files:
        document = read_json(path, "findings")
        found = document.get("findings") if isinstance(document, dict) else None
        fields = ("rank", "kind", "severity", "file", "text")
        if not isinstance(found, list) or not all(
            isinstance(f, dict) and all(k in f for k in fields) for f in found
        ):
            raise FileFormatError(
                "no findings of heightpose data check", where=path, expected=", ".join(fields)
            )
        data = (
            str(document["data"]) if isinstance(document, dict) and "data" in document else path.parent.name
        )
        counts = Counter(str(f["kind"]) for f in found)
        parts += [
            paragraph(
                f"{plural(len(found), 'suspicion')} about {data}: "
                + ", ".join(f"{k} {n}" for k, n in counts.most_common())
            ),
            table(
                ["rank", "kind", "sigma", "picture", "annotation", "why"],
                [
                    (
                        f["rank"],
                        f["kind"],
                        f["severity"],
                        f["file"],
                        "" if f.get("annotation_id") is None else str(f["annotation_id"]),
                        str(f["text"]),
                    )
                    for f in found[:_FINDINGS]
                ],
            ),
            paragraph(f"From {path}; again: {_check_again(document, data, path.parent)}", "dim"),
        ]
    return parts


def _check_again(document: dict[str, Any], data: str, out: Path) -> str:
    """The command that finds the same: by the same model, where the findings tell whose they are."""
    model = document.get("model", CHECKS_BY)
    asked = ["--no-model"] if model is None else [] if model == CHECKS_BY else ["--model", str(model)]
    return shlex.join(["heightpose", "data", "check", data, *asked, "--out", str(out)])


def ablation_parts(ablation: Ablation, numbers: Sources) -> list[Html]:
    """Cells against the base cell with intervals over seeds; "no difference shown" where 0 is inside."""
    document = ablation.document
    found = rows(document)
    names, shown = cell_names(found), []
    for name, row in zip(names, found, strict=True):
        change = "" if row.difference is None else number(row.difference, row.difference_interval, 2)
        style = {BETTER: "good", WORSE: "mark"}.get(row.verdict)
        verdict: str = span(row.verdict, style) if style else row.verdict
        failed = f"; {len(row.failed)} failed" if row.failed else ""
        shown.append(
            [name, str(len(row.values)), _whole(number(row.mean, row.interval, 2)), _whole(change), verdict + failed
             if not isinstance(verdict, Html) else Html(verdict + html.escape(failed)), numbers.link(ablation)]
        )  # fmt: skip
    better = f", {document['better']} is better" if "better" in document else ""
    base = "" if names[0] == found[0].name else f"Base: {found[0].name}."
    words = ((str(document.get("question") or ""), ""), (base, "dim"), (_budget(document), "dim"))
    parts = [paragraph(text, style) for text, style in words if text]
    made = table(["cell", "seeds", f"{ablation.metric}{better}", "to the base", "verdict", "from"], shown)
    bars = [
        Bar(name, r.mean, r.interval, f"{r.mean:.1f}")
        for name, r in zip(names, found, strict=True) if r.mean is not None
    ]  # fmt: skip
    if len(bars) > 1:
        ends = [v for b in bars for v in (b.value, *(b.interval or ())) if v is not None]
        margin = 0.1 * (max(ends) - min(ends)) or 1.0
        drawing = rows_svg(bars, (min(ends) - margin, max(ends) + margin), ablation.name, ablation.metric)
        figure = framed(drawing, "Means and 90 % intervals over seeds.")
        return [*parts, Html(f'<div class="small">{figure}</div>'), made]
    return [*parts, made]


def _budget(document: dict[str, Any]) -> str:
    budget = {k: v for k, v in (document.get("budget") or {}).items() if v}
    if "set" in budget:  # of files the name: where they lie is nobody's business
        budget["set"] = {k: Path(v).name if isinstance(v, str) else v for k, v in budget["set"].items()}
    return (
        f"Budget: {json.dumps(budget)}. An answer at a small budget holds for that budget." if budget else ""
    )


def _heights(step: Step, testset: TestSet | None) -> Html:
    """The error of the clips measured; below it that of all lengths that were worked out."""
    everything = _figure(step, "height_estimate_mae_cm", testset, 2)
    below = f'<br><span class="dim nowrap">refused too {everything}</span>' if everything else ""
    return Html(_whole(_figure(step, "height_mae_cm", testset, 2)) + below)


def _figure(step: Step, key: str, testset: TestSet | None, digits: int) -> str:
    """The mean over repetitions; of one alone with its interval by child."""
    found = [] if testset is None else step.figures(key, testset)
    if not found:
        return ""
    interval = None
    if len(found) == 1:
        document = found[0][0].document
        if key.startswith("mean") and document["pose"] is not None:
            interval = document["pose"]["pckh"]["0.1"].get(f"{key.removesuffix('_0.1')}_interval")
        elif document["height"] is not None:
            interval = document["height"].get(f"{key.removeprefix('height_')}_interval")
    return number(sum(v for _, v in found) / len(found), interval, digits)


def _share(step: Step, key: str, testset: TestSet | None) -> str:
    value = None if testset is None else step.mean(key, testset)
    return number(value, None, 0, 100) if value is not None else ""


def _stratum_mean(step: Step | None, testset: TestSet, stratum: str, value: str) -> float | None:
    if step is None:
        return None
    blocks = [e.document["strata"].get(stratum, {}).get(value) for e in step.results.get(testset, ())]
    known = [b["pose"]["pckh"]["0.1"]["mean_sms"] for b in blocks if b is not None and b["pose"] is not None]
    known = [v for v in known if v is not None]
    return sum(known) / len(known) if known else None


def _height(
    step: Step, testset: TestSet, stratum: str, value: str, key: str, digits: int, scale: float
) -> str:
    """The repetitions' mean of a figure of heights, empty where the stratum has no clips."""
    blocks = [e.document["strata"].get(stratum, {}).get(value) for e in step.results[testset]]
    known = [b["height"][key] for b in blocks if b is not None and b["height"] is not None]
    known = [v for v in known if v is not None]
    return number(sum(known) / len(known), None, digits, scale) if known else ""


def _tinted(value: float | None) -> str:
    if value is None:
        return '<td class="tint">-</td>'
    tint = f"background: color-mix(in srgb, var(--mark) {max(0.0, 60 - 0.8 * value):.0f}%, transparent)"
    return f'<td class="tint" style="{tint}">{value:.1f}</td>'


def _figure_or_nothing(value: float | None) -> str:
    return "" if value is None else number(value)


def _whole(text: str) -> Html:
    return Html(f'<span class="nowrap">{html.escape(text)}</span>')
