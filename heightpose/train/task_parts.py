"""What both tasks are made of: batches of tensors, and figures of what may be nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

Batch = dict[str, Any]


def to_tensor(images: list[np.ndarray]) -> Tensor:
    """``(h, w, 3)`` uint8 pictures to ``(N, 3, h, w)`` uint8, already in channels_last order."""
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)


def mean_of(values: np.ndarray) -> float | None:
    """The mean; None of nothing."""
    return float(np.mean(values)) if len(values) else None
