"""``heightpose bench models``: what the table says is so."""

from __future__ import annotations

import csv
import json

import pytest

pytest.importorskip("torch")
pytest.importorskip("timm")

from heightpose.cli import main as cli_main
from heightpose.errors import ConfigError
from heightpose.models import cost

FAST = ["--input", "64x64", "--seconds", "0", "--threads", "1"]


def test_the_table_as_json_and_csv(tmp_path, capsys):
    pytest.importorskip("onnx")
    from heightpose.models.pose_net import PoseNet

    nets = ["test_vit2", "test_resnet:regression"]
    line = ["bench", "models", *nets, *FAST, "--csv", str(tmp_path / "new" / "models.csv"), "--json"]
    assert cli_main._run(line, False) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["machine"]["processor"]
    assert found["machine"]["threads"] == 1
    rows = {row["network"]: row for row in found["networks"]}
    assert list(rows) == nets
    vit = rows["test_vit2"]
    assert (vit["head"], vit["heatmap_wh"], vit["notes"]) == ("deconv", [16, 16], [])
    assert vit["parameters"] == sum(p.numel() for p in PoseNet("test_vit2", input_wh=(64, 64)).parameters())
    assert rows["test_resnet:regression"]["heatmap_wh"] is None
    for row in rows.values():
        assert set(row["latency_ms"]) == {"torch", "openvino"}
        assert all(set(by_batch) == {"1", "8"} for by_batch in row["latency_ms"].values())
        assert all(ms > 0 for by_batch in row["latency_ms"].values() for ms in by_batch.values())
    with (tmp_path / "new" / "models.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [r["network"] for r in table] == nets
    assert int(table[0]["parameters"]) == vit["parameters"]
    assert float(table[0]["openvino_ms_8"]) > 0


def test_settings_of_no_clip_are_refused(tmp_path, capsys):
    (tmp_path / "camera.json").write_text("{}")
    assert cli_main._run(["bench", "run", "--camera", str(tmp_path / "camera.json")], False) == 2
    assert "are of a clip, and none is named" in capsys.readouterr().err


def test_operations_are_those_of_the_convolutions_and_products():
    """By hand: a multiply-add is two, and attention's products are counted."""
    import torch

    from heightpose.models.cost import flops
    from heightpose.models.pose_net import PoseNet

    net = PoseNet("test_resnet", 21, "upsample", input_wh=(64, 64)).eval()
    by_hand = 0

    def count(module, inputs, output):
        nonlocal by_hand
        per_output = module.in_channels // module.groups * module.kernel_size[0] * module.kernel_size[1]
        by_hand += 2 * per_output * output[0].numel()

    for module in net.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(count)
    assert flops(net) == by_hand > 0
    tokens = PoseNet("test_vit2", input_wh=(64, 64)).eval()
    wide = PoseNet("test_vit2", input_wh=(128, 128)).eval()
    assert flops(wide) > 4 * flops(tokens)  # more than linear in the tokens: attention


def test_what_a_network_cannot_do_is_a_note_and_an_unknown_one_an_error(capsys):
    line = ["bench", "models", "hourglass_2_slim", "--input", "96x96", "--runtime", "torch", "--batch", "1"]
    assert cli_main._run([*line, "--seconds", "0"], False) == 0
    out = capsys.readouterr().out
    assert "hourglass_2_slim: pose.input_wh: impossible input size" in out
    assert cli_main._run(["bench", "models", "resnet5O", *FAST], False) == 2
    err = capsys.readouterr().err
    assert "resnet5O" in err.splitlines()[-1]
    assert cli_main._run(["bench", "models", "resnet18:concat", *FAST], False) == 2
    assert "pose.head" in capsys.readouterr().err


def test_unknown_networks_are_told_before_any_is_measured(monkeypatch, capsys):
    def measured(*_):
        raise AssertionError("measured")

    monkeypatch.setattr(cost, "_row", measured)
    assert cli_main._run(["bench", "models", "resnet18", "resnet5O", *FAST], False) == 2
    assert "unknown backbone" in capsys.readouterr().err
    build = cost.PoseNet

    def refusing(backbone, *args, **kwargs):
        if backbone == "resnet26":
            raise ConfigError("timm cannot build this network as a trunk", where="pose.backbone")
        return build(backbone, *args, **kwargs)

    monkeypatch.setattr(cost, "PoseNet", refusing)
    assert cli_main._run(["bench", "models", "resnet18", "resnet26", *FAST], False) == 2
    assert "timm cannot build this network as a trunk" in capsys.readouterr().err
