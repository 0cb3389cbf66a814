"""Lets these tests use the runtime's makers."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
for folder in (HERE, HERE.parent / "runtime"):
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
