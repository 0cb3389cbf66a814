"""The development on one page: what changed, what it did, and what to annotate next. One file, nothing fetched.

Everything is computed from run records (:mod:`heightpose.report.runs`); every figure carries the number of its record,
and the last table has each record's file and the command that makes it again.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from heightpose.report import dashboard_sections as sections
from heightpose.report.dashboard_style import STYLE, script
from heightpose.report.dashboard_view import Options, View, correlations, look
from heightpose.report.page import Html, heading, page
from heightpose.report.plots import STYLE as PLOT_STYLE
from heightpose.runtime.atomic import write_text


def write_dashboard(roots: Sequence[Path], out: Path, options: Options) -> View:
    """Read the records below some folders and write the page; returns what it is made of.

    Raises:
        HeightposeError: a root or a named file cannot be read. A damaged run record is named on the page instead.
    """
    view = look(roots, options)
    write_text(out, render(view, options))
    return view


def render(view: View, options: Options) -> Html:
    """The page's text."""
    named = {
        "Development": sections.development_parts(view),
        "Overfit": sections.overfit_parts(view),
        "Joints and heights": sections.correlation_parts(view),
        "Strata": sections.strata(view),
        "What to annotate next": sections.advice(view),
        "Label checks": sections.checks(options),
        "Worst cases": sections.worst(view, options),
        "Ablations": sections.ablations(view),
        "Records": sections.records(view),
    }
    links = "".join(f'<a href="#s{i}">{name}</a>' for i, name in enumerate(named))
    parts: list[str] = [PLOT_STYLE, STYLE, sections.summary(view), Html(f"<nav>{links}</nav>")]
    for i, (name, body) in enumerate(named.items()):
        parts += [Html(str(heading(name)).replace("<h2>", f'<h2 id="s{i}">')), *body]
    return page(options.title, *parts, script(_data(view)))


def _data(view: View) -> dict[str, Any]:
    """What the page shows, for programs: steps, correlations, advice, and where each figure comes from."""
    steps = [
        {
            "step": index,
            "name": step.name,
            "new": step.kind,
            "changes": step.changes,
            "created": step.created.isoformat(timespec="seconds"),
            "trainings": [
                {
                    "record": view.numbers.of(r).ref,
                    "id": r.id,
                    "overfit": r.overfit,
                    "validation": r.best.get("MeanSmS@0.1"),
                }
                for r in step.runs
            ],
            "results": [
                {"record": view.numbers.of(e).ref, "testset": t[0], "sha256": t[1], **e.headline}
                for t, es in step.results.items()
                for e in es
            ],
            "replaced": [
                {"record": view.numbers.of(was).ref, "by": view.numbers.of(now).ref, "differs": words}
                for was, now, words in step.told_otherwise()
            ],
        }
        for index, step in enumerate(view.line.steps, 1)
    ]
    return {
        "schema": 1,
        "steps": steps,
        "correlations": [
            {"joints": j[0], "heights": h[0], "runs": c.n, "r": c.r, "interval": c.interval}
            for j, h, _, c in correlations(view)
        ],
        "advice": view.ranking.document(),
        "skipped": [{"record": str(s.path), "why": s.why} for s in view.runs.skipped],
        "records": view.numbers.document(),
    }
