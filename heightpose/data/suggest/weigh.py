"""How much a frame is wanted: its doubt, times what the dashboard's advice says about its kind."""

from __future__ import annotations

import numpy as np

#: Doubt to this power: between drawing by variety alone (0) and taking the most doubted only.
_POWER = 2.0


def weights_of(doubt: np.ndarray, wanted: np.ndarray | None = None) -> np.ndarray:
    """``(N,)`` from doubts 0..1 and factors of at least 0 (none: 1)."""
    weights = np.asarray(doubt, dtype=np.float64) ** _POWER
    return weights if wanted is None else weights * wanted
