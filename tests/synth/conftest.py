"""The body model takes seconds to load: once for all tests."""

from __future__ import annotations

import pytest

from heightpose.synth.body import BodyModel


@pytest.fixture(scope="session")
def model() -> BodyModel:
    return BodyModel()
