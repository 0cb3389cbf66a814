"""For every test: no run is logged to W&B unless the test says so."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

os.environ.setdefault("WANDB_MODE", "disabled")
sys.path.append(str(Path(__file__).resolve().parent))  # what several folders' tests share

from commandline import here  # noqa: F401 (a fixture for all)


def pytest_configure() -> None:
    """Signals work in tests that send them also in the background of a script or under nohup, which ignore some."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
