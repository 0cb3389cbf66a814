"""Shared by the command-line tests: a tiny installation of models, and the command as a real process."""

from __future__ import annotations

import subprocess
import sys

import pytest
from commandline import ROOT, environment

sys.path.append(str(ROOT / "tests" / "runtime"))

import makers
from bad_days import infer, verb  # noqa: F401 (fixtures)
from spot_clip import camera, clip, estimating, plane, scale  # noqa: F401 (fixtures)


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """Options that choose two tiny networks, which find a white square and put every joint on it."""
    folder = tmp_path_factory.mktemp("models")
    pose = makers.tiny_pose(folder / "pose.onnx")
    detector = makers.tiny_detector(folder / "detector.onnx")
    return ["--model", str(pose), "--detector", str(detector)]


@pytest.fixture
def heightpose(tmp_path):
    """As ``here``, as a process."""

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
