"""`heightpose doctor train`: what a run's folder tells afterwards."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest
import torch
from click.testing import CliRunner
from diagnosed import config_of
from tinynet import TinyNet
from torch import nn

from heightpose.cli.doctor_verbs.train import train as doctor_train
from heightpose.errors import FileFormatError, InputError
from heightpose.models.checkpoint import save_weights
from heightpose.models.description import pose_meta
from heightpose.models.pose_net import PoseNet
from heightpose.skeleton import INFANT
from heightpose.train import checkup, loop
from heightpose.train.observed import DIAGNOSTICS, Evidence, Look
from heightpose.train.pose_task import PoseTask


def test_doctor_reads_a_run_with_its_weights(folder, tmp_path):
    """A real network whose left knee is cut off and whose log says that it overfits."""
    path, config = tmp_path / "run", config_of(folder)
    path.mkdir()
    config = replace(config, pose=replace(config.pose, backbone="hrnet_w18_small"))
    task = PoseTask(config)
    torch.manual_seed(0)
    net = task.net().eval()
    assert isinstance(net, PoseNet)
    last = [m for m in net.modules() if isinstance(m, nn.Conv2d)][-1]
    with torch.no_grad():
        last.weight[4] = 0.0
    save_weights(path / "pose.safetensors", net.state_dict(), pose_meta(net, INFANT.names, task.codec))
    (path / "config.yaml").write_text(json.dumps(config.to_dict()))
    log_rows = ["epoch,step,loss,lr,Mean@0.1,MeanSmS@0.1,train Mean@0.1,overfit,val loss"]
    log_rows += ["1,10,1.0,0.001,,,,,", "2,20,0.5,0.001,30.0,35.0,60.0,30.0,0.6"]
    (path / "log.csv").write_text("\n".join(log_rows) + "\n")
    found = checkup.check(path)
    assert {"dead-channels", "overfit"} <= {f.name for f in found.findings}
    dead = next(f for f in found.findings if f.name == "dead-channels")
    assert INFANT.names[4] in dead.seen
    assert "pose.safetensors on 12 validation samples" in found.sources
    severities = [f.severity for f in found.findings]
    assert severities == sorted(severities, reverse=True)

    records = checkup.check(path, look=False)
    assert [f.name for f in records.findings] == ["overfit"]
    assert checkup.check(path, look=False, limit=50.0).findings == ()


def test_a_run_under_way_is_looked_at_as_what_it_is(folder, tmp_path):
    """A net that has hardly begun answers alike to all: no news of a young run, and the worst of a finished one."""
    config = config_of(folder)
    config = replace(
        config,
        pose=replace(config.pose, backbone="hrnet_w18_small"),
        optim=replace(config.optim, warmup_steps=80),
    )
    task = PoseTask(config)
    torch.manual_seed(0)
    net = task.net().eval()
    assert isinstance(net, PoseNet)
    last = [m for m in net.modules() if isinstance(m, nn.Conv2d)][-1]
    with torch.no_grad():  # blind: only what it adds is left
        last.weight.zero_()
        last.bias.copy_(torch.linspace(-1.0, 1.0, len(INFANT)))
    save_weights(tmp_path / "best.safetensors", net.state_dict(), pose_meta(net, INFANT.names, task.codec))
    (tmp_path / "config.yaml").write_text(json.dumps(config.to_dict()))
    young = Evidence(kind="pose", warmup_steps=80, joints=INFANT.names, looks=(Look(12, 0.01, score=1.0),))
    (tmp_path / DIAGNOSTICS).write_text(json.dumps({"schema": 1, "findings": [], "evidence": asdict(young)}))
    told = {finding.name for finding in checkup.check(tmp_path).findings}
    assert not told & {"collapse", "dead-channels"}
    (tmp_path / "metrics.json").write_text("{}")
    assert "collapse" in {finding.name for finding in checkup.check(tmp_path).findings}


def test_by_heart_is_learned_by_a_new_net(folder, tmp_path, monkeypatch):
    config = replace(
        config_of(folder), start_from=str(tmp_path / "gone.safetensors"),
        optim=replace(config_of(folder).optim, freeze="all_but_head", norm="kept"),
    )  # fmt: skip
    (tmp_path / "config.yaml").write_text(json.dumps(config.to_dict()))
    monkeypatch.setattr(PoseTask, "net", lambda self: TinyNet())
    monkeypatch.setattr(PoseTask, "meta", lambda self, net, **extra: {"kind": "pose", **extra})
    monkeypatch.setattr(loop, "_finish", lambda *_: None)
    assert "a new net on one batch, 3 steps" in checkup.check(tmp_path, look=False, by_heart_steps=3).sources
    monkeypatch.setattr(loop, "load_data", refuse)
    (skipped,) = [
        s for s in checkup.check(tmp_path, look=False, by_heart_steps=3).skipped if "one batch" in s
    ]
    assert skipped == "a new net on one batch: no such data"


def refuse(*_):
    raise InputError("no such data")


def test_doctor_on_the_command_line(run, tmp_path):
    run(epochs=2, val_every_epochs=2)
    folder = tmp_path / "run"

    def call(*options):
        return CliRunner().invoke(doctor_train, [str(folder), *options], standalone_mode=False)

    fine = call("--no-look", "--strict")
    assert fine.return_value == 0
    assert "nothing found" in fine.output
    # Nothing that this version can load: the records are read all the same.
    assert "not looked at: weights" in call().output

    document = json.loads((folder / DIAGNOSTICS).read_text())
    document["evidence"]["looks"][-1]["overfit"] = 40.0
    (folder / DIAGNOSTICS).write_text(json.dumps(document))
    found = call("--no-look")
    assert found.return_value == 0
    assert "1. overfit" in found.output
    assert "try: " in found.output
    strict = call("--no-look", "--strict", "--json")
    assert strict.return_value == 1
    assert [f["name"] for f in json.loads(strict.stdout)["findings"]] == ["overfit"]


@pytest.mark.parametrize(
    "text", ["", "[]", '{"schema": 2}', '{"schema": 1, "evidence": {"looks": [{"stp": 1}]}}']
)
def test_damaged_records_are_named(tmp_path, text):
    with pytest.raises(InputError, match="no training run"):
        checkup.check(tmp_path)
    (tmp_path / "config.yaml").write_text("task: pose\n")
    (tmp_path / DIAGNOSTICS).write_text(text)
    with pytest.raises(FileFormatError, match=r"diagnostics\.json"):
        checkup.check(tmp_path, look=False)


def test_a_run_that_recorded_no_step_is_not_called_sound(folder, tmp_path):
    (tmp_path / "config.yaml").write_text(json.dumps(config_of(folder).to_dict()))
    told = CliRunner().invoke(doctor_train, [str(tmp_path)], standalone_mode=False).output
    assert "nothing to examine yet" in told
    assert "not looked at: steps: the run recorded none" in told
