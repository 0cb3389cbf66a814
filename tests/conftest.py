"""For every test: no run is logged to W&B unless the test says so."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

os.environ.setdefault("WANDB_MODE", "disabled")
sys.path.append(str(Path(__file__).resolve().parent))  # what several folders' tests share


def pytest_configure() -> None:
    """Ctrl-C works in tests that send it also where this runs in the background of a script, which ignores it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
