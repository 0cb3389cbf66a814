"""Does this machine compute the shipped networks as they were computed where they were made?

Runtimes choose their kernels by the processor, and some of them are wrong: OpenVINO 2026.4 with two streams makes 1e31
of the peaks of a net whose weights lie in bytes. Joints are read from such maps all the same. So a shipped network sees
one drawn picture when it is loaded, and its answer is held against the recorded one.

``python -m heightpose.runtime.selftest`` records the answers anew, after new weights, in f32.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from heightpose.arrays import read_arrays
from heightpose.errors import FileFormatError
from heightpose.runtime.atomic import atomic_path
from heightpose.runtime.modelfile import WEIGHTS_DIR, read_model_file, shipped_path

RECORDED = WEIGHTS_DIR / "selftest.npz"
_MODELS = ("fast", "accurate", "detector")
#: How far an answer may be from the recorded one (:func:`distance`). In bf16 it is 0.02 (detector) to 0.06 (accurate)
#: away, by another runtime in f32 8e-6 at most; maps of half the height are 0.6 away, shifted by 2 cells 0.4.
LIMIT = 0.25
#: Each channel's map is compared by the maxima of so many by so many cells.
_CELLS = 8


def picture(input_wh: tuple[int, int]) -> np.ndarray:
    """``(1, 3, H, W)`` float32 RGB 0..255: waves across each other, the same on every machine to rounding."""
    width, height = input_wh
    y, x = np.mgrid[0:height, 0:width] / max(input_wh)
    waves = ((1, 2, 0.0), (2, -1, 1.0), (3, 1, 2.0))
    channels = [
        np.sin(2 * np.pi * (a * x + b * y) + c) + np.sin(2 * np.pi * (7 * b * x - 5 * a * y) + 2 * c)
        for a, b, c in waves
    ]
    return (127.5 + 60.0 * np.stack(channels)).clip(0, 255)[None].astype(np.float32)


def answer(output: np.ndarray) -> np.ndarray:
    """``(1, C, h, w)`` maps -> ``(C, 8, 8)`` the largest value of each cell."""
    _, channels, height, width = output.shape
    cells = output[0].reshape(channels, _CELLS, height // _CELLS, _CELLS, width // _CELLS)
    return cells.max(axis=(2, 4)).astype(np.float64)


def distance(output: np.ndarray, recorded: np.ndarray) -> float:
    """How far an answer is from the recorded one: per channel the root mean square difference over the standard
    deviation of the recorded map, root mean square over channels; infinite for another shape."""
    if (
        output.ndim != 4
        or output.shape[1] != len(recorded)
        or output.shape[2] % _CELLS
        or output.shape[3] % _CELLS
    ):
        return float("inf")
    off = ((answer(output) - recorded) ** 2).mean(axis=(1, 2)) / recorded.var(axis=(1, 2))
    found = float(np.sqrt(off.mean()))
    return found if np.isfinite(found) else float("inf")


def recorded_for(path: Path) -> np.ndarray | None:
    """``(C, 8, 8)`` what a shipped network answered; None for any other file."""
    return _recorded().get(path.stem) if path.parent == WEIGHTS_DIR else None


def check(output: np.ndarray, recorded: np.ndarray, path: Path, runtime: str) -> None:
    """Raise FileFormatError where the answer to :func:`picture` is not the recorded one."""
    off = distance(output, recorded)
    if off > LIMIT:
        raise FileFormatError(
            f"{runtime} computes this network wrongly on this machine, or it is not the shipped file", where=path,
            expected=f"a self-test within {100 * LIMIT:.0f} % of the recorded answer", got=f"{100 * off:.3g} %",
            hint="Install heightpose anew, or give another --backend",
        )  # fmt: skip


@cache
def _recorded() -> dict[str, np.ndarray]:
    arrays = read_arrays(RECORDED, "the networks' recorded answers")
    return {name: recorded.astype(np.float64) for name, recorded in arrays.items()}


def record(path: Path = RECORDED) -> None:
    """Write the shipped networks' answers."""
    from heightpose.runtime.backends import create_backend  # which imports this module

    found: dict[str, Any] = {}
    for name in _MODELS:
        file = shipped_path(name)
        backend = create_backend("openvino", file, "f32", 1)
        found[file.stem] = answer(backend.run(picture(read_model_file(file).input_wh))).astype(np.float32)
    with atomic_path(path) as tmp:
        np.savez_compressed(tmp, **found)


if __name__ == "__main__":
    record()
