"""Numbers that a float holds only in part are flushed for as long as was asked, and no longer."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from heightpose.models.denormals import flushed_denormals  # noqa: E402


def flushes():
    return not bool((torch.full((4,), 1e-40) * 0.5).any())


def test_only_while_it_lasts():
    if not torch.set_flush_denormal(False):
        pytest.skip("not on this processor")
    with flushed_denormals():
        assert flushes()
    assert not flushes()
