"""``heightpose ARGS`` as tests call it: in this process, or as one of its own."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from heightpose.cli import main as cli_main

ROOT = Path(__file__).resolve().parents[1]


def environment() -> dict[str, str]:
    """In which a process imports this checkout, wherever it runs."""
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "PYTHONPATH": path}


@pytest.fixture
def here(tmp_path, monkeypatch, capsys):
    """Run ``heightpose ARGS`` in this process and the test's own folder: for all that is not streams, signals or
    start-up, and much quicker than a process."""
    monkeypatch.chdir(tmp_path)

    def run(*args):
        capsys.readouterr()
        code = cli_main._run([str(arg) for arg in args], False)
        out, err = capsys.readouterr()
        return SimpleNamespace(returncode=code, stdout=out, stderr=err)

    return run
