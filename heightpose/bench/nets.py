"""Each network through the runtime that infer would use, beside the same weights in eager PyTorch f32."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from heightpose.cores import usable_cores
from heightpose.errors import HeightposeError
from heightpose.runtime.backends import Backend, resolve
from heightpose.runtime.modelfile import ModelFile

BATCHES = (1, 8)


def bench_net(loaded: Backend, file: ModelFile, seconds: float) -> dict[str, Any]:
    """Milliseconds per picture by batch size, of the runtime and of eager PyTorch where it is installed.

    Args:
        loaded: the network in its runtime.
        file: what it was loaded from; eager PyTorch takes the .safetensors of that name, or an .onnx that tells the
            weights of its layers.
        seconds: spent on each figure.

    Returns:
        ``{"file", "backend", "ms": {batch: ms}, "eager_ms": {batch: ms} or None, "times_eager": ..}``. Both run on
        the same random pictures, alternating, so that other work on the machine weighs on both.
    """
    rng = np.random.default_rng(0)
    width, height = file.input_wh
    eager = _eager(file.path)
    result: dict[str, Any] = {
        "file": file.path.name,
        "backend": str(loaded.active),
        "input_wh": [width, height],
    }
    ours, theirs = {}, {}
    for batch in BATCHES:
        pictures = rng.uniform(0, 255, (batch, 3, height, width)).astype(np.float32)
        runs: list[Callable[[], object]] = [lambda p=pictures: loaded.run(p)]  # type: ignore[misc]
        if eager is not None:
            runs.append(lambda p=pictures: eager(p))  # type: ignore[misc]
        times = _alternating(runs, seconds)
        ours[batch] = round(times[0] / batch, 3)
        if eager is not None:
            theirs[batch] = round(times[1] / batch, 3)
    result["ms"], result["eager_ms"] = ours, theirs or None
    result["times_eager"] = {b: round(theirs[b] / ours[b], 2) for b in theirs} or None
    return result


def _eager(file: Path) -> Callable[[np.ndarray], object] | None:
    try:
        import torch

        from heightpose.models.checkpoint import load_weights

        model: Any = load_weights(resolve("torch", file)[1])[0].float().eval()
    except (ModuleNotFoundError, HeightposeError):  # several networks in one file, say
        return None
    torch.set_num_threads(usable_cores())

    def run(pictures: np.ndarray) -> object:
        with torch.inference_mode():
            return model.forward_export(torch.from_numpy(pictures)).numpy()

    return run


def _alternating(runs: list[Callable[[], object]], seconds: float) -> list[float]:
    """Median milliseconds per call of each, one after the other for ``seconds`` each, at least three times."""
    for run in runs:
        run()
    times: list[list[float]] = [[] for _ in runs]
    end = time.perf_counter() + seconds * len(runs)
    while time.perf_counter() < end or len(times[0]) < 3:
        for run, taken in zip(runs, times, strict=True):
            start = time.perf_counter()
            run()
            taken.append(1000.0 * (time.perf_counter() - start))
    return [float(np.median(taken)) for taken in times]
