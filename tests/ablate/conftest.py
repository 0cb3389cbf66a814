"""Ablations need the training extra; without it these tests are skipped, not failed."""

import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("timm")

# Small tensors on shared machines: threads that wait for each other cost more than they bring.
torch.set_num_threads(1)

sys.path.append(str(Path(__file__).resolve().parents[1] / "data"))
