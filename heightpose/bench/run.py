"""The whole benchmark of one model, and its table."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from heightpose import __version__
from heightpose.bench.machine import described, machine
from heightpose.bench.nets import BATCHES, bench_net
from heightpose.bench.whole import first_answers, make_inputs, run_infer, stream_figures
from heightpose.runtime.networks import Detector, PoseModel
from heightpose.words import plural

#: What is aimed at on two cores with AMX, by model: frames/s of a 1280x720 clip with flip averaging, no overlay.
GOAL_FRAMES_PER_S = {"fast": 40.0, "accurate": 15.0}
GOAL_TIMES_EAGER = {1: 8.0, 8: 5.0}
GOAL_FIRST_ANSWER_S, GOAL_OVERLAY_FRAMES_PER_S = 2.0, 25.0


def bench(
    clip: Path,
    options: list[str],
    models: list[str],
    backend: str,
    *,
    frames: int,
    seconds: float,
    rounds: int,
) -> dict[str, Any]:
    """Measure the networks and whole runs of infer.

    Args:
        clip: video whose frames are played.
        options: of infer: camera, sheet or plane.
        models: shipped names or paths.
        frames: length of the bench clip.
        seconds: spent on each figure of a network.
        rounds: stills for the time to the first answer.

    Returns:
        Plain JSON values: machine, per model its nets, clip, overlay and first answer.

    Raises:
        HeightposeError: a model or the clip cannot be used; told before anything is measured.
    """
    detector, nets = Detector.load(backend=backend), [PoseModel.load(model, backend) for model in models]
    about: dict[str, Any] = {"heightpose": __version__, "machine": machine(), "models": {}}
    with tempfile.TemporaryDirectory(prefix="heightpose-bench-") as name:
        folder = Path(name)
        video, still, size_wh = make_inputs(clip, folder, frames)
        detecting = bench_net(detector.backend, detector.file, seconds)
        about["clip"] = {"source": clip.name, "size_wh": list(size_wh), "frames": frames}
        for model, net in zip(models, nets, strict=True):
            chosen = [*options, "--model", model, "--backend", backend]
            plain = run_infer(video, chosen, folder, overlay=False)
            drawn = run_infer(video, chosen, folder, overlay=True)
            about["models"][model] = {
                "nets": [detecting, bench_net(net.backend, net.file, seconds)],
                "clip": stream_figures(plain),
                "overlay_frames_per_s": None if not drawn.overlay_ms else round(1000.0 / drawn.overlay_ms, 2),
                "first_answer": first_answers(still, chosen, folder, rounds),
            }
    return about


def lines(about: dict[str, Any]) -> Iterator[str]:
    """The table for a person; a goal stands in brackets beside what was measured."""
    yield from described(about["machine"])
    width, height = about["clip"]["size_wh"]
    yield f"{plural(about['clip']['frames'], 'frame')} at {width}x{height}, from {about['clip']['source']}"
    for name, result in about["models"].items():
        yield ""
        yield f"model {name}"
        for net in result["nets"]:
            yield from _net_lines(net)
        clip = result["clip"]
        goal = _goal(GOAL_FRAMES_PER_S.get(name))
        yield f"  {'frames/s, without overlay':36}{_number(clip['frames_per_s'])}{goal}"
        yield f"  {'frames/s, process start included':36}{_number(clip['frames_per_s_with_start'])}"
        for stage, ms in clip["stage_ms"].items():
            yield f"    {stage + ', ms/frame':34}{_number(ms)}"
        goal = _goal(GOAL_OVERLAY_FRAMES_PER_S)
        yield f"  {'overlay, frames/s':36}{_number(result['overlay_frames_per_s'])}{goal}"
        yield f"  {'peak memory, MB':36}{_number(clip['peak_mb'])}"
        first = result["first_answer"]
        yield f"  {'one still to its answer, s':36}{_number(first['best_s'])}{_goal(GOAL_FIRST_ANSWER_S)}"


def _net_lines(net: dict[str, Any]) -> Iterator[str]:
    size = "x".join(map(str, net["input_wh"]))
    yield f"  {net['file']} {size}: {net['backend']}"
    for batch in BATCHES:
        text = f"    {f'ms per picture, batch {batch}':34}{_number(net['ms'][batch])}"
        if net["eager_ms"] is not None:
            text += f"   eager PyTorch f32 {_number(net['eager_ms'][batch]).strip()}"
            text += f", {net['times_eager'][batch]:.1f} times{_goal(GOAL_TIMES_EAGER[batch])}"
        yield text


def _number(value: float | None) -> str:
    return f"{'-':>10}" if value is None else f"{value:>10.2f}"


def _goal(value: float | None) -> str:
    return "" if value is None else f"  [{value:g}]"
