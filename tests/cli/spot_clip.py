"""For the tests of ``infer``: a small clip of a spot that moves, the camera over it, and what comes of it."""

from __future__ import annotations

import json

import makers
import pytest
import with_estimator

from heightpose.geometry import body

FILES = {"height.json", "poses.json", "overlay.mp4", "preview.png", "provenance.json"}
SIZE = (160, 120)
#: 150 cm above the middle of the mattress: 1 px is 0.75 cm.
CAMERA = {
    "model": "pinhole", "width": 160, "height": 120, "dist": [0] * 5,
    "K": [[200.0, 0.0, 79.5], [0.0, 200.0, 59.5], [0.0, 0.0, 1.0]],
}  # fmt: skip
PLANE = {"R": [[1, 0, 0], [0, -1, 0], [0, 0, -1]], "t_cm": [0, 0, 150]}


def blobs(count=3, size_wh=SIZE):
    """The spot moves 2 px to the right per frame."""
    return [makers.scene(size_wh, (60 + 2 * i, 50)) for i in range(count)]


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return makers.write_video(tmp_path_factory.mktemp("clip") / "clip.mp4", blobs())


@pytest.fixture
def camera(tmp_path):
    path = tmp_path / "camera.json"
    path.write_text(json.dumps(CAMERA))
    return path


@pytest.fixture
def plane(tmp_path):
    path = tmp_path / "plane.json"
    path.write_text(json.dumps(PLANE))
    return path


@pytest.fixture
def scale(camera, plane):
    """Options that name both."""
    return ["--camera", camera, "--plane", plane]


@pytest.fixture
def estimating(monkeypatch):
    """The plain estimator in this process."""
    monkeypatch.setattr(body, "measure", with_estimator.measure)
