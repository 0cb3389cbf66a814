"""Shared by the command-line tests: a tiny installation of models, and the command as a real process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from heightpose.cli import main as cli_main

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "tests" / "runtime"))

import makers  # noqa: E402
from bad_days import clip, infer  # noqa: E402, F401 (fixtures)


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """Options that choose two tiny networks, which find a white square and put every joint on it."""
    folder = tmp_path_factory.mktemp("models")
    pose = makers.tiny_pose(folder / "pose.onnx")
    detector = makers.tiny_detector(folder / "detector.onnx")
    return ["--model", str(pose), "--detector", str(detector)]


def environment():
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "PYTHONPATH": path}


@pytest.fixture
def heightpose(tmp_path):
    """Run ``heightpose ARGS`` as a process in the test's own folder."""

    def run(*args):
        return subprocess.run(
            [sys.executable, "-m", "heightpose", *map(str, args)],
            cwd=tmp_path,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run


@pytest.fixture
def here(tmp_path, monkeypatch, capsys):
    """As :func:`heightpose`, in this process: for all that is not streams, signals or start-up, and much quicker."""
    monkeypatch.chdir(tmp_path)

    def run(*args):
        capsys.readouterr()
        code = cli_main._run([str(arg) for arg in args], False)
        out, err = capsys.readouterr()
        return SimpleNamespace(returncode=code, stdout=out, stderr=err)

    return run
