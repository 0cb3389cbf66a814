import contextlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from tinynet import TinyNet

from heightpose.errors import HeightposeError
from heightpose.skeleton import INFANT
from heightpose.train import loop
from heightpose.train.observed import DIAGNOSTICS, read_evidence
from heightpose.train.pose_task import PoseTask

sys.path += [str(Path(__file__).resolve().parents[1] / part) for part in ("data", "runtime")]


@pytest.fixture
def tiny(monkeypatch):
    """Pose runs train a TinyNet, and what only real networks can do (weights files) is left out."""
    monkeypatch.setattr(PoseTask, "net", lambda self: TinyNet())
    monkeypatch.setattr(PoseTask, "meta", lambda self, net, **extra: {"kind": "pose", **extra})
    seen = {}

    def finish(out, task, module, trainer, keeper, about, training):
        seen.update(module=module, best=keeper.best, training=training, about=about)
        return loop.Run(out, out, out, {"best": keeper.best, "last": module.val_metrics})

    monkeypatch.setattr(loop, "_finish", finish)
    return seen


@pytest.fixture(scope="session")
def three_infants(tmp_path_factory):
    """A data set of three drawn infants and an empty cot to train on, and one more to validate on; read only."""
    import drawn

    return drawn.shared_nursery(tmp_path_factory, train=3, val=1)


@pytest.fixture
def bodies(tmp_path):
    """48 children of 0.7 to 1.3 times that size in 4 frames each, limbs moving a little."""
    from straight import body

    rng = np.random.default_rng(0)
    scale = rng.uniform(0.7, 1.3, 48).astype(np.float32)
    rest = body().astype(np.float32)[None] * scale[:, None, None]
    joints = np.repeat(rest[:, None], 4, axis=1) + rng.normal(0, 0.3, (48, 4, len(INFANT), 3)).astype(
        np.float32
    )
    joints[..., 2] = np.maximum(joints[..., 2], 0.5)
    path = tmp_path / "bodies.npz"
    np.savez(path, joints_cm=joints, rest_cm=rest, posture=np.zeros(48, np.int8), length_cm=68.3 * scale,
             child=np.arange(48))  # fmt: skip
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """24 drawn infants to train on and 12 to validate on; read only."""
    import drawn

    return drawn.shared_nursery(tmp_path_factory, train=24, val=12)


@pytest.fixture
def run(folder, tmp_path, tiny, monkeypatch):
    """Trains and returns what ``diagnostics.json`` holds, as (findings by name, evidence)."""
    import diagnosed

    def go(net=diagnosed.small, name="run", config=None, one_batch=False, **optim):
        monkeypatch.setattr(PoseTask, "net", lambda self: net())
        config = diagnosed.config_of(folder, **optim) if config is None else config
        with contextlib.suppress(HeightposeError):  # of a loss that broke off, which the evidence tells
            loop.train(config, tmp_path / name, overfit_one_batch=one_batch)
        found = json.loads((tmp_path / name / DIAGNOSTICS).read_text())["findings"]
        return {f["name"]: f for f in found}, read_evidence(tmp_path / name / DIAGNOSTICS)

    return go
