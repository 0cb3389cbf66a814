"""For every test: no run is logged to W&B unless the test says so."""

from __future__ import annotations

import os

os.environ.setdefault("WANDB_MODE", "disabled")
