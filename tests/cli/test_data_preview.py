"""``heightpose data preview``: a picture with a cell per sample, the same for the same seed."""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
from click.testing import CliRunner

from heightpose.cli.data_verbs.preview import preview as verb
from heightpose.errors import InputError

sys.path.append(str(Path(__file__).resolve().parents[1] / "data"))
import drawn

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


def preview(*arguments):
    return CliRunner().invoke(verb, [str(a) for a in arguments])


def test_it_draws_as_many_samples_as_asked(tmp_path):
    drawn.nursery(tmp_path / "set")
    one, two = tmp_path / "one.png", tmp_path / "two.png"
    for out, more in ((one, ()), (two, ("--detector",))):
        config = CONFIGS / ("detector.yaml" if more else "pose-fast.yaml")
        run = preview(tmp_path / "set", "--config", config, "--out", out, "--count", 4, *more)
        assert run.exit_code == 0, run.output
        assert "4 samples" in run.output
    page = cv2.imread(str(one))
    assert page.shape[0] * page.shape[1] >= 4 * 512 * 256
    assert np.ptp(page) > 100
    frames = cv2.imread(str(two))
    assert frames.shape[0] * frames.shape[1] >= 4 * 256 * 256
    assert sorted(p.name for p in tmp_path.iterdir()) == ["one.png", "set", "two.png"]


def test_the_seed_decides_the_picture(tmp_path):
    drawn.nursery(tmp_path / "set")
    pages = []
    for seed in (3, 3, 4):
        out = tmp_path / "p.png"
        run = preview(tmp_path / "set", "--config", CONFIGS / "pose-fast.yaml", "--out", out, "--seed", seed)
        assert run.exit_code == 0, run.output
        pages.append(cv2.imread(str(out)))
    np.testing.assert_array_equal(pages[0], pages[1])
    assert pages[0].shape != pages[2].shape or (pages[0] != pages[2]).any()


def test_a_folder_without_a_data_set_is_named(tmp_path):
    run = preview(tmp_path, "--config", CONFIGS / "pose-fast.yaml", "--out", tmp_path / "p.png")
    assert isinstance(run.exception, InputError)
    assert "annotations.json" in str(run.exception)
    assert not (tmp_path / "p.png").exists()
