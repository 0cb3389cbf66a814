"""The shipped example through the shipped weights, as the README's first command runs it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[1] / "examples"


def infer(out: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-m",
        "heightpose",
        "infer",
        str(EXAMPLES / "clip.mp4"),
        "--out",
        str(out),
    ]
    return subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=120, check=False)


def test_the_example_is_measured_near_its_true_length(tmp_path: Path) -> None:
    truth = json.loads((EXAMPLES / "truth.json").read_text())["length_cm"]
    done = infer(
        tmp_path, "--camera", str(EXAMPLES / "camera.json"), "--sheet", str(EXAMPLES / "sheet.yaml"),
        "--sex", "female", "--age-months", "2.8",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    last = done.stdout.strip().splitlines()[-1]
    assert re.fullmatch(r"\d+\.\d cm \(\d+\.\d-\d+\.\d\)  \d+ of 12 frames", last)
    height = json.loads((tmp_path / "clip" / "height.json").read_text())
    assert abs(height["length_cm"] - truth) < 2.0
    assert height["interval_cm"][0] < height["length_cm"] < height["interval_cm"][1]
    assert 0 < height["percentile"] < 100
    poses = json.loads((tmp_path / "clip" / "poses.json").read_text())
    assert len(poses["frames"]) == 12
    assert {p.name for p in (tmp_path / "clip").iterdir()} == {
        "height.json", "poses.json", "overlay.mp4", "preview.png", "provenance.json",
    }  # fmt: skip
    assert (EXAMPLES / "clip.mp4").stat().st_size < 1_000_000


def test_a_sheet_drawn_larger_measures_larger_in_proportion(tmp_path: Path) -> None:
    """The number comes from the picture and the sheet, not from what children usually measure."""
    import yaml

    sheet = yaml.safe_load((EXAMPLES / "sheet.yaml").read_text())
    sheet["tags"] = {
        k: [[1.2 * v for v in corner] for corner in corners] for k, corners in sheet["tags"].items()
    }
    sheet["size_cm"] = [1.2 * v for v in sheet["size_cm"]]
    (tmp_path / "large.yaml").write_text(yaml.safe_dump(sheet))
    lengths = []
    for name in (EXAMPLES / "sheet.yaml", tmp_path / "large.yaml"):
        done = infer(
            tmp_path / name.stem, "--camera", str(EXAMPLES / "camera.json"), "--sheet", str(name),
            "--json", "--no-overlay",
        )  # fmt: skip
        lengths.append(json.loads(done.stdout)["length_cm"])
    assert abs(lengths[1] / lengths[0] - 1.2) < 0.002


def test_without_a_scale_it_refuses(tmp_path: Path) -> None:
    done = infer(tmp_path, "--json", "--no-overlay")
    assert done.returncode == 3
    height = json.loads(done.stdout)
    assert height["status"] == "rejected"
    assert height["length_cm"] is None
    assert height["reasons"][0]["code"] == "no_scale"
