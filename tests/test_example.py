"""The shipped example through the shipped weights, as the README's first command runs it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


def arguments(out: Path, *more: str) -> list[str]:
    return ["infer", str(EXAMPLES / "clip.mp4"), "--out", str(out), *more]


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> tuple[subprocess.CompletedProcess[str], Path]:
    """The command, as a process, and the folder of its results."""
    out = tmp_path_factory.mktemp("example")
    command = arguments(
        out, "--camera", str(EXAMPLES / "camera.json"), "--sheet", str(EXAMPLES / "sheet.yaml"),
        "--sex", "female", "--age-months", "2.8",
    )  # fmt: skip
    ran = subprocess.run(
        [sys.executable, "-m", "heightpose", *command],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    return ran, out / "clip"


def test_the_example_is_measured_near_its_true_length(done) -> None:
    ran, out = done
    truth = json.loads((EXAMPLES / "truth.json").read_text())["length_cm"]
    assert ran.returncode == 0, ran.stderr
    last = ran.stdout.strip().splitlines()[-1]
    assert re.fullmatch(r"\d+\.\d cm \(\d+\.\d-\d+\.\d\)  \d+ of 12 frames", last)
    height = json.loads((out / "height.json").read_text())
    assert abs(height["length_cm"] - truth) < 2.0
    assert height["interval_cm"][0] < height["length_cm"] < height["interval_cm"][1]
    assert 0 < height["percentile"] < 100
    poses = json.loads((out / "poses.json").read_text())
    assert len(poses["frames"]) == 12
    assert {p.name for p in out.iterdir()} == {
        "height.json", "poses.json", "overlay.mp4", "preview.png", "provenance.json",
    }  # fmt: skip
    assert (EXAMPLES / "clip.mp4").stat().st_size < 1_000_000


def test_a_sheet_drawn_larger_measures_larger_in_proportion(done, tmp_path: Path, here) -> None:
    """The number comes from the picture and the sheet, not from what children usually measure."""
    import yaml

    sheet = yaml.safe_load((EXAMPLES / "sheet.yaml").read_text())
    sheet["tags"] = {
        k: [[1.2 * v for v in corner] for corner in corners] for k, corners in sheet["tags"].items()
    }
    sheet["size_cm"] = [1.2 * v for v in sheet["size_cm"]]
    (tmp_path / "large.yaml").write_text(yaml.safe_dump(sheet))
    command = arguments(
        tmp_path, "--camera", str(EXAMPLES / "camera.json"), "--sheet", str(tmp_path / "large.yaml"),
        "--json", "--no-overlay",
    )  # fmt: skip
    larger = json.loads(here(*command).stdout)["length_cm"]
    assert abs(larger / json.loads((done[1] / "height.json").read_text())["length_cm"] - 1.2) < 0.002


def test_without_a_scale_it_refuses(tmp_path: Path, here) -> None:
    refused = here(*arguments(tmp_path, "--json", "--no-overlay", "--every", "6"))
    assert refused.returncode == 3
    height = json.loads(refused.stdout)
    assert height["status"] == "rejected"
    assert height["length_cm"] is None
    assert height["reasons"][0]["code"] == "no_scale"
