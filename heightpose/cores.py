"""How many processor cores, and how much memory, this process may really use."""

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


def usable_memory() -> int | None:
    """Bytes of the machine, or of what a container's or service's limit allows; None where the system does not say."""
    try:
        whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None
    told = [_text(folder / "memory.max") for folder in _groups(_CGROUPS, _OWN, "")]
    told += [
        _text(folder / "memory.limit_in_bytes") for folder in _groups(_CGROUPS / "memory", _OWN, "memory")
    ]
    return min([whole, *(int(text) for text in told if text.strip().isdecimal())])  # "max" is no limit


def _limits(root: Path, own: Path) -> Iterator[float]:
    """Cores that the control groups around this process are limited to: Linux's ``cpu.max``, in v1 quota and period."""
    told = [_text(folder / "cpu.max").split() for folder in _groups(root, own, "")]
    for folder in _groups(root / "cpu", own, "cpu"):
        told.append([_text(folder / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period")])
    for pair in told:
        try:
            quota, period = (float(value) for value in pair)  # "max", or -1, is no limit
        except ValueError:
            continue
        if quota > 0 and period > 0:
            yield quota / period


def _groups(root: Path, own: Path, controller: str) -> list[Path]:
    """The folders of the control groups around this process, its own first; "" is v2, which has one tree for all.

    In a v1 container its own group is often mounted as the root, though its path says where it lies outside.
    """
    for line in _text(own).splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controller in controllers.split(",") and ".." not in path:
            inner = root / path.strip("/")
            return [inner, *(folder for folder in inner.parents if folder.is_relative_to(root))]
    return [root]


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, ValueError):
        return ""
