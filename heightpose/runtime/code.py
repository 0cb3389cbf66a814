"""Which code ran: the package's version, the git commit where there is one, and a hash of the sources themselves."""

from __future__ import annotations

import hashlib
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

from heightpose import __version__

_PACKAGE = Path(__file__).resolve().parents[1]


@cache
def code_version() -> dict[str, Any]:
    """``{"version", "commit", "changed", "sha256"}`` of the running package.

    ``commit`` is None outside a git checkout (an installed wheel), ``changed`` tells whether the package's files
    differ from it, None where git did not say. ``sha256`` covers every Python file of the package and so holds without
    git too.
    """
    commit = _git("rev-parse", "HEAD")
    # Read only: a status that refreshed the index would stand in the way of whoever commits just now.
    status = None if commit is None else _git("--no-optional-locks", "status", "--porcelain", "--", ".")
    changed = None if status is None else status != ""
    return {"version": __version__, "commit": commit, "changed": changed, "sha256": sources_sha256()}


def _git(*args: str) -> str | None:
    # An environment installed inside some other project's checkout must not name that project's commit.
    if not (_PACKAGE.parent / ".git").exists():
        return None
    try:
        done = subprocess.run(
            ["git", *args], cwd=_PACKAGE, capture_output=True, text=True, timeout=20, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


@cache
def sources_sha256() -> str:
    """Of every Python file of the package, when first asked: what this process runs."""
    digest = hashlib.sha256()
    for path in sorted(_PACKAGE.rglob("*.py")):
        digest.update(path.relative_to(_PACKAGE).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()
