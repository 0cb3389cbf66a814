"""The models' tests need the training extra; without it they are skipped, not failed."""

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("timm")

# Small tensors on shared machines: threads that wait for each other cost more than they bring.
torch.set_num_threads(1)


@pytest.fixture
def narrow_head(monkeypatch):
    """The published 256 channels would be four fifths of a small network's work; fewer are the same layers."""
    from heightpose.models.heads import DeconvHead

    monkeypatch.setattr(DeconvHead, "WIDTH", 32)
