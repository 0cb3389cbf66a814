"""`heightpose doctor train`: what a run's folder tells afterwards."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from click.testing import CliRunner
from diagnosed import config_of
from torch import nn

from heightpose.cli.doctor_verbs.train import train as doctor_train
from heightpose.errors import FileFormatError, InputError
from heightpose.models.checkpoint import save_weights
from heightpose.models.description import pose_meta
from heightpose.models.pose_net import PoseNet
from heightpose.skeleton import INFANT
from heightpose.train import checkup
from heightpose.train.observed import DIAGNOSTICS
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
