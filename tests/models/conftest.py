"""The models' tests need the training extra; without it they are skipped, not failed."""

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("timm")

# Small tensors on shared machines: threads that wait for each other cost more than they bring.
torch.set_num_threads(1)
