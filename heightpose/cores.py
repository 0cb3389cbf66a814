"""How many processor cores this process may really use."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

_CGROUPS, _OWN = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def usable_cores() -> int:
    """Cores by affinity, where the system can say, and by what a container's or service's limit allows; at least 1.

    A container limited to two cores of a server still sees all 64 of them: 64 threads would take turns on two, and
    be halted for most of every tenth of a second.
    """
    seen = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    return max(1, min(seen, math.ceil(min(_limits(_CGROUPS, _OWN), default=seen))))


def _limits(root: Path, own: Path) -> Iterator[float]:
    """Cores that the control groups around this process are limited to: Linux's ``cpu.max``, in v1 a container's."""
    folders = [root]
    for line in _text(own).splitlines():
        number, _, path = line.partition("::")
        if number == "0" and ".." not in path:  # v2's only line
            inner = root / path.strip("/")
            folders = [inner, *(folder for folder in inner.parents if folder.is_relative_to(root))]
    told = [_text(folder / "cpu.max").split() for folder in folders]
    told.append([_text(root / "cpu" / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period")])
    for pair in told:
        try:
            quota, period = (float(value) for value in pair)  # "max", or -1, is no limit
        except ValueError:
            continue
        if quota > 0 and period > 0:
            yield quota / period


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, ValueError):
        return ""
