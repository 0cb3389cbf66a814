"""Peak memory of a short and a long stream through the whole runtime: prints both in MB, and their ratio.

    python tests/runtime/flat_memory.py [--frames 500 20000] [--every N] [--shipped [--clip FILE]] [--repeat N]

Each stream has a process of its own, as ``infer`` gives it: a second stream in the same process would begin with
everything that the first has imported and kept. By default the shipped networks are loaded, but ones that answer at
once are asked, so that 20,000 frames take less than a minute: everything else, from the decoding thread to the result
files, is the real thing. ``--shipped`` asks the shipped networks, about pictures of 1280x720, or with ``--clip`` about
the first 64 frames of a clip, played to and fro.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from heightpose.codec.heatmap import HeatmapCodec
from heightpose.geometry.camera import Camera
from heightpose.geometry.plane import Plane
from heightpose.runtime import memory, output, results
from heightpose.runtime.backends import Active, Backend
from heightpose.runtime.clip import Clip, Frame
from heightpose.runtime.modelfile import ModelFile
from heightpose.runtime.networks import Detector, PoseModel
from heightpose.runtime.scale import Scale
from heightpose.runtime.selection import Selection
from heightpose.runtime.session import measure_clip
from heightpose.runtime.tta import Tta
from heightpose.runtime.video import open_clip
from heightpose.skeleton import INFANT


class Stream(Clip):
    """Frames without end, each made anew: a bright square that wanders about, or those ``shown`` to and fro."""

    def __init__(self, count: int, size_wh: tuple[int, int], shown: Sequence[np.ndarray] = ()) -> None:
        self.name, self.kind, self.size_wh, self._count = "synthetic", "stream", size_wh, count
        self.live, self._shown = True, [*shown, *shown[-2:0:-1]]

    def frames(self) -> Iterator[Frame]:
        width, height = self.size_wh
        for i in range(self._count):
            if self._shown:
                yield Frame(i, 0.04 * i, self._shown[i % len(self._shown)].copy())
                continue
            rgb = np.full((height, width, 3), 40, np.uint8)
            x = width // 4 + i % (width // 4)
            rgb[height // 4 : height // 2, x : x + width // 4] = 200
            yield Frame(i, 0.04 * i, rgb)


class Instant(Backend):
    """The same answer for every picture."""

    active = Active("instant", "CPU", "f32", 1)

    def __init__(self, answer: np.ndarray, path: Path) -> None:
        self._answer, self._path = answer, path

    def _run(self, batch: np.ndarray) -> np.ndarray:
        return np.repeat(self._answer, len(batch), axis=0)


def instant_networks(folder: Path) -> tuple[Detector, PoseModel]:
    """One infant in the middle of every frame; small maps, as their decoding would take most of the time."""
    answer = np.zeros((1, 7, 32, 32), np.float32)
    answer[0, :, 16, 16] = (0.9, 1.0, 1.0, 1.0, 1.0, 0.0, 1.0)
    path = folder / "instant.onnx"
    detector = Detector(Instant(answer, path), ModelFile(path, "detector", (), (256, 256), None, None, {}))
    codec = HeatmapCodec((32, 32), (16, 16), 2.0)
    places = np.random.default_rng(0).uniform(6, 26, (1, 21, 2))
    maps, _ = codec.encode(places, np.ones((1, 21), bool))
    file = ModelFile(path, "pose", INFANT.names, (32, 32), (16, 16), 2.0, {})
    return detector, PoseModel(Instant(maps.astype(np.float32), path), file, codec, INFANT, Tta(flip=False))


def first_frames(path: Path) -> list[np.ndarray]:
    with open_clip(path) as clip:
        return [frame.rgb for frame, _ in zip(clip.frames(), range(64), strict=False)]


def run(
    make_stream: Callable[[int], Stream],
    count: int,
    every: int,
    networks: tuple[Detector, PoseModel],
    folder: Path,
) -> float:
    """Measure a stream of ``count`` frames, write its joints, and give the process's peak in MB."""
    stream = make_stream(count)
    size_wh = stream.size_wh
    K = np.array([[500.0, 0, size_wh[0] / 2], [0, 500.0, size_wh[1] / 2], [0, 0, 1]])
    plane = Plane(np.diag([1.0, -1.0, -1.0]), np.array([0.0, 0.0, 150.0]))
    scale = Scale(Camera("pinhole", size_wh, K, np.zeros(5)), plane=plane)
    outcome = measure_clip(stream, *networks, scale, selection=Selection(every))
    assert (len(outcome.log), outcome.times.frames) == (count, -(-count // every))
    output.write_poses(folder / "poses.json", outcome.log, INFANT)
    results.write_preview(folder / "preview.png", outcome, blur_faces=False)
    peak = memory.peak_mb()
    if peak is None:
        raise RuntimeError("this system does not tell a process's peak memory")
    return peak


def peak_mb(count: int, every: int, shipped: bool, clip: Path | None) -> float:
    """What a process that measures one stream takes at most, in MB."""
    memory.return_large_blocks()  # as infer does
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shown = first_frames(clip) if clip else []
        size_wh = (1280, 720) if shipped else (160, 120)
        if shown:
            size_wh = shown[0].shape[1::-1]
        loaded = Detector.load(), PoseModel.load()  # in memory in both cases, as they always are
        networks = loaded if shipped else instant_networks(folder)
        return run(lambda n: Stream(n, size_wh, shown), count, every, networks, folder)


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", nargs=2, type=int, default=(500, 20_000))
    parser.add_argument("--every", type=int, default=1, help="of the long stream, look at every n-th frame")
    parser.add_argument("--shipped", action="store_true")
    parser.add_argument("--clip", type=Path, help="with --shipped: its frames instead of a square")
    parser.add_argument("--repeat", type=int, default=1, help="processes per stream; their mean counts")
    given = parser.parse_args(argv)
    work = [
        (count, every, given.shipped, given.clip)
        for count, every in zip(given.frames, (1, given.every), strict=True)
        for _ in range(given.repeat)
    ]
    # One process per stream (the ratio is of their own peaks), one at a time.
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        peaks = np.array(pool.starmap(peak_mb, work, chunksize=1)).reshape(2, given.repeat)
    short, long = peaks.mean(axis=1)
    figures = {"short_mb": round(short, 1), "long_mb": round(long, 1), "ratio": round(long / short, 4)}
    if given.repeat > 1:
        figures |= {"each_mb": peaks.round(1).tolist()}
    print(json.dumps(figures))


if __name__ == "__main__":
    main(sys.argv[1:])
