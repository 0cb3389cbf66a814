"""The self-test of the shipped networks: wrong kernels are noticed, right ones are not."""

from __future__ import annotations

import functools
import subprocess
import sys
from pathlib import Path

import makers
import numpy as np
import pytest

from heightpose.errors import FileFormatError
from heightpose.runtime import backends, selftest
from heightpose.runtime.backends import load_backend
from heightpose.runtime.modelfile import shipped_path
from heightpose.runtime.output import write_picture

NETS = ("fast", "accurate", "detector")


@pytest.mark.parametrize(
    ("name", "backend"),
    [("fast", "torch"), ("fast", "onnxruntime"), ("accurate", "torch"), ("detector", "torch")],
)
def test_the_recorded_answers_are_those_of_the_shipped_weights(name, backend):
    """By a runtime that did not record them. After new weights: python -m heightpose.runtime.selftest."""
    network, file = load_backend(shipped_path(name), backend)
    output = network.run(selftest.picture(file.input_wh))
    assert selftest.distance(output, selftest.recorded_for(file.path)) < 0.01


@pytest.fixture(scope="module")
def compiled():
    """A shipped network in OpenVINO, as it is created for loading."""
    return functools.cache(lambda name: backends.create_backend("openvino", shipped_path(name), "f32", 1))


@pytest.mark.parametrize("name", NETS)
def test_the_runtime_in_use_is_well_within_the_limit(name):
    network, file = load_backend(shipped_path(name))
    output = network.run(selftest.picture(file.input_wh))
    assert selftest.distance(output, selftest.recorded_for(file.path)) < selftest.LIMIT / 2


@pytest.mark.parametrize(
    "wrong",
    [
        lambda maps: 1e31 * maps,
        lambda maps: 0.5 * maps,
        lambda maps: maps[:, ::-1],
        lambda maps: maps[..., ::-1],
        lambda maps: np.zeros_like(maps),
        lambda maps: np.roll(maps, 8, axis=-1),
        lambda maps: maps[:, :-1],
    ],
)
@pytest.mark.parametrize("name", ["fast", "detector"])
def test_a_network_that_is_computed_wrongly_is_not_used(name, wrong, compiled, monkeypatch):
    network, run = compiled(name), backends.OpenVinoBackend._run
    monkeypatch.setattr(backends, "create_backend", lambda *_: network)
    monkeypatch.setattr(backends.OpenVinoBackend, "_run", lambda self, batch: wrong(run(self, batch)))
    with pytest.raises(FileFormatError, match=r"openvino .* computes this network wrongly") as caught:
        load_backend(shipped_path(name), "openvino", precision="f32")
    assert "--backend" in str(caught.value)


def test_other_networks_are_not_tested(tmp_path, monkeypatch):
    monkeypatch.setattr(selftest, "check", lambda *_: pytest.fail("there is no recorded answer"))
    load_backend(Path(makers.tiny_pose(tmp_path / "pose-fast.onnx")))


def test_infer_tells_in_one_line(tmp_path):
    picture = tmp_path / "picture.png"
    write_picture(picture, makers.scene((160, 120), (60, 48)))
    code = f"""
from heightpose.cli.main import main
from heightpose.runtime import backends
run = backends.OpenVinoBackend._run
backends.OpenVinoBackend._run = lambda self, batch: run(self, batch)[:, ::-1]
main(["infer", {str(picture)!r}, "--out", {str(tmp_path / "out")!r}, "--backend", "openvino"])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "computes this network wrongly" in done.stderr.strip().splitlines()[-1]


def test_what_is_recorded_can_be_recorded_again(tmp_path):
    selftest.record(tmp_path / "again.npz")
    again = np.load(tmp_path / "again.npz")
    for name in again.files:
        recorded = selftest.recorded_for(selftest.WEIGHTS_DIR / f"{name}.onnx")
        np.testing.assert_allclose(again[name], recorded, atol=1e-3 * np.abs(recorded).max())


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04 cut off"])
def test_recorded_answers_that_cannot_be_read(content, tmp_path, monkeypatch):
    file = tmp_path / "selftest.npz"
    if content is not None:
        file.write_bytes(content)
    monkeypatch.setattr(selftest, "RECORDED", file)
    selftest._recorded.cache_clear()
    try:
        with pytest.raises(FileFormatError, match="not the networks' recorded answers"):
            load_backend(shipped_path("detector"))
    finally:
        selftest._recorded.cache_clear()
