"""What a network costs: parameters, floating-point operations, and how long this machine takes for it."""

from __future__ import annotations

import csv
import io
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from heightpose.codec.heatmap import HeatmapCodec
from heightpose.cores import usable_cores
from heightpose.errors import ConfigError, HeightposeError
from heightpose.models.denormals import flushed_denormals
from heightpose.models.description import pose_meta
from heightpose.models.onnx_graph import export_onnx
from heightpose.models.pose_net import PoseNet, require_name, resolve_head
from heightpose.runtime.backends import load_backend
from heightpose.skeleton import INFANT
from heightpose.words import one_line

#: One of every kind that ``pose.backbone`` can name; a head other than its default after a colon.
NETWORKS = (
    "hrnet_w18_small", "hrnet_w18_small_deep", "hrnet_w32", "hrnet_w32:single", "hrnet_w48", "lite_hrnet_18",
    "lite_hrnet_30", "resnet50", "resnest50d", "vit_small_patch16_224", "vit_base_patch16_224", "hourglass_2",
    "hourglass_8", "resnet50:regression",
)  # fmt: skip

RUNTIMES = ("torch", "openvino")

#: Timed calls, at least and at most.
_FEWEST, _MOST = 3, 200


#: What counters and exporters say to a layer that they do not know.
_UNKNOWN_LAYER = (RuntimeError, ValueError, AssertionError)


@dataclass(frozen=True)
class Cost:
    """A row of the table.

    Attributes:
        network: as it was asked for; backbone and head as resolved.
        input_wh, heatmap_wh: px.
        parameters: number of trained values.
        gflops: 1e9 floating-point operations per picture, a multiply-add counted as two (published tables mostly
            count it as one and call it FLOPs).
        latency_ms: median per call by runtime and batch size; absent where it could not be measured.
        notes: why not.
    """

    network: str
    backbone: str
    head: str
    input_wh: tuple[int, int]
    heatmap_wh: tuple[int, int] | None = None
    parameters: int | None = None
    gflops: float | None = None
    latency_ms: dict[str, dict[int, float]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        latency = {name: {str(n): ms for n, ms in found.items()} for name, found in self.latency_ms.items()}
        return {
            "network": self.network,
            "backbone": self.backbone,
            "head": self.head,
            "input_wh": list(self.input_wh),
            "heatmap_wh": None if self.heatmap_wh is None else list(self.heatmap_wh),
            "parameters": self.parameters,
            "gflops": self.gflops,
            "latency_ms": latency,
            "notes": list(self.notes),
        }


def measure(
    networks: Sequence[str],
    inputs_wh: Sequence[tuple[int, int]],
    batches: Sequence[int] = (1, 8),
    runtimes: Sequence[str] = RUNTIMES,
    *,
    threads: int,
    seconds: float = 2.0,
) -> Iterator[Cost]:
    """Rows as they are ready: every network at every input size; what cannot be had says so in its notes.

    Args:
        networks: ``backbone`` or ``backbone:head``.
        inputs_wh: (width, height) px.
        batches: pictures per call.
        runtimes: of :data:`RUNTIMES`; torch is eager, both compute in f32.
        threads: processor threads.
        seconds: how long each figure is timed for.

    Raises:
        ConfigError: a network that does not exist.
    """
    asked = [(name, *name_and_head(name)) for name in networks]
    _require_buildable(asked, inputs_wh)
    torch.set_num_threads(threads)
    for name, backbone, head in asked:
        for input_wh in inputs_wh:
            try:
                net = PoseNet(backbone, len(INFANT), head, input_wh=input_wh).eval()
            except ConfigError as error:
                yield Cost(name, backbone, head, input_wh, notes=(str(error),))
                continue
            yield _row(name, net, batches, runtimes, threads, seconds)


def _require_buildable(asked: Sequence[tuple[str, str, str]], inputs_wh: Sequence[tuple[int, int]]) -> None:
    """Raise for a network that does not exist before any is measured, which takes minutes; names first."""
    for _, backbone, _ in asked:
        require_name(backbone)
    for name, backbone, head in asked:
        if name in NETWORKS:
            continue
        try:  # timm has networks that give no feature maps, which only building them tells
            PoseNet(backbone, len(INFANT), head, input_wh=inputs_wh[0])
        except ConfigError as error:
            if error.where == "pose.backbone":
                raise


def name_and_head(network: str) -> tuple[str, str]:
    """``backbone:head`` to its parts, the head resolved.

    Raises:
        ConfigError: the backbone cannot have that head.
    """
    backbone, _, head = network.partition(":")
    return backbone, resolve_head(backbone, head if head else "auto")


def _row(
    name: str, net: PoseNet, batches: Sequence[int], runtimes: Sequence[str], threads: int, seconds: float
) -> Cost:
    latency, notes = {}, []
    try:
        gflops = flops(net) / 1e9
    except _UNKNOWN_LAYER as error:
        gflops = None
        notes.append(_noted("operations", error))
    with tempfile.TemporaryDirectory() as folder:
        for runtime in runtimes:
            try:
                call = _torch(net) if runtime == "torch" else _openvino(net, Path(folder), threads)
                latency[runtime] = {n: median_ms(call, _pictures(net, n), seconds) for n in batches}
            except HeightposeError as error:
                notes.append(f"{runtime}: {error}")
            except _UNKNOWN_LAYER as error:
                notes.append(_noted(runtime, error))
    return Cost(
        name, str(net.arch["backbone"]), str(net.arch["head"]), net.input_wh,
        net.heatmap_wh if net.output == "heatmaps" else None,
        sum(p.numel() for p in net.parameters()), gflops, latency, tuple(notes),
    )  # fmt: skip


def _noted(what: str, error: Exception) -> str:
    return f"{what}: {one_line(error, 200)}"


def flops(net: PoseNet) -> int:
    """Floating-point operations for one picture; convolutions and matrix products, as torch counts them."""
    # The fused attention kernels are opaque to the counter.
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        net(torch.from_numpy(_pictures(net, 1)))
    return int(counter.get_total_flops())


def _pictures(net: PoseNet, count: int) -> np.ndarray:
    width, height = net.input_wh
    return np.random.default_rng(0).uniform(0, 255, (count, 3, height, width)).astype(np.float32)


def _torch(net: PoseNet) -> Callable[[np.ndarray], Any]:
    model = net.to(memory_format=torch.channels_last)

    def call(batch: np.ndarray) -> Any:
        with torch.inference_mode(), flushed_denormals():
            return model(torch.from_numpy(batch).to(memory_format=torch.channels_last))

    return call


def _openvino(net: PoseNet, folder: Path, threads: int) -> Callable[[np.ndarray], Any]:
    path = folder / "net.onnx"
    export_onnx(net, path, pose_meta(net, INFANT.names, HeatmapCodec(net.input_wh, net.heatmap_wh)))
    return load_backend(path, "openvino", precision="f32", threads=threads)[0].run


def median_ms(call: Callable[[np.ndarray], Any], batch: np.ndarray, seconds: float) -> float:
    """Median time of a call, after one that is not counted (runtimes prepare themselves in it)."""
    call(batch)
    times: list[float] = []
    start = time.perf_counter()
    while len(times) < _FEWEST or (len(times) < _MOST and time.perf_counter() - start < seconds):
        before = time.perf_counter()
        call(batch)
        times.append(1000.0 * (time.perf_counter() - before))
    return statistics.median(times)


def machine(threads: int) -> dict[str, Any]:
    """What the times were measured on. ``load`` is that of the last minute: a busy machine is slower."""
    found: dict[str, Any] = {
        "processor": _processor(),
        "cores": usable_cores(),
        "threads": threads,
        "load": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
        "system": f"{platform.system()} {platform.machine()}",
        "torch": torch.__version__,
    }
    try:
        import openvino
    except ImportError:
        return found
    return found | {"openvino": openvino.__version__.split("-")[0]}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def text_table(rows: Sequence[Cost], batches: Sequence[int], runtimes: Sequence[str]) -> list[str]:
    """The table for people; notes below it."""
    timed = [(runtime, n) for runtime in runtimes for n in batches]
    head = ["network", "input", "heatmap", "M params", "GFLOP", *(f"{r} ms x{n}" for r, n in timed)]
    body = [
        [
            row.network,
            _size(row.input_wh),
            _size(row.heatmap_wh),
            "-" if row.parameters is None else f"{row.parameters / 1e6:.2f}",
            "-" if row.gflops is None else f"{row.gflops:.2f}",
            *(_ms(row.latency_ms.get(r, {}).get(n)) for r, n in timed),
        ]
        for row in rows
    ]
    widths = [max(len(line[i]) for line in [head, *body]) for i in range(len(head))]
    lines = [
        "  ".join(
            c.ljust(w) if i < 3 else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True))
        )
        for line in [head, *body]
    ]
    return [line.rstrip() for line in lines] + [f"{r.network}: {note}" for r in rows for note in r.notes]


def csv_table(rows: Sequence[Cost], batches: Sequence[int], runtimes: Sequence[str]) -> str:
    """The table as CSV, one row per network and input size."""
    timed = [(runtime, n) for runtime in runtimes for n in batches]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(
        ["network", "backbone", "head", "input", "heatmap", "parameters", "gflops"]
        + [f"{r}_ms_{n}" for r, n in timed]
        + ["notes"]
    )
    for row in rows:
        figures = [row.latency_ms.get(r, {}).get(n) for r, n in timed]
        writer.writerow(
            [row.network, row.backbone, row.head, _size(row.input_wh), _size(row.heatmap_wh), row.parameters]
            + [None if row.gflops is None else round(row.gflops, 4)]
            + [None if f is None else round(f, 3) for f in figures]
            + ["; ".join(row.notes)]
        )
    return out.getvalue()


def _size(wh: tuple[int, int] | None) -> str:
    return "-" if wh is None else f"{wh[0]}x{wh[1]}"


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
