"""``heightpose data preview`` as a process: a picture with a cell per sample, the same for the same seed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np

sys.path.append(str(Path(__file__).resolve().parents[1] / "data"))
import drawn

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


def preview(*arguments):
    command = [sys.executable, "-m", "heightpose.cli.main", "data", "preview", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_it_draws_as_many_samples_as_asked(tmp_path):
    drawn.nursery(tmp_path / "set")
    one, two = tmp_path / "one.png", tmp_path / "two.png"
    for out, more in ((one, ()), (two, ("--detector",))):
        config = CONFIGS / ("detector.yaml" if more else "pose-fast.yaml")
        run = preview(tmp_path / "set", "--config", config, "--out", out, "--count", 4, *more)
        assert run.returncode == 0, run.stderr
        assert "4 samples" in run.stdout
    page = cv2.imread(str(one))
    assert page.shape[0] * page.shape[1] >= 4 * 512 * 256
    assert np.ptp(page) > 100
    frames = cv2.imread(str(two))
    assert frames.shape[0] * frames.shape[1] >= 4 * 256 * 256
    assert sorted(p.name for p in tmp_path.iterdir()) == ["one.png", "set", "two.png"]


def test_a_folder_without_a_data_set_is_one_clear_line(tmp_path):
    run = preview(tmp_path, "--config", CONFIGS / "pose-fast.yaml", "--out", tmp_path / "p.png")
    assert run.returncode == 2
    assert "annotations.json" in run.stderr
    assert "Traceback" not in run.stderr
    assert not (tmp_path / "p.png").exists()
