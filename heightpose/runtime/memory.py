"""The C library's memory, told to hand back what a long video's frames took, and the most that a process held."""

from __future__ import annotations

import ctypes
import platform
import re
from pathlib import Path

#: Bytes from which a block is given back to the system when it is freed. With 256 kB a fifth of the speed was lost, as
#: every array of the codec then comes as new, empty pages.
LARGE = 2 * 1024 * 1024

_M_MMAP_THRESHOLD = -3  # malloc.h


def return_large_blocks() -> bool:
    """Make this process give blocks of :data:`LARGE` bytes or more back as soon as they are freed.

    glibc does so at first, but each large block that is freed raises its threshold, up to 32 MB; frames then come
    from the heap, where small blocks that live on keep the space between them: a stream's memory creeps up. Setting
    the threshold ends that (mallopt(3)).

    Returns:
        Whether this system's C library took it; others need nothing or offer nothing.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    return bool(ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, LARGE))


def peak_mb(process: int | None = None) -> float | None:
    """The most memory, MB, that a running process has held so far, this one by default; None where Linux's /proc does
    not tell.

    What wait4(2) and getrusage(2) call the largest resident set begins with that of the process that started it.
    """
    status = Path("/proc") / ("self" if process is None else str(process)) / "status"
    try:
        found = re.search(r"^VmHWM:\s+(\d+) kB$", status.read_text(), re.MULTILINE)
    except OSError:
        return None
    return None if found is None else int(found.group(1)) * 1024 / 1e6
