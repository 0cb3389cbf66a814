"""Lets these tests use the makers of others."""

from __future__ import annotations

import sys
from pathlib import Path

for part in ("data", "evaluate", "runtime"):
    folder = str(Path(__file__).resolve().parents[1] / part)
    if folder not in sys.path:
        sys.path.append(folder)
