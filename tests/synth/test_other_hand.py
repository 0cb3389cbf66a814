"""eval/other_hand.py: a set that `heightpose eval` reads, its joints where its own truth has them."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

pytest.importorskip("anny")
pytest.importorskip("mitsuba")

from heightpose.data.testset import TestSet
from heightpose.geometry.camera import Camera
from heightpose.geometry.plane import Plane

SCRIPT = Path(__file__).parents[2] / "eval" / "other_hand.py"


@pytest.fixture
def script(monkeypatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("other_hand", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name, value in {"SIZE_WH": (160, 90), "SAMPLES": 1, "FRAMES": 2, "PX_PER_CM": 3.0}.items():
        monkeypatch.setattr(module, name, value)
    return module


def test_its_clips_carry_lengths_and_labelled_joints(script: ModuleType, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(sys, "argv", ["other_hand.py", "--out", str(tmp_path), "--count", "2", "--seed", "9"])
    script.main()
    testset = TestSet.load(tmp_path)
    assert len(testset.clips) == 2
    labels = json.loads((tmp_path / "annotations.json").read_text())
    assert len(labels["annotations"]) == 4
    seen = set()
    for image, person in zip(labels["images"], labels["annotations"], strict=True):
        name = Path(image["video"]).stem
        truth = json.loads((tmp_path / "clips" / f"{name}.truth.json").read_text())
        camera = Camera.load(tmp_path / "clips" / f"{name}.camera.json")
        plane = Plane(R=np.array(truth["R"]), t_cm=np.array(truth["t_cm"]))
        found = np.reshape(person["keypoints"], (-1, 3))
        there = plane.to_frame(camera, np.array(truth["joints_cm"])[image["frame"]])
        np.testing.assert_allclose(found[:, :2], there, atol=1e-3)
        x, y, width, height = person["bbox"]
        assert (np.abs(found[:, 0] - x - width / 2) < width / 2 + 2).all()
        assert (np.abs(found[:, 1] - y - height / 2) < height / 2 + 2).all()
        seen |= set(found[:, 2])
        assert (found[:, 2] == 2).sum() > 8
    assert seen <= {1.0, 2.0}
