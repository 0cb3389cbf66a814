import sys
from pathlib import Path

import pytest
from tinynet import TinyNet

from heightpose.train import loop
from heightpose.train.pose_task import PoseTask

sys.path.append(str(Path(__file__).resolve().parents[1] / "data"))


@pytest.fixture
def tiny(monkeypatch):
    """Pose runs train a TinyNet, and what only real networks can do (weights files) is left out."""
    monkeypatch.setattr(PoseTask, "net", lambda self: TinyNet())
    monkeypatch.setattr(PoseTask, "meta", lambda self, net, **extra: {"kind": "pose", **extra})
    seen = {}

    def finish(out, task, module, trainer, keeper, about, training):
        seen.update(module=module, best=keeper.best, training=training)
        return loop.Run(out, out, out, {"best": keeper.best, "last": module.val_metrics})

    monkeypatch.setattr(loop, "_finish", finish)
    return seen


@pytest.fixture(scope="session")
def three_infants(tmp_path_factory):
    """A data set of three drawn infants and an empty cot to train on, and one more to validate on; read only."""
    import drawn

    path = tmp_path_factory.mktemp("data") / "set"
    drawn.nursery(path, train=3, val=1)
    return path
