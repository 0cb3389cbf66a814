"""The trainings outside of Lightning go on where they stopped, to the bit, and say what they cannot go on from."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

from heightpose.errors import ConfigError, FileFormatError
from heightpose.train import cover, lift, plain_resume
from heightpose.train.cover_data import COVERED, FREE, UNKNOWN, Patches
from heightpose.train.plain_resume import Resume


@pytest.fixture(autouse=True)
def _saved_after_every_step(monkeypatch):
    monkeypatch.setattr(plain_resume, "EVERY_S", 0.0)


@pytest.fixture
def stopped_after(monkeypatch):
    """Makes the next training stop once so many steps are saved."""

    def arrange(steps):
        save = Resume.save

        def save_and_stop(self, step):
            save(self, step)
            if step == steps:
                monkeypatch.setattr(Resume, "save", save)
                raise KeyboardInterrupt

        monkeypatch.setattr(Resume, "save", save_and_stop)

    return arrange


def arrays(path):
    with np.load(path) as found:
        return dict(found)


def test_the_elevation_model_goes_on_to_the_bit(bodies, tmp_path, stopped_after, caplog):
    def train(name, **changes):
        options = {"steps": 12, "seed": 3, "width": 16, "clip_width": 8} | changes
        return lift.train([bodies], tmp_path / name, **options)

    whole = train("whole.npz")
    stopped_after(5)
    with pytest.raises(KeyboardInterrupt):
        train("parts.npz")
    assert not (tmp_path / "parts.npz").exists()
    with pytest.raises(ConfigError, match=r"other settings .*seed 4.*seed 3.*parts\.npz\.resume\.ckpt"):
        train("parts.npz", seed=4)
    assert train("parts.npz") == whole
    assert "goes on from step 5" in caplog.text
    first, second = arrays(tmp_path / "whole.npz"), arrays(tmp_path / "parts.npz")
    assert all(np.array_equal(first[name], second[name]) for name in first)
    assert not (tmp_path / "parts.npz.resume.ckpt").exists()


def test_the_net_of_covers_goes_on_to_the_bit(tmp_path, stopped_after, monkeypatch, caplog):
    monkeypatch.setattr(cover, "_BATCH", 4)
    rng = np.random.default_rng(0)
    labels = np.full((16, 3), UNKNOWN, np.int8)
    labels[:, 0] = np.where(np.arange(16) % 2, COVERED, FREE)
    images = rng.integers(0, 255, (16, 3, cover.PATCH, cover.PATCH, 3), dtype=np.uint8)
    examples = cover.Examples([Patches(images, labels)])
    whole, figures = cover.train(examples, {"own": examples}, tmp_path / "whole.onnx", epochs=3)
    stopped_after(2)
    with pytest.raises(KeyboardInterrupt):
        cover.train(examples, {"own": examples}, tmp_path / "parts.onnx", epochs=3)
    parts, again = cover.train(examples, {"own": examples}, tmp_path / "parts.onnx", epochs=3)
    assert "goes on from step 2" in caplog.text
    assert again == figures
    second = parts.state_dict()
    assert all(value.equal(second[name]) for name, value in whole.state_dict().items())


def test_a_damaged_file_is_named(bodies, tmp_path):
    (tmp_path / "a.npz.resume.ckpt").write_bytes(b"PK\3\4 nothing")
    with pytest.raises(FileFormatError, match=r"a\.npz\.resume\.ckpt: what the training was to go on from"):
        lift.train([bodies], tmp_path / "a.npz", steps=2, seed=0, width=16, clip_width=8)
