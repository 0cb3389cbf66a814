"""Numbers too small for a float's full precision, rounded to 0: fading weights slow a processor manyfold otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def flushed_denormals() -> Iterator[None]:
    """Torch computes so in this thread, and in those that begin meanwhile, while this lasts.

    No longer: OpenVINO 2026.4 handles whole numbers as the floats of the same bits on a processor without AVX-512, and
    they are denormals. Graphs that work out their batch then answer for nobody, and the next one crashes.
    """
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)
