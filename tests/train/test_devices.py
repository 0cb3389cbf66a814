"""Two processes on one processor: the same command, half an epoch each."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import drawn
import pytest

SCRIPT = """
import sys
sys.path[:0] = {paths!r}
from dataclasses import replace
from pathlib import Path
from tinynet import TinyNet, settings
from heightpose.train import loop
from heightpose.train.pose_task import PoseTask

PoseTask.net = lambda self: TinyNet(width=8)
PoseTask.meta = lambda self, net, **extra: {{"kind": "pose", **extra}}
kept = {{}}

def finish(out, task, module, trainer, keeper, about, training):
    weights = sum(float(v.double().sum()) for v in module.net.parameters())  # statistics are each process's own
    (out / f"rank-{{trainer.global_rank}}.json").write_text(
        '{{"weights": %r, "steps": %d, "world": %d}}' % (weights, trainer.global_step, trainer.world_size)
    )
    return loop.Run(out, out, out, {{}})

loop._finish = finish
config = settings({data!r}, batch_size=1, epochs=2)
config = replace(config, pose=replace(config.pose, input_wh=(32, 32)))
config = replace(config, hardware=replace(config.hardware, devices="2", precision="32-true"))
if __name__ == "__main__":
    loop.train(config, Path({out!r}))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="gloo between processes")
def test_two_processes_share_every_epoch_and_end_with_one_net(tmp_path):
    drawn.nursery(tmp_path / "set", train=4, val=3)
    here = Path(__file__).resolve().parent
    script, out = tmp_path / "two.py", tmp_path / "run"
    script.write_text(SCRIPT.format(paths=[str(here)], data=str(tmp_path / "set"), out=str(out)))
    environment = {
        k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "LOCAL_RANK", "RANK", "WORLD"))
    }
    done = subprocess.run(
        [sys.executable, str(script)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    ranks = [json.loads((out / f"rank-{k}.json").read_text()) for k in (0, 1)]
    assert ranks[0]["world"] == 2
    # four infants, one per step and process: two steps in each of the two epochs
    assert ranks[0]["steps"] == ranks[1]["steps"] == 4
    assert ranks[0]["weights"] == ranks[1]["weights"]
    with (out / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["2", "4"]
    assert rows[-1]["people"] == "3"  # both halves of the validation, one of which is shorter by a batch
    assert (out / "last.ckpt").is_file()
    assert (out / "best.safetensors").is_file()
