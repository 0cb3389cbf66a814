"""What a figure of speed was measured on."""

from __future__ import annotations

import os
import platform
from typing import Any

from heightpose.cores import usable_cores, usable_memory
from heightpose.words import plural

#: What the networks' speed depends on, as Linux names it.
_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_tile", "amx_bf16", "amx_int8")


def machine() -> dict[str, Any]:
    """Processor, cores, instruction sets, memory, and how busy it is already."""
    info = _cpuinfo()
    flags, memory = info.get("flags", "").split(), usable_memory()
    return {
        "processor": info.get("model name") or platform.processor() or platform.machine(),
        "cores": usable_cores(),
        "instructions": [flag for flag in _FLAGS if flag in flags],
        "memory_gb": None if memory is None else round(memory / 1e9),
        "system": f"{platform.system()} {platform.machine()}",
        "load_before": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    }


def described(about: dict[str, Any]) -> list[str]:
    """The machine in lines for a person; a warning where other work ran beside."""
    sets = ", ".join(about["instructions"]) or "none of those that matter here"
    lines = [
        f"{about['processor']}, {plural(about['cores'], 'core')}, {about['memory_gb']} GB, {about['system']}; {sets}"
    ]
    load = about["load_before"]
    if load is not None and load > 0.25 * about["cores"]:
        lines.append(f"other work ran beside (load {load:g} before the start): figures are too slow")
    return lines


def _cpuinfo() -> dict[str, str]:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            pairs = (line.partition(":") for line in file)
            info: dict[str, str] = {}
            for key, _, value in pairs:
                info.setdefault(key.strip(), value.strip())
            return info
    except OSError:  # not Linux
        return {}
