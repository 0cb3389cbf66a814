"""One self-contained page about one evaluation: figures, plots, strata and the worst cases."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from heightpose.evaluate.people import People, lengths_of
from heightpose.evaluate.records import ClipRecord, FrameRecord, require_records
from heightpose.evaluate.result import load_result
from heightpose.evaluate.text import set_words
from heightpose.metrics.height import worst
from heightpose.report.evaluation_figures import headline, height_parts, pose_parts
from heightpose.report.evaluation_strata import strata_parts
from heightpose.report.page import grid, heading, paragraph, write_page
from heightpose.report.plots import STYLE
from heightpose.report.worst import clip_figure, person_figure, worst_people
from heightpose.words import plural

#: How many people and clips are shown as worst cases.
_PEOPLE, _CLIPS = 12, 8


def write_report(folder: Path, data_folder: Path, *, blur: bool = True) -> Path:
    """Write ``folder/report.html`` from the result and records there; returns its path.

    Args:
        data_folder: where the judged pictures and clips lie; the worst cases are read from it.
        blur: make every infant's face unrecognisable.
    """
    result = load_result(folder)
    frames, clips = require_records(folder)
    test, models = result["testset"], result["models"]
    parts: list[str] = [
        STYLE,
        f"{plural(test['people'], 'person')} in {plural(test['frames'], 'frame')}, "
        f"{plural(test['clips'], 'clip')}, {plural(test['children'], 'child')}. "
        f"Model {models['pose']['name']} ({models['pose']['sha256'][:10]}), detector {models['detector']['name']} "
        f"({models['detector']['sha256'][:10]}), {result['backend']['pose'].get('name', '')}.",
        paragraph(
            "Brackets and whiskers are 90 % intervals, resampled by child; where fewer than two children are there is "
            "none. Those of yield and coverage are exact binomial ones, as if every clip were of a child of its own: "
            "rather too short where children have several clips. Joints are those that infer gives: of a person whom "
            "the detector missed all are wrong.",
            "dim",
        ),
        headline(result),
    ]
    if result["pose"] is not None:
        parts += pose_parts(result)
    if result["height"] is not None:
        parts += height_parts(result["height"], clips)
    parts += strata_parts(result)
    parts += _worst_parts(frames, clips, data_folder, blur)
    parts.append(
        paragraph(
            f"Written by heightpose {result['heightpose']}, {result['created']}. Set {test['sha256'][:16]}.",
            "dim",
        )
    )
    final = folder / "report.html"
    write_page(final, f"Evaluation on {set_words(result)}", *parts)
    return final


def _worst_parts(
    frames: Sequence[FrameRecord], clips: Sequence[ClipRecord], folder: Path, blur: bool
) -> list[str]:
    parts: list[str] = []
    cases = worst_people(People.of(frames), _PEOPLE)
    shown = [person_figure(case, folder, blur=blur) for case in cases]
    if any(shown):
        parts += [
            heading("Worst people"),
            paragraph(
                "Orange: the infant's left, blue: its right, white: the midline, as found. Green: the true joint (a "
                "ring where it is hidden), red: the way from it to the one found. Of a missed person the true joints "
                "are drawn.",
                "dim",
            ),
            grid([one for one in shown if one]),
        ]
    chosen = [clips[int(i)] for i in worst(lengths_of(clips), _CLIPS)] if clips else []
    chosen += [c for c in clips if c.measured_cm is None][:4]
    pictures = [clip_figure(clip, frames, folder, blur=blur) for clip in chosen]
    if any(pictures):
        parts += [heading("Worst clips, and some that were refused"), grid([p for p in pictures if p])]
    return parts
